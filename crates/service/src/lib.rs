//! What every service's main needs: its settings, tracing, shutdown, and the one clock.

pub mod clock;
pub mod file;
pub mod identity;
mod main_loop;
pub mod retry;
pub mod settings;
pub mod telemetry;
pub mod trace;

pub use main_loop::{main, until_signal};
pub use settings::ServiceArgs;
pub use tokio_util::sync::CancellationToken as Shutdown;

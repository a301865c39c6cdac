//! What tests of the running system share: the product's own binaries as processes that can be killed, a client, trees
//! of files, and the laws that must hold whatever happened.

#![allow(clippy::indexing_slicing, reason = "a test that panics is a test that failed")]

mod api;
mod fleet;
mod laws;
mod process;
mod single;
mod tree;

pub use api::{Api, Reply};
pub use fleet::{Fleet, SERVICES};
pub use laws::{History, Laws, archives_in};
pub use process::{Process, binary};
pub use single::{Single, strongroom};
pub use strongroom_testkit::{HttpSink, Received, wait_until};
pub use tree::Tree;

use std::time::Duration;

/// How long anything may take that takes a moment on an idle machine. Tests wait on conditions; this only ends a test
/// that would wait for ever.
pub const PATIENCE: Duration = Duration::from_secs(120);

//! Real servers on free ports for the tests: a nats-server with the product's own rights and streams, one or three,
//! that can be killed and started again; a borg repository; servers of databases and clouds; an engine of Docker; an HTTP server that records; a wire that can be cut; and a way to wait on a
//! condition with a deadline.

mod azurite;
mod borg;
mod docker;
mod gcs;
mod http_sink;
pub mod lasting;
mod mysql;
mod nats;
mod port;
mod postgresql;
mod s3;
mod sshd;
mod twin;
mod wire;

pub use azurite::Azurite;
pub use borg::{ScratchRepository, borg_is_there};
pub use docker::{Docker, skipped};
pub use gcs::Gcs;
pub use http_sink::{HttpSink, Received};
pub use mysql::{MYSQL_PASSWORD, Mysql};
pub use nats::Nats;
pub use port::Port;
pub use postgresql::{POSTGRES_PASSWORD, Postgresql};
pub use s3::{S3, S3_ACCESS_KEY_ID, S3_SECRET};
pub use sshd::Sshd;
pub use twin::{Members, TwinLog};
pub use wire::Wire;

use std::time::{Duration, Instant};

/// Asks again until `check` gives something, or fails after `deadline` with what was waited for.
pub async fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = check().await {
            return Ok(found);
        }
        anyhow::ensure!(Instant::now() < end, "waited {} s in vain: {what}", deadline.as_secs());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

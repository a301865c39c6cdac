//! Instant recovery and restore drills.
//!
//! So far it knows what its machine could do: whether Docker, FUSE and borg are usable, and what to do where they are
//! not. It answers that as a question and says it in its health, so that people learn it before they need a recovery.

mod borg;
mod child;
pub mod core;
mod docker;
mod follow;
mod fuse;
mod machine;
mod questions;

use machine::Machine;
use std::path::PathBuf;
use std::time::Duration;
use strongroom_bus::Bus;
use strongroom_service::Shutdown;
use tokio::sync::watch;

/// How recovery works, and where it finds what it needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The socket of Docker's engine.
    pub docker_socket: PathBuf,
    /// The kernel's FUSE device.
    pub fuse_device: PathBuf,
    /// The program that mounts for those who are not root.
    pub fusermount: PathBuf,
    /// Borg.
    pub borg: PathBuf,
    /// How often the machine is looked at without anybody asking.
    pub check_every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            docker_socket: "/var/run/docker.sock".into(),
            fuse_device: "/dev/fuse".into(),
            fusermount: "fusermount3".into(),
            borg: "borg".into(),
            check_every: Duration::from_secs(60),
        }
    }
}

/// Runs until it is told to end.
pub async fn run(config: Config, bus: Bus, shutdown: Shutdown) -> anyhow::Result<()> {
    let machine = Machine::new(config);
    let seen = watch::Sender::new(follow::Seen::default());
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        problem = follow::follow(&bus, &seen) => problem,
        problem = questions::serve(&bus, &machine, &seen) => problem,
        () = machine.keep_looking() => Ok(()),
    }
}

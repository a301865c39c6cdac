//! Tells people: every job that ends is told to every channel.
//!
//! Follows the log; a delivery is tried, tried again on a ladder, and then given up, and each of these is a fact. What
//! still has to be told follows from the log alone, so a notifier that was killed goes on where it was. Delivery is at
//! least once: the other side knows a repetition by its `webhook-id`. Nothing here can delay or fail a job.

pub mod core;
mod deliver;
mod desk;
mod follow;
mod memo;
mod questions;
mod webhook;

use anyhow::Context as _;
use core::ladder::Ladder;
use desk::Desk;
use std::path::PathBuf;
use std::time::Duration;
use strongroom_bus::Bus;
use strongroom_service::{Shutdown, retry, settings};

/// How the notifier works.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it keeps its key and its checkpoint; its own folder, used by nobody else.
    pub state_dir: PathBuf,
    /// How long to wait after the first failed attempt, after the second, and so on. After the last one a delivery is
    /// given up.
    pub ladder: Vec<Duration>,
}

impl Config {
    /// The usual settings with this folder.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), ..Self::default() }
    }
}

impl Default for Config {
    /// Retries after 5 s, 30 s, 2 min, 10 min, 1 h and 6 h.
    fn default() -> Self {
        let ladder = [5, 30, 120, 600, 3600, 6 * 3600].map(Duration::from_secs).to_vec();
        Self { state_dir: "/var/lib/strongroom".into(), ladder }
    }
}

/// Runs until it is told to end.
pub async fn run(config: Config, bus: Bus, shutdown: Shutdown) -> anyhow::Result<()> {
    let _lock = settings::lock_folder(&config.state_dir)?;
    let identity = strongroom_service::identity::open(&config.state_dir).context("the notifier's key")?;
    let Some((_, end)) = retry::until_done("asking for the log's end", &shutdown, || bus.log_state()).await
    else {
        return Ok(());
    };
    let memo =
        memo::Memo::open(&config.state_dir, bus.generation(), end).context("the notifier's checkpoint")?;
    let desk = Desk::new(bus, identity, Ladder::new(config.ladder), memo);
    let result = tokio::select! {
        problem = follow::follow(&desk, &shutdown) => problem,
        problem = questions::serve(&desk) => problem,
        () = deliver::deliver(&desk, &shutdown) => Ok(()),
    };
    desk.save();
    result
}

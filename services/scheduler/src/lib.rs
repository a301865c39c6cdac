//! When, and who first: fires schedules, admits jobs within limits, and alone writes what nodes report as facts.
//!
//! Any number of schedulers run without a leader. Each folds the log into the same [`core::World`], decides by pure
//! functions, and appends guarded by what it has seen: where two decide, one wins and the other reads.

mod act;
pub mod core;
mod desk;
mod fold;
mod leases;
mod questions;
mod report;
mod status;

use desk::Desk;
use std::sync::Arc;
use std::time::Duration;
use strongroom_bus::Bus;
use strongroom_domain::admission::Limits;
use strongroom_service::Shutdown;

/// How a scheduler works.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How many jobs may run at once.
    pub limits: Limits,
    /// After how many seconds of silence an attempt is taken from its node.
    pub lease_s: u64,
    /// How often the log is compared with what nodes were woken for.
    pub reconcile_every: Duration,
    /// How often state and clock are looked at when nothing happens.
    pub watch_every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            lease_s: 60,
            reconcile_every: Duration::from_secs(60),
            watch_every: Duration::from_secs(1),
        }
    }
}

/// Runs until shutdown. An error is damage that a new start may not heal: the log has a gap, or belongs to another time.
pub async fn run(config: Config, bus: Bus, shutdown: Shutdown) -> anyhow::Result<()> {
    let desk = Arc::new(Desk::new(config, bus));
    // All of them borrow the desk and end together: none outlives this function.
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        damage = fold::follow(&desk) => damage,
        () = act::act_for_ever(&desk) => Ok(()),
        () = report::take_for_ever(&desk, &shutdown) => Ok(()),
        () = leases::answer_for_ever(&desk) => Ok(()),
        () = status::listen_for_ever(&desk) => Ok(()),
        () = questions::serve_for_ever(&desk) => Ok(()),
    }
}

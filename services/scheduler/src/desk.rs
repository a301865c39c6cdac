//! What the parts of a running scheduler share.

use crate::Config;
use crate::core::World;
use crate::core::scans::Scans;
use crate::core::upkeep::Hearing;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use strongroom_bus::Bus;
use strongroom_service::clock;
use tokio::sync::{Notify, watch};

/// How far the fold is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The sequence.
    pub sequence: u64,
    /// Whether the end of the log has been reached since the start.
    pub caught_up: bool,
}

/// The shared state. No lock is ever held while something is waited for.
pub struct Desk {
    /// How this scheduler works.
    pub config: Config,
    /// The log.
    pub bus: Bus,
    /// Told whenever the fold has moved.
    pub seen: watch::Sender<Seen>,
    /// Asks for the log to be folded from its beginning.
    pub refold: Notify,
    world: RwLock<World>,
    hearing: Mutex<Hearing>,
    scans: Mutex<Scans>,
}

impl Desk {
    /// A desk that has seen and heard nothing.
    pub fn new(config: Config, bus: Bus) -> Self {
        Self {
            config,
            bus,
            seen: watch::Sender::new(Seen::default()),
            refold: Notify::new(),
            world: RwLock::default(),
            hearing: Mutex::new(Hearing::new(clock::now())),
            scans: Mutex::default(),
        }
    }

    /// The world as far as the log was folded.
    pub fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to fold on.
    pub fn world_mut(&self) -> RwLockWriteGuard<'_, World> {
        self.world.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was heard of nodes.
    pub fn hearing(&self) -> MutexGuard<'_, Hearing> {
        self.hearing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scans that run.
    pub fn scans(&self) -> MutexGuard<'_, Scans> {
        self.scans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the fold has reached a sequence; `false` when it did not in time.
    pub async fn reaches(&self, sequence: u64, within: Duration) -> bool {
        let mut seen = self.seen.subscribe();
        let reached = tokio::time::timeout(within, seen.wait_for(|s| s.sequence >= sequence)).await;
        matches!(reached, Ok(Ok(_)))
    }
}

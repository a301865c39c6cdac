//! What the parts of a running scheduler share.

use crate::Config;
use crate::core::World;
use crate::core::agenda::Agenda;
use crate::core::lateness::Standings;
use crate::core::retention::Looked;
use crate::core::scans::Scans;
use crate::core::upkeep::Hearing;
use jiff::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use strongroom_bus::Bus;
use strongroom_domain::{JobId, NodeId};
use strongroom_service::clock;
use tokio::sync::{Notify, watch};

/// How far the fold is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Up to which sequence the world speaks.
    pub sequence: u64,
    /// Whether the end of the log has been reached since the start.
    pub caught_up: bool,
    /// How far the log was read, while it is read from its beginning.
    pub read: u64,
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
    looked: Mutex<Looked>,
    agenda: Mutex<Agenda>,
    standings: Mutex<Standings>,
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
            looked: Mutex::default(),
            agenda: Mutex::default(),
            standings: Mutex::default(),
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

    /// A node was heard, with these attempts of its own. By this clock and not by the node's, which may be wrong.
    pub fn heard(&self, node: &NodeId, running: &[(JobId, u64)]) {
        let world = self.world();
        self.hearing().heard(&world, node, running, clock::now());
    }

    /// Makes sure that nodes can be heard, before any silence counts.
    pub fn listens(&self, hears: bool) -> Timestamp {
        let watch_s = self.config.watch_every.as_secs();
        let gap_s = (self.config.lease_s / 2).max(2 * watch_s + 1);
        let now = clock::now();
        self.hearing().listens(hears && self.bus.is_connected(), now, gap_s);
        now
    }

    /// Scans that run.
    pub fn scans(&self) -> MutexGuard<'_, Scans> {
        self.scans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was remembered of a world that is not shown any more.
    pub fn forget(&self) {
        *self.looked() = Looked::default();
        *self.agenda() = Agenda::default();
        *self.standings() = Standings::default();
    }

    /// When it was last looked at what is kept of each plan.
    pub fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next time of each plan comes.
    pub fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How each plan stood when it was last looked at.
    pub fn standings(&self) -> MutexGuard<'_, Standings> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the fold has reached a sequence; `false` when it did not in time.
    pub async fn reaches(&self, sequence: u64, within: Duration) -> bool {
        let mut seen = self.seen.subscribe();
        let reached = tokio::time::timeout(within, seen.wait_for(|s| s.sequence >= sequence)).await;
        matches!(reached, Ok(Ok(_)))
    }
}

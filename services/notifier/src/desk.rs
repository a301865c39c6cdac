//! What the parts of a running notifier share.

use crate::core::ladder::Ladder;
use crate::core::ledger::Ledger;
use crate::memo::Memo;
use crate::webhook::Webhook;
use age::x25519::Identity;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use strongroom_bus::Bus;
use tokio::sync::watch;
use uuid::Uuid;

/// How far the fold is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The sequence.
    pub sequence: u64,
    /// Whether the end of the log has been reached since the start.
    pub caught_up: bool,
}

/// The shared state.
pub struct Desk {
    /// The log.
    pub bus: Bus,
    /// What channels' signing keys are encrypted to.
    pub identity: Identity,
    /// When deliveries are tried again.
    pub ladder: Ladder,
    /// The way out.
    pub webhook: Webhook,
    /// Told whenever the fold has moved.
    pub seen: watch::Sender<Seen>,
    ledger: Mutex<Ledger>,
    memo: Mutex<Memo>,
    stuck: Mutex<BTreeMap<Uuid, String>>,
}

impl Desk {
    /// A desk that goes on from the memo.
    pub fn new(bus: Bus, identity: Identity, ladder: Ladder, memo: Memo) -> Self {
        let ledger = memo.ledger.clone();
        let seen = watch::Sender::new(Seen { sequence: ledger.sequence(), caught_up: false });
        Self {
            bus,
            identity,
            ladder,
            webhook: Webhook::new(),
            seen,
            ledger: Mutex::new(ledger),
            memo: Mutex::new(memo),
            stuck: Mutex::default(),
        }
    }

    /// The fold; never held while something is waited for.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deliveries whose outcome the log does not take, by notification, each with the reason. They are tried again after
    /// a restart.
    pub fn stuck(&self) -> MutexGuard<'_, BTreeMap<Uuid, String>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Saves the checkpoint when enough has happened. Failing costs time at the next start, nothing else.
    pub fn save_when_worth(&self) {
        self.save_with(Memo::save_when_worth);
    }

    /// Saves the checkpoint.
    pub fn save(&self) {
        self.save_with(Memo::write);
    }

    fn save_with(&self, save: impl Fn(&mut Memo, &Ledger) -> anyhow::Result<()>) {
        let ledger = self.ledger();
        let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(e) = save(&mut memo, &ledger) {
            tracing::warn!(error = %format!("{e:#}"), "the checkpoint was not saved");
        }
    }
}

//! Folding the log in order.
//!
//! The accident that this file prevents: damage in the store is silent. One flipped bit made a consumer skip a message
//! without a line in any log. So a follower counts: sequences of the whole log, versions of each aggregate, and the
//! chain of hashes; and it stops with an alarm when one is missing.

use crate::envelope::Recorded;
use crate::log_store::{LogStore, RawMessage};
use crate::quarantine::Poison;
use crate::{Fault, subjects};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use strongroom_domain::Aggregate;

/// Messages in one read.
const BATCH: usize = 1000;
/// How long to wait for word of growth before looking anyway.
const LOOK_AGAIN: Duration = Duration::from_millis(1000);
/// How often to look again, sooner at first, for what is stored and was not shown: reads are answered by any replica, and
/// one that lags by a millisecond would otherwise cost the whole wait.
const LAG_LOOKS: u32 = 8;

/// What a follower comes upon.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// A fact.
    Event(Box<Recorded>),
    /// A message that cannot be read. The sequence counts as seen; its aggregate is to be halted.
    Poison(Poison),
    /// There is nothing more for now; the log was read up to this sequence.
    CaughtUp(u64),
}

/// Why a follower stopped.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Messages are missing from the log.
    #[error(
        "the log has a gap: sequence {expected} was expected and {found} came; stop and compare the replicas"
    )]
    Gap {
        /// The next sequence.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Events of an aggregate are missing or were changed.
    #[error("the history of {aggregate} is broken at sequence {sequence}: {problem}")]
    Broken {
        /// Which aggregate.
        aggregate: String,
        /// Where.
        sequence: u64,
        /// What is wrong.
        problem: String,
    },
    /// The log is shorter than the checkpoint: it was restored.
    #[error("the log ends at {last}, before the checkpoint {checkpoint}: it is another log")]
    OtherLog {
        /// Where it ends.
        last: u64,
        /// Where the follower was.
        checkpoint: u64,
    },
    /// The log does not do its part.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Reads the log in order from its own checkpoint.
pub struct Follower {
    store: Arc<dyn LogStore>,
    next: u64,
    buffer: VecDeque<RawMessage>,
    ends: HashMap<Aggregate, (u64, String)>,
    changes: Option<BoxStream<'static, u64>>,
    /// Up to where the log has grown, by word of it.
    grown_to: u64,
    /// How often in a row a replica did not show that.
    lag_looks: u32,
    told_caught_up: bool,
    checked: bool,
}

impl Follower {
    /// A follower that continues after `checkpoint`.
    pub fn new(store: Arc<dyn LogStore>, checkpoint: u64) -> Self {
        Self {
            store,
            next: checkpoint + 1,
            buffer: VecDeque::new(),
            ends: HashMap::new(),
            changes: None,
            grown_to: 0,
            lag_looks: 0,
            told_caught_up: false,
            checked: false,
        }
    }

    /// The last sequence that was given out.
    pub fn sequence(&self) -> u64 {
        self.next - 1
    }

    /// The next thing in the log; waits for it. Safe to be dropped and called again.
    pub async fn next(&mut self) -> Result<Delivery, FollowError> {
        loop {
            if let Some(raw) = self.buffer.pop_front() {
                return self.give(&raw);
            }
            if !self.checked {
                let (_, last) = self.store.state().await?;
                if last < self.sequence() {
                    return Err(FollowError::OtherLog { last, checkpoint: self.sequence() });
                }
                self.checked = true;
            }
            // Listen before looking, so that nothing written in between is overlooked.
            if self.changes.is_none() {
                self.changes = Some(self.store.changes().await?);
            }
            let batch = self.store.read(None, self.next, BATCH).await?;
            if !batch.is_empty() {
                self.told_caught_up = false;
                self.lag_looks = 0;
                self.buffer = batch.into();
            } else if !self.told_caught_up {
                self.told_caught_up = true;
                return Ok(Delivery::CaughtUp(self.sequence()));
            } else {
                self.wait().await;
            }
        }
    }

    /// Waits until there may be more to read.
    async fn wait(&mut self) {
        if self.grown_to >= self.next && self.lag_looks < LAG_LOOKS {
            let soon = Duration::from_millis(2 << self.lag_looks);
            self.lag_looks += 1;
            tokio::time::sleep(soon).await;
            return;
        }
        let Some(changes) = self.changes.as_mut() else { return };
        let look_again = tokio::time::Instant::now() + LOOK_AGAIN;
        loop {
            match tokio::time::timeout_at(look_again, changes.next()).await {
                // Word of what was read long ago.
                Ok(Some(sequence)) if sequence < self.next => {}
                Ok(Some(sequence)) => {
                    self.grown_to = self.grown_to.max(sequence);
                    self.lag_looks = 0;
                    return;
                }
                // The subscription ended; it is made anew at the next look.
                Ok(None) => {
                    self.changes = None;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn give(&mut self, raw: &RawMessage) -> Result<Delivery, FollowError> {
        if raw.sequence != self.next {
            return Err(FollowError::Gap { expected: self.next, found: raw.sequence });
        }
        let delivery = match Recorded::read(raw) {
            Ok(event) => {
                self.check_chain(&event)?;
                self.ends.insert(event.aggregate.clone(), (event.version, event.hash.clone()));
                Delivery::Event(Box::new(event))
            }
            Err(reason) => {
                let aggregate = subjects::aggregate_of(&raw.subject);
                if let Some(aggregate) = &aggregate {
                    // Its end is not known any more. What follows on it is for whoever halts the aggregate, and must not
                    // look like damage to the whole log.
                    self.ends.remove(aggregate);
                }
                Delivery::Poison(Poison {
                    sequence: raw.sequence,
                    aggregate,
                    subject: raw.subject.clone(),
                    reason,
                })
            }
        };
        self.next += 1;
        Ok(delivery)
    }

    /// Checks against the end that was seen last. After a checkpoint, and after what could not be read, the first event of
    /// an aggregate is believed.
    fn check_chain(&self, event: &Recorded) -> Result<(), FollowError> {
        let problem = match self.ends.get(&event.aggregate) {
            Some((version, _)) if event.version != version + 1 => {
                format!("version {} after {version}", event.version)
            }
            Some((_, hash)) if event.previous != *hash => {
                "it does not continue the event before it".to_owned()
            }
            _ => return Ok(()),
        };
        Err(FollowError::Broken { aggregate: event.aggregate.to_string(), sequence: event.sequence, problem })
    }
}

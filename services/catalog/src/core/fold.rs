//! Taking a batch of the log in: all views, the halted aggregates and the checkpoint, as one set of writes.

use super::checkpoint::{Checkpoint, Halted, Halts};
use super::counts::Counts;
use super::overlay::Overlay;
use super::store::{Base, StoreError, Writes};
use super::view::{ALL, FoldError};
use super::{framed, key};
use strongroom_bus::{Delivery, Poison, Recorded};
use strongroom_domain::Aggregate;

/// What the fold remembers between batches; all of it follows from the store.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// How far it is.
    pub checkpoint: Checkpoint,
    /// Which aggregates are halted.
    pub halts: Halts,
    /// How many records there are.
    pub counts: Counts,
}

/// What a batch comes to.
#[derive(Debug)]
pub struct Folded {
    /// To be written together.
    pub writes: Writes,
    /// What was halted, for people to look at.
    pub set_aside: Vec<Poison>,
}

/// Why an aggregate was not taken in again.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// It is not halted.
    #[error("it is not halted")]
    NotHalted,
    /// Its history, as it was read, ends before the last message that was seen.
    #[error("its history was read only in part; try again")]
    ReadInPart,
    /// It still makes no sense.
    #[error("it still cannot be taken in: {0}")]
    Senseless(String),
    /// The store does not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl State {
    /// What the store says; `None` when nothing was ever written.
    pub fn load(base: &dyn Base) -> Result<Option<Self>, StoreError> {
        let Some(checkpoint) = Checkpoint::load(base)? else { return Ok(None) };
        Ok(Some(Self { checkpoint, halts: super::checkpoint::load_halts(base)?, counts: Counts::of(base)? }))
    }

    /// Before the first event of a log.
    pub fn start(generation: &str) -> Self {
        Self { checkpoint: Checkpoint::start(generation), halts: Halts::new(), counts: Counts::default() }
    }

    /// Takes the next part of the log in. What was taken in before is passed over. The state is to be thrown away when
    /// this fails, or when the writes are not written.
    pub fn fold(&mut self, base: &dyn Base, items: &[Delivery]) -> Result<Folded, StoreError> {
        let mut views = Overlay::new(base);
        let mut set_aside = Vec::new();
        for item in items {
            match item {
                Delivery::Event(event) if event.sequence > self.checkpoint.sequence => {
                    self.checkpoint.sequence = event.sequence;
                    if self.hold_back(&event.aggregate, event.sequence) {
                        continue;
                    }
                    match apply(&mut views, event) {
                        Ok(()) => {}
                        Err(FoldError::Store(error)) => return Err(error),
                        Err(FoldError::Senseless(reason)) => {
                            let halted = halt(&event.aggregate, event.sequence, reason);
                            set_aside.push(halted.poison());
                            self.halts.insert(event.aggregate.clone(), halted);
                        }
                    }
                }
                Delivery::Poison(poison) if poison.sequence > self.checkpoint.sequence => {
                    self.checkpoint.sequence = poison.sequence;
                    if let Some(aggregate) = &poison.aggregate {
                        if self.hold_back(aggregate, poison.sequence) {
                            continue;
                        }
                        let halted = halt(aggregate, poison.sequence, poison.reason.clone());
                        self.halts.insert(aggregate.clone(), halted);
                    }
                    set_aside.push(poison.clone());
                }
                Delivery::CaughtUp(sequence) if *sequence > self.checkpoint.sequence => {
                    return Err(StoreError::Damaged(format!(
                        "the log was read up to {sequence}, and the views end at {}",
                        self.checkpoint.sequence
                    )));
                }
                _ => {}
            }
        }
        self.seal(views, set_aside)
    }

    /// Takes a halted aggregate in again, from its whole history.
    pub fn redrive(
        &mut self,
        base: &dyn Base,
        aggregate: &Aggregate,
        history: &[Recorded],
    ) -> Result<Folded, RedriveError> {
        let halted = self.halts.get(aggregate).ok_or(RedriveError::NotHalted)?;
        if history.last().is_none_or(|last| last.sequence < halted.last) {
            return Err(RedriveError::ReadInPart);
        }
        let mut views = Overlay::new(base);
        // What the log has beyond the checkpoint comes in its turn. The first event voids what the views hold of it.
        for event in history.iter().filter(|e| e.sequence <= self.checkpoint.sequence) {
            apply(&mut views, event).map_err(|e| match e {
                FoldError::Senseless(reason) => RedriveError::Senseless(reason),
                FoldError::Store(error) => RedriveError::Store(error),
            })?;
        }
        let before = self.halts.remove(aggregate);
        let folded = self.seal(views, Vec::new());
        if let (Err(_), Some(halted)) = (&folded, before) {
            self.halts.insert(aggregate.clone(), halted);
        }
        let mut folded = folded?;
        folded.writes.push((key::halted(aggregate), None));
        Ok(folded)
    }

    /// Whether this message belongs to a halted aggregate; it is counted then.
    fn hold_back(&mut self, aggregate: &Aggregate, sequence: u64) -> bool {
        if self.halts.is_empty() {
            return false;
        }
        let Some(halted) = self.halts.get_mut(aggregate) else { return false };
        halted.held += 1;
        halted.last = sequence;
        true
    }

    fn seal(&mut self, views: Overlay<'_>, set_aside: Vec<Poison>) -> Result<Folded, StoreError> {
        let mut counts = self.counts.clone();
        let mut writes = views.into_writes(&mut counts)?;
        // Few are halted, and all of them are written each time: so none can be forgotten.
        for (aggregate, halted) in &self.halts {
            writes.push((key::halted(aggregate), Some(framed::value(halted)?)));
        }
        writes.push((key::CHECKPOINT.to_vec(), Some(framed::value(&self.checkpoint)?)));
        self.counts = counts;
        Ok(Folded { writes, set_aside })
    }
}

fn apply(views: &mut Overlay<'_>, event: &Recorded) -> Result<(), FoldError> {
    ALL.iter().try_for_each(|view| view.apply(views, event))
}

fn halt(aggregate: &Aggregate, sequence: u64, reason: String) -> Halted {
    Halted { aggregate: aggregate.clone(), sequence, reason, held: 0, last: sequence }
}

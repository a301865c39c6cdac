//! How far the views are, and which aggregates are halted; written in the same batch as the views.

use super::framed;
use super::key;
use super::store::{Base, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use strongroom_bus::Poison;
use strongroom_domain::Aggregate;

/// The version of keys and records. Another one is thrown away and built again.
pub const FORMAT: u32 = 1;

/// How far the views are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// Which log.
    pub generation: String,
    /// The last sequence that was taken in.
    pub sequence: u64,
}

impl Checkpoint {
    /// Before the first event of a log.
    pub fn start(generation: &str) -> Self {
        Self { format: FORMAT, generation: generation.to_owned(), sequence: 0 }
    }

    /// What stands in the store; `None` when it is empty.
    pub fn load(base: &dyn Base) -> Result<Option<Self>, StoreError> {
        base.get(key::CHECKPOINT)?.map(|bytes| framed::read(&bytes)).transpose()
    }

    /// Whether the views of this checkpoint can be continued on a log of this generation and length.
    pub fn fits(&self, generation: &str, last: u64) -> bool {
        self.format == FORMAT && self.generation == generation && self.sequence <= last
    }
}

/// An aggregate that is not folded on, because one of its messages could not be taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// Its name.
    pub aggregate: Aggregate,
    /// The message.
    pub sequence: u64,
    /// Why.
    pub reason: String,
    /// How many later messages of it were held back.
    pub held: u64,
    /// The last of its messages that was seen.
    pub last: u64,
}

impl Halted {
    /// As it goes into quarantine.
    pub fn poison(&self) -> Poison {
        Poison {
            sequence: self.sequence,
            aggregate: Some(self.aggregate.clone()),
            subject: strongroom_bus::subjects::event(&self.aggregate),
            reason: self.reason.clone(),
        }
    }
}

/// All aggregates that are halted.
pub type Halts = BTreeMap<Aggregate, Halted>;

/// Reads them.
pub fn load_halts(base: &dyn Base) -> Result<Halts, StoreError> {
    let mut halts = Halts::new();
    base.scan(key::HALTED, None, &mut |_, value| {
        let halted: Halted = framed::read(value)?;
        halts.insert(halted.aggregate.clone(), halted);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(halts)
}

//! The changes of a batch, in memory, over the store beneath.
//!
//! A record that many events of a batch change is read once and written once. Index keys follow from the record alone
//! and are written as the difference between before and after, so no view can forget one.

use super::counts::Counts;
use super::key::SUFFIX;
use super::store::{Base, Key, StoreError, Writes};
use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Something that a view keeps.
pub trait Record: AnyRecord + Sized {
    /// Reads what [`AnyRecord::encode`] wrote.
    fn decode(bytes: &[u8]) -> Result<Self, StoreError>;
}

/// The part of a record that the overlay needs without knowing which it is.
pub trait AnyRecord: Any + Send {
    /// Its bytes: the same for the same record, always.
    fn encode(&self) -> Result<Vec<u8>, StoreError>;

    /// The index keys that lead to it.
    fn index(&self) -> Vec<Key> {
        Vec::new()
    }
}

/// The changes of a batch.
pub struct Overlay<'a> {
    base: &'a dyn Base,
    slots: HashMap<Key, Slot>,
}

#[derive(Default)]
struct Slot {
    /// Whether it stands in the store, and its index keys there.
    existed: bool,
    indexed: Vec<Key>,
    now: Option<Box<dyn AnyRecord>>,
    changed: bool,
}

impl<'a> Overlay<'a> {
    /// No changes yet.
    pub fn new(base: &'a dyn Base) -> Self {
        Self { base, slots: HashMap::new() }
    }

    /// Lets `change` change a record, make it (from `None`), or remove it (to `None`).
    pub fn edit<T: Record, R>(
        &mut self,
        key: Key,
        change: impl FnOnce(&mut Option<T>) -> R,
    ) -> Result<R, StoreError> {
        let slot = self.slot::<T>(key)?;
        let mut record = match slot.now.take() {
            None => None,
            Some(found) => Some(*(found as Box<dyn Any>).downcast::<T>().map_err(|_| wrong_sort())?),
        };
        let result = change(&mut record);
        slot.now = record.map(|record| Box::new(record) as Box<dyn AnyRecord>);
        slot.changed = true;
        Ok(result)
    }

    /// Puts a record in the place of whatever was there.
    pub fn put<T: Record>(&mut self, key: Key, record: T) -> Result<(), StoreError> {
        self.edit(key, |place| *place = Some(record))
    }

    /// Shows a record.
    pub fn look<T: Record, R>(
        &mut self,
        key: Key,
        look: impl FnOnce(Option<&T>) -> R,
    ) -> Result<R, StoreError> {
        let slot = self.slot::<T>(key)?;
        match &slot.now {
            None => Ok(look(None)),
            Some(found) => {
                let found: &dyn Any = found.as_ref();
                Ok(look(Some(found.downcast_ref::<T>().ok_or_else(wrong_sort)?)))
            }
        }
    }

    /// What is to be written, sorted by key; `counts` follows the index keys.
    pub fn into_writes(self, counts: &mut Counts) -> Result<Writes, StoreError> {
        let mut writes = Writes::with_capacity(self.slots.len() * 4);
        for (key, slot) in self.slots.into_iter().filter(|(_, slot)| slot.changed) {
            let indexed = slot.now.as_ref().map(|record| record.index()).unwrap_or_default();
            for gone in slot.indexed.iter().filter(|k| !indexed.contains(k)) {
                counts.change(group(gone), -1);
                writes.push((gone.clone(), None));
            }
            for new in indexed.into_iter().filter(|k| !slot.indexed.contains(k)) {
                counts.change(group(&new), 1);
                writes.push((new, Some(Vec::new())));
            }
            match slot.now {
                Some(record) => writes.push((key, Some(record.encode()?))),
                None if slot.existed => writes.push((key, None)),
                None => {}
            }
        }
        writes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(writes)
    }

    fn slot<T: Record>(&mut self, key: Key) -> Result<&mut Slot, StoreError> {
        match self.slots.entry(key) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(free) => {
                let slot = match self.base.get(free.key())? {
                    None => Slot::default(),
                    Some(bytes) => {
                        let record = T::decode(&bytes)?;
                        let indexed = record.index();
                        Slot { existed: true, indexed, now: Some(Box::new(record)), changed: false }
                    }
                };
                Ok(free.insert(slot))
            }
        }
    }
}

/// An index key without its end: which index it is in.
fn group(key: &[u8]) -> &[u8] {
    key.get(..key.len().saturating_sub(SUFFIX)).unwrap_or_default()
}

fn wrong_sort() -> StoreError {
    StoreError::Damaged("a key leads to another sort of record".into())
}

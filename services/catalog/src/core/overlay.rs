//! The changes of a batch, in memory, over the store beneath.
//!
//! A record that many events of a batch change is read once and written once. Where it stands in indexes follows from the
//! record alone and is written as the difference between before and after, so no view can forget one.

use super::counts::Counts;
use super::key::{Listed, SUFFIX, Suffix};
use super::store::{Base, Key, StoreError, Writes};
use std::any::Any;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// Something that a view keeps.
pub trait Record: AnyRecord + Sized {
    /// Reads what [`AnyRecord::encode`] wrote.
    fn decode(bytes: &[u8]) -> Result<Self, StoreError>;
}

/// The part of a record that the overlay needs without knowing which it is.
pub trait AnyRecord: Any + Send {
    /// Its bytes: the same for the same record, always.
    fn encode(&self) -> Result<Vec<u8>, StoreError>;

    /// Where it stands in indexes.
    fn places(&self) -> Option<Places> {
        None
    }
}

/// Where a record stands in indexes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// What sort of record it is.
    pub listed: Listed,
    /// Its entry, the same in each.
    pub suffix: Suffix,
    /// The indexes.
    pub indexes: Vec<Key>,
}

impl Places {
    fn hold(places: Option<&Self>, index: &[u8], suffix: &Suffix) -> bool {
        places.is_some_and(|p| p.suffix == *suffix && p.indexes.iter().any(|i| i == index))
    }
}

/// The changes of a batch.
pub struct Overlay<'a> {
    base: &'a dyn Base,
    slots: HashMap<Key, Slot>,
}

#[derive(Default)]
struct Slot {
    /// Whether it stands in the store, and where in indexes.
    existed: bool,
    places: Option<Places>,
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

    /// What is to be written, sorted by key; `counts` follows the indexes.
    pub fn into_writes(self, counts: &mut Counts) -> Result<Writes, StoreError> {
        let mut writes = Writes::with_capacity(self.slots.len() * 2);
        let mut blocks: BTreeMap<Key, BTreeMap<Suffix, bool>> = BTreeMap::new();
        for (key, slot) in self.slots.into_iter().filter(|(_, slot)| slot.changed) {
            let now = slot.now.as_ref().and_then(|record| record.places());
            let mut change = |from: Option<&Places>, to: Option<&Places>, added: bool| {
                let Some(from) = from else { return };
                for index in from.indexes.iter().filter(|i| !Places::hold(to, i, &from.suffix)) {
                    counts.change(index, if added { 1 } else { -1 });
                    let block = from.listed.block(index, &from.suffix);
                    blocks.entry(block).or_default().insert(from.suffix, added);
                }
            };
            change(slot.places.as_ref(), now.as_ref(), false);
            change(now.as_ref(), slot.places.as_ref(), true);
            match slot.now {
                Some(record) => writes.push((key, Some(record.encode()?))),
                None if slot.existed => writes.push((key, None)),
                None => {}
            }
        }
        for (key, changes) in blocks {
            let before = self.base.get(&key)?.unwrap_or_default();
            let after = merge(&before, &changes)?;
            writes.push((key, (!after.is_empty()).then_some(after)));
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
                        let places = record.places();
                        Slot { existed: true, places, now: Some(Box::new(record)), changed: false }
                    }
                };
                Ok(free.insert(slot))
            }
        }
    }
}

/// A block after these entries came (`true`) or went.
fn merge(before: &[u8], changes: &BTreeMap<Suffix, bool>) -> Result<Vec<u8>, StoreError> {
    let (entries, []) = before.as_chunks::<SUFFIX>() else {
        return Err(StoreError::Damaged("a block of an index is cut".into()));
    };
    let mut after = Vec::with_capacity(before.len() + changes.len() * SUFFIX);
    let mut kept = entries.iter().filter(|e| !changes.contains_key(*e)).peekable();
    for (new, _) in changes.iter().filter(|(_, added)| **added) {
        while let Some(entry) = kept.next_if(|entry| *entry < new) {
            after.extend_from_slice(entry);
        }
        after.extend_from_slice(new);
    }
    kept.for_each(|entry| after.extend_from_slice(entry));
    Ok(after)
}

fn wrong_sort() -> StoreError {
    StoreError::Damaged("a key leads to another sort of record".into())
}

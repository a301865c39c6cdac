//! The store as a map in memory: the twin of sled, for tests of everything that is pure.

use super::store::{Base, Key, Start, StoreError, Visit, Writes};
use std::collections::BTreeMap;

/// A map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory(BTreeMap<Key, Vec<u8>>);

impl Memory {
    /// Writes all of it.
    pub fn write(&mut self, writes: Writes) {
        for (key, value) in writes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    /// All that is there, sorted by key.
    pub fn dump(&self) -> Vec<(Key, Vec<u8>)> {
        self.0.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

impl Base for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn holds(&self, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.0.contains_key(key))
    }

    fn scan(&self, prefix: &[u8], start: Option<Start<'_>>, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let from = Start::bound(start, prefix);
        let range = self.0.range::<[u8], _>((from, std::ops::Bound::Unbounded));
        for (key, value) in range.take_while(|(key, _)| key.starts_with(prefix)) {
            if visit(key, value)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

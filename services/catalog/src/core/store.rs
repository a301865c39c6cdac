//! What folds and answers need of a key-value store. sled stands behind it when the catalog runs, a map in tests.

use std::ops::{Bound, ControlFlow};

/// A key. All keys are made in [`super::key`].
pub type Key = Vec<u8>;

/// What is written together: all of it, or nothing. `None` removes.
pub type Writes = Vec<(Key, Option<Vec<u8>>)>;

/// Where a scan begins.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// At this key, when it is there.
    At(&'a [u8]),
    /// At the one that follows this key.
    After(&'a [u8]),
}

impl<'a> Start<'a> {
    /// As the lower bound of a range over all keys that begin with `prefix`.
    pub fn bound(start: Option<Self>, prefix: &'a [u8]) -> Bound<&'a [u8]> {
        match start {
            Some(Self::At(key)) if key > prefix => Bound::Included(key),
            Some(Self::After(key)) if key >= prefix => Bound::Excluded(key),
            _ => Bound::Included(prefix),
        }
    }
}

/// What is called with each key and value of a scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError> + 'a;

/// Why the store gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// What was read is not what was written. The views are a cache: they are thrown away and built again.
    #[error("the views are damaged: {0}")]
    Damaged(String),
    /// The disk does not do its part.
    #[error("the views cannot be read or written: {0}")]
    Disk(String),
}

impl StoreError {
    /// Damage, from any error.
    pub fn damaged(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Damaged(format!("{what}: {error}"))
    }
}

/// A sorted key-value store that can be read.
pub trait Base {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Whether a key is there.
    fn holds(&self, key: &[u8]) -> Result<bool, StoreError>;

    /// Shows all keys that begin with `prefix` to `visit`, in order, from `start` on, until it breaks off.
    fn scan(&self, prefix: &[u8], start: Option<Start<'_>>, visit: &mut Visit<'_>) -> Result<(), StoreError>;
}

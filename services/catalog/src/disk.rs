//! The one door to sled.
//!
//! sled is a cache here and nothing else: it may lose its last moments at a kill and is not to be believed about power
//! cuts, so whatever it holds is either whole up to its own checkpoint or thrown away and made again. Its bugs show as
//! panics, which are damage to us.

use crate::core::store::{Base, Key, Start, StoreError, Visit, Writes};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// How much of the views sled keeps in memory; the usual 1 GB is more than all of Strongroom needs.
pub const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// How long an earlier life in this process may take to let go of the folder.
const LET_GO: Duration = Duration::from_secs(10);

/// A folder with a sled database.
pub struct Disk {
    db: sled::Db,
}

impl Disk {
    /// Opens a folder, or makes it.
    pub fn open(folder: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let end = Instant::now() + LET_GO;
        loop {
            let config =
                sled::Config::new().path(folder).cache_capacity(cache_bytes).mode(sled::Mode::HighThroughput);
            match catch_unwind(AssertUnwindSafe(|| config.open())) {
                Ok(Ok(db)) => return Ok(Self { db }),
                Ok(Err(error)) if is_locked(&error) && Instant::now() < end => {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                Ok(Err(error)) => return Err(store_error(&error)),
                Err(_) => return Err(StoreError::Damaged("sled panicked while it opened it".into())),
            }
        }
    }

    /// Writes all of it, or nothing.
    pub fn write(&self, writes: Writes) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(|e| store_error(&e))
    }

    /// Brings what was written to the disk.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map(|_| ()).map_err(|e| store_error(&e))
    }

    /// All that is there, sorted by key.
    pub fn dump(&self) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        let pair = |pair: sled::Result<(sled::IVec, sled::IVec)>| {
            pair.map(|(k, v)| (k.to_vec(), v.to_vec())).map_err(|e| store_error(&e))
        };
        self.db.iter().map(pair).collect()
    }
}

impl Base for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get(key).map(|value| value.map(|v| v.to_vec())).map_err(|e| store_error(&e))
    }

    fn holds(&self, key: &[u8]) -> Result<bool, StoreError> {
        self.db.contains_key(key).map_err(|e| store_error(&e))
    }

    fn scan(&self, prefix: &[u8], start: Option<Start<'_>>, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let from = Start::bound(start, prefix);
        for pair in self.db.range::<&[u8], _>((from, std::ops::Bound::Unbounded)) {
            let (key, value) = pair.map_err(|e| store_error(&e))?;
            if !key.starts_with(prefix) || visit(&key, &value)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(e) if e.to_string().contains("could not acquire lock"))
}

fn store_error(error: &sled::Error) -> StoreError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        sled::Error::Io(e) if !matches!(e.kind(), UnexpectedEof | InvalidData) => {
            StoreError::Disk(e.to_string())
        }
        other => StoreError::Damaged(other.to_string()),
    }
}

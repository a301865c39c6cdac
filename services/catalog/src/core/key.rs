//! Keys: one letter for the sort of record, then what makes it unique.
//!
//! Small letters are records, capital letters are indexes: keys without a value that lead to a record. An index key ends
//! in a [`suffix`]: the inverted time, so that the newest comes first, and the id. Slugs hold no zero byte, which
//! therefore ends them.

use super::store::Key;
use jiff::Timestamp;
use strongroom_domain::{Aggregate, Kind};
use uuid::Uuid;

/// How long a suffix is.
pub const SUFFIX: usize = 24;
/// Where the checkpoint stands.
pub const CHECKPOINT: &[u8] = b"mcheckpoint";
/// What the keys of halted aggregates begin with.
pub const HALTED: &[u8] = b"mhalted\0";
/// What the keys of nodes begin with.
pub const NODES: &[u8] = b"n";
/// What all index keys of jobs by phase begin with.
pub const JOBS_BY_PHASE: &[u8] = b"Jf";
/// The index of all archives.
pub const ALL_ARCHIVES: &[u8] = b"Aa\0";

/// Records that are listed newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Jobs, by the time of their request.
    Jobs,
    /// Archives, by the time of their beginning.
    Archives,
}

impl Listed {
    /// The key of a record.
    pub fn record(self, id: Uuid) -> Key {
        let mut key = vec![match self {
            Self::Jobs => b'j',
            Self::Archives => b'a',
        }];
        key.extend_from_slice(id.as_bytes());
        key
    }

    /// What the index keys of this filter and value begin with.
    pub fn index(self, by: By, value: &str) -> Key {
        let mut key = Vec::with_capacity(value.len() + 3 + SUFFIX);
        key.push(match self {
            Self::Jobs => b'J',
            Self::Archives => b'A',
        });
        key.push(match by {
            By::All => b'a',
            By::Plan => b'p',
            By::Server => b's',
            By::Repository => b'r',
            By::Phase => b'f',
        });
        key.extend_from_slice(value.as_bytes());
        key.push(0);
        key
    }
}

/// What an index is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Nothing: all of them.
    All,
    /// The plan.
    Plan,
    /// The server.
    Server,
    /// The repository.
    Repository,
    /// The phase (jobs).
    Phase,
}

/// The end of an index key: newest first, then by id.
pub fn suffix(at: Timestamp, id: Uuid) -> [u8; SUFFIX] {
    let rising = at.as_microsecond().cast_unsigned() ^ (1 << 63);
    let mut suffix = [0; SUFFIX];
    let (time, rest) = suffix.split_at_mut(8);
    time.copy_from_slice(&(!rising).to_be_bytes());
    rest.copy_from_slice(id.as_bytes());
    suffix
}

/// The suffix of an index key, with its id.
pub fn split_suffix(key: &[u8]) -> Option<(&[u8], Uuid)> {
    let suffix = key.get(key.len().checked_sub(SUFFIX)?..)?;
    Some((suffix, Uuid::from_slice(suffix.get(8..)?).ok()?))
}

/// What the keys of definitions of this kind begin with.
pub fn definitions(kind: Kind) -> Key {
    let name: &str = kind.into();
    let mut key = Vec::with_capacity(name.len() + 66);
    key.push(b'd');
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key
}

/// The key of one definition.
pub fn definition(kind: Kind, id: &str) -> Key {
    joined(definitions(kind), id)
}

/// The key of one node.
pub fn node(id: &str) -> Key {
    joined(NODES.to_vec(), id)
}

/// The key of one halted aggregate.
pub fn halted(aggregate: &Aggregate) -> Key {
    joined(HALTED.to_vec(), &aggregate.to_string())
}

fn joined(mut prefix: Key, id: &str) -> Key {
    prefix.extend_from_slice(id.as_bytes());
    prefix
}

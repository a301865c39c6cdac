//! Keys: one letter for the sort of record, then what makes it unique.
//!
//! Small letters are records, capital letters are indexes. Slugs hold no zero byte, which therefore ends them.
//!
//! An index is a sorted list of [`Suffix`]es: an inverted number, so that the newest comes first, and the id. It is kept
//! in blocks, because sled's cost is by the key: the block of a suffix follows from its number alone, so that the same
//! records always make the same blocks. Jobs are numbered by the sequence of their request, which bounds a block;
//! archives by the time of their beginning, because a scan may find old ones.

use super::store::Key;
use jiff::Timestamp;
use strongroom_domain::{Aggregate, Kind};
use uuid::Uuid;

/// How long a suffix is.
pub const SUFFIX: usize = 24;
/// How long the number is: of a suffix, and of a block at the end of its key.
pub const NUMBER: usize = 8;

/// An entry of an index: the inverted number and the id.
pub type Suffix = [u8; SUFFIX];
/// Where the checkpoint stands.
pub const CHECKPOINT: &[u8] = b"mcheckpoint";
/// What the keys of halted aggregates begin with.
pub const HALTED: &[u8] = b"mhalted\0";
/// What the keys of nodes begin with.
pub const NODES: &[u8] = b"n";
/// What the keys of all indexes of jobs by phase begin with.
pub const JOBS_BY_PHASE: &[u8] = b"Jf";
/// The index of all archives.
pub const ALL_ARCHIVES: &[u8] = b"Aa\0";

/// Records that are listed newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Jobs, by the sequence of their request.
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

    /// The key of the block of an index that holds this entry, if any does.
    pub fn block(self, index: &[u8], suffix: &Suffix) -> Key {
        let shift = match self {
            // 512 sequences: 12 KiB at the most.
            Self::Jobs => 9,
            // About a second.
            Self::Archives => 20,
        };
        let number = suffix.first_chunk().map_or(0, |number| u64::from_be_bytes(*number));
        [index, &(number >> shift).to_be_bytes()].concat()
    }

    /// What the keys of the blocks of this index begin with.
    pub fn index(self, by: By, value: &str) -> Key {
        let mut key = Vec::with_capacity(value.len() + 3);
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

/// The entry of the record with this number and id.
pub fn suffix(number: u64, id: Uuid) -> Suffix {
    let mut suffix = [0; SUFFIX];
    let (first, rest) = suffix.split_at_mut(NUMBER);
    first.copy_from_slice(&(!number).to_be_bytes());
    rest.copy_from_slice(id.as_bytes());
    suffix
}

/// A time as a number that rises with it.
pub fn number_of(at: Timestamp) -> u64 {
    at.as_microsecond().cast_unsigned() ^ (1 << 63)
}

/// The id at the end of an entry.
pub fn id_of(suffix: &Suffix) -> Uuid {
    let [.., a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *suffix;
    Uuid::from_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
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

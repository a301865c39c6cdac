//! What travels beside the log and is never the truth: wake-ups for nodes, their reports, leases, status.
//!
//! A node works in an account of its own and never writes a fact. What it says here is checked by the scheduler (is
//! this node admitted for this job, with this epoch?) before it becomes one.

use crate::archive::Facts;
use crate::job::{JobSpec, Report};
use crate::{ArchiveId, JobId, NodeId, SecretRef, node};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A wake-up: this node may do this job now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkItem {
    /// Which job.
    pub job: JobId,
    /// The fencing token.
    pub epoch: u64,
    /// 1, 2, ...
    pub attempt: u32,
    /// What to do.
    pub spec: JobSpec,
    /// Borg's id of the repository that its init job made or found, hex: what lies at its place must be that one.
    #[serde(default)]
    pub borg_repository_id: Option<String>,
    /// Of a backup: how many bytes the newest archive of its plan has, by which its end is estimated.
    #[serde(default)]
    pub expected_bytes: Option<u64>,
    /// The secrets it needs, each encrypted to this node's age key.
    #[serde(default)]
    pub secrets: Vec<SealedSecret>,
}

/// A secret on its way to one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Which one.
    pub reference: SecretRef,
    /// Its age ciphertext.
    #[serde(with = "serde_bytes_vec")]
    pub ciphertext: Vec<u8>,
}

/// What a node tells. Kept in a work queue until the scheduler has taken it down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum NodeReport {
    /// The executor came up.
    Joined(node::Joined),
    /// It began an attempt.
    Started {
        /// Which job.
        job: JobId,
        /// The fencing token.
        epoch: u64,
        /// The executor's boot id.
        boot: String,
    },
    /// An attempt ended.
    Ended {
        /// Which job.
        job: JobId,
        /// The fencing token.
        epoch: u64,
        /// How.
        how: Report,
    },
    /// A page of what a scan found; all pages come before the job's `Ended`.
    Scanned {
        /// The scan.
        job: JobId,
        /// Its fencing token.
        epoch: u64,
        /// 0, 1, ...
        page: u32,
        /// At most 200 archives.
        archives: Vec<Facts>,
        /// Whether this is the last page: then what is known and was in no page is missing.
        last: bool,
        /// With the last page: the ids of the archives of all pages, unless there are too many for one message. Schedulers
        /// share the pages, and none of them may have seen all.
        #[serde(default)]
        all: Option<Vec<ArchiveId>>,
    },
}

/// A node asks whether its attempt still stands: before it begins, and every few seconds after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseQuestion {
    /// Which job.
    pub job: JobId,
    /// The fencing token.
    pub epoch: u64,
}

/// The scheduler's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseAnswer {
    /// Go on.
    Held,
    /// Stop: somebody asked for the job to be cancelled.
    CancelRequested,
    /// Stop and report nothing: another attempt has taken over, or the job has ended.
    Stale,
}

/// A piece of a download, on its way from the node to the gateway that passes it on. It is nowhere stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The fencing token of the attempt: what two attempts send is never put together.
    pub epoch: u64,
    /// 0, 1, ...
    pub n: u64,
    /// At most [`PIECE_BYTES`].
    #[serde(with = "serde_bytes_vec")]
    pub bytes: Vec<u8>,
    /// With the last piece, which has no bytes: all of it. Without it, what came is not all.
    #[serde(default)]
    pub whole: Option<Whole>,
}

/// The largest piece of a download: what one message may carry is 1 MB.
pub const PIECE_BYTES: usize = 512 << 10;

/// All bytes of a download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// How many.
    pub size_bytes: u64,
    /// SHA-256 of them, hex.
    pub sha256: String,
}

/// The gateway's answer to a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PieceAnswer {
    /// It was passed on.
    Taken,
    /// Its reader is slow: send it again.
    Wait,
    /// Nobody takes the rest.
    Stop,
}

/// Status: the newest word about something, kept an hour, lost without harm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Status {
    /// The executor is alive.
    Heartbeat {
        /// Which one.
        node: NodeId,
        /// Its boot id.
        boot: String,
        /// By its own clock.
        at: Timestamp,
        /// The attempts that it works on, as (job, epoch).
        running: Vec<(JobId, u64)>,
    },
    /// How far a job is.
    Progress(Progress),
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Which job.
    pub job: JobId,
    /// The fencing token.
    pub epoch: u64,
    /// What is being done: `create`, `read-back`, `index`, `extract`, ...
    pub step: String,
    /// Files so far.
    pub files: u64,
    /// Bytes read so far.
    pub original_size_bytes: u64,
    /// Bytes after compression.
    pub compressed_size_bytes: u64,
    /// Bytes that were new to the repository.
    pub deduplicated_size_bytes: u64,
    /// The file at hand.
    pub path: String,
    /// Bytes a second, over the last seconds.
    pub rate_bytes_per_s: u64,
    /// How many bytes there were the last time; absent, when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_bytes: Option<u64>,
    /// How many seconds it will take to come so far, at the rate of this attempt; absent, as long as nobody can say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_s: Option<u64>,
    /// The last lines of the log, at most 50.
    #[serde(default)]
    pub log_tail: Vec<String>,
    /// By the node's clock.
    pub at: Timestamp,
}

mod serde_bytes_vec {
    //! MessagePack's binary type for byte vectors, instead of an array of numbers.
    use serde::{Deserializer, Serializer, de::Visitor};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, v: &[u8]) -> Result<Vec<u8>, E> {
                Ok(v.to_vec())
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
                let mut out = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    out.push(byte);
                }
                Ok(out)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

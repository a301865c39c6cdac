//! Archive: the stored result of one backup.

use crate::census::Census;
use crate::chain::Physical;
use crate::{ArchiveId, JobId, PlanId, RepositoryId, ServerId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is known of an archive from the repository itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// [`ArchiveId::of`] its repository and borg id.
    pub id: ArchiveId,
    /// Its name in the repository: `<plan>-<job id>` for ours.
    pub name: String,
    /// Borg's own id, hex; of an archive in a dump store, SHA-256 of its manifest.
    pub borg_id: String,
    /// When borg began to make it.
    pub started_at: Timestamp,
    /// When borg was done with it; absent for archives that a scan found.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Borg's numbers; absent for archives that a scan found without asking for each.
    #[serde(default)]
    pub stats: Option<Stats>,
    /// The comment written at creation.
    #[serde(default)]
    pub comment: String,
    /// The machine that borg saw.
    #[serde(default)]
    pub hostname: String,
    /// The file index that the node made, when it did.
    #[serde(default)]
    pub index: Option<IndexFacts>,
    /// What was dumped into it, when it holds databases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<Dump>,
}

impl Facts {
    /// Bytes of what was backed up, as far as it is known.
    pub fn original_bytes(&self) -> Option<u64> {
        let of_parts = |dump: &Dump| dump.artefacts.iter().map(|part| part.size_bytes).sum();
        self.stats.map(|stats| stats.original_size_bytes).or_else(|| self.dump.as_ref().map(of_parts))
    }

    /// Bytes that it has added to its repository, as far as they are known.
    pub fn added_bytes(&self) -> Option<u64> {
        let of_parts = |dump: &Dump| -> Option<u64> {
            let stored = dump.artefacts.iter().map(|part| part.stored.as_ref().map(Stored::added_bytes));
            stored.sum()
        };
        self.stats.map(|stats| stats.deduplicated_size_bytes).or_else(|| of_parts(self.dump.as_ref()?))
    }
}

/// What was dumped into an archive. The same stands in it as `strongroom.json`, the last file that is written: an archive
/// of a database without it is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    /// The kind of source: `postgresql`, `mysql`, ..., `application`.
    pub source: String,
    /// What the server calls its version.
    pub server_version: String,
    /// The program that dumped, with its version.
    pub tool: String,
    /// All parts, in the order in which they were dumped; an event holds the first [`ARTEFACTS_KEPT`].
    pub artefacts: Vec<Artefact>,
    /// How many parts there are in all.
    pub artefacts_total: u64,
    /// The files and folders that were taken together with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// What it is, when it holds a whole server or what changed in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical: Option<Box<Physical>>,
}

impl Dump {
    /// Of which system a part is: in an archive of an application, the first folder of its path says it.
    pub fn system_of<'a>(&'a self, part: &'a Artefact) -> &'a str {
        if self.source == "application" {
            part.path.split('/').next().unwrap_or_default()
        } else {
            &self.source
        }
    }
}

/// How many parts of a dump an event holds.
pub const ARTEFACTS_KEPT: usize = 200;

/// A part of a dump: a file in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    /// Where it is in the archive.
    pub path: String,
    /// What it is: `database`, `globals`, `settings`; of a whole server `base` and `wal`.
    pub kind: String,
    /// Which database, when it is one.
    #[serde(default)]
    pub database: Option<String>,
    /// How it is written, when there are several ways: `custom`, `plain`.
    #[serde(default)]
    pub format: Option<String>,
    /// Bytes, as they stand in the archive.
    pub size_bytes: u64,
    /// SHA-256 of them, hex.
    pub sha256: String,
    /// How it lies in a dump store; absent in borg's archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
    /// What was in the database, when it is one and that could be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub census: Option<Census>,
}

/// A part of a dump as it lies in a dump store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The object, below the repository.
    pub object: String,
    /// Bytes of it.
    pub size_bytes: u64,
    /// SHA-256 of them, hex.
    pub sha256: String,
    /// How it was compressed, before it was encrypted.
    pub compression: Compressed,
    /// How it was encrypted.
    pub encryption: Encrypted,
    /// When the object is not the part itself, but the list of the chunks of which it consists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunked: Option<Chunked>,
}

impl Stored {
    /// Bytes of all that it takes to have the part.
    pub fn packed_bytes(&self) -> u64 {
        self.size_bytes + self.chunked.map_or(0, |chunked| chunked.stored_bytes)
    }

    /// Bytes that it has added to its repository.
    pub fn added_bytes(&self) -> u64 {
        self.size_bytes + self.chunked.map_or(0, |chunked| chunked.new_bytes)
    }
}

/// A part that was cut into chunks, of which a store holds each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunked {
    /// Of how many it consists.
    pub chunks: u64,
    /// Bytes of them, as they are stored.
    pub stored_bytes: u64,
    /// Bytes of those among them that were not there before.
    pub new_bytes: u64,
}

/// How a part of a dump is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Compressed {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// As the only member of a zip (PKWARE's APPNOTE), by RFC 1951.
    Zip,
}

/// How a part of a dump is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Encrypted {
    /// Not at all.
    None,
    /// age-encryption.org/v1, binary.
    Age,
    /// RFC 4880, binary.
    Gpg,
}

/// Borg's numbers for one archive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Regular files.
    pub files: u64,
    /// Bytes before compression and deduplication.
    pub original_size_bytes: u64,
    /// Bytes after compression.
    pub compressed_size_bytes: u64,
    /// Bytes that this archive alone added to the repository.
    pub deduplicated_size_bytes: u64,
    /// How long borg worked, in milliseconds.
    pub duration_ms: u64,
    /// Original bytes a second over that time.
    pub average_rate_bytes_per_s: u64,
    /// Bytes of all unique chunks of the repository, compressed, after this archive.
    #[serde(default)]
    pub repository_size_bytes: Option<u64>,
}

/// The index of an archive's files, made once after the backup and kept beside the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFacts {
    /// How many parts it was stored in.
    pub chunks: u32,
    /// How many entries (files, folders, links) it holds.
    pub entries: u64,
    /// SHA-256 over the parts in order, hex.
    pub sha256: String,
    /// Some of its files, as they were on the node when the archive had just been made of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<Sampled>,
}

/// A file whose content is known: what is restored of it later is compared with this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    /// Where it is in the archive.
    pub path: String,
    /// Its bytes.
    pub size_bytes: u64,
    /// SHA-256 of them, hex.
    pub sha256: String,
}

/// How a job names an archive to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Ours.
    pub id: ArchiveId,
    /// Its name in the repository.
    pub name: String,
    /// [`Facts::borg_id`]: names can be given twice over time, ids cannot.
    pub borg_id: String,
}

/// An archive that was in the repository and not in the catalog was taken in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adopted {
    /// Where it lies.
    pub repository: RepositoryId,
    /// Whose data it is.
    pub server: ServerId,
    /// The plan, when its name says so.
    #[serde(default)]
    pub plan: Option<PlanId>,
    /// What the repository says of it.
    pub facts: Facts,
    /// The scan that found it.
    pub job: JobId,
}

/// An archive was deleted by a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The job.
    pub job: JobId,
    /// Where it lay.
    pub repository: RepositoryId,
}

/// An archive that the catalog knows is no longer in the repository, and no job of ours deleted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The scan that missed it.
    pub job: JobId,
    /// Where it should lie.
    pub repository: RepositoryId,
}

/// An archive that was missing is there again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The scan that found it.
    pub job: JobId,
    /// Where it lies.
    pub repository: RepositoryId,
}

/// Somebody says that an archive must not be removed, for a reason and perhaps until a day. A second one of the same name
/// takes the place of the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Where it lies.
    pub repository: RepositoryId,
    /// The hold, by whose name it is released.
    pub hold: crate::retention::Hold,
}

/// A hold was released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Where the archive lies.
    pub repository: RepositoryId,
    /// Which hold.
    pub name: String,
}

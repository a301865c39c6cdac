//! Preview: what a restore would do, told before it does anything.

use crate::chain::Lsn;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many paths of each kind are named.
pub const PATHS_NAMED: usize = 20;
/// How many roles are named.
pub const ROLES_NAMED: usize = 100;

/// What a restore of files would do. It was looked at, and may be another way a moment later: the restore looks again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesPreview {
    /// The folder that they would be under.
    pub target: String,
    /// How many files and links are chosen.
    pub files: u64,
    /// Bytes of them.
    pub size_bytes: u64,
    /// What is free there.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// Where nothing stands so far.
    pub created: Paths,
    /// What stands there, has the same kind, size and time, and is left as it is when its content is the same, too.
    pub alike: Paths,
    /// What stands there and would be replaced.
    pub overwritten: Paths,
    /// What stands there and would be renamed.
    pub renamed: Paths,
    /// What stands there, for the sake of which nothing would be restored.
    pub in_the_way: Paths,
    /// Why the restore would be refused, when it would.
    #[serde(default)]
    pub refusal: Option<String>,
}

/// Paths of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paths {
    /// How many.
    pub total: u64,
    /// The first of them.
    #[serde(default)]
    pub first: Vec<String>,
}

impl Paths {
    /// One more.
    pub fn add(&mut self, path: impl FnOnce() -> String) {
        self.total += 1;
        if self.first.len() < PATHS_NAMED {
            self.first.push(path());
        }
    }
}

/// What a restore of a whole server would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPreview {
    /// The folder that it would become.
    pub target: String,
    /// The archives that it would be put together from, by name, the full one first. Whether their bytes are what was
    /// stored is only known when they are read.
    pub archives: Vec<String>,
    /// Bytes of their parts.
    pub size_bytes: u64,
    /// What is free there.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// The earliest moment that it can be restored to.
    pub earliest: Timestamp,
    /// The latest one.
    pub latest: Timestamp,
    /// The same as places in PostgreSQL's log of changes.
    #[serde(default)]
    pub earliest_lsn: Option<Lsn>,
    /// The latest one.
    #[serde(default)]
    pub latest_lsn: Option<Lsn>,
    /// The program that would recover it; nothing when the node has none of that version.
    #[serde(default)]
    pub tool: Option<String>,
    /// Why the restore would be refused, when it would.
    #[serde(default)]
    pub refusal: Option<String>,
}

/// What a restore of a database would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabasePreview {
    /// What it would be called.
    pub database: String,
    /// The server, as people write it.
    pub server: String,
    /// What that calls its version.
    pub server_version: String,
    /// The program that would restore, with its version.
    pub tool: String,
    /// What the dump is of, and what its server called its version, as far as the dump says it.
    pub dumped_from: String,
    /// Bytes of the dump, when they are known before it is read.
    #[serde(default)]
    pub dump_bytes: Option<u64>,
    /// How many tables were counted in it, when they were.
    #[serde(default)]
    pub dump_tables: Option<u64>,
    /// How many rows were counted in these.
    #[serde(default)]
    pub dump_rows: Option<u64>,
    /// What would be done.
    pub action: Action,
    /// What stands at the name.
    #[serde(default)]
    pub standing: Option<StandingDatabase>,
    /// What that would be called after, when it would be kept.
    #[serde(default)]
    pub kept_as: Option<String>,
    /// Roles that own something in the dump or have rights there, and that the server does not have; the first
    /// [`ROLES_NAMED`].
    #[serde(default)]
    pub roles_missing: Vec<String>,
    /// Whether it is known which roles the dump needs.
    #[serde(default)]
    pub roles_known: bool,
    /// Why the restore would be refused or fail, as far as that can be seen.
    #[serde(default)]
    pub refusal: Option<String>,
    /// Bytes of the file with the dump that would lie on the node's disk meanwhile, when there would be one and they are
    /// known before it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// What is free on that disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_free_bytes: Option<u64>,
    /// What else is to be known of how it would be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What becomes of the name of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Action {
    /// Nothing stands there: it is made.
    Create,
    /// One without anything in it gives way.
    ReplaceEmpty,
    /// What stands there is dropped, after the other has taken its place.
    Overwrite,
    /// What stands there is renamed.
    KeepBoth,
    /// What stands there is in the way: nothing is restored.
    Refuse,
}

/// A database that stands at the name that another is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingDatabase {
    /// Bytes on disk, when the server says it.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// How many tables it has.
    pub tables: u64,
    /// Whether there is nothing of people's own in it.
    pub empty: bool,
    /// How many are connected to it; they would be sent away.
    pub clients: u64,
}

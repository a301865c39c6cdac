//! What came of a job that was done.

use crate::ArchiveId;
use crate::archive::Facts;
use crate::census::RestoreCheck;
use crate::chain::Lsn;
use crate::failure::{Finding, Severity};
use crate::preview::{ClusterPreview, DatabasePreview, FilesPreview};
use crate::probe::{DestinationProbe, SourceProbe, Space};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The outcome of a job that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was made.
    pub result: JobResult,
    /// Whether all data is there.
    pub completeness: Completeness,
    /// What was found on the way; at most 100 of each severity, incomplete ones first.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// How many findings of severity incomplete there were in all.
    #[serde(default)]
    pub incomplete_total: u64,
    /// How many benign findings there were in all.
    #[serde(default)]
    pub benign_total: u64,
}

/// How many findings of each severity an event holds: a tree of a million unreadable files must not fill the log.
pub const FINDINGS_KEPT: usize = 100;

impl Outcome {
    /// An outcome from its result and all findings. One unreadable file makes it incomplete (accident P2: 1,252
    /// unreadable files were shown as "completed with warnings").
    pub fn new(result: JobResult, findings: Vec<Finding>) -> Self {
        let (mut incomplete, mut benign): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|f| f.severity == Severity::Incomplete);
        let (incomplete_total, benign_total) = (incomplete.len() as u64, benign.len() as u64);
        incomplete.truncate(FINDINGS_KEPT);
        benign.truncate(FINDINGS_KEPT);
        incomplete.append(&mut benign);
        Self {
            result,
            completeness: if incomplete_total == 0 {
                Completeness::Complete
            } else {
                Completeness::Incomplete
            },
            findings: incomplete,
            incomplete_total,
            benign_total,
        }
    }

    /// Takes in what was found after it was made.
    pub fn add(&mut self, findings: Vec<Finding>) {
        let (incomplete, benign) = (self.incomplete_total, self.benign_total);
        let kept = std::mem::take(&mut self.findings);
        // What was not kept was counted.
        let counted = |severity| kept.iter().filter(|f: &&Finding| f.severity == severity).count() as u64;
        let more_incomplete = incomplete.saturating_sub(counted(Severity::Incomplete));
        let more_benign = benign.saturating_sub(counted(Severity::Benign));
        let result = self.result.clone();
        // The latest first: they are few, and would not be kept behind a hundred.
        *self = Self::new(result, findings.into_iter().chain(kept).collect());
        self.incomplete_total += more_incomplete;
        self.benign_total += more_benign;
        if self.incomplete_total > 0 {
            self.completeness = Completeness::Incomplete;
        }
    }
}

/// A server that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The folder that it is.
    pub target: String,
    /// The archives that it was put together from, by name, the full one first.
    pub archives: Vec<String>,
    /// Bytes of their parts.
    pub size_bytes: u64,
    /// Whether it was recovered here. If not, the server does so when it is first started there.
    pub recovered: bool,
    /// Up to where, in PostgreSQL's log of changes.
    #[serde(default)]
    pub reached_lsn: Option<Lsn>,
    /// When the last transaction was committed that it has, if it took any over from archives of changes.
    #[serde(default)]
    pub reached_at: Option<Timestamp>,
    /// The databases in it.
    #[serde(default)]
    pub databases: Vec<String>,
}

/// Whether all data that should be there is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Completeness {
    /// All of it.
    Complete,
    /// Some could not be read, or something that the plan asks for besides was not done.
    Incomplete,
}

/// What was made, by kind of job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum JobResult {
    /// The repository is there.
    InitRepository {
        /// Borg's id of it, hex.
        borg_repository_id: String,
        /// It was there before, and opened with the passphrase: nothing was made.
        #[serde(default)]
        existed: bool,
    },
    /// The archive is there and was read back.
    Backup {
        /// What the repository says of it.
        archive: Facts,
        /// It was made by an earlier attempt whose outcome was lost.
        #[serde(default)]
        recovered: bool,
        /// How much room there was at the destination afterwards, where that can be seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        space: Option<Space>,
    },
    /// The files are back.
    Restore {
        /// Files written.
        files: u64,
        /// Bytes of them.
        size_bytes: u64,
        /// The folder they are under.
        target: String,
        /// How many standing files were renamed.
        #[serde(default)]
        kept_both: u64,
    },
    /// The database is back.
    RestoreDatabase {
        /// Its name.
        database: String,
        /// Bytes of the dump.
        size_bytes: u64,
        /// SHA-256 of them, hex: the one that was taken when it was dumped.
        sha256: String,
        /// How many tables it has now.
        tables: u64,
        /// What the database that stood there is called now, when it was kept.
        #[serde(default)]
        kept: Option<String>,
        /// What the dump was found to be, when it was a file that somebody had named.
        #[serde(default)]
        recognised: Option<String>,
        /// How it compares with what was recorded when it was dumped; absent in results of before that was done.
        #[serde(default)]
        check: Option<RestoreCheck>,
    },
    /// The server is back, as files of its own.
    RestoreCluster {
        /// What it is.
        cluster: Cluster,
    },
    /// What a restore of a whole server would do.
    PreviewRestoreCluster {
        /// It was looked at, and nothing was touched.
        preview: ClusterPreview,
    },
    /// What a restore of files would do.
    PreviewRestore {
        /// It was looked at, and nothing was touched.
        preview: FilesPreview,
    },
    /// What a restore of a database would do.
    PreviewRestoreDatabase {
        /// It was looked at, and nothing was touched.
        preview: DatabasePreview,
    },
    /// The archive is gone from the repository.
    DeleteArchive {
        /// It was gone before.
        #[serde(default)]
        was_gone: bool,
    },
    /// The archives that were to go are gone from the repository.
    Prune {
        /// Those that are gone, also when they were gone before.
        deleted: Vec<ArchiveId>,
        /// About how many bytes the repository has become smaller by, where that can be told.
        #[serde(default)]
        freed_bytes: Option<u64>,
    },
    /// What is there was read.
    ScanRepository {
        /// Archives in the repository.
        archives: u64,
    },
    /// The file index is there.
    IndexArchive {
        /// What it holds.
        index: crate::archive::IndexFacts,
    },
    /// The copy is there.
    CopyArchive {
        /// What the repository says of it.
        archive: Facts,
        /// It was made by an earlier attempt whose outcome was lost.
        #[serde(default)]
        recovered: bool,
    },
    /// Who waited for it has it.
    Download {
        /// Bytes of it.
        size_bytes: u64,
        /// SHA-256 of them, hex.
        sha256: String,
    },
    /// The source was looked at.
    TestSource {
        /// What was found.
        probe: SourceProbe,
    },
    /// The destination was tried.
    TestDestination {
        /// What came of it.
        probe: DestinationProbe,
    },
}

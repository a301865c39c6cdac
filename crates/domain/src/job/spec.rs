//! What a job is asked to do. A request carries everything that is needed, so a node looks nothing up.

mod download;
mod prune;
mod restores;

pub use download::{DownloadForm, DownloadSpec};
pub use prune::{PRUNED_AT_ONCE, PruneSpec, Spared};
pub use restores::{
    Conflict, DatabaseTarget, PARALLEL_JOBS, RestoreClusterSpec, RestoreDatabaseSpec, RestoreDumpSpec,
    RestoreSpec, RestoreTarget,
};

use crate::archive::Target;
use crate::chain::{Base, FullEvery, Variant};
use crate::cron::rank;
use crate::destination::Location;
use crate::hook::Hooks;
use crate::plan::{Compression, Limits};
use crate::quiesce::Quiesce;
use crate::repository::Access;
use crate::source::Source;
use crate::{ArchiveId, JobId, NodeId, PlanId, RepositoryId, SecretRef, ServerId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A job was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Requested {
    /// What to do.
    pub spec: JobSpec,
    /// For which server.
    pub server: ServerId,
    /// Which node works for it.
    pub node: NodeId,
    /// What asked for it.
    pub trigger: Trigger,
    /// After how many seconds without success it is abandoned (counted while it waits); a week when absent.
    #[serde(default)]
    pub deadline_s: Option<u64>,
}

/// What asked for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Trigger {
    /// A person or a program, over HTTP.
    Manual,
    /// A schedule's nominal time.
    Schedule {
        /// That time, UTC.
        nominal_at: Timestamp,
    },
    /// A retry of a job that ended badly.
    Retry {
        /// That job.
        of: JobId,
    },
    /// The system itself: the init of a new repository, a reconciling scan.
    System,
}

/// The kinds of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum JobSpec {
    /// Makes a repository: `borg init`, or the first objects of a dump store.
    InitRepository {
        /// Which repository.
        access: Access,
    },
    /// Makes an archive: `borg create`, or objects in a dump store.
    Backup(BackupSpec),
    /// Files out of an archive: `borg extract`, or the dumps of a dump store as files.
    Restore(RestoreSpec),
    /// A dump that is in an archive, back into a database server.
    RestoreDatabase(RestoreDatabaseSpec),
    /// A dump in a file on the node, of whatever origin, into a database server.
    RestoreDump(RestoreDumpSpec),
    /// A whole server out of a chain of archives, as files of its own.
    RestoreCluster(RestoreClusterSpec),
    /// Removes one archive: `borg delete`, then `borg compact`, or its objects.
    DeleteArchive {
        /// Which repository.
        access: Access,
        /// Which archive.
        archive: Target,
        /// Archives that would be nothing without it, by name, as the scheduler knows them when it gives the work away:
        /// while there are any, it stays.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        needed_by: Vec<String>,
        /// Who holds it, likewise: then it stays as well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<String>,
    },
    /// Removes the archives that a plan's retention keeps no longer: `borg delete`, then `borg compact`, or their objects.
    Prune(PruneSpec),
    /// What is really there (`borg list`); archives that the catalog does not know are adopted, lost ones are told.
    ScanRepository {
        /// Which repository.
        access: Access,
    },
    /// Makes the file index of an archive that has none.
    IndexArchive {
        /// Which repository.
        access: Access,
        /// Which archive.
        archive: Target,
        /// Whether this node has just made it, so that a sample can be taken of what it was made of.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        sample: bool,
    },
    /// Copies an archive of a dump store into another one.
    CopyArchive(CopySpec),
    /// What is in an archive, to who waits for it at the gateway.
    Download(DownloadSpec),
    /// Looks at a source as a backup would, and goes no further.
    TestSource {
        /// What.
        source: Source,
        /// What archives are to be made of it, which may need more than a full one does.
        #[serde(default, skip_serializing_if = "Variant::is_full")]
        variant: Variant,
    },
    /// Writes to a destination, reads back, lists and removes.
    TestDestination {
        /// Where.
        place: Location,
    },
}

impl JobSpec {
    /// The word for people and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InitRepository { .. } => "init-repository",
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
            Self::RestoreDatabase(_) => "restore-database",
            Self::RestoreDump(_) => "restore-dump",
            Self::RestoreCluster(_) => "restore-cluster",
            Self::DeleteArchive { .. } => "delete-archive",
            Self::Prune(_) => "prune",
            Self::ScanRepository { .. } => "scan-repository",
            Self::IndexArchive { .. } => "index-archive",
            Self::CopyArchive(_) => "copy-archive",
            Self::Download(_) => "download",
            Self::TestSource { .. } => "test-source",
            Self::TestDestination { .. } => "test-destination",
        }
    }

    /// The repository that it works on, when it works on one.
    pub fn access(&self) -> Option<&Access> {
        match self {
            Self::Backup(spec) => Some(&spec.access),
            Self::Restore(spec) => Some(&spec.access),
            Self::RestoreDatabase(spec) => Some(&spec.access),
            Self::RestoreCluster(spec) => Some(&spec.access),
            Self::CopyArchive(spec) => Some(&spec.access),
            Self::Download(spec) => Some(&spec.access),
            Self::Prune(spec) => Some(&spec.access),
            Self::InitRepository { access }
            | Self::DeleteArchive { access, .. }
            | Self::ScanRepository { access }
            | Self::IndexArchive { access, .. } => Some(access),
            Self::TestSource { .. } | Self::TestDestination { .. } | Self::RestoreDump(_) => None,
        }
    }

    /// The same, to be changed: a retry finds its repository as it is defined by then.
    pub fn access_mut(&mut self) -> Option<&mut Access> {
        match self {
            Self::Backup(spec) => Some(&mut spec.access),
            Self::Restore(spec) => Some(&mut spec.access),
            Self::RestoreDatabase(spec) => Some(&mut spec.access),
            Self::RestoreCluster(spec) => Some(&mut spec.access),
            Self::CopyArchive(spec) => Some(&mut spec.access),
            Self::Download(spec) => Some(&mut spec.access),
            Self::Prune(spec) => Some(&mut spec.access),
            Self::InitRepository { access }
            | Self::DeleteArchive { access, .. }
            | Self::ScanRepository { access }
            | Self::IndexArchive { access, .. } => Some(access),
            Self::TestSource { .. } | Self::TestDestination { .. } | Self::RestoreDump(_) => None,
        }
    }

    /// The id of that repository.
    pub fn repository(&self) -> Option<&RepositoryId> {
        self.access().map(|access| &access.repository)
    }

    /// Whether it only looks whether something would work, for who asked.
    pub fn is_test(&self) -> bool {
        matches!(self, Self::TestSource { .. } | Self::TestDestination { .. }) || self.is_preview()
    }

    /// The archive that it reads, when it does: for somebody who wants it back, or a copy of it.
    pub fn read(&self) -> Option<ArchiveId> {
        match self {
            Self::Restore(spec) => Some(spec.archive.id),
            Self::RestoreDatabase(spec) => Some(spec.archive.id),
            Self::RestoreCluster(spec) => Some(spec.archive.id),
            Self::Download(spec) => Some(spec.archive.id),
            Self::CopyArchive(spec) => Some(spec.archive.id),
            _ => None,
        }
    }

    /// The archives that it removes.
    pub fn removed(&self) -> Vec<ArchiveId> {
        match self {
            Self::DeleteArchive { archive, .. } => vec![archive.id],
            Self::Prune(spec) => spec.to_remove().map(|target| target.id).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether who asked waits for its answer, and nobody else needs to hear of it.
    pub fn is_awaited(&self) -> bool {
        self.is_test() || matches!(self, Self::Download(_))
    }

    /// Whether it only says what it would do.
    pub fn is_preview(&self) -> bool {
        match self {
            Self::Restore(spec) => spec.dry_run,
            Self::RestoreDatabase(spec) => spec.dry_run,
            Self::RestoreDump(spec) => spec.dry_run,
            Self::RestoreCluster(spec) => spec.dry_run,
            _ => false,
        }
    }

    /// All secrets that a node needs to do it.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        let mut secrets: Vec<_> = self.access().into_iter().flat_map(Access::secrets).collect();
        match self {
            Self::Backup(spec) => secrets.extend(spec.source.secrets()),
            Self::RestoreDatabase(spec) => secrets.extend(spec.into.secrets()),
            Self::CopyArchive(spec) => secrets.extend(spec.from.secrets()),
            Self::RestoreDump(spec) => secrets.extend(spec.into.secrets().into_iter().chain(&spec.identity)),
            Self::TestSource { source, .. } => secrets.extend(source.secrets()),
            Self::TestDestination { place } => secrets.extend(place.secret()),
            _ => {}
        }
        secrets
    }

    /// The plan that it belongs to, for backups.
    pub fn plan(&self) -> Option<&PlanId> {
        match self {
            Self::Backup(spec) => Some(&spec.plan),
            _ => None,
        }
    }

    /// Whether the repository has room for one of its kind alone, as borg's exclusive lock has it. Restores, scans and indexes only read.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Self::InitRepository { .. }
                | Self::Backup(_)
                | Self::DeleteArchive { .. }
                | Self::Prune(_)
                | Self::CopyArchive(_)
        )
    }

    /// Higher goes first: who waits for a restore has lost something. Among backups the priority of the plan counts.
    pub fn priority(&self) -> u8 {
        let of_plan = if let Self::Backup(spec) = self { spec.priority } else { None };
        rank(self.class(), of_plan)
    }

    fn class(&self) -> u8 {
        match self {
            awaited if awaited.is_awaited() => 4,
            Self::TestSource { .. } | Self::TestDestination { .. } | Self::Download(_) => 4,
            Self::Restore(_) | Self::RestoreDatabase(_) | Self::RestoreDump(_) | Self::RestoreCluster(_) => 3,
            Self::InitRepository { .. } => 2,
            Self::Backup(_) | Self::DeleteArchive { .. } | Self::CopyArchive(_) => 1,
            Self::ScanRepository { .. } | Self::IndexArchive { .. } | Self::Prune(_) => 0,
        }
    }
}

/// A backup, with the plan as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupSpec {
    /// Which plan.
    pub plan: PlanId,
    /// Where to.
    pub access: Access,
    /// What.
    pub source: Source,
    /// How it is compressed.
    pub compression: Compression,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Into which repositories the archive is copied once it is made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<RepositoryId>,
    /// What runs before and after.
    #[serde(default)]
    pub hooks: Hooks,
    /// What is stopped while data is read.
    #[serde(default)]
    pub quiesce: Vec<Quiesce>,
    /// How much the plan's archives hold.
    #[serde(default, skip_serializing_if = "Variant::is_full")]
    pub variant: Variant,
    /// When a full one is due.
    #[serde(default, skip_serializing_if = "FullEvery::is_absent")]
    pub full_every: FullEvery,
    /// Which of two waiting plans goes first: [`rank`](crate::cron::rank).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// When it was not let in until then, it is not run any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_by: Option<Timestamp>,
    /// A full one was asked for, whatever the plan says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// What it is made on, for another variant than a full one. The scheduler adds it when it gives the work away: what
    /// was the newest archive when a job was asked for may not be it when its turn comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
}

/// A copy of an archive, from one dump store into another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopySpec {
    /// From where.
    pub from: Access,
    /// Which archive.
    pub archive: Target,
    /// Whose backup it is.
    #[serde(default)]
    pub plan: Option<PlanId>,
    /// Whether data is missing from it: then it is from the copy as well.
    #[serde(default)]
    pub incomplete: bool,
    /// Where to.
    pub access: Access,
}

impl BackupSpec {
    /// The archive's name: the same for every attempt, so that the repository itself refuses a second one.
    pub fn archive_name(&self, job: JobId) -> String {
        format!("{}-{job}", self.plan)
    }
}

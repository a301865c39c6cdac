//! What is restored, from where, and to where.

use crate::SecretRef;
use crate::archive::Target;
use crate::census::CheckQuery;
use crate::chain::Until;
use crate::repository::Access;
use crate::source::{mongodb, mysql, postgresql};
use serde::{Deserialize, Serialize};

/// Over how many connections a database can be restored at once.
pub const PARALLEL_JOBS: std::ops::RangeInclusive<u32> = 1..=64;

fn one() -> u32 {
    1
}

fn is_one(jobs: &u32) -> bool {
    *jobs == 1
}

/// A restore of files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreSpec {
    /// From where.
    pub access: Access,
    /// Which archive.
    pub archive: Target,
    /// Which paths, as they stand in the archive (without the leading slash); all, when empty.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Where to.
    pub target: RestoreTarget,
    /// What to do with what is there already.
    #[serde(default)]
    pub on_conflict: Conflict,
    /// Folders under which it may write; from the server's definition.
    pub allowed_roots: Vec<String>,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// A restore of one database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreDatabaseSpec {
    /// From where.
    pub access: Access,
    /// Which archive.
    pub archive: Target,
    /// Which dump: its path in the archive.
    pub path: String,
    /// Where to.
    pub into: DatabaseTarget,
    /// What to do with a database of that name that is not empty. With `keep_both` it is renamed, which MySQL and
    /// MongoDB cannot.
    #[serde(default)]
    pub on_conflict: Conflict,
    /// Everything belongs to the role that restores, and nobody has other rights: for a server without the roles of the
    /// one that was dumped.
    #[serde(default)]
    pub no_owner: bool,
    /// Over how many connections at once a dump of PostgreSQL in the custom format is restored. With more than one it lies
    /// in a file on the node's disk meanwhile.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub parallel_jobs: u32,
    /// What the restored database is asked.
    #[serde(default)]
    pub check: Option<CheckQuery>,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// A restore of a dump out of a file that somebody has named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreDumpSpec {
    /// The file, on the node.
    pub path: String,
    /// Folders below which it may be read; from the server's definition.
    pub allowed_roots: Vec<String>,
    /// Which member, when it holds several; those of nested ones are parted by slashes.
    #[serde(default)]
    pub member: Option<String>,
    /// What opens it, when it is encrypted with age: a secret key, or a passphrase.
    #[serde(default)]
    pub identity: Option<SecretRef>,
    /// Where to.
    pub into: DatabaseTarget,
    /// What to do with a database of that name that is not empty.
    #[serde(default)]
    pub on_conflict: Conflict,
    /// Everything belongs to the role that restores.
    #[serde(default)]
    pub no_owner: bool,
    /// Over how many connections at once a dump of PostgreSQL in the custom format is restored. With more than one it lies
    /// in a file on the node's disk meanwhile.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub parallel_jobs: u32,
    /// What the restored database is asked.
    #[serde(default)]
    pub check: Option<CheckQuery>,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// A restore of a whole server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreClusterSpec {
    /// From where.
    pub access: Access,
    /// The last archive of the chain that is put together.
    pub archive: Target,
    /// The folder that it becomes; empty, or not there.
    pub target: String,
    /// Up to which moment; all that the archives hold, when absent.
    #[serde(default)]
    pub until: Option<Until>,
    /// The system user that it is to belong to; that of the database system, when absent and the node may change users.
    #[serde(default)]
    pub os_user: Option<String>,
    /// Folders under which it may write; from the server's definition.
    pub allowed_roots: Vec<String>,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// Where a database is restored to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DatabaseTarget {
    /// Into a PostgreSQL server.
    Postgresql {
        /// Which one, and as whom.
        #[serde(default)]
        connection: postgresql::Connection,
        /// Which database; it is made.
        database: String,
    },
    /// Into a MySQL or MariaDB server.
    Mysql {
        /// Which one, and as whom.
        #[serde(default)]
        connection: mysql::Connection,
        /// Which database; it is made.
        database: String,
    },
    /// Into a MongoDB server.
    Mongodb {
        /// Which one, and as whom.
        #[serde(default)]
        connection: mongodb::Connection,
        /// What the database is to be called; empty, when all are restored, each under its own name.
        #[serde(default)]
        database: String,
        /// Which database of the dump; empty, when all are restored.
        #[serde(default)]
        from: String,
    },
}

impl DatabaseTarget {
    /// The database system, in the word for its sources.
    pub fn system(&self) -> &'static str {
        match self {
            Self::Postgresql { .. } => "postgresql",
            Self::Mysql { .. } => "mysql",
            Self::Mongodb { .. } => "mongodb",
        }
    }

    /// What the database is to be called, as people read it.
    pub fn database(&self) -> &str {
        match self {
            Self::Mongodb { database, .. } if database.is_empty() => "all databases",
            Self::Postgresql { database, .. }
            | Self::Mysql { database, .. }
            | Self::Mongodb { database, .. } => database,
        }
    }

    /// The secrets that a node needs for it.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::Postgresql { connection, .. } => connection.password.iter().collect(),
            Self::Mysql { connection, .. } => connection.password.iter().collect(),
            Self::Mongodb { connection, .. } => connection.password.iter().collect(),
        }
    }
}

/// Where restored files go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RestoreTarget {
    /// Below this folder, with their whole path.
    Folder {
        /// The folder, absolute.
        path: String,
    },
    /// Where they came from.
    Original,
}

/// What a restore does where something stands already. It never overwrites in silence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Conflict {
    /// Nothing is restored when any file stands there already.
    #[default]
    Fail,
    /// What stands there is renamed with the suffix `.before-restore-<job>`.
    KeepBoth,
    /// What stands there is replaced.
    Overwrite,
}

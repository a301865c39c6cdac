//! Source: what is protected.
//!
//! Files are read by borg itself. Databases are dumped by their own tools, and the dumps flow into the archive as files
//! without ever lying on a disk. A new kind of source is a file below this one and a line in [`Source`].

mod files;
pub mod postgresql;
mod sqlite;

pub use files::Files;
pub use postgresql::Postgresql;
pub use sqlite::Sqlite;

use crate::{FieldError, SecretRef};
use serde::{Deserialize, Serialize};

/// What is protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    /// Files and folders, by borg.
    Files(Files),
    /// Databases of a PostgreSQL server, by its own dump programs.
    Postgresql(Postgresql),
    /// SQLite databases, as they are at one moment.
    Sqlite(Sqlite),
}

impl Source {
    /// The word for people and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Postgresql(_) => "postgresql",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// All that is wrong with it; fields are named from the source on.
    pub fn problems(&self) -> Vec<FieldError> {
        match self {
            Self::Files(files) => files.problems(),
            Self::Postgresql(postgresql) => postgresql.problems(),
            Self::Sqlite(sqlite) => sqlite.problems(),
        }
    }

    /// The secrets that a node needs to read it.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::Files(_) | Self::Sqlite(_) => Vec::new(),
            Self::Postgresql(postgresql) => postgresql.connection.password.iter().collect(),
        }
    }
}

//! Source: what is protected.
//!
//! Files are read by borg itself. Databases are dumped by their own tools, and the dumps flow into the archive as files
//! without ever lying on a disk. A new kind of source is a file below this one and a line in [`Source`].

mod application;
mod files;
pub mod mongodb;
pub mod mysql;
pub mod postgresql;
mod sqlite;

pub use application::Application;
pub use files::Files;
pub use mongodb::Mongodb;
pub use mysql::Mysql;
pub use postgresql::Postgresql;
pub use sqlite::Sqlite;

use crate::chain::{Increments, Variant};
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
    /// Databases of a MySQL or MariaDB server, by its own dump programs.
    Mysql(Mysql),
    /// Databases of a MongoDB server, by its own dump program.
    Mongodb(Mongodb),
    /// SQLite databases, as they are at one moment.
    Sqlite(Sqlite),
    /// Databases and files together, as one archive.
    Application(Box<Application>),
}

impl Source {
    /// The word for people and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Postgresql(_) => "postgresql",
            Self::Mysql(_) => "mysql",
            Self::Mongodb(_) => "mongodb",
            Self::Sqlite(_) => "sqlite",
            Self::Application(_) => "application",
        }
    }

    /// All that is wrong with it; fields are named from the source on.
    pub fn problems(&self) -> Vec<FieldError> {
        match self {
            Self::Files(files) => files.problems(),
            Self::Postgresql(postgresql) => postgresql.problems(),
            Self::Mysql(mysql) => mysql.problems(),
            Self::Mongodb(mongodb) => mongodb.problems(),
            Self::Sqlite(sqlite) => sqlite.problems(),
            Self::Application(application) => application.problems(),
        }
    }

    /// Whether the whole server is taken, as its files are.
    pub fn is_physical(&self) -> bool {
        match self {
            Self::Postgresql(postgresql) => postgresql.method == Method::Physical,
            Self::Mysql(mysql) => mysql.method == Method::Physical,
            Self::Files(_) | Self::Mongodb(_) | Self::Sqlite(_) | Self::Application(_) => false,
        }
    }

    /// Why no archive of it can hold only what has changed; nothing when one can.
    pub fn only_full(&self) -> Option<&'static str> {
        match self {
            source if source.is_physical() => None,
            Self::Postgresql(_) | Self::Mysql(_) => Some(
                "a dump always holds all of a database; choose the method 'physical', or keep dumps in a borg repository or in a dump store with 'deduplicate', which store once what has not changed",
            ),
            Self::Mongodb(_) => Some(
                "a dump always holds all of a database; a borg repository, or a dump store with 'deduplicate', stores once what has not changed",
            ),
            Self::Sqlite(_) => Some(
                "SQLite keeps no log from which changes could be taken; a borg repository, or a dump store with 'deduplicate', stores once what has not changed",
            ),
            Self::Files(_) => Some(
                "borg stores once what has not changed, by itself, and so does a dump store with 'deduplicate'",
            ),
            Self::Application(_) => Some(
                "the databases of an application are dumped, as a whole each time; borg, or a dump store with 'deduplicate', stores once what has not changed",
            ),
        }
    }

    /// By which means archives of changes are made of it, where there is a choice.
    pub fn increments(&self) -> Increments {
        match self {
            Self::Postgresql(postgresql) => postgresql.increments,
            Self::Files(_) | Self::Mysql(_) | Self::Mongodb(_) | Self::Sqlite(_) | Self::Application(_) => {
                Increments::default()
            }
        }
    }

    /// What a plan says of archives of changes, where there are none of this variant; fields are named from the source on.
    pub fn problem_with(&self, variant: Variant) -> Option<FieldError> {
        let useless = variant.is_full() && self.is_physical() && self.increments() == Increments::Blocks;
        let message = "is for the variants 'incremental' and 'differential': all archives are full";
        useless.then(|| FieldError::new("increments", message))
    }

    /// The files that it has.
    pub fn files(&self) -> Option<&Files> {
        match self {
            Self::Files(files) => Some(files),
            Self::Application(application) => application.files.as_ref(),
            Self::Postgresql(_) | Self::Mysql(_) | Self::Mongodb(_) | Self::Sqlite(_) => None,
        }
    }

    /// The secrets that a node needs to read it.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::Files(_) | Self::Sqlite(_) => Vec::new(),
            Self::Postgresql(postgresql) => postgresql.connection.password.iter().collect(),
            Self::Mysql(mysql) => mysql.connection.password.iter().collect(),
            Self::Mongodb(mongodb) => mongodb.connection.password.iter().collect(),
            Self::Application(application) => {
                let postgresql = application.postgresql.iter().flat_map(|source| &source.connection.password);
                let mysql = application.mysql.iter().flat_map(|source| &source.connection.password);
                postgresql.chain(mysql).collect()
            }
        }
    }
}

/// Whether TLS is used for a connection, and what is checked: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Tls {
    /// Never.
    Disable,
    /// When the server can; nothing is checked.
    #[default]
    Prefer,
    /// Always; nothing is checked.
    Require,
    /// Always, with a certificate that is trusted.
    VerifyCa,
    /// Always, with a certificate that is trusted and made out for this host.
    VerifyFull,
}

/// How a database server is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Method {
    /// Each database by itself, as its dump program writes it.
    #[default]
    Dump,
    /// The whole server, as its files are: restored as a whole, in the same version, and to any moment that archives of
    /// changes hold.
    Physical,
}

/// Whether something is kept that the role may not be allowed to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Wanted {
    /// When it is allowed.
    #[default]
    IfAllowed,
    /// Always; the backup fails where it is not allowed.
    Always,
    /// Never.
    Never,
}

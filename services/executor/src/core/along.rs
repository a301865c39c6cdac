//! Reading a dump along on its way: whether what a program has printed is whole, and what is in it.
//!
//! The accident that this file prevents is P1: a program that ends well, and half of what it printed. Its own exit status
//! says nothing about what a pipe, or an engine that runs it in a container, has lost of its words.

use super::ending::{Ending, Writer};
use super::mongodb;
use super::mysql;
use super::postgresql;
use crate::core::census::Table;
use strongroom_domain::{Failure, FailureCode};

/// Who reads along.
#[derive(Debug)]
pub enum Along {
    /// What mongodump prints.
    Mongodb(mongodb::archive::Archive),
    /// What pg_dump prints in its custom format.
    Postgresql(postgresql::archive::Archive),
    /// What mysqldump or mariadb-dump prints of a database.
    Mysql(Ending, mysql::rows::Counter),
    /// SQL, and whose last words it must have.
    Sql(Ending, Writer),
}

/// What was in it.
#[derive(Debug, Default)]
pub enum Held {
    /// Collections.
    Collections(mongodb::archive::Held),
    /// Tables of PostgreSQL, each with its rows.
    Tables(postgresql::archive::Rows),
    /// Tables of MySQL, each with its rows.
    MysqlTables(mysql::rows::Rows),
    /// It was not counted.
    #[default]
    Unknown,
}

impl Held {
    /// How many rows of a table are in it, when it was read along and they were counted.
    pub fn rows(&self, table: &Table) -> Option<u64> {
        match self {
            Self::Tables(rows) => rows.of(table),
            Self::MysqlTables(rows) => rows.of(table),
            Self::Collections(_) | Self::Unknown => None,
        }
    }
}

/// Why it is no whole dump.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Of mongodump.
    #[error(transparent)]
    Mongodb(#[from] mongodb::archive::Wrong),
    /// Of pg_dump.
    #[error(transparent)]
    Postgresql(#[from] postgresql::archive::Wrong),
    /// The last words are missing.
    #[error("it ends before its end")]
    CutOff,
}

impl Along {
    /// Of mongodump.
    pub fn mongodb() -> Self {
        Self::Mongodb(mongodb::archive::Archive::default())
    }

    /// Of pg_dump in its custom format.
    pub fn postgresql() -> Self {
        Self::Postgresql(postgresql::archive::Archive::default())
    }

    /// Of mysqldump or mariadb-dump, of a database.
    pub fn mysql() -> Self {
        Self::Mysql(Ending::default(), mysql::rows::Counter::default())
    }

    /// Of SQL that this program writes.
    pub fn sql(writer: Writer) -> Self {
        Self::Sql(Ending::default(), writer)
    }

    /// Some more of it.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        match self {
            Self::Mongodb(archive) => archive.take(bytes)?,
            Self::Postgresql(archive) => archive.take(bytes)?,
            Self::Mysql(ending, counter) => {
                ending.take(bytes);
                counter.take(bytes);
            }
            Self::Sql(ending, _) => ending.take(bytes),
        }
        Ok(())
    }

    /// That was all.
    pub fn finish(&mut self) -> Result<Held, Wrong> {
        Ok(match self {
            Self::Mongodb(archive) => Held::Collections(std::mem::take(archive).finish()?),
            Self::Postgresql(archive) => {
                std::mem::take(archive).finish()?.map_or(Held::Unknown, Held::Tables)
            }
            Self::Mysql(ending, counter) if ending.is_whole(Writer::Mysql) => {
                Held::MysqlTables(std::mem::take(counter).finish())
            }
            Self::Sql(ending, writer) if ending.is_whole(*writer) => Held::Unknown,
            Self::Mysql(..) | Self::Sql(..) => return Err(Wrong::CutOff),
        })
    }

    /// What is told of it then.
    pub fn not_whole(&self, wrong: &Wrong) -> Failure {
        let program = match self {
            Self::Mongodb(_) => "mongodump",
            Self::Postgresql(_) => "pg_dump",
            Self::Mysql(..) | Self::Sql(..) => "the dump program",
        };
        Failure::new(FailureCode::DumpFailed, format!("what {program} printed is no whole dump: {wrong}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn sql_without_its_last_words_is_cut_off() {
        for mut along in [Along::sql(Writer::Mysql), Along::mysql()] {
            along.take(b"INSERT INTO t VALUES (1);\n").unwrap();
            assert_eq!(along.finish().unwrap_err(), Wrong::CutOff);
        }
        let mut along = Along::sql(Writer::Mysql);
        along.take(b"INSERT INTO t VALUES (1);\n/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n").unwrap();
        assert!(matches!(along.finish().unwrap(), Held::Unknown));
    }
}

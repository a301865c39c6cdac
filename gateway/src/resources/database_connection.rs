//! The way to a database server, of whichever system.

use crate::body;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use strongroom_domain::job::{Conflict, DatabaseTarget, PARALLEL_JOBS};
use strongroom_domain::source::{Application, Source, mongodb, mysql, postgresql};
use strongroom_domain::{FieldError, SecretRef};

/// The way to a server, with the reference of its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// Of PostgreSQL.
    Postgresql(postgresql::Connection),
    /// Of MySQL or MariaDB.
    Mysql(mysql::Connection),
    /// Of MongoDB.
    Mongodb(mongodb::Connection),
}

/// As it stands in a body, so that what is wrong is named with the whole path of its field.
#[derive(Serialize, Deserialize)]
struct Written<T> {
    connection: T,
}

impl Connection {
    /// Reads one out of a body.
    pub fn understand(system: &str, fields: Map<String, Value>) -> Result<Self, Problem> {
        let Value::Object(fields) = json!({ "connection": fields }) else {
            return Err(Problem::field("connection", "must be an object"));
        };
        Ok(match system {
            "mysql" => Self::Mysql(body::understand::<Written<_>>(fields)?.connection),
            "mongodb" => Self::Mongodb(body::understand::<Written<_>>(fields)?.connection),
            _ => Self::Postgresql(body::understand::<Written<_>>(fields)?.connection),
        })
    }

    /// The one of a source, when it has one.
    pub fn of_source(source: Source) -> Option<Self> {
        match source {
            Source::Postgresql(source) => Some(Self::Postgresql(source.connection)),
            Source::Mysql(source) => Some(Self::Mysql(source.connection)),
            Source::Mongodb(source) => Some(Self::Mongodb(source.connection)),
            Source::Application(source) => {
                let Application { postgresql, mysql, .. } = *source;
                let postgresql = postgresql.map(|source| Self::Postgresql(source.connection));
                postgresql.or_else(|| mysql.map(|source| Self::Mysql(source.connection)))
            }
            Source::Files(_) | Source::Sqlite(_) => None,
        }
    }

    /// The database and the server of a restore.
    pub fn of_target(target: &DatabaseTarget) -> (&String, Self) {
        match target {
            DatabaseTarget::Postgresql { connection, database } => {
                (database, Self::Postgresql(connection.clone()))
            }
            DatabaseTarget::Mysql { connection, database } => (database, Self::Mysql(connection.clone())),
            DatabaseTarget::Mongodb { connection, database, .. } => {
                (database, Self::Mongodb(connection.clone()))
            }
        }
    }

    /// A database there, as a target of the one that was called `from`.
    pub fn target(self, database: String, from: String) -> DatabaseTarget {
        match self {
            Self::Postgresql(connection) => DatabaseTarget::Postgresql { connection, database },
            Self::Mysql(connection) => DatabaseTarget::Mysql { connection, database },
            Self::Mongodb(connection) => DatabaseTarget::Mongodb { connection, database, from },
        }
    }

    /// All that is wrong with it; `at` is where it stands.
    pub fn problems(&self, at: &str) -> Vec<FieldError> {
        match self {
            Self::Postgresql(connection) => connection.problems(at),
            Self::Mysql(connection) => connection.problems(at),
            Self::Mongodb(connection) => connection.problems(at),
        }
    }

    /// Of which system it is.
    pub fn system(&self) -> &'static str {
        match self {
            Self::Postgresql(_) => "postgresql",
            Self::Mysql(_) => "mysql",
            Self::Mongodb(_) => "mongodb",
        }
    }

    /// Whether it leads to the same server, for the same role, with the same care.
    pub fn is_where(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Postgresql(one), Self::Postgresql(other)) => one.is_where(other),
            (Self::Mysql(one), Self::Mysql(other)) => one.is_where(other),
            (Self::Mongodb(one), Self::Mongodb(other)) => one.is_where(other),
            _ => false,
        }
    }

    /// Whether the system's own users are asked, and no password.
    pub fn is_by_peer(&self) -> bool {
        matches!(self, Self::Postgresql(connection) if connection.os_user.is_some())
    }

    /// The password's reference.
    pub fn password(&self) -> &Option<SecretRef> {
        match self {
            Self::Postgresql(connection) => &connection.password,
            Self::Mysql(connection) => &connection.password,
            Self::Mongodb(connection) => &connection.password,
        }
    }

    /// Refuses a password where none is asked for.
    pub fn takes_password(&self) -> Result<(), Problem> {
        if self.is_by_peer() {
            let message = "must be absent with os_user: peer authentication asks for none";
            return Err(Problem::field("password", message));
        }
        Ok(())
    }

    /// Sets it.
    pub fn set_password(&mut self, password: Option<SecretRef>) {
        match self {
            Self::Postgresql(connection) => connection.password = password,
            Self::Mysql(connection) => connection.password = password,
            Self::Mongodb(connection) => connection.password = password,
        }
    }
}

/// What a restored database of a system cannot be called.
pub fn check_name(problems: &mut Vec<FieldError>, system: &str, name: &str) {
    let is_own = match system {
        "mysql" => {
            mysql::check_name(problems, "as", name);
            mysql::is_system(name)
        }
        "mongodb" => {
            mongodb::check_name(problems, "as", name);
            mongodb::is_system(name)
        }
        _ => {
            postgresql::check_name(problems, "as", name);
            if ["template0", "template1"].contains(&name) {
                let message = "must be no template of PostgreSQL, from which databases are made";
                problems.push(FieldError::new("as", message));
            }
            false
        }
    };
    if is_own {
        problems.push(FieldError::new("as", "must not be a database of the server itself"));
    }
}

/// What cannot become of a database that stands at that name.
pub fn check_conflict(problems: &mut Vec<FieldError>, system: &str, on_conflict: Conflict) {
    let shown = match system {
        "mysql" => "MySQL",
        "mongodb" => "MongoDB",
        _ => return,
    };
    if on_conflict == Conflict::KeepBoth {
        let message = format!(
            "must be 'fail' or 'overwrite': {shown} cannot rename a database; restore under another name with 'as'"
        );
        problems.push(FieldError::new("on_conflict", message));
    }
}

/// Over how many connections a database is restored when nothing is said.
pub fn one() -> u32 {
    1
}

/// What cannot be restored over several connections.
pub fn check_jobs(problems: &mut Vec<FieldError>, system: &str, is_plain: bool, jobs: u32) {
    let message = match system {
        _ if !PARALLEL_JOBS.contains(&jobs) => {
            format!("must be {} to {}", PARALLEL_JOBS.start(), PARALLEL_JOBS.end())
        }
        _ if jobs == 1 => return,
        "mysql" => "must be 1 or absent: a dump of MySQL is SQL, which one client reads from its beginning to its end".to_owned(),
        "mongodb" => {
            "must be 1 or absent: an archive of mongodump is one stream, which is read from its beginning to its end".to_owned()
        }
        _ if is_plain => {
            "must be 1 or absent: this dump is SQL, which psql reads from its beginning to its end; only those in the custom format are restored over several connections".to_owned()
        }
        _ => return,
    };
    problems.push(FieldError::new("parallel_jobs", message));
}

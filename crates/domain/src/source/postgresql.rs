//! PostgreSQL: databases, roles and settings of one server.

use super::{Method, Tls, Wanted};
pub use crate::chain::Increments;
use crate::definition::{check_absolute_path, check_text};
use crate::{FieldError, SecretRef};
use serde::{Deserialize, Serialize};

/// Bytes of a name in PostgreSQL (`NAMEDATALEN` - 1).
const NAME_BYTES: usize = 63;

/// Why databases cannot be chosen.
const PHYSICAL: &str = "must be empty with the method 'physical', which takes the whole server";

/// The PostgreSQL source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postgresql {
    /// Which server, and as whom.
    #[serde(default)]
    pub connection: Connection,
    /// Which databases; all that allow connections and are no templates, when empty. Whatever comes to be later is in
    /// the next backup by itself.
    #[serde(default)]
    pub databases: Vec<String>,
    /// Which of all are left out.
    #[serde(default)]
    pub excludes: Vec<String>,
    /// How it is read.
    #[serde(default)]
    pub method: Method,
    /// By which means archives of changes are made, of a whole server.
    #[serde(default)]
    pub increments: Increments,
    /// How a dump is written.
    #[serde(default)]
    pub format: Format,
    /// Roles with their passwords, and tablespaces (`pg_dumpall --globals-only`).
    #[serde(default)]
    pub globals: Wanted,
    /// The server's `postgresql.conf`, `pg_hba.conf` and `pg_ident.conf`.
    #[serde(default)]
    pub settings: Wanted,
}

/// Which server, and as whom: what the server's own programs are told, in their terms (PostgreSQL manual, "Environment
/// Variables" of libpq).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Name or address, or the absolute folder of a local socket; the node's own default socket, when absent.
    #[serde(default)]
    pub host: Option<String>,
    /// 5432 when absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// The role; the name of the system user, when absent.
    #[serde(default)]
    pub user: Option<String>,
    /// The password's reference; set by the gateway.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// Whether TLS is used, and what is checked.
    #[serde(default)]
    pub tls: Tls,
    /// The file with the certificates that are trusted, on the node.
    #[serde(default)]
    pub tls_root: Option<String>,
    /// The system user that the programs run as: what peer authentication looks at, mostly `postgres`. The executor must
    /// be root for it.
    #[serde(default)]
    pub os_user: Option<String>,
    /// The database in which questions about the server are asked; `postgres` when absent.
    #[serde(default)]
    pub database: Option<String>,
}

/// How a dump is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Format {
    /// `pg_restore` reads it, in part as well. Not compressed by itself: what does not change is stored once then.
    #[default]
    Custom,
    /// SQL.
    Plain,
}

impl Postgresql {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = self.connection.problems("connection");
        for (field, names) in [("databases", &self.databases), ("excludes", &self.excludes)] {
            for (i, name) in names.iter().enumerate() {
                check_name(&mut problems, &format!("{field}[{i}]"), name);
                if names.iter().take(i).any(|earlier| earlier == name) {
                    problems.push(FieldError::new(format!("{field}[{i}]"), "is named twice"));
                }
            }
        }
        if !self.databases.is_empty() && !self.excludes.is_empty() {
            problems.push(FieldError::new("excludes", "must be empty when databases are named"));
        }
        if self.method == Method::Physical {
            for (field, names) in [("databases", &self.databases), ("excludes", &self.excludes)] {
                if !names.is_empty() {
                    problems.push(FieldError::new(field, PHYSICAL));
                }
            }
            if self.format != Format::Custom {
                problems.push(FieldError::new(
                    "format",
                    "is for dumps, and must be absent with the method 'physical'",
                ));
            }
        } else if self.increments == Increments::Blocks {
            problems.push(FieldError::new(
                "increments",
                "may be 'blocks' only with the method 'physical': a dump always holds all of a database",
            ));
        }
        problems
    }
}

impl Connection {
    /// All that is wrong with it; `at` is where it stands.
    pub fn problems(&self, at: &str) -> Vec<FieldError> {
        let mut problems = Vec::new();
        if let Some(host) = &self.host {
            let field = format!("{at}.host");
            check_text(&mut problems, &field, host, 255);
            if host.is_empty() || host.contains([',', ' ']) {
                problems.push(FieldError::new(&field, "must be one name, address or absolute folder"));
            }
        }
        if self.port == Some(0) {
            problems.push(FieldError::new(format!("{at}.port"), "must be at least 1"));
        }
        for (field, name) in [("user", &self.user), ("database", &self.database)] {
            if let Some(name) = name {
                check_name(&mut problems, &format!("{at}.{field}"), name);
            }
        }
        if let Some(path) = &self.tls_root {
            check_absolute_path(&mut problems, &format!("{at}.tls_root"), path);
        }
        if let Some(user) = &self.os_user {
            check_system_user(&mut problems, &format!("{at}.os_user"), user);
        }
        problems
    }

    /// Whether it leads to the same server, for the same role, with the same care: a password that was given for one
    /// goes to no other.
    pub fn is_where(&self, other: &Self) -> bool {
        let place = |c: &Self| (c.host.clone(), c.port(), c.user.clone(), c.tls, c.tls_root.clone());
        place(self) == place(other)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(5432)
    }

    /// The server, as people write it.
    pub fn shown(&self) -> String {
        let host = self.host.as_deref().unwrap_or("the local socket");
        format!("{host}:{}", self.port())
    }
}

/// Adds a problem when a name could not be a system user's.
pub fn check_system_user(problems: &mut Vec<FieldError>, field: &str, user: &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if user.is_empty() || user.len() > 32 || user.starts_with('-') || !user.chars().all(is_name) {
        problems.push(FieldError::new(field, "must be the name of a system user"));
    }
}

/// Adds a problem when a name could not be one in PostgreSQL. Anything but NUL may stand in one.
pub fn check_name(problems: &mut Vec<FieldError>, field: &str, name: &str) {
    if name.is_empty() || name.len() > NAME_BYTES || name.contains('\0') {
        problems.push(FieldError::new(field, "must be 1 to 63 bytes without NUL"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::{Value, json};

    fn fields(source: Value) -> Vec<String> {
        let source: Postgresql = serde_json::from_value(source).unwrap();
        source.problems().into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let source: Postgresql = serde_json::from_value(json!({})).unwrap();
        assert!(source.problems().is_empty());
        assert_eq!((source.format, source.globals), (Format::Custom, Wanted::IfAllowed));
        assert_eq!(source.connection.shown(), "the local socket:5432");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let odd = json!({
            "connection": { "host": "a,b", "port": 0, "user": "", "tls_root": "ca.pem", "os_user": "-u" },
            "databases": ["a", "a", "x\0y"], "excludes": ["b"],
        });
        assert_eq!(
            fields(odd),
            [
                "connection.host",
                "connection.port",
                "connection.user",
                "connection.tls_root",
                "connection.os_user",
                "databases[1]",
                "databases[2]",
                "excludes",
            ]
        );
        let physical = json!({ "method": "physical", "databases": ["a"], "format": "plain" });
        assert_eq!(fields(physical), ["databases", "format"]);
        assert_eq!(fields(json!({ "method": "physical" })), Vec::<String>::new());
        assert_eq!(fields(json!({ "increments": "blocks" })), ["increments"]);
        assert_eq!(fields(json!({ "increments": "wal" })), Vec::<String>::new());
        assert_eq!(fields(json!({ "method": "physical", "increments": "blocks" })), Vec::<String>::new());
        assert_eq!(fields(json!({ "databases": ["a\nb", "it's", "\"x\"", "é=ü"] })), Vec::<String>::new());
    }
}

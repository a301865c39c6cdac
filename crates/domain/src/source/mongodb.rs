//! MongoDB: databases of one server or replica set.

use super::{Tls, Wanted};
use crate::definition::{check_absolute_path, check_text};
use crate::{FieldError, SecretRef};
use serde::{Deserialize, Serialize};

/// A name of a database has fewer bytes than this (MongoDB manual, "Naming Restrictions").
const NAME_BYTES: usize = 64;

/// What every server has and makes by itself.
pub const SYSTEM: [&str; 3] = ["admin", "config", "local"];

/// The MongoDB source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mongodb {
    /// Which server, and as whom.
    #[serde(default)]
    pub connection: Connection,
    /// Which databases, each as a dump of its own; all as one dump, users and roles included, when empty.
    #[serde(default)]
    pub databases: Vec<String>,
    /// Whether what is written meanwhile is dumped, too, so that all is of one moment: of replica sets, and only in a dump
    /// of all databases.
    #[serde(default)]
    pub oplog: Wanted,
}

/// Which server, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Name or address; the node itself, when absent.
    #[serde(default)]
    pub host: Option<String>,
    /// 27017 when absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// The user; nobody, when absent, for a server that asks for none.
    #[serde(default)]
    pub user: Option<String>,
    /// The password's reference; set by the gateway.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// The database that knows the user; `admin` when absent.
    #[serde(default)]
    pub auth_database: Option<String>,
    /// The name of the replica set: then its members are found, and its primary is asked.
    #[serde(default)]
    pub replica_set: Option<String>,
    /// Whether TLS is used, and what is checked. MongoDB's programs know neither `prefer`, which is no TLS there, nor
    /// `verify-ca`, which is `verify-full`.
    #[serde(default)]
    pub tls: Tls,
    /// The file with the certificates that are trusted, on the node.
    #[serde(default)]
    pub tls_root: Option<String>,
}

impl Mongodb {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = self.connection.problems("connection");
        for (i, name) in self.databases.iter().enumerate() {
            let field = format!("databases[{i}]");
            check_name(&mut problems, &field, name);
            if is_system(name) {
                let message = "belongs to the server itself; it is part of a dump of all databases";
                problems.push(FieldError::new(&field, message));
            }
            if self.databases.iter().take(i).any(|earlier| earlier == name) {
                problems.push(FieldError::new(field, "is named twice"));
            }
        }
        if self.oplog == Wanted::Always && !self.databases.is_empty() {
            let message = "must not be 'always' when databases are named: mongodump takes the oplog only with all databases";
            problems.push(FieldError::new("oplog", message));
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
            let misread = |c: char| c.is_whitespace() || "/,@?#%\"'\\[]".contains(c);
            // Two colons are an address of IPv6; one would be a port.
            if host.is_empty() || host.contains(misread) || host.matches(':').count() == 1 {
                problems.push(FieldError::new(&field, "must be one name or address, without its port"));
            }
        }
        if self.port == Some(0) {
            problems.push(FieldError::new(format!("{at}.port"), "must be at least 1"));
        }
        if let Some(user) = &self.user
            && (user.is_empty() || user.chars().count() > 128 || user.chars().any(char::is_control))
        {
            let message = "must be 1 to 128 characters, and none that controls something";
            problems.push(FieldError::new(format!("{at}.user"), message));
        }
        if let Some(name) = &self.auth_database {
            check_name(&mut problems, &format!("{at}.auth_database"), name);
        }
        if let Some(name) = &self.replica_set {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if name.is_empty() || name.len() > 128 || !name.chars().all(is_name) {
                let message = "must be 1 to 128 letters, digits, '_', '-' or '.'";
                problems.push(FieldError::new(format!("{at}.replica_set"), message));
            }
        }
        if let Some(path) = &self.tls_root {
            check_absolute_path(&mut problems, &format!("{at}.tls_root"), path);
        }
        if self.tls_root.is_some() && !self.has_tls() {
            let message = "is for 'require', 'verify-ca' or 'verify-full'";
            problems.push(FieldError::new(format!("{at}.tls_root"), message));
        }
        problems
    }

    /// Whether it leads to the same server, for the same user, with the same care: a password that was given for one
    /// goes to no other.
    pub fn is_where(&self, other: &Self) -> bool {
        let same = |c: &Self| Self { password: None, port: Some(c.port()), ..c.clone() };
        same(self) == same(other)
    }

    /// The host.
    pub fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("localhost")
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(27017)
    }

    /// The database that knows the user.
    pub fn auth_database(&self) -> &str {
        self.auth_database.as_deref().unwrap_or("admin")
    }

    /// Whether the connection is a secret one.
    pub fn has_tls(&self) -> bool {
        !matches!(self.tls, Tls::Disable | Tls::Prefer)
    }

    /// Host and port, as they stand in an address.
    pub fn authority(&self) -> String {
        match self.host() {
            host if host.contains(':') => format!("[{host}]:{}", self.port()),
            host => format!("{host}:{}", self.port()),
        }
    }

    /// The server, as people write it.
    pub fn shown(&self) -> String {
        match &self.replica_set {
            Some(set) => format!("{set}/{}", self.authority()),
            None => self.authority(),
        }
    }
}

/// Whether a database belongs to the server itself.
pub fn is_system(name: &str) -> bool {
    SYSTEM.contains(&name)
}

/// Adds a problem when a name could not be one in MongoDB.
pub fn check_name(problems: &mut Vec<FieldError>, field: &str, name: &str) {
    let wrong = |c: char| matches!(c, '/' | '\\' | '.' | ' ' | '"' | '$' | '\0');
    if name.is_empty() || name.len() >= NAME_BYTES || name.contains(wrong) {
        problems.push(FieldError::new(field, "must be 1 to 63 bytes, without / \\ . \" $, space and NUL"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::{Value, json};

    fn fields(source: Value) -> Vec<String> {
        let source: Mongodb = serde_json::from_value(source).unwrap();
        source.problems().into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let source: Mongodb = serde_json::from_value(json!({})).unwrap();
        assert!(source.problems().is_empty() && !source.connection.has_tls());
        assert_eq!(
            (source.oplog, source.connection.shown().as_str()),
            (Wanted::IfAllowed, "localhost:27017")
        );
        let connection = |value| serde_json::from_value::<Connection>(value).unwrap();
        let far = connection(json!({ "host": "::1", "port": 1, "replica_set": "rs0" }));
        assert_eq!(far.shown(), "rs0/[::1]:1");
        let with = |more: Value| connection(more);
        assert!(with(json!({})).is_where(&with(json!({ "port": 27017 }))));
        assert!(!with(json!({})).is_where(&with(json!({ "auth_database": "other" }))));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let odd = json!({
            "connection": { "host": "a:1", "port": 0, "user": "", "auth_database": "a b", "replica_set": "a/b", "tls_root": "ca" },
            "databases": ["a", "a", "x.y", "admin"], "oplog": "always",
        });
        assert_eq!(
            fields(odd),
            [
                "connection.host",
                "connection.port",
                "connection.user",
                "connection.auth_database",
                "connection.replica_set",
                "connection.tls_root",
                "connection.tls_root",
                "databases[1]",
                "databases[2]",
                "databases[3]",
                "oplog",
            ]
        );
        assert_eq!(fields(json!({ "databases": ["é*", "it's"], "oplog": "never" })), Vec::<String>::new());
        assert_eq!(fields(json!({ "oplog": "always" })), Vec::<String>::new());
        for host in ["a,b", "u@h", "a/b", "h?x", "[::1]"] {
            assert_eq!(fields(json!({ "connection": { "host": host } })), ["connection.host"], "{host}");
        }
    }
}

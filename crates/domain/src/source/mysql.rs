//! MySQL and MariaDB: databases, users and settings of one server.

use super::{Method, Tls, Wanted};
use crate::definition::{check_absolute_path, check_text};
use crate::{FieldError, SecretRef};
use serde::{Deserialize, Serialize};

/// Characters of a name (MySQL manual, "Identifier Length Limits").
const NAME_CHARACTERS: usize = 64;

/// What every server has and makes by itself.
pub const SYSTEM: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// Why databases cannot be chosen.
const PHYSICAL: &str = "must be empty with the method 'physical', which takes the whole server";

/// The MySQL source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mysql {
    /// Which server, and as whom.
    #[serde(default)]
    pub connection: Connection,
    /// Which databases; all but those of the system itself, when empty. Whatever comes to be later is in the next backup
    /// by itself.
    #[serde(default)]
    pub databases: Vec<String>,
    /// Which of all are left out.
    #[serde(default)]
    pub excludes: Vec<String>,
    /// How it is read.
    #[serde(default)]
    pub method: Method,
    /// Users with their passwords and grants.
    #[serde(default)]
    pub globals: Wanted,
}

/// Which server, and as whom. With neither host, user nor password, what opens the server is found on the node: in
/// `/etc/mysql/debian.cnf`, or else `root` over the default socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Name or address, or the absolute path of a local socket; the node's own default socket, when absent.
    #[serde(default)]
    pub host: Option<String>,
    /// 3306 when absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// The user; `root` when absent.
    #[serde(default)]
    pub user: Option<String>,
    /// The password's reference; set by the gateway.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// Whether TLS is used, and what is checked. MariaDB's programs know no `verify-ca`: it is `verify-full` there.
    #[serde(default)]
    pub tls: Tls,
    /// The file with the certificates that are trusted, on the node.
    #[serde(default)]
    pub tls_root: Option<String>,
}

impl Mysql {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = self.connection.problems("connection");
        for (field, names) in [("databases", &self.databases), ("excludes", &self.excludes)] {
            for (i, name) in names.iter().enumerate() {
                let field = format!("{field}[{i}]");
                check_name(&mut problems, &field, name);
                if names.iter().take(i).any(|earlier| earlier == name) {
                    problems.push(FieldError::new(field, "is named twice"));
                }
            }
        }
        for (i, name) in self.databases.iter().enumerate() {
            if is_system(name) {
                let message =
                    "belongs to the server itself, and is not dumped; users are kept with 'globals'";
                problems.push(FieldError::new(format!("databases[{i}]"), message));
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
            if self.globals != Wanted::IfAllowed {
                let message =
                    "must be absent with the method 'physical': users are in the server's own tables";
                problems.push(FieldError::new("globals", message));
            }
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
            let is_path = host.starts_with('/');
            if host.is_empty() || (!is_path && host.contains([',', ' ', '/'])) {
                problems
                    .push(FieldError::new(&field, "must be one name, address or absolute path of a socket"));
            }
        }
        if self.port == Some(0) {
            problems.push(FieldError::new(format!("{at}.port"), "must be at least 1"));
        }
        if self.port.is_some() && self.socket_or_default() {
            let message = "must be absent: a socket has none; give a host for TCP";
            problems.push(FieldError::new(format!("{at}.port"), message));
        }
        if let Some(user) = &self.user
            && (user.is_empty() || user.chars().count() > 128 || user.chars().any(char::is_control))
        {
            let message = "must be 1 to 128 characters, and none that controls something";
            problems.push(FieldError::new(format!("{at}.user"), message));
        }
        if let Some(path) = &self.tls_root {
            check_absolute_path(&mut problems, &format!("{at}.tls_root"), path);
        }
        problems
    }

    /// Whether it leads to the same server, for the same user, with the same care: a password that was given for one
    /// goes to no other.
    pub fn is_where(&self, other: &Self) -> bool {
        let place = |c: &Self| (c.host.clone(), c.port(), c.user.clone(), c.tls, c.tls_root.clone());
        place(self) == place(other)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(3306)
    }

    /// The socket, when one is named.
    pub fn socket(&self) -> Option<&str> {
        self.host.as_deref().filter(|host| host.starts_with('/'))
    }

    /// Whether it is left to the node what opens the server.
    pub fn is_found_on_the_node(&self) -> bool {
        self.host.is_none() && self.user.is_none() && self.password.is_none()
    }

    /// Whether the server is on the node itself, as far as its address tells.
    pub fn is_local(&self) -> bool {
        self.socket_or_default() || matches!(self.host.as_deref(), Some("localhost" | "127.0.0.1" | "::1"))
    }

    /// The server, as people write it.
    pub fn shown(&self) -> String {
        match &self.host {
            None => "the local socket".to_owned(),
            Some(host) if host.starts_with('/') => host.clone(),
            Some(host) => format!("{host}:{}", self.port()),
        }
    }

    fn socket_or_default(&self) -> bool {
        self.host.as_ref().is_none_or(|host| host.starts_with('/'))
    }
}

/// Whether a database is one of the server itself.
pub fn is_system(name: &str) -> bool {
    SYSTEM.iter().any(|system| name.eq_ignore_ascii_case(system))
}

/// Adds a problem when a name could not be a database's (MySQL manual, "Schema Object Names").
pub fn check_name(problems: &mut Vec<FieldError>, field: &str, name: &str) {
    let characters = name.chars().count();
    let foreign = |c: char| c == '\0' || u32::from(c) > 0xFFFF;
    if characters == 0 || characters > NAME_CHARACTERS || name.ends_with(' ') || name.chars().any(foreign) {
        let message = "must be 1 to 64 characters of the Basic Multilingual Plane without NUL, and not end with a space";
        problems.push(FieldError::new(field, message));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::{Value, json};

    fn fields(source: Value) -> Vec<String> {
        let source: Mysql = serde_json::from_value(source).unwrap();
        source.problems().into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let source: Mysql = serde_json::from_value(json!({})).unwrap();
        assert!(source.problems().is_empty());
        assert_eq!((source.globals, source.connection.tls), (Wanted::IfAllowed, Tls::Prefer));
        assert!(source.connection.is_found_on_the_node() && source.connection.is_local());
        assert_eq!(source.connection.shown(), "the local socket");
        let connection = |value| serde_json::from_value::<Connection>(value).unwrap();
        let far = connection(json!({ "host": "db.example" }));
        assert_eq!((far.shown().as_str(), far.is_local()), ("db.example:3306", false));
        let socket = connection(json!({ "host": "/run/my sql.sock", "user": "u" }));
        assert_eq!((socket.socket(), socket.is_found_on_the_node()), (Some("/run/my sql.sock"), false));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let odd = json!({
            "connection": { "host": "a,b", "port": 0, "user": "", "tls_root": "ca.pem" },
            "databases": ["a", "a", "x\0y", "Mysql", "end ", "𝄞"], "excludes": ["b"],
        });
        assert_eq!(
            fields(odd),
            [
                "connection.host",
                "connection.port",
                "connection.user",
                "connection.tls_root",
                "databases[1]",
                "databases[2]",
                "databases[4]",
                "databases[5]",
                "databases[3]",
                "excludes",
            ]
        );
        let physical = json!({ "method": "physical", "excludes": ["a"], "globals": "never" });
        assert_eq!(fields(physical), ["excludes", "globals"]);
        assert_eq!(fields(json!({ "connection": { "host": "/s", "port": 1 } })), ["connection.port"]);
        assert_eq!(
            fields(json!({ "databases": ["a\nb", "it's", "\"x\"", "é=ü`%", "a/b"] })),
            Vec::<String>::new()
        );
    }
}

//! How mongodump and mongorestore are told where to connect.
//!
//! A password stands in no argument and no environment, where everybody on the machine could read it, and in no address
//! either, which the programs repeat when they fail.

use strongroom_domain::source::Tls;
use strongroom_domain::source::mongodb::Connection;

/// The private file: the password, and nothing else.
pub fn config(password: &str) -> String {
    format!("password: {}\n", quoted(password))
}

/// The arguments by which a server is found. `config` is where the private file is.
pub fn connection(connection: &Connection, config: Option<&str>) -> Vec<String> {
    let mut arguments = vec![format!("--host={}", connection.shown())];
    if let Some(user) = &connection.user {
        arguments.push(format!("--username={user}"));
        arguments.push(format!("--authenticationDatabase={}", connection.auth_database()));
    }
    arguments.extend(config.map(|path| format!("--config={path}")));
    match connection.tls {
        Tls::Disable | Tls::Prefer => return arguments,
        Tls::Require => arguments.extend(["--ssl".to_owned(), "--tlsInsecure".to_owned()]),
        Tls::VerifyCa | Tls::VerifyFull => arguments.push("--ssl".to_owned()),
    }
    arguments.extend(connection.tls_root.as_ref().map(|root| format!("--sslCAFile={root}")));
    arguments
}

/// Dumps a database, or all of them.
pub fn dump(database: Option<&str>, oplog: bool) -> Vec<String> {
    let mut arguments = vec!["--archive".to_owned()];
    arguments.extend(database.map(|database| format!("--db={database}")));
    if oplog {
        arguments.push("--oplog".to_owned());
    }
    arguments
}

/// What is restored.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// All databases, each under its own name.
    All {
        /// With what was written while they were dumped.
        oplog: bool,
    },
    /// One, under a name.
    One {
        /// What it was called.
        from: &'a str,
        /// What it is to be called.
        to: &'a str,
    },
}

/// Restores. With `drop` a collection that is in the dump takes the place of the one of its name.
pub fn restore(what: What<'_>, drop: bool) -> Vec<String> {
    let mut arguments = vec!["--archive".to_owned(), "--stopOnError".to_owned()];
    if drop {
        arguments.push("--drop".to_owned());
    }
    match what {
        What::All { oplog: true } => arguments.push("--oplogReplay".to_owned()),
        What::All { oplog: false } => {}
        What::One { from, to } => {
            let all_of = |name: &str| format!("{}.*", name.replace('\\', "\\\\").replace('*', "\\*"));
            arguments.push(format!("--nsInclude={}", all_of(from)));
            if from != to {
                arguments.push(format!("--nsFrom={}", all_of(from)));
                arguments.push(format!("--nsTo={}", all_of(to)));
            }
        }
    }
    arguments
}

/// A value in YAML (1.2, "Double-Quoted Style").
fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn told(value: serde_json::Value) -> Vec<String> {
        connection(&serde_json::from_value(value).unwrap(), Some("/p"))
    }

    #[test]
    fn a_password_of_any_characters_is_one_value() {
        assert_eq!(config("a\"b\\ c#'\n: é"), "password: \"a\\\"b\\\\ c#'\\U0000000A: \\U000000E9\"\n");
    }

    #[test]
    fn servers_are_found_by_host_or_replica_set() {
        assert_eq!(told(json!({})), ["--host=localhost:27017", "--config=/p"]);
        let set = json!({ "host": "::1", "replica_set": "rs0", "user": "u", "auth_database": "users" });
        assert_eq!(
            told(set),
            ["--host=rs0/[::1]:27017", "--username=u", "--authenticationDatabase=users", "--config=/p"]
        );
        let tls = |tls: &str| told(json!({ "tls": tls, "tls_root": "/ca" })).split_off(2);
        assert_eq!(tls("prefer"), Vec::<String>::new());
        assert_eq!(tls("require"), ["--ssl", "--tlsInsecure", "--sslCAFile=/ca"]);
        assert_eq!(tls("verify-ca"), ["--ssl", "--sslCAFile=/ca"]);
        assert_eq!(tls("verify-full"), ["--ssl", "--sslCAFile=/ca"]);
    }

    #[test]
    fn names_are_no_patterns() {
        assert_eq!(dump(Some("a b"), false), ["--archive", "--db=a b"]);
        assert_eq!(dump(None, true), ["--archive", "--oplog"]);
        assert_eq!(
            restore(What::One { from: "a*", to: "b" }, false),
            ["--archive", "--stopOnError", "--nsInclude=a\\*.*", "--nsFrom=a\\*.*", "--nsTo=b.*"]
        );
        assert_eq!(
            restore(What::One { from: "a", to: "a" }, true),
            ["--archive", "--stopOnError", "--drop", "--nsInclude=a.*"]
        );
        assert_eq!(
            restore(What::All { oplog: true }, false),
            ["--archive", "--stopOnError", "--oplogReplay"]
        );
    }
}

//! Option files: the private one by which the programs are told how to connect, and those of a server.
//!
//! A password stands in no argument and no environment, where everybody on the machine could read it.

use super::program::Flavour;
use std::path::{Path, PathBuf};
use strongroom_domain::source::Tls;
use strongroom_domain::source::mysql::Connection;

/// How long a connection may take to come about, in seconds.
const CONNECT_TIMEOUT_S: u32 = 30;

/// What the programs are told. `found` is a file of the node that says what opens its server.
pub fn write(
    connection: &Connection,
    password: Option<&str>,
    flavour: Flavour,
    found: Option<&Path>,
) -> String {
    let mut text = String::new();
    if let Some(found) = found {
        text.push_str(&format!("!include {}\n", found.display()));
    }
    text.push_str("[client]\ndefault-character-set=utf8mb4\n");
    let mut set = |name: &str, value: &str| text.push_str(&format!("{name}={}\n", quoted(value)));
    match (&connection.host, connection.socket()) {
        (_, Some(socket)) => {
            set("protocol", "socket");
            set("socket", socket);
        }
        (Some(host), None) => {
            set("protocol", "tcp");
            set("host", host);
            set("port", &connection.port().to_string());
        }
        (None, None) => set("protocol", "socket"),
    }
    if found.is_none() {
        set("user", connection.user.as_deref().unwrap_or("root"));
    }
    if let Some(password) = password {
        set("password", password);
    }
    if let Some(root) = &connection.tls_root {
        set("ssl-ca", root);
    }
    text.push_str(tls(connection.tls, flavour));
    // A value of a row, and what it is in SQL, may be as large as the protocol allows.
    text.push_str(&format!(
        "[mysql]\nconnect-timeout={CONNECT_TIMEOUT_S}\nlocal-infile=0\nmax-allowed-packet=1G\n[mysqldump]\nmax-allowed-packet=1G\n"
    ));
    text
}

/// MariaDB's programs check a certificate or they do not; from 11.4 on they do unless they are told.
fn tls(tls: Tls, flavour: Flavour) -> &'static str {
    match (flavour, tls) {
        (Flavour::MariaDb, Tls::Disable) => "skip-ssl\n",
        (Flavour::MariaDb, Tls::Prefer | Tls::Require) => "ssl\nskip-ssl-verify-server-cert\n",
        (Flavour::MariaDb, Tls::VerifyCa | Tls::VerifyFull) => "ssl\nssl-verify-server-cert\n",
        (Flavour::MySql, Tls::Disable) => "ssl-mode=DISABLED\n",
        (Flavour::MySql, Tls::Prefer) => "ssl-mode=PREFERRED\n",
        (Flavour::MySql, Tls::Require) => "ssl-mode=REQUIRED\n",
        (Flavour::MySql, Tls::VerifyCa) => "ssl-mode=VERIFY_CA\n",
        (Flavour::MySql, Tls::VerifyFull) => "ssl-mode=VERIFY_IDENTITY\n",
    }
}

/// A value (MySQL manual, "Using Option Files").
fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Where an option file leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Include {
    /// To a file.
    File(PathBuf),
    /// To the files of a folder whose names end in `.cnf`.
    Folder(PathBuf),
}

/// Where an option file leads.
pub fn includes(text: &str) -> Vec<Include> {
    let line = |line: &str| {
        let line = line.trim();
        if let Some(folder) = line.strip_prefix("!includedir") {
            return Some(Include::Folder(folder.trim().into()));
        }
        line.strip_prefix("!include").map(|file| Include::File(file.trim().into()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn connection(value: serde_json::Value) -> Connection {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_password_of_any_characters_is_one_value() {
        let text = write(
            &connection(json!({ "host": "db", "user": "u" })),
            Some("a\"b\\c #d'\n;=é"),
            Flavour::MariaDb,
            None,
        );
        assert!(text.contains("\npassword=\"a\\\"b\\\\c #d'\\n;=é\"\n"), "{text}");
        assert!(text.contains("\nprotocol=\"tcp\"\nhost=\"db\"\nport=\"3306\"\nuser=\"u\"\n"), "{text}");
    }

    #[test]
    fn what_opens_the_server_of_the_node_is_found_there() {
        let none = connection(json!({}));
        let found = write(&none, None, Flavour::MariaDb, Some(Path::new("/etc/mysql/debian.cnf")));
        assert!(found.starts_with("!include /etc/mysql/debian.cnf\n[client]\n") && !found.contains("user="));
        let root = write(&none, None, Flavour::MySql, None);
        assert!(root.contains("protocol=\"socket\"\nuser=\"root\"\n"), "{root}");
        let socket = write(&connection(json!({ "host": "/s o" })), None, Flavour::MySql, None);
        assert!(socket.contains("protocol=\"socket\"\nsocket=\"/s o\"\n"), "{socket}");
    }

    #[test]
    fn certificates_are_checked_when_that_was_asked_for() {
        for (tls, mariadb, mysql) in [
            ("disable", "skip-ssl\n", "DISABLED"),
            ("prefer", "skip-ssl-verify-server-cert", "PREFERRED"),
            ("require", "skip-ssl-verify-server-cert", "REQUIRED"),
            ("verify-ca", "\nssl-verify-server-cert", "VERIFY_CA"),
            ("verify-full", "\nssl-verify-server-cert", "VERIFY_IDENTITY"),
        ] {
            let connection = connection(json!({ "host": "db", "tls": tls, "tls_root": "/ca" }));
            let written = |flavour| write(&connection, None, flavour, None);
            assert!(written(Flavour::MariaDb).contains(mariadb), "{tls}");
            assert!(written(Flavour::MySql).contains(&format!("ssl-mode={mysql}\n")), "{tls}");
            assert!(written(Flavour::MySql).contains("ssl-ca=\"/ca\"\n"));
        }
    }

    #[test]
    fn an_option_file_leads_to_others() {
        let text = "[client-server]\n# !include /no\n  !include /a b.cnf \n!includedir /etc/mysql/conf.d/\n";
        assert_eq!(
            includes(text),
            [Include::File("/a b.cnf".into()), Include::Folder("/etc/mysql/conf.d/".into())]
        );
    }
}

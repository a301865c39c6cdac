//! What PostgreSQL's programs say, and how they are told things.

pub mod archive;
pub mod rights;

use serde::Deserialize;
use strongroom_domain::{Failure, FailureCode};

/// The oldest version of the programs and of the server that is known to work.
pub const OLDEST: u32 = 10;

/// How the name of a database begins that a restore fills.
pub const SCRATCH: &str = "strongroom_restore_";

/// What is asked of a server before its databases are dumped.
pub const SURVEY: &str = "select json_build_object(
  'version_num', current_setting('server_version_num')::int,
  'version', current_setting('server_version'),
  'superuser', (select rolsuper from pg_roles where rolname = current_user),
  'role', current_user,
  'databases', (select coalesce(json_agg(json_build_object(
     'name', datname,
     'may_connect', has_database_privilege(datname, 'CONNECT'),
     'size_bytes', case when has_database_privilege(datname, 'CONNECT') then pg_database_size(datname) end)
     order by datname), '[]') from pg_database where datallowconn and not datistemplate));";

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Survey {
    /// 150018 for 15.18.
    pub version_num: u32,
    /// As the server says it.
    pub version: String,
    /// Whether the role may do anything.
    pub superuser: bool,
    /// The role.
    pub role: String,
    /// All that allow connections and are no templates.
    pub databases: Vec<Database>,
}

/// A database of a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Whether the role may connect to it.
    pub may_connect: bool,
    /// Bytes on disk, where that may be known.
    #[serde(default)]
    pub size_bytes: Option<u64>,
}

impl Survey {
    /// 15, and so on.
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }

    /// Which of these names no database has.
    pub fn unknown<'a>(&self, names: &'a [String]) -> Vec<&'a String> {
        names.iter().filter(|name| !self.databases.iter().any(|d| d.name == **name)).collect()
    }

    /// Which databases are to be dumped: those that are named, or all but some.
    pub fn chosen(&self, named: &[String], excludes: &[String]) -> Result<Vec<&Database>, Failure> {
        let mut chosen = Vec::new();
        if named.is_empty() {
            // What a restore is about to fill is not there yet.
            let is_kept = |d: &&Database| !excludes.contains(&d.name) && !d.name.starts_with(SCRATCH);
            chosen.extend(self.databases.iter().filter(is_kept));
        }
        for name in named {
            let found = self.databases.iter().find(|d| d.name == *name);
            chosen.push(found.ok_or_else(|| {
                let message = format!("there is no database '{name}' that allows connections on this server");
                Failure::new(FailureCode::DatabaseMissing, message)
            })?);
        }
        if chosen.is_empty() {
            let message = "the server has no database that is to be dumped";
            return Err(Failure::new(FailureCode::DatabaseMissing, message));
        }
        if let Some(closed) = chosen.iter().find(|d| !d.may_connect) {
            let message = format!(
                "role '{}' may not connect to database '{}'; GRANT CONNECT, or leave it out with excludes",
                self.role, closed.name
            );
            return Err(Failure::new(FailureCode::AccessDenied, message));
        }
        Ok(chosen)
    }
}

/// What people read of the last lines: the error itself, and not what comes before or after it.
pub fn words(tail: &[String]) -> String {
    let find = |words: &[&str]| tail.iter().find(|line| words.iter().any(|word| line.contains(word)));
    let line = find(&["FATAL:", "ERROR:"]).or_else(|| find(&["error:"])).or(tail.last());
    line.map_or_else(|| "it said nothing".to_owned(), |line| line.trim().to_owned())
}

/// 15 of `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, or of `... 16beta1`.
pub fn major_of(said: &str) -> Option<u32> {
    let (_, version) = said.split_once("(PostgreSQL) ")?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// 15.18 of `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
pub fn number_of(said: &str) -> Option<&str> {
    said.split_once("(PostgreSQL) ")?.1.split_whitespace().next()
}

/// Which of several versions is the right one for a server: its own, or else the next newer one. A program never knows
/// a server that is newer than itself.
pub fn best(found: &[u32], server: u32) -> Option<usize> {
    let newer = found.iter().enumerate().filter(|(_, major)| **major >= server);
    newer.min_by_key(|(_, major)| **major).map(|(n, _)| n)
}

/// Whether a program has said that it speaks no TLS, which it was told to (`pqConnectOptions2` of libpq).
pub fn without_tls(tail: &[String]) -> bool {
    tail.iter().any(|line| line.contains("SSL support is not compiled in"))
}

/// Whether it is the program itself that cannot go this way, so that another one may.
pub fn is_of_the_program(tail: &[String]) -> bool {
    let words = ["requires libpq version", "error while loading shared libraries", "invalid sslmode value"];
    without_tls(tail) || tail.iter().any(|line| words.iter().any(|words| line.contains(words)))
}

/// The cause of an end with an error, out of the last lines. The server speaks the language that it was set up with, so
/// the words of the program itself count first.
pub fn cause(tail: &[String]) -> FailureCode {
    let said = |words: &str| tail.iter().any(|line| line.contains(words));
    if is_of_the_program(tail) {
        return FailureCode::ToolMissing;
    }
    let refused = ["password authentication failed", "no password supplied", "Peer authentication failed"];
    if refused.iter().any(|words| said(words))
        || said("no pg_hba.conf entry")
        || said("permission denied for")
        || said("row-level security policy")
    {
        return FailureCode::AccessDenied;
    }
    if said("FATAL:") && said("does not exist") && said("database ") {
        return FailureCode::DatabaseMissing;
    }
    if said("terminating connection") {
        return FailureCode::DumpFailed;
    }
    if said("No space left on device") {
        return FailureCode::NoSpace;
    }
    let unreachable =
        ["Connection refused", "could not translate host name", "timeout expired", "is the server running"];
    if unreachable.iter().any(|words| said(words).to_owned())
        || ["No route to host", "Network is unreachable", "server closed the connection unexpectedly"]
            .iter()
            .any(|words| said(words))
        || said("shutting down")
        || said("starting up")
    {
        return FailureCode::ServerUnreachable;
    }
    // It was reached, and did not want us.
    if said("connection to server") && said("FATAL:") {
        return FailureCode::AccessDenied;
    }
    if said("connection to server") {
        return FailureCode::ServerUnreachable;
    }
    FailureCode::DumpFailed
}

/// A name in SQL.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL. `E''` with backslashes doubled means the same whatever `standard_conforming_strings` is.
pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A database in a connection string: where a program takes nothing else, a bare name with `=` in it would be one.
pub fn connection_string(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A line of a password file for any server (PostgreSQL manual, "The Password File").
pub fn password_line(password: &str) -> String {
    format!("*:*:*:*:{}\n", password.replace('\\', "\\\\").replace(':', "\\:"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn survey(names: &[(&str, bool)]) -> Survey {
        let database = |(name, may_connect): &(&str, bool)| Database {
            name: (*name).into(),
            may_connect: *may_connect,
            size_bytes: None,
        };
        let databases = names.iter().map(database).collect();
        Survey {
            version_num: 150_018,
            version: "15.18".into(),
            superuser: false,
            role: "b".into(),
            databases,
        }
    }

    fn names(survey: &Survey, named: &[&str], excludes: &[&str]) -> Result<Vec<String>, FailureCode> {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let chosen = survey.chosen(&own(named), &own(excludes)).map_err(|f| f.code)?;
        Ok(chosen.into_iter().map(|d| d.name.clone()).collect())
    }

    #[test]
    fn all_databases_are_dumped_unless_some_are_named() {
        let open = survey(&[("a", true), ("b", true)]);
        assert_eq!(open.major(), 15);
        assert_eq!(names(&open, &[], &[]).unwrap(), ["a", "b"]);
        assert_eq!(names(&open, &[], &["a"]).unwrap(), ["b"]);
        let restoring = survey(&[("a", true), ("strongroom_restore_07", true)]);
        assert_eq!(names(&restoring, &[], &[]).unwrap(), ["a"]);
        assert_eq!(open.unknown(&["a".into(), "x".into()]), ["x"]);
        assert_eq!(names(&open, &["b"], &[]).unwrap(), ["b"]);
        assert_eq!(names(&open, &["c"], &[]), Err(FailureCode::DatabaseMissing));
        assert_eq!(names(&open, &[], &["a", "b"]), Err(FailureCode::DatabaseMissing));
        let closed = survey(&[("a", true), ("b", false)]);
        assert_eq!(names(&closed, &[], &[]), Err(FailureCode::AccessDenied));
        assert_eq!(names(&closed, &[], &["b"]).unwrap(), ["a"]);
    }

    #[test]
    fn a_program_is_as_new_as_the_server_or_newer() {
        assert_eq!(major_of("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_of("pg_dump (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_of("pg_dump: not found"), None);
        assert_eq!(best(&[13, 17, 15, 16], 15), Some(2));
        assert_eq!(best(&[13, 17, 16], 15), Some(2));
        assert_eq!(best(&[13, 14], 15), None);
    }

    #[test]
    fn what_a_program_says_has_a_cause() {
        let cause = |line: &str| cause(&[line.to_owned()]);
        let connecting = "psql: error: connection to server at \"localhost\" (::1), port 5432 failed: ";
        for (words, code) in [
            ("FATAL:  password authentication failed for user \"x\"", FailureCode::AccessDenied),
            ("FATAL:  authentification par mot de passe échouée", FailureCode::AccessDenied),
            ("Connection refused\n\tIs the server running", FailureCode::ServerUnreachable),
            ("FATAL:  database \"x\" does not exist", FailureCode::DatabaseMissing),
            ("FATAL:  the database system is shutting down", FailureCode::ServerUnreachable),
        ] {
            assert_eq!(cause(&format!("{connecting}{words}")), code, "{words}");
        }
        let tail = ["psql: error: connection to server failed: FATAL:  no", "password retrieved from file"];
        assert_eq!(words(&tail.map(str::to_owned)), tail[0]);
        let tail =
            ["pg_dump: error: connection to server failed: Connection refused", "\tIs the server running?"];
        assert_eq!(words(&tail.map(str::to_owned)), tail[0]);
        let bare =
            "psql: error: sslmode value \"require\" invalid when SSL support is not compiled in".to_owned();
        assert!(without_tls(std::slice::from_ref(&bare)));
        assert_eq!(cause(&bare), FailureCode::ToolMissing);
        let denied = "pg_dump: error: query failed: ERROR:  permission denied for table secrets";
        assert_eq!(cause(denied), FailureCode::AccessDenied);
        let hidden = "pg_dump: error: query failed: ERROR:  query would be affected by row-level security policy for table \"t\"";
        assert_eq!(cause(hidden), FailureCode::AccessDenied);
        assert_eq!(cause("pg_dump: error: query failed: ERROR:  odd"), FailureCode::DumpFailed);
    }

    #[test]
    fn names_are_quoted_for_where_they_go() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's \\"), "E'it''s \\\\'");
        assert_eq!(connection_string("a='b\\"), "dbname='a=\\'b\\\\'");
        assert_eq!(password_line("a:b\\c"), "*:*:*:*:a\\:b\\\\c\n");
    }
}

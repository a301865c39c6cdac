//! `mariadb-backup`: what it says, and what may be added to what it has made.

use crate::core::sum;
use strongroom_domain::chain::{Base, Position, RedoPosition};
use strongroom_domain::{Failure, FailureCode};

/// What is asked of a server whose files are to be taken.
pub const STATE: &str = "select 'state', hex(@@datadir), hex(@@hostname), @@port;
show global variables like 'server_uid';";

/// The server's time.
pub const TIME: &str = "select date_format(utc_timestamp(6), '%Y-%m-%dT%H:%i:%s.%fZ');";

/// The rights without which it does not begin.
pub const RIGHTS: [&str; 3] = ["RELOAD", "PROCESS", "LOCK TABLES"];

/// The answer to [`STATE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Where its files are.
    pub datadir: String,
    /// What else tells it from others.
    pub words: String,
}

impl State {
    /// Reads it.
    pub fn read(said: &str) -> Option<Self> {
        let mut lines = said.lines();
        let first: Vec<&str> = lines.next()?.split('\t').collect();
        let ["state", datadir, hostname, port] = *first.as_slice() else { return None };
        let words = format!("{hostname} {port} {}", lines.next().unwrap_or_default());
        Some(Self { datadir: super::text(datadir)?, words })
    }

    /// Which data folder it is: `birth` tells one that was made or put back in its place.
    pub fn data_id(&self, birth: &str) -> String {
        let digest = sum::of(format!("{}\n{}\n{birth}", self.words, self.datadir).as_bytes()).sha256;
        digest.get(..32).unwrap_or_default().to_owned()
    }
}

/// `10.11` of `10.11.19-MariaDB-0+deb12u1`, or of `mariadb-backup based on MariaDB server 10.11.19-MariaDB ...`.
pub fn series(version: &str) -> Option<String> {
    let version = version.split_once("MariaDB server ").map_or(version, |(_, rest)| rest);
    let mut numbers = version.split('.');
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (major, minor) = (numbers.next()?, numbers.next()?);
    (number(major) && number(minor)).then(|| format!("{major}.{minor}"))
}

/// A number of `xtrabackup_checkpoints`.
pub fn checkpoint(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| {
        let (found, value) = line.split_once('=')?;
        (found.trim() == name).then(|| value.trim().parse().ok())?
    };
    text.lines().find_map(value)
}

/// Where the next archive begins, when it can be made on this one.
pub fn goes_on_from(base: &Base, data_id: &str, series: &str) -> Result<u64, Failure> {
    let broken = |why: &str| {
        let message = format!("nothing can be added to {}: {why}", base.archive.name);
        Err(Failure::new(FailureCode::ChainBroken, message))
    };
    match &base.physical.position {
        Position::Mysql(RedoPosition { data_id: before, .. }) if before != data_id => {
            broken("the server has another data folder now, or one that was made or put back since")
        }
        Position::Mysql(RedoPosition { series: before, .. }) if before != series => {
            broken(&format!("it is of a server of the series {before}, and this one is of {series}"))
        }
        Position::Mysql(position) => Ok(position.to_lsn),
        Position::Postgresql(_) => broken("it is of another database system"),
    }
}

/// The cause of an end with an error. It gives its causes no numbers.
pub fn cause(tail: &[String]) -> FailureCode {
    let said = |words: &str| tail.iter().any(|line| line.contains(words));
    if said("Access denied") || said("missing required privilege") {
        FailureCode::AccessDenied
    } else if said("Failed to connect") {
        FailureCode::ServerUnreachable
    } else if said("No space left on device") {
        FailureCode::NoSpace
    } else if said("Permission denied") {
        FailureCode::PermissionDenied
    } else {
        super::cause(tail)
    }
}

/// What people read of its last lines.
pub fn words(tail: &[String]) -> String {
    let known = ["Failed to connect", "Error:", "[ERROR]", "error:"];
    let line = tail.iter().find(|line| known.iter().any(|word| line.contains(word))).or(tail.last());
    line.map_or_else(|| "it said nothing".to_owned(), |line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_it_says_is_understood() {
        let said = "mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu (x86_64)";
        assert_eq!(series(said).as_deref(), Some("10.11"));
        assert_eq!(series("11.4.2-MariaDB").as_deref(), Some("11.4"));
        assert_eq!(series("not found"), None);
        let checkpoints = "backup_type = incremental\nfrom_lsn = 44404\nto_lsn = 118384\nlast_lsn = 118400\n";
        assert_eq!(
            (checkpoint(checkpoints, "to_lsn"), checkpoint(checkpoints, "lsn")),
            (Some(118_384), None)
        );
        let denied = "[00] 2026-11-21 15:50:57 Failed to connect to MariaDB server: Access denied for user 'b'@'localhost' (using password: YES).";
        assert_eq!(cause(&[denied.to_owned()]), FailureCode::AccessDenied);
        let away = "[00] 2026-11-21 15:49:48 Failed to connect to MariaDB server: Can't connect to local server through socket '/nowhere' (2 \"No such file or directory\").";
        assert_eq!(cause(&[away.to_owned()]), FailureCode::ServerUnreachable);
        assert_eq!(words(&["x".to_owned(), away.to_owned(), "y".to_owned()]), away);
        let state = State::read("state\t2F646174612F\t68\t3306\nserver_uid\tabc=").unwrap();
        assert_eq!(state.datadir, "/data/");
        assert_ne!(state.data_id("1"), state.data_id("2"));
    }

    #[test]
    fn changes_are_added_to_what_has_the_same_history() {
        let base: Base = serde_json::from_value(json!({
            "archive": { "id": "01a1fc2e-7929-75ac-9cc8-1bcb1a036582", "name": "p-1", "borg_id": "x" },
            "physical": { "variant": "full", "position": { "system": "mysql", "from_lsn": 0, "to_lsn": 7, "data_id": "d",
                "series": "10.11", "stopped_at": "2026-03-01T00:00:00Z" } },
        }))
        .unwrap();
        assert_eq!(goes_on_from(&base, "d", "10.11").unwrap(), 7);
        for (data_id, series) in [("e", "10.11"), ("d", "11.4")] {
            assert_eq!(goes_on_from(&base, data_id, series).unwrap_err().code, FailureCode::ChainBroken);
        }
    }
}

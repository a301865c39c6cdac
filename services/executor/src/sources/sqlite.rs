//! SQLite as a source: each database as it is at one moment, whoever writes to it meanwhile.
//!
//! The accident that this file prevents: a copy of a live database file, with one half of a change in it and the other
//! half in the journal beside it. A transaction is held open, and the pages of the database are read through SQLite
//! itself as that transaction sees them (`sqlite_dbpage`, sqlite.org/dbpage.html), so that nothing lies on a disk in
//! between, as it would with the online backup, which writes a file.

use crate::census::BESIDE_A_DUMP;
use crate::control::NoOutcome;
use crate::core::census::{Contents, Counted, SchemaSum, sum_up};
use crate::core::findings::Findings;
use crate::core::postgresql;
use crate::parts::{From, Part};
use crate::sources::Prepared;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use strongroom_domain::census::{TABLES_LISTED, TableCount, Taken};
use strongroom_domain::source::Sqlite;
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc::Sender;

/// How long is waited for somebody who holds the database for himself.
const BUSY: Duration = Duration::from_secs(60);
/// Pages are passed on in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// Looks at the databases.
pub fn prepare(source: &Sqlite) -> Result<Prepared, NoOutcome> {
    let mut parts = Vec::new();
    for path in &source.paths {
        // Opened now, so that one that is not there fails before anything is begun.
        drop(open(path, BUSY)?);
        let (of, check) = (path.clone(), source.check);
        parts.push(Part {
            path: format!("sqlite{path}"),
            kind: "database",
            database: Some(path.clone()),
            format: None,
            expected_bytes: Path::new(path).metadata().ok().map(|m| m.len()),
            may_vanish: false,
            from: From::Reader(Box::new(move |give| read(&of, check, BUSY, &give))),
        });
    }
    let version = format!("SQLite {}", rusqlite::version());
    let tool = version.clone();
    Ok(Prepared {
        server_version: version,
        tool,
        parts,
        findings: Findings::default(),
        properties: Value::Null,
        physical: None,
    })
}

fn open(path: &str, busy: Duration) -> Result<Connection, Failure> {
    match Path::new(path).metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(Failure::new(FailureCode::SourceMissing, format!("{path} is no file"))),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(Failure::new(FailureCode::PermissionDenied, format!("{path}: {e}")));
        }
        Err(e) => return Err(Failure::new(FailureCode::SourceMissing, format!("{path}: {e}"))),
    }
    let failed = |e| failure(path, &e);
    // Never made: what is not there is missing and no empty database.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(busy).map_err(failed)?;
    // Nothing that is written in the database is to be run by who reads it.
    connection.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    // The first look at it: what is no database is found out here.
    connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(())).map_err(failed)?;
    Ok(connection)
}

/// Reads all pages as of one moment, and counts what is in them. Ends early when nobody takes them any more.
fn read(path: &str, check: bool, busy: Duration, give: &Sender<Vec<u8>>) -> Result<Option<Counted>, Failure> {
    let failed = |e| failure(path, &e);
    let mut connection = open(path, busy)?;
    let moment = connection.transaction().map_err(failed)?;
    // A transaction begins with its first look.
    moment.query_row("select count(*) from sqlite_schema", [], |_| Ok(())).map_err(failed)?;
    if check {
        let found: String =
            moment.query_row("pragma integrity_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if found != "ok" {
            let message = format!("{path} is damaged: {found}");
            return Err(Failure::new(FailureCode::SourceDamaged, message));
        }
    }
    let mut pages = moment.prepare("select data from sqlite_dbpage order by pgno").map_err(failed)?;
    let mut rows = pages.query([]).map_err(failed)?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    while let Some(row) = rows.next().map_err(failed)? {
        let page = row.get_ref(0).map_err(failed)?;
        let page = page.as_blob().map_err(|e| failed(e.into()))?;
        if piece.len() + page.len() > PIECE_BYTES {
            let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES));
            if give.blocking_send(full).is_err() {
                return Ok(None);
            }
        }
        piece.extend_from_slice(page);
    }
    drop(rows);
    // When nobody takes it, somebody else knows why.
    if give.blocking_send(piece).is_err() {
        return Ok(None);
    }
    Ok(count(&moment, BESIDE_A_DUMP)
        .inspect_err(|e| tracing::warn!(path, error = %e, "what is in a database was not counted"))
        .ok())
}

/// Counts the rows of all tables, as far as that can be done in time.
fn count(moment: &Connection, within: Duration) -> rusqlite::Result<Counted> {
    let mut schema = SchemaSum::default();
    let mut tables = Vec::new();
    let mut asked = moment.prepare(
        "select type, name, tbl_name, coalesce(sql, '') from sqlite_schema where name not like 'sqlite\\_%' escape '\\' order by type, name",
    )?;
    let mut rows = asked.query([])?;
    while let Some(row) = rows.next()? {
        let fields: [String; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        schema.add(&fields.join("\t"));
        let [kind, name, _, sql] = fields;
        // Virtual ones have their rows elsewhere.
        if kind == "table" && !sql.trim_start().to_ascii_lowercase().starts_with("create virtual") {
            tables.push(name);
        }
    }
    let total = tables.len() as u64;
    let (interrupt, (told, tell)) = (moment.get_interrupt_handle(), std::sync::mpsc::channel::<()>());
    let clock = std::thread::spawn(move || {
        if tell.recv_timeout(within) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    let counted = tables.into_iter().take(TABLES_LISTED).map(|table| {
        let sql = format!("select count(*) from {}", postgresql::identifier(&table));
        // What was interrupted stays so: the rest is not counted either.
        let rows = if clock.is_finished() {
            None
        } else {
            let rows: Option<i64> = moment.query_row(&sql, [], |row| row.get(0)).ok();
            rows.and_then(|rows| u64::try_from(rows).ok())
        };
        TableCount { schema: None, table, rows, estimated: false }
    });
    let counted: Vec<_> = counted.collect();
    drop(told);
    let _ = clock.join();
    let contents = Contents { tables: counted, roles: Vec::new() };
    Ok(sum_up(contents, total, Some(schema.finish()), Taken::InSnapshot))
}

fn failure(path: &str, error: &rusqlite::Error) -> Failure {
    let code = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => FailureCode::SourceDamaged,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => FailureCode::SourceLocked,
        Some(ErrorCode::PermissionDenied | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            FailureCode::PermissionDenied
        }
        _ => FailureCode::DumpFailed,
    };
    Failure::new(code, format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn copied(path: &Path, check: bool) -> Result<Vec<u8>, Failure> {
        let (give, mut come) = tokio::sync::mpsc::channel(4);
        let path = path.display().to_string();
        let reading = std::thread::spawn(move || read(&path, check, Duration::from_millis(50), &give));
        let mut all = Vec::new();
        while let Some(piece) = come.blocking_recv() {
            all.extend(piece);
        }
        reading.join().unwrap().map(|_| all)
    }

    fn numbers(connection: &Connection) -> (i64, i64) {
        let sql = "select count(*), coalesce(sum(n), 0) from t";
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    #[test]
    fn a_copy_holds_what_is_committed_and_nothing_else_in_every_mode() {
        let folder = tempfile::tempdir().unwrap();
        for mode in ["delete", "wal", "truncate"] {
            let path = folder.path().join(format!("{mode} it's.db"));
            let writer = Connection::open(&path).unwrap();
            let _: String =
                writer.query_row(&format!("pragma journal_mode = {mode}"), [], |r| r.get(0)).unwrap();
            writer.execute_batch("create table t (n int, x blob)").unwrap();
            writer
                .execute_batch("with recursive c(n) as (select 1 union all select n + 1 from c where n < 5000) insert into t select n, randomblob(300) from c")
                .unwrap();
            // Not committed: in a journal or the WAL beside it.
            writer.execute_batch("begin; update t set n = 0 where n < 100").unwrap();
            let bytes = copied(&path, true).unwrap();
            writer.execute_batch("commit").unwrap();
            let copy = folder.path().join("copy.db");
            std::fs::write(&copy, bytes).unwrap();
            let copy = Connection::open(&copy).unwrap();
            assert_eq!(numbers(&copy), (5000, 12_502_500), "{mode}");
            let sound: String = copy.query_row("pragma integrity_check", [], |r| r.get(0)).unwrap();
            assert_eq!(sound, "ok");
        }
    }

    #[test]
    fn what_is_damaged_missing_or_held_is_told_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("create table t (n int, x blob); create index i on t (x)").unwrap();
        writer
            .execute_batch("with recursive c(n) as (select 1 union all select n + 1 from c where n < 2000) insert into t select n, randomblob(300) from c")
            .unwrap();
        drop(writer);
        let code = |path: &Path, check| copied(path, check).unwrap_err().code;
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at..at + 6000].fill(0x55);
        let damaged = folder.path().join("damaged.db");
        std::fs::write(&damaged, &bytes).unwrap();
        assert_eq!(code(&damaged, true), FailureCode::SourceDamaged);
        assert!(copied(&damaged, false).is_ok(), "it was not to be checked");
        std::fs::write(&damaged, "these are words and no database, and there are enough of them").unwrap();
        assert_eq!(code(&damaged, false), FailureCode::SourceDamaged);
        assert_eq!(code(&folder.path().join("none.db"), true), FailureCode::SourceMissing);
        assert_eq!(code(folder.path(), true), FailureCode::SourceMissing);
        assert!(!folder.path().join("none.db").exists());
        let holder = Connection::open(&path).unwrap();
        holder.execute_batch("begin exclusive").unwrap();
        assert_eq!(code(&path, true), FailureCode::SourceLocked);
        holder.execute_batch("rollback").unwrap();
        assert!(copied(&path, true).is_ok());
    }
}

//! SQLite databases, while somebody writes to them.

use crate::look;
use crate::stage::{PATIENCE, Stage};
use anyhow::{Context, Result};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use strongroom_domain::FailureCode as Code;
use strongroom_testkit::wait_until;

fn backup(stage: &Stage, paths: &[&Path]) -> Value {
    json!({
        "kind": "backup", "plan": "p", "access": stage.access(), "compression": "lz4",
        "source": { "type": "sqlite", "paths": paths },
    })
}

/// A database whose money is moved all the time, and whose sum stays.
pub fn accounts(path: &Path, mode: &str) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    let _: String = connection.query_row(&format!("pragma journal_mode = {mode}"), [], |row| row.get(0))?;
    connection.execute_batch(
        "pragma synchronous = off; create table a (id integer primary key, balance int, filling blob);
         with recursive c(n) as (select 1 union all select n + 1 from c where n < 20000)
         insert into a select n, 100, randomblob(200) from c",
    )?;
    Ok(connection)
}

pub fn sum(path: &Path) -> Result<(i64, i64, String)> {
    let connection = Connection::open(path)?;
    let sound = connection.query_row("pragma integrity_check", [], |row| row.get(0))?;
    let (count, sum) = connection
        .query_row("select count(*), sum(balance) from a", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((count, sum, sound))
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_that_are_written_to_are_kept_as_of_one_moment() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let folder = stage.folder.path().canonicalize()?.join("data {x}");
    std::fs::create_dir(&folder)?;
    let (wal, plain) = (folder.join("it's a wal.db"), folder.join("é.sqlite"));
    let writer = accounts(&wal, "wal")?;
    drop(accounts(&plain, "delete")?);
    let (stop, moves) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopping, moved) = (stop.clone(), moves.clone());
    let writing = std::thread::spawn(move || -> rusqlite::Result<()> {
        while !stopping.load(Ordering::Relaxed) {
            writer.execute_batch(
                "begin; update a set balance = balance - 1 where id = abs(random()) % 10000 + 1;
                 update a set balance = balance + 1 where id = abs(random()) % 10000 + 10001; commit",
            )?;
            moved.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    wait_until("the first moves", PATIENCE, async || (moves.load(Ordering::Relaxed) > 10).then_some(()))
        .await?;
    let before = moves.load(Ordering::Relaxed);
    let done = stage.success(backup(&stage, &[&wal, &plain])).await;
    let after = moves.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    writing.join().unwrap()?;
    let done = serde_json::to_value(done?)?;
    assert!(after > before, "the writer was held up");
    assert_eq!(done["completeness"], "complete", "{done}");
    let archive = &done["result"]["archive"];
    assert_eq!(
        (&archive["dump"]["source"], &archive["dump"]["artefacts_total"]),
        (&json!("sqlite"), &json!(2))
    );

    let roots = stage.folder.path().canonicalize()?.join("roots");
    std::fs::create_dir(&roots)?;
    let restore = json!({
        "kind": "restore", "access": stage.access(), "allowed_roots": [roots],
        "archive": { "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] },
        "paths": [format!("sqlite{}", wal.display()), format!("sqlite{}", plain.display())],
        "target": { "type": "folder", "path": roots },
    });
    stage.success(restore).await?;
    for path in [&wal, &plain] {
        let restored = roots.join("sqlite").join(path.strip_prefix("/")?);
        assert_eq!(sum(&restored)?, (20000, 2_000_000, "ok".into()), "{}", path.display());
    }
    assert_eq!(std::fs::read_dir(stage.path("state/streams"))?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_damaged_missing_or_held_leaves_no_archive() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let (good, bad) = (stage.path("good.db"), stage.path("bad.db"));
    drop(accounts(&good, "delete")?);
    let mut bytes = std::fs::read(&good)?;
    let at = bytes.len() / 2;
    bytes[at..at + 9000].fill(0x55);
    std::fs::write(&bad, bytes)?;
    // The good one comes first: an archive is under way when the bad one is found.
    let failure = stage.failure(backup(&stage, &[&good, &bad]), Code::SourceDamaged).await?;
    assert!(failure.message.contains("bad.db"), "{failure:?}");
    stage.failure(backup(&stage, &[&good, &stage.path("none.db")]), Code::SourceMissing).await?;
    assert_eq!(look::archives(&stage)?, Vec::<String>::new());
    let mut unchecked = backup(&stage, &[&good, &bad]);
    unchecked["source"]["check"] = json!(false);
    stage.success(unchecked).await.context("it was not to be checked")?;
    Ok(())
}

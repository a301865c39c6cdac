//! Whole servers, and executors that die in the middle of them.

use crate::clusters::Clusters;
use crate::stage::{PASSPHRASE, PATIENCE, processes};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use strongroom_domain::job::Report;
use strongroom_domain::wire::NodeReport;
use strongroom_testkit::{Postgresql, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_by_an_attempt_that_died_is_in_the_next_archive() -> Result<()> {
    let mut all = Clusters::with_borg().await?;
    all.add(1, 10)?;
    let full = all.archive("incremental", None).await?;
    all.add(11, 20)?;
    let before = all.spool();
    // The server lets go of what was received, and borg has not begun when the executor dies.
    all.stage.stop().await?;
    let slow = all.stage.slow_borg(300)?;
    all.stage.start(|config| strongroom_executor::Config { borg: slow, ..config }).await?;
    let (job, epoch) = all.stage.emit(all.backup("incremental", Some(&full))).await?;
    all.stage.begun(job).await?;
    let borg = all.stage.path("slow-borg");
    wait_until("borg to be asked", PATIENCE, async || {
        let asked = processes(&borg).iter().any(|line| line.contains("create"));
        (asked && all.spool() > before).then_some(())
    })
    .await?;
    all.stage.abort().await;
    all.add(21, 30)?;
    all.stage.start(|config| config).await?;
    let (again, epoch) = {
        let spec = all.backup("incremental", Some(&full));
        let emitted = all.stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
        assert!(emitted.1 > epoch);
        emitted
    };
    let ended = all.stage.end_of(again, epoch).await?;
    let Report::Succeeded { outcome, .. } = ended else { anyhow::bail!("{ended:?}") };
    let first = serde_json::to_value(outcome)?["result"]["archive"].clone();
    let (_, restored) = all.back(&first, json!({})).await?;
    assert_eq!(restored.sql("shop", "select count(*), sum(id) from orders")?, "30|465");
    drop(restored);
    std::fs::remove_dir_all(all.target())?;

    // An archive whose job nobody has heard the end of is no base; the spool still has what is in it.
    all.add(31, 40)?;
    let second = all.archive("incremental", Some(&full)).await?;
    let (_, restored) = all.back(&second, json!({})).await?;
    assert_eq!(restored.sql("shop", "select count(*), sum(id) from orders")?, "40|820");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_done_is_known_by_its_next_attempt_and_one_that_was_killed_leaves_nothing()
-> Result<()> {
    let mut all = Clusters::new().await?;
    all.add(1, 10)?;
    let full = all.archive("full", None).await?;
    let (job, epoch) = all.stage.emit(all.restore(&full, json!({}))).await?;
    all.stage.end_of(job, epoch).await?;
    let spec = all.restore(&full, json!({}));
    let (job, epoch) = all.stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
    let ended = all.stage.end_of(job, epoch).await?;
    assert!(matches!(ended, Report::Succeeded { .. }), "{ended:?}");
    std::fs::remove_dir_all(all.roots.path().join("back"))?;

    let (job, _) = all.stage.emit(all.restore(&full, json!({}))).await?;
    let NodeReport::Started { job: begun, .. } = all.stage.report().await? else {
        anyhow::bail!("not begun")
    };
    assert_eq!(begun, job);
    wait_until("something to be unpacked", PATIENCE, async || {
        std::fs::read_dir(all.roots.path()).ok()?.next().map(|_| ())
    })
    .await?;
    all.stage.abort().await;
    all.stage.start(|config| config).await?;
    wait_until("it to be removed", PATIENCE, async || {
        let left = std::fs::read_dir(all.roots.path()).ok()?.count();
        (left == 0).then_some(())
    })
    .await?;
    Ok(())
}

/// Writes the list of what is in an archive anew, with a change; the archive as it is named then.
pub fn rewritten(all: &Clusters, archive: &Value, pointer: &str, value: Value) -> Result<Value> {
    let name = archive["name"].as_str().unwrap();
    let file = all.stage.path("store").join("s/r/archives").join(name).join("strongroom.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    *manifest.pointer_mut(pointer).context("it is in the list")? = value;
    let text = serde_json::to_vec(&manifest)?;
    std::fs::write(&file, &text)?;
    let mut archive = archive.clone();
    archive["borg_id"] = json!(strongroom_executor::core::sum::of(&text).sha256);
    Ok(archive)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_program_is_not_the_folder_is_ready_for_one_that_is_started_on_it() -> Result<()> {
    let all = Clusters::new().await?;
    let full = all.archive("incremental", None).await?;
    all.add(1, 10)?;
    let place = all.server.sql("shop", "select pg_current_wal_insert_lsn()")?;
    all.add(11, 20)?;
    let first = all.archive("incremental", Some(&full)).await?;
    // As if it were of a version that is not on this node.
    let full = rewritten(&all, &full, "/dump/server_version", json!("99.1"))?;
    let first = rewritten(&all, &first, "/dump/physical/base/borg_id", full["borg_id"].clone())?;
    let spec = all.restore(&first, json!({ "until": { "lsn": place } }));
    let outcome = serde_json::to_value(all.stage.success(spec).await?)?;
    assert_eq!(outcome["completeness"], "incomplete", "{outcome}");
    assert_eq!(outcome["result"]["cluster"]["recovered"], false);
    let said = outcome["findings"][0]["message"].as_str().unwrap();
    assert!(said.contains("no postgres of version 99") && said.contains("strongroom_wal"), "{said}");
    let started = Postgresql::on(&all.target()).await?;
    wait_until("it to be recovered", PATIENCE, async || {
        let recovering = started.sql("postgres", "select pg_is_in_recovery()").ok()?;
        (recovering == "f").then_some(())
    })
    .await?;
    assert_eq!(started.sql("shop", "select count(*) from orders")?, "10");
    Ok(())
}

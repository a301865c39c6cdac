//! Archives of changed blocks: executors that die in the middle of them, what a node has lost, and plans that change.

use crate::cluster_blocks::{blocks, lists, position};
use crate::clusters::with_programs_of;
use crate::dump_store;
use crate::stage::{PASSPHRASE, PATIENCE, processes};
use anyhow::Result;
use serde_json::{Value, json};
use strongroom_domain::FailureCode as Code;
use strongroom_domain::job::Report;
use strongroom_testkit::{Postgresql, wait_until};

const SUM: &str = "select count(*), sum(id) from orders";

#[tokio::test(flavor = "multi_thread")]
async fn given_an_executor_that_is_killed_amid_changes_when_it_tries_again_then_the_chain_is_whole()
-> Result<()> {
    let mut all = blocks().await?.with_store().await?;
    all.add(1, 10)?;
    let full = all.archive("incremental", None).await?;
    all.add(11, 20)?;
    let mut slow = all.backup("incremental", Some(&full));
    slow["limits"] = json!({ "upload_rate_kib_per_s": 10 });
    let (job, epoch) = all.stage.emit(slow).await?;
    all.stage.begun(job).await?;
    wait_until("the changes to flow", PATIENCE, async || {
        let flow = processes(std::path::Path::new(&job.to_string()));
        flow.iter()
            .any(|line| line.contains("pg_basebackup") && line.contains("--incremental=./"))
            .then_some(())
    })
    .await?;
    all.stage.abort().await;
    let known = lists(&all);
    assert_eq!(known.len(), 1, "that of the full one, and no other");
    let archives = dump_store::files(&all.stage.path("store/s/r/archives"));
    let whole = archives.iter().filter(|(name, _)| name.ends_with("strongroom.json"));
    assert_eq!(whole.count(), 1, "that of the full one");
    all.add(21, 30)?;
    let server = &all.server;
    all.stage.start(|config| with_programs_of(server, config)).await?;
    let spec = all.backup("incremental", Some(&full));
    let (again, later) = all.stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
    assert!(later > epoch);
    let Report::Succeeded { outcome, .. } = all.stage.end_of(again, later).await? else {
        anyhow::bail!("it did not succeed")
    };
    let first = serde_json::to_value(outcome)?["result"]["archive"].clone();
    let (_, restored) = all.back(&first, json!({})).await?;
    assert_eq!(restored.sql("shop", SUM)?, "30|465");
    drop(restored);
    std::fs::remove_dir_all(all.target())?;

    // An archive whose job nobody has heard the end of is no base, and its list is not asked for.
    all.add(31, 40)?;
    let second = all.archive("incremental", Some(&full)).await?;
    assert_eq!(position(&second)["blocks"]["since_lsn"], position(&full)["start_lsn"]);
    let (cluster, restored) = all.back(&second, json!({})).await?;
    assert_eq!(cluster["archives"], json!([full["name"], second["name"]]));
    assert_eq!(restored.sql("shop", SUM)?, "40|820");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_list_that_is_lost_when_it_can_be_read_out_of_the_archive_then_it_is() -> Result<()> {
    let all = blocks().await?;
    let mut all = all;
    for store in [false, true] {
        if store {
            all = all.with_store().await?;
            std::fs::remove_dir_all(all.target())?;
        }
        let full = all.archive("incremental", None).await?;
        all.server.sql("shop", "truncate orders")?;
        all.add(1, 10)?;
        std::fs::remove_dir_all(all.stage.path("state/manifests/pg-1"))?;
        let first = all.archive("incremental", Some(&full)).await?;
        // One that was changed on the disk is as good as none.
        let of_first = position(&first)["blocks"]["manifest_sha256"].as_str().unwrap();
        std::fs::write(all.stage.path("state/manifests/pg-1").join(of_first), "{}")?;
        all.add(11, 20)?;
        let second = all.archive("incremental", Some(&first)).await?;
        let (_, restored) = all.back(&second, json!({})).await?;
        assert_eq!(restored.sql("shop", SUM)?, "20|210");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_list_that_is_lost_when_this_node_cannot_read_archives_then_the_chain_is_broken() -> Result<()>
{
    let mut all = blocks().await?;
    let place = dump_store::folder(&all.stage, "store")?;
    all.access = dump_store::access(&all.stage, &place, "age");
    all.access["recipients"] = json!([age::x25519::Identity::generate().to_public().to_string()]);
    all.stage.success(dump_store::init(&all.access)).await?;
    let full = all.archive("incremental", None).await?;
    // As long as the list is there, nothing has to be read.
    let first = all.archive("incremental", Some(&full)).await?;
    std::fs::remove_dir_all(all.stage.path("state/manifests/pg-1"))?;
    let broken = all.stage.failure(all.backup("incremental", Some(&first)), Code::ChainBroken).await?;
    assert!(broken.message.contains("is not on this node any more"), "{broken:?}");
    let full = all.archive("incremental", None).await?;
    all.archive("incremental", Some(&full)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_plan_that_changes_its_means_when_it_runs_then_nothing_of_the_old_ones_is_left() -> Result<()>
{
    let mut all = blocks().await?.with_store().await?;
    all.increments = "wal";
    let full = all.archive("incremental", None).await?;
    let moment = all.archive("incremental", Some(&full)).await?;
    assert!(!all.slots()?.is_empty() && all.spool() > 0 && lists(&all).is_empty());
    // The log of the newest version is followed as well.
    let (_, restored) =
        all.back(&moment, json!({ "until": { "time": position(&moment)["stopped_at"] } })).await?;
    assert_eq!(restored.sql("shop", "select count(*) from orders")?, "0");
    drop(restored);

    all.increments = "blocks";
    let broken = all.stage.failure(all.backup("incremental", Some(&full)), Code::ChainBroken).await?;
    assert!(broken.message.contains("followed by the server's log"), "{broken:?}");
    let of_blocks = all.archive("incremental", None).await?;
    assert_eq!((all.slots()?, all.spool(), lists(&all).len()), (String::new(), 0, 1));
    all.archive("incremental", Some(&of_blocks)).await?;

    all.increments = "wal";
    let full = all.archive("incremental", None).await?;
    assert_eq!((position(&full)["blocks"].clone(), lists(&all).len()), (Value::Null, 0));
    assert!(!all.slots()?.is_empty());
    drop(all);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_restored_server_when_it_is_backed_up_again_then_its_chain_is_a_new_one() -> Result<()> {
    let mut all = blocks().await?.with_store().await?;
    let full = all.archive("incremental", None).await?;
    all.add(1, 10)?;
    let first = all.archive("incremental", Some(&full)).await?;
    let (_, restored) = all.back(&first, json!({})).await?;
    let _old: Postgresql = std::mem::replace(&mut all.server, restored);
    let broken = all.stage.failure(all.backup("incremental", Some(&first)), Code::ChainBroken).await?;
    assert!(broken.message.contains("timeline"), "{broken:?}");
    let full = all.archive("incremental", None).await?;
    all.add(11, 20)?;
    all.archive("incremental", Some(&full)).await?;
    Ok(())
}

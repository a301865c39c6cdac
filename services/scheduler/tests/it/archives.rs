use crate::stage::{PATIENCE, Stage, access, facts, outcome, read};
use anyhow::Result;
use serde_json::json;
use strongroom_domain::job::{JobResult, JobSpec, Report};
use strongroom_domain::wire::{NodeReport, WorkItem};
use strongroom_domain::{ArchiveId, JobId};
use strongroom_testkit::wait_until;

async fn scan(stage: &Stage, archives: serde_json::Value) -> Result<()> {
    let job = stage.ask(json!({ "kind": "scan-repository", "access": access(0) })).await?;
    let item = next(stage, job).await?;
    stage.begin(&item).await?;
    for _ in 0..2 {
        let page = NodeReport::Scanned {
            job,
            epoch: item.epoch,
            page: 0,
            archives: read(archives.clone()),
            last: true,
            all: None,
        };
        stage.report(page).await?;
    }
    stage.end(&item).await?;
    stage.until_types(job, &["requested", "started", "succeeded"]).await
}

async fn next(stage: &Stage, job: JobId) -> Result<WorkItem> {
    let (item, delivery) = stage.work().await?;
    assert_eq!(item.job, job);
    delivery.ack.done().await?;
    Ok(item)
}

async fn kinds(stage: &Stage, archive: ArchiveId) -> Vec<String> {
    let events = stage.history(&format!("archive.{archive}")).await.unwrap();
    events.iter().map(|e| e.event.type_name().split('.').nth(2).unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_adopted_missed_found_and_deleted() -> Result<()> {
    let stage = Stage::set(1, 1).await?;
    let archive = ArchiveId::of(&"r0".parse()?, "aa");
    let there = json!([facts(0, "aa", "by-hand")]);
    scan(&stage, there.clone()).await?;
    assert_eq!(kinds(&stage, archive).await, ["adopted"]);
    scan(&stage, json!([])).await?;
    assert_eq!(kinds(&stage, archive).await, ["adopted", "missing"]);
    scan(&stage, there).await?;
    assert_eq!(kinds(&stage, archive).await, ["adopted", "missing", "found"]);

    stage.node.put_index(&archive.to_string(), 0, "part".into()).await?;
    let target = json!({ "id": archive, "name": "by-hand", "borg_id": "aa" });
    let job = stage.ask(json!({ "kind": "delete-archive", "access": access(0), "archive": target })).await?;
    let item = next(&stage, job).await?;
    stage.begin(&item).await?;
    for _ in 0..2 {
        stage.end(&item).await?;
    }
    wait_until("the deletion", PATIENCE, async || {
        (kinds(&stage, archive).await == ["adopted", "missing", "found", "deleted"]).then_some(())
    })
    .await?;
    let catalog = stage.nats.bus("catalog").await?;
    assert!(catalog.read_index("n", &archive.to_string(), 1).await?.is_empty(), "its index is still there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_while_a_scan_ran_is_not_adopted_and_a_late_page_is_taken() -> Result<()> {
    let stage = Stage::set(1, 1).await?;
    let archive = ArchiveId::of(&"r0".parse()?, "aa");
    scan(&stage, json!([facts(0, "aa", "by-hand")])).await?;

    let scanning = stage.ask(json!({ "kind": "scan-repository", "access": access(0) })).await?;
    let scanner = next(&stage, scanning).await?;
    stage.begin(&scanner).await?;
    let target = json!({ "id": archive, "name": "by-hand", "borg_id": "aa" });
    let job = stage.ask(json!({ "kind": "delete-archive", "access": access(0), "archive": target })).await?;
    // The deletion waits for the scan, whose last page is slower than its end.
    stage.end(&scanner).await?;
    stage.until_types(scanning, &["requested", "started", "succeeded"]).await?;
    let deleter = next(&stage, job).await?;
    stage.begin(&deleter).await?;
    stage.end(&deleter).await?;
    wait_until("the deletion", PATIENCE, async || {
        (kinds(&stage, archive).await == ["adopted", "deleted"]).then_some(())
    })
    .await?;

    // What the scan saw before the deletion is told after it.
    let page = NodeReport::Scanned {
        job: scanning,
        epoch: scanner.epoch,
        page: 0,
        archives: read(json!([facts(0, "aa", "by-hand"), facts(0, "bb", "other")])),
        last: true,
        all: None,
    };
    stage.report(page).await?;
    let other = ArchiveId::of(&"r0".parse()?, "bb");
    wait_until("the page", PATIENCE, async || (kinds(&stage, other).await == ["adopted"]).then_some(()))
        .await?;
    assert_eq!(kinds(&stage, archive).await, ["adopted", "deleted"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_an_index_gets_one_by_a_job_that_follows_from_the_backup() -> Result<()> {
    let stage = Stage::set(1, 2).await?;
    let backup = stage.ask_backup(0).await?;
    let item = next(&stage, backup).await?;
    stage.begin(&item).await?;
    let mut outcome = outcome(&item);
    let JobResult::Backup { archive, .. } = &mut outcome.result else { panic!("no backup") };
    archive.index = None;
    let archive = archive.id;
    let how = Report::Succeeded { outcome, log_tail: Vec::new() };
    stage.report(NodeReport::Ended { job: backup, epoch: item.epoch, how }).await?;
    let (item, delivery) = stage.work().await?;
    delivery.ack.done().await?;
    let JobSpec::IndexArchive { archive: target, .. } = &item.spec else { panic!("{:?}", item.spec) };
    assert_eq!(target.id, archive);
    stage.begin(&item).await?;
    // Of two schedulers, one may take down the end before the other the beginning.
    stage.until_types(item.job, &["requested", "started"]).await?;
    stage.end(&item).await?;
    stage.until_types(item.job, &["requested", "started", "succeeded"]).await?;
    let request = stage.history(&format!("job.{}", item.job)).await?.remove(0);
    assert_eq!(request.context.correlation, Some(backup.to_string()));
    Ok(())
}

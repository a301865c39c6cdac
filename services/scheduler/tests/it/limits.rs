use crate::stage::{PATIENCE, Stage};
use anyhow::Result;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use strongroom_domain::admission::Waiting;
use strongroom_domain::job::JobSpec;
use strongroom_domain::{Event, JobId};
use strongroom_testkit::wait_until;

/// Whatever two schedulers on three servers do at once: never two writers on a repository, never more than the limit.
#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_with_two_schedulers_on_three_servers() -> Result<()> {
    let stage = Stage::set(3, 2).await?;
    stage.define("server.s", json!({ "node": "n", "max_concurrent_jobs": 3 })).await?;
    let mut jobs = BTreeSet::new();
    for n in 0..12_u8 {
        jobs.insert(stage.ask_backup(n % 4).await?);
    }
    let mut ended = BTreeSet::new();
    while ended.len() < jobs.len() {
        let (item, delivery) = tokio::time::timeout(PATIENCE, stage.work()).await??;
        if ended.insert(item.job) {
            stage.begin(&item).await?;
            stage.end(&item).await?;
        }
        delivery.ack.done().await?;
    }
    for job in &jobs {
        // Two schedulers take reports at once: an end may be taken down before its beginning, which is then not needed.
        wait_until("its end", PATIENCE, async || {
            (stage.types(*job).await.last()? == "succeeded").then_some(())
        })
        .await?;
    }
    // The log says when each slot was taken and given back.
    let mut follower = stage.gateway.follow(0);
    let mut held: BTreeMap<JobId, String> = BTreeMap::new();
    let mut repositories: BTreeMap<JobId, String> = BTreeMap::new();
    while let strongroom_bus::Delivery::Event(event) = follower.next().await? {
        match &event.event {
            Event::JobRequested(requested) => {
                let JobSpec::Backup(spec) = &requested.spec else { continue };
                repositories.insert(event.aggregate.id.parse()?, spec.access.repository.to_string());
            }
            Event::QueueAdmitted(admitted) => {
                held.insert(admitted.job, repositories[&admitted.job].clone());
                assert!(held.len() <= 3, "{held:?}");
                let distinct: BTreeSet<&String> = held.values().collect();
                assert_eq!(distinct.len(), held.len(), "two writers on one repository: {held:?}");
            }
            event_ if event_.ends_job() => {
                held.remove(&event.aggregate.id.parse()?);
            }
            _ => {}
        }
    }
    assert!(held.is_empty(), "{held:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_why() -> Result<()> {
    let stage = Stage::set(1, 1).await?;
    let first = stage.ask_backup(0).await?;
    stage.work().await?;
    let second = stage.ask_backup(0).await?;
    let waiting = wait_until("the reason", PATIENCE, async || {
        stage.heartbeat(&[]).await;
        let asked = stage.gateway.ask("scheduler", "waiting", &(), None, None).await;
        let (waiting, _): (Vec<(JobId, Waiting)>, _) = asked.ok()?;
        (!waiting.is_empty()).then_some(waiting)
    })
    .await?;
    assert_eq!(waiting, [(second, Waiting::Repository { behind: first })]);
    let ahead = stage.gateway.position(u64::MAX / 2);
    let asked: Result<(Vec<(JobId, Waiting)>, _), _> = tokio::time::timeout(
        Duration::from_secs(10),
        stage.gateway.ask("scheduler", "waiting", &(), Some(ahead), None),
    )
    .await?;
    assert!(asked.unwrap_err().to_string().contains("behind"));
    Ok(())
}

use crate::stage::{BOOT, PATIENCE, Stage, config, read};
use anyhow::Result;
use serde_json::json;
use std::time::Duration;
use strongroom_bus::Fault;
use strongroom_domain::job::Report;
use strongroom_domain::view::Health;
use strongroom_domain::wire::{LeaseAnswer, LeaseQuestion, NodeReport, Status};
use strongroom_domain::{Event, JobId};
use strongroom_testkit::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_from_its_request_to_its_end_and_every_report_may_come_twice() -> Result<()> {
    let stage = Stage::set(1, 2).await?;
    let job = stage.ask_backup(0).await?;
    let (item, delivery) = stage.work().await?;
    assert_eq!(item.job, job);
    let lease = LeaseQuestion { job, epoch: item.epoch };
    assert_eq!(stage.node.lease(&lease).await?, LeaseAnswer::Held);
    for _ in 0..2 {
        stage.begin(&item).await?;
    }
    // Of two schedulers, one may take down the end before the other the beginning.
    stage.until_types(job, &["requested", "started"]).await?;
    for _ in 0..2 {
        stage.end(&item).await?;
    }
    delivery.ack.done().await?;
    stage.until_types(job, &["requested", "started", "succeeded"]).await?;
    wait_until("the lease to be over", PATIENCE, async || {
        (stage.node.lease(&lease).await.ok()? == LeaseAnswer::Stale).then_some(())
    })
    .await?;
    stage.begin(&item).await?;
    let next = stage.ask_backup(0).await?;
    let (item, _) = stage.work().await?;
    assert_eq!(item.job, next);
    stage.until_types(job, &["requested", "started", "succeeded"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_loses_its_attempt_and_its_late_word_is_refused() -> Result<()> {
    let stage = Stage::set(1, 1).await?;
    let job = stage.ask_backup(0).await?;
    let (first, delivery) = stage.work().await?;
    stage.begin(&first).await?;
    delivery.ack.done().await?;
    // The node lives, but does not name the attempt any more.
    let (second, _) = stage.work().await?;
    assert_eq!((second.job, second.attempt), (job, 2));
    assert!(second.epoch > first.epoch);
    assert_eq!(stage.node.lease(&LeaseQuestion { job, epoch: first.epoch }).await?, LeaseAnswer::Stale);
    stage.end(&first).await?;
    stage.begin(&second).await?;
    stage.end(&second).await?;
    stage.until_types(job, &["requested", "started", "lease-expired", "started", "succeeded"]).await?;
    let events = stage.history(&format!("job.{job}")).await?;
    let Event::JobSucceeded(done) = &events.last().unwrap().event else { panic!("{events:?}") };
    assert_eq!(done.epoch, second.epoch);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_started_anew_does_its_job_again() -> Result<()> {
    let stage = Stage::set(1, 1).await?;
    let job = stage.ask_backup(0).await?;
    let (item, delivery) = stage.work().await?;
    stage.begin(&item).await?;
    delivery.ack.done().await?;
    stage.until_types(job, &["requested", "started"]).await?;
    for _ in 0..2 {
        let joined = json!({
            "boot": "boot2", "age_recipient": "age1x", "version": "0", "started_at": "2026-01-01T00:00:00Z",
        });
        stage.report(NodeReport::Joined(read(joined))).await?;
    }
    stage.until_types(job, &["requested", "started", "interrupted"]).await?;
    let (again, _) = stage.work().await?;
    assert_eq!((again.job, again.attempt), (job, 2));
    assert_eq!(stage.history("node.n").await?.len(), 1, "it came up once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_cancelled_at_once_and_what_runs_by_its_node() -> Result<()> {
    let stage = Stage::set(1, 1).await?;
    let (running, waiting) = (stage.ask_backup(0).await?, stage.ask_backup(0).await?);
    let (item, _) = stage.work().await?;
    assert_eq!(item.job, running);
    stage.begin(&item).await?;
    // What is admitted and not begun would be cancelled at once as well.
    stage.until_types(running, &["requested", "started"]).await?;
    for job in [running, waiting] {
        stage.append(&format!("job.{job}"), Event::JobCancelRequested(read(json!({})))).await?;
    }
    stage.until_types(waiting, &["requested", "cancel-requested", "cancelled"]).await?;
    wait_until("the node to be told", PATIENCE, async || {
        let answer = stage.node.lease(&LeaseQuestion { job: running, epoch: item.epoch }).await.ok()?;
        (answer == LeaseAnswer::CancelRequested).then_some(())
    })
    .await?;
    stage.report(NodeReport::Ended { job: running, epoch: item.epoch, how: Report::Cancelled }).await?;
    wait_until("it to end", PATIENCE, async || {
        (stage.types(running).await.last()? == "cancelled").then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_end_the_job_of_another() -> Result<()> {
    let stage = Stage::set(1, 1).await?;
    let job = stage.ask_backup(0).await?;
    let (item, _) = stage.work().await?;
    let thief = stage.nats.node("other").await?;
    let stolen = NodeReport::Ended { job, epoch: item.epoch, how: Report::Cancelled };
    thief.report("stolen", &stolen, None).await?;
    assert_eq!(thief.lease(&LeaseQuestion { job, epoch: item.epoch }).await?, LeaseAnswer::Stale);
    stage.begin(&item).await?;
    stage.end(&item).await?;
    stage.until_types(job, &["requested", "started", "succeeded"]).await
}

async fn all_succeeded(stage: &Stage, jobs: &[JobId]) -> bool {
    for job in jobs {
        if stage.types(*job).await.last().is_none_or(|t| t != "succeeded") {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn schedulers_that_are_killed_lose_nothing() -> Result<()> {
    let mut stage = Stage::set(1, 1).await?;
    let mut jobs = Vec::new();
    for round in 0..8_u8 {
        jobs.push(stage.ask_backup(round % 4).await?);
        stage.kill_schedulers().await;
        stage.start_scheduler(config()).await?;
    }
    // The last report may be taken down by the next scheduler: then there is no more work, and the end is still to come.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !all_succeeded(&stage, &jobs).await {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "not all jobs came to their end");
        stage.heartbeat(&[]).await;
        let Some(delivery) = stage.node.next_work(Duration::from_millis(300)).await? else { continue };
        let item = delivery.item.clone().unwrap();
        stage.begin(&item).await?;
        stage.kill_schedulers().await;
        stage.end(&item).await?;
        stage.start_scheduler(config()).await?;
        delivery.ack.done().await?;
    }
    for job in jobs {
        let ends = stage.types(job).await.iter().filter(|t| *t == "succeeded").count();
        assert_eq!(ends, 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_stops_nothing() -> Result<()> {
    let stage = Stage::set(1, 1).await?;
    let bad = "0192f0c1-0000-7000-8000-000000000001";
    let raw = strongroom_bus::nats::Connection::open(&stage.nats.settings("gateway")).await?;
    raw.client_for_tests().request(format!("strongroom.evt.job.{bad}"), vec![0xc1].into()).await?;
    let node = strongroom_bus::nats::Connection::open(&stage.nats.settings("node-n")).await?;
    node.client_for_tests().request("strongroom.report.n".to_owned(), vec![0xc1].into()).await?;
    let job = stage.ask_backup(0).await?;
    let (item, _) = stage.work().await?;
    stage.begin(&item).await?;
    stage.end(&item).await?;
    stage.until_types(job, &["requested", "started", "succeeded"]).await?;
    let health: Health = wait_until("health", PATIENCE, async || {
        stage.gateway.ask("scheduler", "health", &(), None, None).await.ok().map(|(health, _)| health)
    })
    .await?;
    assert!(health.ready && health.problems.iter().any(|p| p.contains(bad)), "{health:?}");
    // Both are there for people to look at, the report too, which nothing else remembers.
    let catalog = stage.nats.bus("catalog").await?;
    wait_until("what was set aside", PATIENCE, async || {
        let aside: Vec<String> = catalog.quarantined().await.ok()?.into_iter().map(|q| q.id).collect();
        let expected = [format!("scheduler.job.{bad}"), "scheduler.node.n".to_owned()];
        expected.iter().all(|id| aside.contains(id)).then_some(())
    })
    .await?;
    let aggregate = format!("job.{bad}");
    let redriven: Result<((), _), _> =
        stage.gateway.ask("scheduler", "redrive", &aggregate, None, None).await;
    assert!(redriven.unwrap_err().to_string().contains("cannot be read"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_with_the_work_and_a_lost_wake_up_is_sent_again() -> Result<()> {
    let stage = Stage::set(1, 1).await?;
    let secret = read(json!({ "reference": "repository-r0", "version": 1 }));
    stage.gateway.put_secret(&secret, b"sealed".to_vec()).await?;
    let access = json!({
        "repository": "r0", "location": "/b", "encryption": "repokey", "passphrase": secret,
    });
    let job = stage.ask(json!({ "kind": "scan-repository", "access": access })).await?;
    let (item, delivery) = stage.work().await?;
    assert_eq!((item.job, item.secrets[0].ciphertext.as_slice()), (job, b"sealed".as_slice()));
    // Acked and forgotten, as by a node that died at the wrong moment: its silence gives the job a new admission.
    delivery.ack.done().await?;
    stage.begin(&item).await?;
    let again = tokio::time::timeout(PATIENCE, stage.work()).await??;
    assert_eq!((again.0.job, again.0.attempt), (job, 2));
    let quiet: Result<Option<_>, Fault> = stage.node.next_work(Duration::from_millis(10)).await;
    assert!(quiet?.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_keep_the_attempt_of_another_alive() -> Result<()> {
    let stage = Stage::set(1, 1).await?;
    let job = stage.ask_backup(0).await?;
    let (item, delivery) = stage.work().await?;
    stage.begin(&item).await?;
    delivery.ack.done().await?;
    let thief = stage.nats.node("other").await?;
    let running = vec![(job, item.epoch)];
    wait_until("the silent node to lose its attempt", PATIENCE, async || {
        thief.lease(&LeaseQuestion { job, epoch: item.epoch }).await.ok()?;
        let heartbeat = Status::Heartbeat {
            node: "n".parse().unwrap(),
            boot: BOOT.into(),
            at: jiff::Timestamp::UNIX_EPOCH,
            running: running.clone(),
        };
        thief.status("heartbeat", &heartbeat).await;
        stage.types(job).await.contains(&"lease-expired".to_owned()).then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_away_for_longer_than_a_lease_costs_no_attempt() -> Result<()> {
    let mut stage = Stage::set(1, 2).await?;
    let job = stage.ask_backup(0).await?;
    let (item, delivery) = stage.work().await?;
    stage.begin(&item).await?;
    delivery.ack.done().await?;
    stage.until_types(job, &["requested", "started"]).await?;
    stage.heartbeat(&[(job, item.epoch)]).await;
    stage.nats.kill(0)?;
    // Time itself is what is tested: nothing else tells that a lease would be over.
    let lease_is_over = tokio::time::Instant::now() + Duration::from_secs(2 * config().lease_s);
    tokio::time::sleep_until(lease_is_over).await;
    stage.nats.start_member(0)?;
    stage.nats.wait_until_healthy().await?;
    // The schedulers work again once they have decided about something else, and had the time to do the wrong thing.
    let marker = stage.ask_backup(0).await?;
    stage.append(&format!("job.{marker}"), Event::JobCancelRequested(read(json!({})))).await?;
    wait_until("the schedulers to be back", PATIENCE, async || {
        stage.heartbeat(&[(job, item.epoch)]).await;
        (stage.types(marker).await.last()? == "cancelled").then_some(())
    })
    .await?;
    stage.end(&item).await?;
    // The pull of before may have to run out first, and the node lives on meanwhile.
    wait_until("its end", PATIENCE, async || {
        stage.heartbeat(&[(job, item.epoch)]).await;
        (stage.types(job).await.len() > 2).then_some(())
    })
    .await?;
    stage.until_types(job, &["requested", "started", "succeeded"]).await
}

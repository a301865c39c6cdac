//! What a notifier that dies, or cannot read something, does to what is told.

use crate::stage::{PATIENCE, Stage, backup, failed, succeeded, verified};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use strongroom_domain::{Aggregate, Event, JobId, Kind};
use strongroom_testkit::{HttpSink, wait_until};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_notifier_that_is_killed_again_and_again_loses_nothing() {
    let mut stage = Stage::new(&[20; 200]).await;
    let sink = HttpSink::start().await.unwrap();
    sink.answer(&[500; 10]);
    stage.channel("ops", sink.url()).await;
    let mut jobs = BTreeSet::new();
    for round in 0..5 {
        let count = sink.received().len();
        for _ in 0..4 {
            jobs.insert(stage.job(succeeded()).await.to_string());
        }
        // It dies in the middle of its work, once before it has begun any of it.
        sink.wait_for(count + round, PATIENCE).await.unwrap();
        stage.kill().await;
        if round % 2 == 0 {
            jobs.insert(stage.job(failed()).await.to_string());
        }
        stage.start().await;
    }
    wait_until("all is delivered", PATIENCE, async || {
        let health = stage.health().await?;
        (health.numbers["notifier_delivered_total"] as usize == jobs.len()).then_some(())
    })
    .await
    .unwrap();
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for request in sink.received() {
        let job = verified(&request)["data"]["job"].as_str().unwrap().to_owned();
        ids.entry(job).or_default().insert(request.headers["webhook-id"].clone());
    }
    assert_eq!(ids.keys().cloned().collect::<BTreeSet<_>>(), jobs);
    assert!(ids.values().all(|ids| ids.len() == 1), "a repetition has the same id");
    // One confirmation each in the log, and nothing after it.
    let mut delivered: BTreeMap<String, u32> = BTreeMap::new();
    for (id, event) in stage.facts().await {
        assert!(!delivered.contains_key(&id), "a fact after the delivery");
        if let Event::NotificationDelivered(_) = event {
            *delivered.entry(id).or_default() += 1;
        }
    }
    assert_eq!(delivered.len(), jobs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_not_told_at_the_first_start_and_not_at_a_later_one() {
    let mut stage = Stage::new(&[20]).await;
    let sink = HttpSink::start().await.unwrap();
    stage.channel("ops", sink.url()).await;
    stage.stop().await;
    // As if it had never run here: the folder is gone, its key with it.
    for file in ["checkpoint.json", "identity.txt"] {
        std::fs::remove_file(stage.state_dir().join(file)).unwrap();
    }
    stage.job(succeeded()).await;
    stage.start().await;
    stage.stop().await;
    stage.start().await;
    stage.channel("ops", sink.url()).await;
    let new = stage.job(failed()).await;
    sink.wait_for(1, PATIENCE).await.unwrap();
    stage.wait_for_facts(1).await;
    let told: Vec<_> = sink.received().iter().map(|r| verified(r)["data"]["job"].clone()).collect();
    assert_eq!(told, [new.to_string()]);
    assert_eq!(stage.health().await.unwrap().numbers["notifier_pending"], 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_may_be_away_for_a_while() {
    let mut stage = Stage::new(&[20; 50]).await;
    let sink = HttpSink::start().await.unwrap();
    sink.answer(&[500; 3]);
    stage.channel("ops", sink.url()).await;
    stage.job(succeeded()).await;
    sink.wait_for(1, PATIENCE).await.unwrap();
    stage.nats.kill(0).unwrap();
    stage.nats.start_member(0).unwrap();
    let facts = wait_until("it is delivered", PATIENCE, async || {
        let raw = stage.gateway.journal().store().read(None, 1, 1000).await.ok()?;
        let events = raw.iter().filter_map(|m| strongroom_bus::Recorded::read(m).ok());
        let count = events.filter(|e| matches!(e.event, Event::NotificationDelivered(_))).count();
        (count > 0).then_some(count)
    })
    .await
    .unwrap();
    assert_eq!(facts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_set_aside_and_the_rest_is_told() {
    let mut stage = Stage::new(&[20]).await;
    let sink = HttpSink::start().await.unwrap();
    stage.channel("ops", sink.url()).await;
    let job = JobId(Uuid::now_v7());
    stage.append(&stage.gateway, Kind::Job, &job.to_string(), Event::JobRequested(backup())).await;
    let aggregate = Aggregate::new(Kind::Job, job);
    let head = stage.gateway.journal().load(&aggregate).await.unwrap().head;
    stage.junk(&aggregate, &head).await;
    let other = stage.job(succeeded()).await;
    let requests = sink.wait_for(1, PATIENCE).await.unwrap();
    assert_eq!(verified(&requests[0])["data"]["job"], other.to_string());
    let aside = wait_until("the quarantine", PATIENCE, async || {
        stage.gateway.quarantined().await.ok()?.into_iter().find(|q| q.consumer == "notifier")
    })
    .await
    .unwrap();
    assert_eq!(aside.aggregate, aggregate.to_string());
    let health = stage.health().await.unwrap();
    assert!(health.ready && health.problems.iter().any(|p| p.contains(&job.to_string())), "{health:?}");
    // It is still set aside after a restart, and a redrive says why it cannot be taken in.
    stage.stop().await;
    stage.start().await;
    let redrive = async |name: String| -> Result<((), _), _> {
        stage.gateway.ask("notifier", "redrive", &name, None, None).await
    };
    let refused = redrive(aggregate.to_string()).await.unwrap_err().to_string();
    assert!(refused.contains("cannot be read"), "{refused}");
    let refused = redrive("job.other".into()).await.unwrap_err().to_string();
    assert!(refused.contains("has not halted"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_notifier_on_the_same_folder_is_refused() {
    let stage = Stage::new(&[20]).await;
    let config = strongroom_notifier::Config::new(stage.state_dir());
    let bus = stage.nats.bus("notifier").await.unwrap();
    let second = strongroom_notifier::run(config, bus, strongroom_service::Shutdown::new());
    let refused = tokio::time::timeout(Duration::from_secs(20), second).await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused:#}");
}

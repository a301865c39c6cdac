//! What is told, to whom, and how often.

use crate::stage::{PATIENCE, Stage, failed, succeeded, verified};
use std::collections::BTreeSet;
use strongroom_domain::definition::Retired;
use strongroom_domain::{Event, Kind};
use strongroom_testkit::{HttpSink, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn each_job_that_ends_is_told_once_and_signed() {
    let stage = Stage::new(&[50]).await;
    let sink = HttpSink::start().await.unwrap();
    stage.channel("ops", format!("{}/hook?x=1", sink.url())).await;
    let (good, bad) = (stage.job(succeeded()).await, stage.job(failed()).await);
    let requests = sink.wait_for(2, PATIENCE).await.unwrap();
    let bodies: Vec<_> = requests.iter().map(verified).collect();
    let told = |job: &str| bodies.iter().find(|b| b["data"]["job"] == job).unwrap();
    let (good, bad) = (told(&good.to_string()), told(&bad.to_string()));
    assert_eq!(requests[0].line, "POST /hook?x=1");
    assert_eq!((&good["type"], &good["data"]["phase"]), (&"job.finished".into(), &"complete".into()));
    assert_eq!((&good["data"]["plan"], &good["data"]["archive"]["files"]), (&"web".into(), &7.into()));
    assert_eq!(
        (&bad["data"]["phase"], &bad["data"]["failure"]["code"]),
        (&"failed".into(), &"wrong_passphrase".into())
    );
    assert!(bad["data"]["archive"].is_null());
    let facts = stage.wait_for_facts(2).await;
    assert!(facts.iter().all(|(_, e)| matches!(e, Event::NotificationDelivered(_))), "{facts:?}");
    assert_eq!(requests[0].headers["webhook-id"], facts[0].0, "the id is the notification's");
    assert_eq!(sink.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_sent_again_the_same() {
    let stage = Stage::new(&[10, 10]).await;
    let sink = HttpSink::start().await.unwrap();
    sink.answer(&[500]);
    stage.channel("ops", sink.url()).await;
    stage.job(succeeded()).await;
    let facts = stage.wait_for_facts(2).await;
    let Event::NotificationAttempted(first) = &facts[0].1 else { panic!("{facts:?}") };
    assert_eq!((first.attempt, first.problem.as_str()), (1, "it answered 500"));
    let Event::NotificationDelivered(second) = &facts[1].1 else { panic!("{facts:?}") };
    assert_eq!((second.attempt, second.status), (2, 200));
    let requests = sink.received();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].headers["webhook-id"], requests[1].headers["webhook-id"]);
    requests.iter().for_each(|r| drop(verified(r)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_taken_is_given_up_at_the_ladders_end_and_at_once_when_gone() {
    let stage = Stage::new(&[10, 10]).await;
    let (dead, gone) = (HttpSink::start().await.unwrap(), HttpSink::start().await.unwrap());
    dead.answer(&[503; 9]);
    gone.answer(&[410; 9]);
    // A redirect is not followed either.
    let moved = HttpSink::start().await.unwrap();
    moved.answer(&[308; 9]);
    stage.channel("dead", dead.url()).await;
    stage.channel("gone", gone.url()).await;
    stage.channel("moved", moved.url()).await;
    stage.job(failed()).await;
    // Two attempts and the end, twice, and one end.
    let facts = stage.wait_for_facts(7).await;
    let mut ends: Vec<_> = facts
        .iter()
        .filter_map(|(_, e)| match e {
            Event::NotificationFailed(f) => Some((f.channel.to_string(), f.attempts)),
            _ => None,
        })
        .collect();
    ends.sort();
    assert_eq!(ends, [("dead".into(), 3), ("gone".into(), 1), ("moved".into(), 3)]);
    assert_eq!((dead.received().len(), gone.received().len(), moved.received().len()), (3, 1, 3));
    let health = stage.health().await.unwrap();
    assert_eq!((health.numbers["notifier_failed_total"], health.numbers["notifier_pending"]), (3.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_hangs_keeps_no_other_waiting() {
    let stage = Stage::new(&[50]).await;
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sink = HttpSink::start().await.unwrap();
    stage.channel("hangs", format!("http://{}/", hanging.local_addr().unwrap())).await;
    stage.channel("ops", sink.url()).await;
    // More jobs than a channel may have under way.
    let mut jobs = BTreeSet::new();
    for _ in 0..12 {
        jobs.insert(stage.job(succeeded()).await.to_string());
    }
    let requests = sink.wait_for(12, PATIENCE).await.unwrap();
    let told: BTreeSet<_> =
        requests.iter().map(|r| verified(r)["data"]["job"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, jobs);
    // A retired channel is given up by a fact: also what was waiting behind the deliveries that hang.
    let retired = Event::ChannelRetired(Retired::default());
    stage.append(&stage.gateway, Kind::Channel, "hangs", retired).await;
    wait_until("the rest is given up", PATIENCE, async || {
        let facts = stage.facts().await;
        let given_up = |e: &Event| matches!(e, Event::NotificationFailed(f) if f.channel.as_str() == "hangs");
        (facts.iter().filter(|(_, e)| given_up(e)).count() >= 8).then_some(())
    })
    .await
    .unwrap();
}

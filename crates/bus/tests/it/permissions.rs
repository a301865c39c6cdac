//! What a hostile node and a confused service cannot do.

use crate::{paused, some_plan};
use std::time::Duration;
use strongroom_bus::nats::Connection;
use strongroom_bus::{AppendError, Context, Head};
use strongroom_domain::{Aggregate, Kind};
use strongroom_testkit::Nats;

async fn log_length(nats: &Nats) -> u64 {
    nats.bus("catalog").await.unwrap().log_state().await.unwrap().1
}

const QUICK: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_can_neither_write_nor_read_the_log_in_any_way() {
    for nats in [Nats::one(&["a", "b"]).await.unwrap(), Nats::three(&["a", "b"]).await.unwrap()] {
        let node = Connection::open(&nats.settings("node-a")).await.unwrap();
        let before = log_length(&nats).await;
        let raw = node.client_for_tests();
        let evt = "strongroom.evt.job.0198";
        // Straight, and through the reply subject of everything that a node may ask.
        assert!(node.request(evt, "x".into(), QUICK).await.is_err());
        for subject in [
            "strongroom.report.a",
            "strongroom.lease.a",
            "strongroom.status.a.x",
            "strongroom.index.a.x.0",
            "$JS.API.CONSUMER.MSG.NEXT.STRONGROOM_WORK.a",
        ] {
            raw.publish_with_reply(subject, evt, "{}".into()).await.unwrap();
        }
        for api in [
            "STREAM.INFO.STRONGROOM",
            "CONSUMER.CREATE.STRONGROOM.x",
            "STREAM.PURGE.STRONGROOM",
            "DIRECT.GET.STRONGROOM",
        ] {
            assert!(node.request(&format!("$JS.API.{api}"), "{}".into(), QUICK).await.is_err(), "{api}");
        }
        raw.flush().await.unwrap();
        assert_eq!(log_length(&nats).await, before, "a node wrote into the log");
        // Its own report still goes through, so the silence above is not a broken connection.
        node.store("strongroom.report.a", Vec::new(), "ok".into()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_touch_the_work_of_another() {
    let nats = Nats::one(&["a", "b"]).await.unwrap();
    let scheduler = Connection::open(&nats.settings("scheduler")).await.unwrap();
    scheduler.store("strongroom.work.b", Vec::new(), "for b".into()).await.unwrap();
    let (a, b) = (
        Connection::open(&nats.settings("node-a")).await.unwrap(),
        Connection::open(&nats.settings("node-b")).await.unwrap(),
    );
    assert!(!matches!(a.pull("STRONGROOM_WORK", "b", QUICK).await, Ok(Some(_))));
    let pulled = b.pull("STRONGROOM_WORK", "b", Duration::from_secs(5)).await.unwrap().unwrap();
    assert_eq!(&pulled.payload[..], b"for b");
    // Even with the other's reply subject in hand it can ack nothing.
    assert!(a.request(&pulled.reply, "+ACK".into(), QUICK).await.is_err());
    for subject in [
        "strongroom.report.b",
        "strongroom.status.b.heartbeat",
        "strongroom.index.b.x.0",
        "strongroom.lease.b",
    ] {
        assert!(a.request(subject, "x".into(), QUICK).await.is_err(), "{subject}");
    }
    b.request(&pulled.reply, "+ACK".into(), Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_writes_its_own_aggregates_only() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let before = log_length(&nats).await;
    for (service, kind) in [
        ("catalog", Kind::Job),
        ("notifier", Kind::Plan),
        ("gateway", Kind::Queue),
        ("scheduler", Kind::Token),
        ("recovery", Kind::Archive),
    ] {
        let connection = Connection::open(&nats.settings(service)).await.unwrap();
        let subject = format!("strongroom.evt.{}", Aggregate::new(kind, "x"));
        assert!(connection.request(&subject, "x".into(), QUICK).await.is_err(), "{service} wrote a {kind}");
        for call in ["STREAM.PURGE.STRONGROOM", "STREAM.DELETE.STRONGROOM", "STREAM.MSG.DELETE.STRONGROOM"] {
            assert!(
                connection.request(&format!("$JS.API.{call}"), "{}".into(), QUICK).await.is_err(),
                "{service} {call}"
            );
        }
    }
    assert_eq!(log_length(&nats).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_deletes_from_the_log_not_even_the_provisioner() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let bus = nats.bus("gateway").await.unwrap();
    bus.journal().append(&some_plan(), &Head::default(), &paused("x"), &Context::default()).await.unwrap();
    let provisioner = Connection::open(&nats.settings("provisioner")).await.unwrap();
    for (call, request) in [
        ("STREAM.PURGE.STRONGROOM", serde_json::json!({})),
        ("STREAM.MSG.DELETE.STRONGROOM", serde_json::json!({ "seq": 1 })),
    ] {
        assert!(provisioner.api(call, &request).await.is_err(), "{call}");
    }
    assert_eq!(log_length(&nats).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_is_refused_and_not_tried_for_ever() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let bus = nats.bus("gateway").await.unwrap();
    let huge = paused(&"x".repeat(300 * 1024));
    let answer = bus.journal().append(&some_plan(), &Head::default(), &huge, &Context::default()).await;
    assert!(matches!(answer, Err(AppendError::Fault(f)) if !f.is_transient()));
}

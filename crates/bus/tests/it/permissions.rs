//! What a hostile node and a confused or hostile service cannot do, and what each must still be able to do.
//!
//! Every attack is followed by the same request made honestly, on the same connection: its answer shows that the
//! request is one that the server serves, and that the attack before it was taken in.

use crate::{paused, some_plan};
use futures::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strongroom_bus::nats::Connection;
use strongroom_bus::{AppendError, Context, Head};
use strongroom_domain::Kind;
use strongroom_testkit::{Nats, wait_until};

const QUICK: Duration = Duration::from_millis(700);
const WAIT: Duration = Duration::from_secs(10);

/// What gets a request answered, whatever the body is about.
const PULL: &str = r#"{"batch":1,"no_wait":true}"#;

async fn on_both(test: impl AsyncFn(&Nats)) {
    for members in [1, 3] {
        test(&Nats::start(members, &["a", "b"], Duration::from_secs(60)).await.unwrap()).await;
    }
}

async fn connect(nats: &Nats, user: &str) -> Connection {
    Connection::open(&nats.settings(user)).await.unwrap()
}

/// Subjects and how many messages they have, for all streams.
async fn stored(nats: &Nats) -> Vec<(String, u64)> {
    let provisioner = connect(nats, "provisioner").await;
    let mut all = Vec::new();
    for stream in ["", "_WORK", "_REPORTS", "_STATUS", "_SECRETS", "_INDEXES", "_QUARANTINE"] {
        let call = format!("STREAM.INFO.STRONGROOM{stream}");
        let info = provisioner.api(&call, &serde_json::json!({ "subjects_filter": ">" })).await.unwrap();
        if let Some(subjects) = info.pointer("/state/subjects").and_then(|s| s.as_object()) {
            all.extend(subjects.iter().map(|(s, n)| (s.clone(), n.as_u64().unwrap())));
        }
    }
    all
}

/// Makes requests that must all go unanswered, at the same time, because silence takes its time.
async fn refused(connection: &Connection, subjects: impl IntoIterator<Item = String>) {
    let requests = subjects.into_iter().map(|subject| async move {
        assert!(connection.request(&subject, "{}".into(), QUICK).await.is_err(), "{subject} was answered");
    });
    futures::future::join_all(requests).await;
}

/// Makes each request with each of these subjects to reply to, and then honestly.
async fn abuse_replies(attacker: &Connection, requests: &[(&str, &str)], replies: &[&str]) {
    for (subject, body) in requests {
        for reply in replies {
            let (subject, reply) = ((*subject).to_owned(), (*reply).to_owned());
            let body = (*body).to_owned().into();
            attacker.client_for_tests().publish_with_reply(subject, reply, body).await.unwrap();
        }
        attacker.client_for_tests().flush().await.unwrap();
        attacker.request(subject, (*body).to_owned().into(), WAIT).await.unwrap();
    }
}

/// Answers a user's questions, whatever they are.
async fn answer_all(nats: &Nats, user: &str, subject: &str) {
    let server = connect(nats, user).await;
    let mut questions = server.subscribe(subject).await.unwrap();
    server.client_for_tests().flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            server.publish(&question.reply.unwrap(), "an answer".into()).await;
        }
    });
}

/// All that a node may ask.
const NODE_REQUESTS: &[(&str, &str)] = &[
    ("strongroom.report.a", "x"),
    ("strongroom.status.a.x", "x"),
    ("strongroom.index.a.x.0", "x"),
    ("strongroom.lease.a", "x"),
    ("strongroom.piece.a.x", "x"),
    ("$JS.API.CONSUMER.MSG.NEXT.STRONGROOM_WORK.a", PULL),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_can_neither_write_nor_read_the_log_in_any_way() {
    on_both(async |nats: &Nats| {
        let bus = nats.bus("gateway").await.unwrap();
        answer_all(nats, "scheduler", "strongroom.lease.*").await;
        answer_all(nats, "gateway", "strongroom.piece.*.*").await;
        let node = connect(nats, "node-a").await;
        let mut heard = Vec::new();
        for subject in [">", "strongroom.>", "strongroom.evt.>", "strongroom.stored.>", "_INBOX_gateway.>"] {
            heard.push(node.client_for_tests().subscribe(subject).await.unwrap());
        }
        let event = "strongroom.evt.job.0198";
        assert!(node.request(event, "x".into(), QUICK).await.is_err());
        abuse_replies(&node, NODE_REQUESTS, &[event, "strongroom.evt.plan.x"]).await;
        let calls = [
            "INFO",
            "STREAM.NAMES",
            "STREAM.INFO.STRONGROOM",
            "STREAM.PURGE.STRONGROOM",
            "STREAM.DELETE.STRONGROOM_WORK",
            "STREAM.MSG.GET.STRONGROOM",
            "STREAM.MSG.GET.STRONGROOM_SECRETS",
            "DIRECT.GET.STRONGROOM",
            "DIRECT.GET.STRONGROOM_SECRETS",
            "CONSUMER.CREATE.STRONGROOM.x",
            "CONSUMER.CREATE.STRONGROOM_WORK.x",
            "CONSUMER.DURABLE.CREATE.STRONGROOM_WORK.x",
            "CONSUMER.MSG.NEXT.STRONGROOM_REPORTS.scheduler",
        ];
        refused(&node, calls.map(|call| format!("$JS.API.{call}"))).await;
        bus.journal()
            .append(&some_plan(), &Head::default(), &paused("x"), &Context::default())
            .await
            .unwrap();
        assert_eq!(
            bus.log_state().await.unwrap().1,
            1,
            "a node wrote into the log: {:?}",
            stored(nats).await
        );
        for mut subscriber in heard {
            let message = tokio::time::timeout(Duration::from_millis(50), subscriber.next()).await;
            assert!(!matches!(message, Ok(Some(_))), "a node heard {message:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_touch_what_is_anothers() {
    on_both(async |nats: &Nats| {
        answer_all(nats, "scheduler", "strongroom.lease.*").await;
        answer_all(nats, "gateway", "strongroom.piece.*.*").await;
        let scheduler = connect(nats, "scheduler").await;
        let (a, b) = (connect(nats, "node-a").await, connect(nats, "node-b").await);
        for text in ["first for b", "second for b"] {
            scheduler.store("strongroom.work.b", Vec::new(), text.into()).await.unwrap();
        }
        assert!(!matches!(a.pull("STRONGROOM_WORK", "b", QUICK).await, Ok(Some(_))));
        let pulled = b.pull("STRONGROOM_WORK", "b", WAIT).await.unwrap().unwrap();
        assert_eq!(&pulled.payload[..], b"first for b");
        // Even with the other's reply subject in hand it can ack nothing, neither straight nor through a reply.
        assert!(a.request(&pulled.reply, "+ACK".into(), QUICK).await.is_err());
        let others = [
            "strongroom.report.b",
            "strongroom.status.b.heartbeat",
            "strongroom.index.b.x.0",
            "strongroom.lease.b",
            "strongroom.piece.b.x",
            "$JS.API.CONSUMER.MSG.NEXT.STRONGROOM_WORK.b",
        ];
        refused(&a, others.map(ToOwned::to_owned)).await;
        abuse_replies(&a, NODE_REQUESTS, &others).await;
        // The server cuts off whoever names an ack as a reply; a connection of its own, so that it is not ours.
        for (subject, body) in NODE_REQUESTS {
            let once = connect(nats, "node-a").await;
            let (subject, body) = ((*subject).to_owned(), (*body).to_owned());
            let sent =
                once.client_for_tests().publish_with_reply(subject, pulled.reply.clone(), body.into()).await;
            let _ = (sent, once.client_for_tests().flush().await);
        }
        let touched: Vec<_> = stored(nats)
            .await
            .into_iter()
            .filter(|(s, _)| s.contains(".b") && !s.starts_with("strongroom.work."))
            .collect();
        assert!(touched.is_empty(), "{touched:?}");
        let work = stored(nats).await.into_iter().find(|(s, _)| s == "strongroom.work.b").unwrap();
        assert_eq!(work.1, 2, "somebody else acked a delivery");
        b.request(&pulled.reply, "+ACK".into(), WAIT).await.unwrap();
        let next = b.pull("STRONGROOM_WORK", "b", WAIT).await.unwrap().unwrap();
        assert_eq!(&next.payload[..], b"second for b");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_all_of_its_work_through_its_own_account() {
    on_both(async |nats: &Nats| {
        answer_all(nats, "scheduler", "strongroom.lease.*").await;
        answer_all(nats, "gateway", "strongroom.piece.*.*").await;
        let (scheduler, a) = (connect(nats, "scheduler").await, connect(nats, "node-a").await);
        // A pull that waits is answered when the work comes.
        let waiting = tokio::spawn({
            let a = a.clone();
            async move { a.pull("STRONGROOM_WORK", "a", WAIT).await }
        });
        scheduler
            .store("strongroom.work.a", vec![("traceparent".into(), "00-t".into())], "do".into())
            .await
            .unwrap();
        let work = waiting.await.unwrap().unwrap().unwrap();
        assert_eq!((&work.payload[..], work.header("traceparent")), (&b"do"[..], Some("00-t")));
        // Still at it, and then done: the server confirms the last, and the queue is empty.
        a.request(&work.reply, "+WPI".into(), WAIT).await.unwrap();
        a.request(&work.reply, "+ACK".into(), WAIT).await.unwrap();
        assert!(!stored(nats).await.iter().any(|(s, _)| s == "strongroom.work.a"));
        let sequence = a.store("strongroom.report.a", Vec::new(), "done".into()).await.unwrap();
        let report = scheduler.pull("STRONGROOM_REPORTS", "scheduler", WAIT).await.unwrap().unwrap();
        assert_eq!((sequence, &report.payload[..]), (1, &b"done"[..]));
        scheduler.request(&report.reply, "+ACK".into(), WAIT).await.unwrap();
        a.store("strongroom.status.a.heartbeat", Vec::new(), "well".into()).await.unwrap();
        a.store("strongroom.index.a.x.0", Vec::new(), vec![7; 512 * 1024].into()).await.unwrap();
        let index =
            connect(nats, "catalog").await.newest("STRONGROOM_INDEXES", "strongroom.index.a.x.0").await;
        assert_eq!(index.unwrap().unwrap().1.len(), 512 * 1024);
        for answered in ["strongroom.lease.a", "strongroom.piece.a.x"] {
            let answer = a.request(answered, "x".into(), WAIT).await.unwrap();
            assert_eq!(&answer.payload[..], b"an answer");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_kept_alive_is_not_given_out_again_and_work_that_is_not_comes_back() {
    let nats = Nats::start(1, &["a"], Duration::from_secs(1)).await.unwrap();
    let (scheduler, a) = (connect(&nats, "scheduler").await, connect(&nats, "node-a").await);
    scheduler.store("strongroom.work.a", Vec::new(), "long".into()).await.unwrap();
    let work = a.pull("STRONGROOM_WORK", "a", WAIT).await.unwrap().unwrap();
    for _ in 0..8 {
        a.publish(&work.reply, "+WPI".into()).await;
        let again = a.pull("STRONGROOM_WORK", "a", Duration::from_millis(300)).await.unwrap();
        assert!(again.is_none(), "a delivery that is being worked on was given out again");
    }
    let again = a.pull("STRONGROOM_WORK", "a", WAIT).await.unwrap().unwrap();
    assert_eq!(again.payload, work.payload);
}

/// What a hostile service may ask of the store and of others, with a body that would make a fine event.
const GATEWAY_REQUESTS: &[(&str, &str)] = &[
    ("strongroom.quarantine.gateway.plan.x", "forged"),
    ("strongroom.secret.x.1", "forged"),
    ("strongroom.evt.plan.mine", "forged"),
    ("$JS.API.STREAM.INFO.STRONGROOM", "{}"),
    ("$JS.API.STREAM.MSG.GET.STRONGROOM", r#"{"last_by_subj":"strongroom.evt.plan.x"}"#),
    (
        "$JS.API.DIRECT.GET.STRONGROOM_QUARANTINE",
        r#"{"last_by_subj":"strongroom.quarantine.gateway.plan.x"}"#,
    ),
    ("strongroom.query.catalog.x", "forged"),
    ("strongroom.query.scheduler.x", "forged"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_service_writes_no_aggregate_of_another_not_even_through_replies() {
    on_both(async |nats: &Nats| {
        answer_all(nats, "catalog", "strongroom.query.catalog.>").await;
        answer_all(nats, "scheduler", "strongroom.query.scheduler.>").await;
        let gateway = connect(nats, "gateway").await;
        // Answering itself: a right to answer would be a right to any subject.
        let mut own = gateway.subscribe("strongroom.query.gateway.>").await.unwrap();
        let client = gateway.client_for_tests();
        client
            .publish_with_reply("strongroom.query.gateway.x", "strongroom.evt.queue.main", "x".into())
            .await
            .unwrap();
        let question = tokio::time::timeout(WAIT, own.next()).await.unwrap().unwrap();
        gateway.publish(&question.reply.unwrap(), "forged".into()).await;
        let others = [
            "strongroom.evt.queue.main",
            "strongroom.evt.audit.x",
            "strongroom.work.a",
            "strongroom.report.a",
        ];
        abuse_replies(&gateway, GATEWAY_REQUESTS, &others).await;
        refused(&gateway, others.map(ToOwned::to_owned)).await;
        let all = stored(nats).await;
        assert!(!all.iter().any(|(s, _)| others.contains(&s.as_str())), "{all:?}");
        // What it may write is there, so it was not the connection.
        assert!(all.iter().any(|(s, n)| s == "strongroom.evt.plan.mine" && *n > 0), "{all:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_each_service_end_where_anothers_begin() {
    let nats = Nats::one(&["a"]).await.unwrap();
    for (service, kinds) in [
        ("catalog", &[Kind::Job, Kind::Plan][..]),
        ("notifier", &[Kind::Plan, Kind::Audit]),
        ("gateway", &[Kind::Queue, Kind::Schedule, Kind::Proof]),
        ("scheduler", &[Kind::Token, Kind::Session]),
        ("recovery", &[Kind::Archive, Kind::Notification]),
    ] {
        let connection = connect(&nats, service).await;
        let events = kinds.iter().map(|k| format!("strongroom.evt.{k}.x"));
        let other = [
            "$JS.API.STREAM.PURGE.STRONGROOM",
            "$JS.API.STREAM.DELETE.STRONGROOM",
            "$JS.API.STREAM.UPDATE.STRONGROOM",
            "$JS.API.STREAM.CREATE.OTHER",
            "$JS.API.STREAM.MSG.DELETE.STRONGROOM",
            "$JS.API.STREAM.PURGE.STRONGROOM_SECRETS",
            "$JS.API.CONSUMER.CREATE.STRONGROOM.x",
            "$JS.API.CONSUMER.MSG.NEXT.STRONGROOM_WORK.a",
            "strongroom.report.a",
        ];
        refused(&connection, events.chain(other.map(ToOwned::to_owned))).await;
    }
    assert_eq!(stored(&nats).await, [], "something was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_questions_to_another_or_answers_in_its_name() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let (notifier, gateway) = (connect(&nats, "notifier").await, connect(&nats, "gateway").await);
    let mut heard = Vec::new();
    for subject in [
        "strongroom.query.catalog.>",
        "strongroom.lease.*",
        "strongroom.piece.*.*",
        "strongroom.evt.>",
        "_INBOX_gateway.>",
    ] {
        heard.push(notifier.client_for_tests().subscribe(subject).await.unwrap());
    }
    notifier.client_for_tests().flush().await.unwrap();
    answer_all(&nats, "catalog", "strongroom.query.catalog.>").await;
    let bus = nats.bus("gateway").await.unwrap();
    bus.journal().append(&some_plan(), &Head::default(), &paused("x"), &Context::default()).await.unwrap();
    let answer = gateway.request("strongroom.query.catalog.x", "?".into(), WAIT).await.unwrap();
    assert_eq!(&answer.payload[..], b"an answer");
    for mut subscriber in heard {
        let message = tokio::time::timeout(Duration::from_millis(50), subscriber.next()).await;
        assert!(!matches!(message, Ok(Some(_))), "the notifier heard {message:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_questions_and_each_is_answered_once() {
    on_both(async |nats: &Nats| {
        let handled: Arc<[AtomicUsize; 3]> = Arc::default();
        for replica in 0..3 {
            let server = Connection::open(&nats.settings_at("catalog", replica % nats.members()).unwrap())
                .await
                .unwrap();
            let mut questions =
                server.queue_subscribe("strongroom.query.catalog.>", "catalog").await.unwrap();
            server.client_for_tests().flush().await.unwrap();
            let handled = handled.clone();
            tokio::spawn(async move {
                while let Some(question) = questions.next().await {
                    handled[replica].fetch_add(1, Ordering::Relaxed);
                    server.publish(&question.reply.unwrap(), question.payload).await;
                }
            });
        }
        let counts = || handled.iter().map(|h| h.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let gateway = connect(nats, "gateway").await;
        let mut asked = 0;
        // Asked until every replica has had its share: a new subscription takes a moment to reach all members.
        wait_until("a share for every replica", WAIT, async || {
            for _ in 0..20 {
                let question = asked.to_string();
                let answer =
                    gateway.request("strongroom.query.catalog.x", question.clone().into(), WAIT).await;
                assert_eq!(&answer.unwrap().payload[..], question.as_bytes());
                asked += 1;
            }
            counts().iter().all(|n| *n > 0).then_some(())
        })
        .await
        .unwrap_or_else(|e| panic!("{e}: {:?}", counts()));
        assert_eq!(counts().iter().sum::<usize>(), asked, "a question was handled twice");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_woken_by_what_is_stored_wherever_it_was_written() {
    on_both(async |nats: &Nats| {
        let catalog = connect(nats, "catalog").await;
        let mut feed = catalog.subscribe("strongroom.stored.evt.>").await.unwrap();
        let bus = nats.bus("gateway").await.unwrap();
        // A subscription takes a moment to reach all members, so more than one event is written.
        let woken = wait_until("a wake-up", WAIT, async || {
            bus.journal()
                .append(&some_plan(), &Head::default(), &paused("x"), &Context::default())
                .await
                .unwrap();
            tokio::time::timeout(QUICK, feed.next()).await.ok().flatten()
        })
        .await
        .unwrap();
        assert!(woken.subject.starts_with("strongroom.stored.evt.plan."));
        assert!(woken.payload.is_empty(), "a wake-up carries no payload");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_deletes_from_the_log_not_even_the_provisioner() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let bus = nats.bus("gateway").await.unwrap();
    bus.journal().append(&some_plan(), &Head::default(), &paused("x"), &Context::default()).await.unwrap();
    let provisioner = connect(&nats, "provisioner").await;
    for (call, request) in [
        ("STREAM.PURGE.STRONGROOM", serde_json::json!({})),
        ("STREAM.MSG.DELETE.STRONGROOM", serde_json::json!({ "seq": 1 })),
    ] {
        assert!(provisioner.api(call, &request).await.is_err(), "{call}");
    }
    assert_eq!(bus.log_state().await.unwrap().1, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_is_refused_and_not_tried_for_ever() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let bus = nats.bus("gateway").await.unwrap();
    let huge = paused(&"x".repeat(300 * 1024));
    let answer = bus.journal().append(&some_plan(), &Head::default(), &huge, &Context::default()).await;
    assert!(matches!(answer, Err(AppendError::Fault(f)) if !f.is_transient()));
}

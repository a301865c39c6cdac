//! Work, reports, leases, status, secrets, indexes, questions.

use std::time::Duration;
use strongroom_bus::{Answer, AskError, Position};
use strongroom_domain::wire::{LeaseAnswer, LeaseQuestion, NodeReport, Status};
use strongroom_domain::{JobId, SecretRef};
use strongroom_testkit::Nats;
use uuid::Uuid;

const WAIT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_report_stays_until_it_is_acked_and_a_repeated_one_is_one() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let (node, scheduler) = (nats.node("a").await.unwrap(), nats.bus("scheduler").await.unwrap());
    let report = NodeReport::Started { job: JobId(Uuid::now_v7()), epoch: 7, boot: "b".into() };
    for _ in 0..2 {
        node.report("same-id", &report, Some("00-trace")).await.unwrap();
    }
    let first = scheduler.next_report(WAIT).await.unwrap().unwrap();
    assert_eq!((first.node.as_str(), first.traceparent.as_deref()), ("a", Some("00-trace")));
    assert_eq!(first.report.as_ref().unwrap(), &report);
    first.later(Duration::from_millis(10)).await;
    let again = scheduler.next_report(WAIT).await.unwrap().unwrap();
    again.done().await.unwrap();
    assert!(scheduler.next_report(Duration::from_millis(300)).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_asks_for_its_lease_and_says_how_it_is() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let (node, scheduler) = (nats.node("a").await.unwrap(), nats.bus("scheduler").await.unwrap());
    let server = scheduler.clone();
    tokio::spawn(async move {
        server
            .serve_leases(|node, q| {
                if node.as_str() == "a" && q.epoch == 7 { LeaseAnswer::Held } else { LeaseAnswer::Stale }
            })
            .await
    });
    let question = |epoch| LeaseQuestion { job: JobId(Uuid::nil()), epoch };
    strongroom_testkit::wait_until("a lease answer", WAIT, async || {
        node.lease(&question(7)).await.ok().filter(|a| *a == LeaseAnswer::Held)
    })
    .await
    .unwrap();
    assert_eq!(node.lease(&question(8)).await.unwrap(), LeaseAnswer::Stale);

    let mut statuses = scheduler.watch_status().await.unwrap();
    let beat = Status::Heartbeat {
        node: "a".parse().unwrap(),
        boot: "b".into(),
        at: jiff::Timestamp::UNIX_EPOCH,
        running: vec![],
    };
    let seen = strongroom_testkit::wait_until("a status", WAIT, async || {
        node.status("heartbeat", &beat).await;
        tokio::time::timeout(Duration::from_millis(100), futures::StreamExt::next(&mut statuses))
            .await
            .ok()
            .flatten()
    })
    .await
    .unwrap();
    assert_eq!(seen, ("a".parse().unwrap(), beat.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_can_be_shredded_and_indexes_are_read_back() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let (gateway, scheduler, catalog) = (
        nats.bus("gateway").await.unwrap(),
        nats.bus("scheduler").await.unwrap(),
        nats.bus("catalog").await.unwrap(),
    );
    let secret = SecretRef { reference: "repository-web".into(), version: 1 };
    assert_eq!(scheduler.get_secret(&secret).await.unwrap(), None);
    gateway.put_secret(&secret, b"ciphertext".to_vec()).await.unwrap();
    assert_eq!(scheduler.get_secret(&secret).await.unwrap().unwrap(), b"ciphertext");
    gateway.shred_secret(&secret).await.unwrap();
    assert_eq!(scheduler.get_secret(&secret).await.unwrap(), None);

    let node = nats.node("a").await.unwrap();
    for chunk in 0..3 {
        node.put_index("x-1", chunk, format!("part {chunk}").into()).await.unwrap();
    }
    let parts = catalog.read_index("a", "x-1", 3).await.unwrap();
    assert_eq!(parts.len(), 3);
    assert_eq!(&parts[2][..], b"part 2");
    scheduler.purge_index("x-1").await.unwrap();
    assert!(catalog.read_index("a", "x-1", 3).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_with_its_position() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let (asker, server) = (nats.bus("gateway").await.unwrap(), nats.bus("catalog").await.unwrap());
    tokio::spawn(async move {
        let at = server.position(5);
        server
            .serve("catalog", 8, move |view, question| {
                let at = at.clone();
                async move {
                    match question.read::<String>() {
                        Ok(text) if view == "echo" => Answer::ok(at, &text),
                        Ok(_) => Answer::Behind { position: at },
                        Err(rejection) => Answer::Rejected { rejection },
                    }
                }
            })
            .await
    });
    let (text, position): (String, Position) =
        strongroom_testkit::wait_until("an answer", WAIT, async || {
            asker.ask("catalog", "echo", &"hello", None, None).await.ok()
        })
        .await
        .unwrap();
    assert_eq!((text.as_str(), position), ("hello", asker.position(5)));
    let behind = asker.ask::<_, String>("catalog", "else", &"x", None, None).await;
    assert!(matches!(behind, Err(AskError::Behind(p)) if p.sequence == 5));
    let rejected = asker.ask::<_, String>("catalog", "echo", &17, None, None).await;
    assert!(matches!(rejected, Err(AskError::Rejected(_))));
}

//! Writing and following: guards, retries, races, gaps, poison.

use crate::{paused, some_plan};
use std::time::Duration;
use strongroom_bus::{AppendError, Bus, Context, Delivery, Head};
use strongroom_domain::{Event, Kind};
use strongroom_testkit::{Nats, wait_until};

async fn on_both(test: impl AsyncFn(&Nats)) {
    test(&Nats::one(&["a"]).await.unwrap()).await;
    test(&Nats::three(&["a"]).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_is_guarded_and_a_repeated_one_is_recognised() {
    on_both(async |nats: &Nats| {
        let bus = nats.bus("gateway").await.unwrap();
        let (plan, context) = (some_plan(), Context::service("test"));
        let first = paused("1");
        let done = bus.journal().append(&plan, &Head::default(), &first, &context).await.unwrap();
        assert!(!done.was_there);
        assert_eq!(done.head.version, 1);
        // The acknowledgement was lost and the same is sent again: it is ours, not a conflict.
        let again = bus.journal().append(&plan, &Head::default(), &first, &context).await.unwrap();
        assert!(again.was_there);
        assert_eq!(again.head, done.head);
        // Another writer with an old view loses.
        let lost = bus.journal().append(&plan, &Head::default(), &paused("2"), &context).await;
        assert!(matches!(lost, Err(AppendError::Conflict)), "{lost:?}");
        let second = bus.journal().append(&plan, &done.head, &paused("3"), &context).await.unwrap();
        let history = bus.journal().load(&plan).await.unwrap();
        assert_eq!(history.head, second.head);
        assert_eq!(history.events.len(), 2);
        assert_eq!(history.events[1].previous, history.events[0].hash);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_writers_one_wins_each_round() {
    on_both(async |nats: &Nats| {
        let buses: Vec<Bus> = futures::future::join_all((0..4).map(|_| nats.bus("gateway")))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let plan = some_plan();
        let context = Context::service("test");
        let mut head = Head::default();
        for round in 0..25 {
            let events: Vec<_> = buses.iter().map(|_| paused(&format!("round {round}"))).collect();
            let tries = buses
                .iter()
                .zip(&events)
                .map(|(bus, event)| bus.journal().append(&plan, &head, event, &context));
            let results = futures::future::join_all(tries).await;
            let mut wins = results.into_iter().filter_map(Result::ok);
            head = wins.next().expect("one writer wins").head;
            assert!(wins.next().is_none(), "two writers won round {round}");
        }
        let history = buses[0].journal().load(&plan).await.unwrap();
        assert_eq!(history.events.len(), 25);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_made_again_after_a_lost_race() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let plan = some_plan();
    let writers = (0..4).map(|_| async {
        let bus = nats.bus("gateway").await.unwrap();
        let mut written = 0;
        for _ in 0..10 {
            let decided = bus
                .journal()
                .decide::<std::convert::Infallible, _>(&plan, &Context::service("t"), |h| {
                    Ok(Some(paused(&h.head.version.to_string())))
                })
                .await;
            written += u64::from(decided.is_ok());
        }
        written
    });
    let written: u64 = futures::future::join_all(writers).await.into_iter().sum();
    let history = nats.bus("gateway").await.unwrap().journal().load(&plan).await.unwrap();
    assert_eq!(history.head.version, written);
    for (i, event) in history.events.iter().enumerate() {
        let Event::PlanPaused(p) = &event.event else { panic!() };
        assert_eq!(p.reason, i.to_string(), "decided on a stale history");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_everything_in_order_and_junk_as_poison() {
    on_both(async |nats: &Nats| {
        let bus = nats.bus("gateway").await.unwrap();
        let context = Context::service("test");
        let (plan, other) = (some_plan(), some_plan());
        let head = bus.journal().append(&plan, &Head::default(), &paused("1"), &context).await.unwrap().head;
        // Junk through the raw store, as a broken writer would leave it.
        let subject = format!("strongroom.evt.{other}");
        bus.journal().store().publish(&subject, Vec::new(), "{\"seq\":1}".into(), 0).await;
        bus.journal().append(&plan, &head, &paused("2"), &context).await.unwrap();

        let mut follower = bus.follow(0);
        let mut seen = Vec::new();
        loop {
            match follower.next().await.unwrap() {
                Delivery::Event(e) if e.aggregate == plan => seen.push(format!("v{}", e.version)),
                Delivery::Poison(p) if p.aggregate.as_ref() == Some(&other) => seen.push("poison".into()),
                Delivery::CaughtUp(_) => break,
                _ => {}
            }
        }
        assert_eq!(seen, ["v1", "poison", "v2"]);
        // It wakes when the log grows.
        let writer = nats.bus("gateway").await.unwrap();
        let third = some_plan();
        let (found, _) = tokio::join!(
            async {
                loop {
                    if let Delivery::Event(e) = follower.next().await.unwrap() {
                        return e;
                    }
                }
            },
            async {
                writer.journal().append(&third, &Head::default(), &paused("x"), &context).await.unwrap()
            }
        );
        assert_eq!(found.aggregate, third);
        assert_eq!(found.aggregate.kind, Kind::Plan);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_in_the_middle_of_an_aggregate_stops_no_follower() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let bus = nats.bus("gateway").await.unwrap();
    let (context, plan) = (Context::service("test"), some_plan());
    let head = bus.journal().append(&plan, &Head::default(), &paused("1"), &context).await.unwrap().head;
    // A type of the future: a newer program goes on writing after it.
    let subject = strongroom_bus::subjects::event(&plan);
    bus.journal().store().publish(&subject, Vec::new(), "?".into(), head.sequence).await;
    let unread = Head { sequence: head.sequence + 1, version: 2, hash: "of what cannot be read".into() };
    let third = bus.journal().append(&plan, &unread, &paused("3"), &context).await.unwrap().head;
    let fourth = bus.journal().append(&plan, &third, &paused("4"), &context).await.unwrap().head;

    let mut follower = bus.follow(0);
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match follower.next().await.unwrap() {
            Delivery::Event(e) => seen.push(e.version),
            Delivery::Poison(p) => seen.push(p.sequence * 100),
            Delivery::CaughtUp(_) => {}
        }
    }
    assert_eq!(seen, [1, unread.sequence * 100, 3, 4]);
    // What is missing after it is noticed again.
    let skipped = Head { version: 5, ..fourth };
    bus.journal().append(&plan, &skipped, &paused("6"), &context).await.unwrap();
    let stopped = loop {
        match follower.next().await {
            Ok(Delivery::CaughtUp(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(stopped, Err(strongroom_bus::FollowError::Broken { .. })), "{stopped:?}");
    // Nothing is decided on half a history.
    let halted = bus.journal().load(&plan).await.unwrap_err();
    assert!(halted.to_string().contains("is halted"), "{halted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_of_large_events_is_read_whole() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let bus = nats.bus("gateway").await.unwrap();
    let (context, plan) = (Context::service("test"), some_plan());
    // More than the server gives in answer to one read.
    let large = "x".repeat(200_000);
    let mut head = Head::default();
    for _ in 0..60 {
        head = bus.journal().append(&plan, &head, &paused(&large), &context).await.unwrap().head;
    }
    assert_eq!(bus.journal().load(&plan).await.unwrap().head, head);
    assert_eq!(
        bus.journal().store().read(None, 1, 50).await.unwrap().len(),
        50,
        "and no more than was asked for"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_survive_a_kill_of_every_server() {
    for mut nats in [Nats::one(&["a"]).await.unwrap(), Nats::three(&["a"]).await.unwrap()] {
        let bus = nats.bus("gateway").await.unwrap();
        let plan = some_plan();
        let mut head = Head::default();
        for round in 0..5 {
            for _ in 0..5 {
                head = wait_until("an append", Duration::from_secs(30), async || {
                    bus.journal().append(&plan, &head, &paused("x"), &Context::service("t")).await.ok()
                })
                .await
                .unwrap()
                .head;
            }
            let victim = round % nats.members();
            nats.kill(victim).unwrap();
            nats.start_member(victim).unwrap();
        }
        let history = wait_until("the log is readable", Duration::from_secs(30), async || {
            bus.journal().load(&plan).await.ok()
        })
        .await
        .unwrap();
        assert_eq!(history.head, head);
        assert_eq!(history.events.len(), 25);
    }
}

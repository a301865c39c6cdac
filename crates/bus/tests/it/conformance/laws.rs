//! The laws.

use super::{World, for_certain};
use futures::future::{join, join_all};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use strongroom_bus::log_store::LogStore;
use strongroom_bus::{
    AppendError, Context, Delivery, FollowError, Follower, Head, History, Journal, Recorded,
};
use strongroom_domain::{Aggregate, Event, EventId};

/// All of them at once, with a reader beside.
pub async fn hold(world: &World) {
    let (end, told) = tokio::sync::watch::channel(None);
    let reader = follow_until(world.stores[0].clone(), 0, told);
    let writing = async {
        join(one_writer_wins_each_version(world), no_decision_is_lost_doubled_or_stale(world)).await;
        what_is_repeated_is_recognised(world).await;
        end.send(Some(for_certain(|| world.stores[0].state()).await.unwrap().1)).unwrap();
    };
    let (seen, ()) = join(reader, writing).await;
    chains_hold(&seen);
    // Another reader, that begins later and elsewhere, sees the same.
    let last = seen.len() as u64;
    let checkpoint = last / 2;
    let (_end, told) = tokio::sync::watch::channel(Some(last));
    let again = follow_until(world.stores.last().unwrap().clone(), checkpoint, told).await;
    let ids = |events: &[Recorded]| events.iter().map(|e| (e.sequence, e.id)).collect::<Vec<_>>();
    assert_eq!(ids(&seen[checkpoint as usize..]), ids(&again));
    assert_eq!(
        seen.iter().map(|e| e.id).collect::<BTreeSet<_>>().len(),
        seen.len(),
        "an event is there twice"
    );
}

/// Follows until it has given out the sequence that `end` tells: each sequence once and in order.
async fn follow_until(
    store: Arc<dyn LogStore>,
    checkpoint: u64,
    mut end: tokio::sync::watch::Receiver<Option<u64>>,
) -> Vec<Recorded> {
    let mut follower = Follower::new(store, checkpoint);
    let mut seen: Vec<Recorded> = Vec::new();
    loop {
        let last = *end.borrow_and_update();
        if last.is_some_and(|last| follower.sequence() >= last) {
            return seen;
        }
        let delivery = tokio::select! {
            delivery = follower.next() => delivery,
            _ = end.changed() => continue,
        };
        match delivery {
            Ok(Delivery::Event(event)) => {
                assert_eq!(event.sequence, checkpoint + seen.len() as u64 + 1);
                seen.push(*event);
            }
            Ok(Delivery::CaughtUp(sequence)) => assert_eq!(sequence, checkpoint + seen.len() as u64),
            Err(FollowError::Fault(fault)) if fault.is_transient() => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Each aggregate's events are numbered without a gap, and each continues the one before it.
fn chains_hold(events: &[Recorded]) {
    let mut ends: BTreeMap<&Aggregate, Head> = BTreeMap::new();
    for event in events {
        let end = ends.entry(&event.aggregate).or_default();
        assert_eq!((event.version, &event.previous), (end.version + 1, &end.hash));
        *end = event.head();
    }
}

/// The whole of an aggregate, which has at least this version: whoever asks after a writer was told sees what it wrote,
/// whichever replica answers.
async fn history(journal: &Journal, aggregate: &Aggregate, version: u64) -> History {
    let history = for_certain(|| journal.load(aggregate)).await.unwrap();
    assert!(history.head.version >= version, "{aggregate}: {} of {version}", history.head.version);
    history
}

/// Writers that saw the same: one of them writes the next version, and each learns truly whether it was that one.
async fn one_writer_wins_each_version(world: &World) {
    let (journals, plan) = (world.journals(), world.plan("race"));
    let context = Context::service("test");
    let mut head = Head::default();
    for round in 0..world.rounds {
        let events: Vec<_> =
            (0..journals.len()).map(|w| world.event(&format!("race/{round}/{w}"), w)).collect();
        let tries = journals
            .iter()
            .zip(&events)
            .map(|(journal, event)| for_certain(|| journal.append(&plan, &head, event, &context)));
        let results = join_all(tries).await;
        let winners: Vec<_> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
        assert_eq!(winners.len(), 1, "round {round}: {results:?}");
        assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(AppendError::Conflict))), "{results:?}");
        let winner = results.iter().position(Result::is_ok).unwrap();
        let there = history(&journals[0], &plan, u64::from(round) + 1).await;
        assert_eq!(there.head, winners[0].head, "the winner was told where it stands");
        assert_eq!(there.events.last().unwrap().id, events[winner].id);
        head = there.head;
    }
}

/// Every command is decided on what all commands before it have made of the aggregate, and is there once.
async fn no_decision_is_lost_doubled_or_stale(world: &World) {
    let plan = world.plan("decisions");
    let context = Context::service("test");
    let journals = world.journals();
    let writers = journals.iter().enumerate().map(|(w, journal)| {
        let (plan, context) = (&plan, &context);
        async move {
            let mut told = Vec::new();
            for n in 0..world.rounds {
                let command = format!("decide/{w}/{n}");
                let (appended, _) = for_certain(|| {
                    journal.decide::<Infallible, _>(plan, context, |history| {
                        Ok(Some(world.event(&command, history.head.version)))
                    })
                })
                .await
                .unwrap();
                told.push((world.event(&command, 0).id, appended.unwrap().head));
            }
            told
        }
    });
    let told: Vec<_> = join_all(writers).await.into_iter().flatten().collect();
    let there = history(&journals[0], &plan, told.len() as u64).await;
    assert_eq!(there.events.len(), told.len(), "as many as were asked for");
    for (n, event) in there.events.iter().enumerate() {
        let Event::PlanPaused(paused) = &event.event else { panic!("{event:?}") };
        assert_eq!(paused.reason, n.to_string(), "decided on a stale history");
    }
    let heads: BTreeMap<EventId, Head> = there.events.iter().map(|e| (e.id, e.head())).collect();
    for (id, head) in told {
        assert_eq!(heads.get(&id), Some(&head), "told another place than it has");
    }
}

/// A command that is sent again, soon or late, writes nothing more.
async fn what_is_repeated_is_recognised(world: &World) {
    let (journals, plan) = (world.journals(), world.plan("repeated"));
    let context = Context::service("test");
    let first = world.event("repeated/first", 1);
    let journal = &journals[0];
    let append = async |head: &Head, event| {
        for_certain(|| journal.append(&plan, head, event, &context)).await.unwrap()
    };
    let done = append(&Head::default(), &first).await;
    assert_eq!(append(&Head::default(), &first).await.head, done.head);
    let second = append(&done.head, &world.event("repeated/second", 2)).await;
    // Others have written since, and it is sent again to another server.
    let other = journals.last().unwrap();
    let nothing = Head::default();
    let again = for_certain(|| other.append(&plan, &nothing, &first, &context)).await.unwrap();
    assert_eq!((again.head, again.was_there), (done.head.clone(), true));
    let (again, _) =
        for_certain(|| other.decide::<Infallible, _>(&plan, &context, |_| Ok(Some(first.clone()))))
            .await
            .unwrap();
    assert_eq!(again.unwrap().head, done.head);
    // One that saw only the first loses, on whichever server.
    let late = world.event("repeated/late", 3);
    let late = for_certain(|| other.append(&plan, &done.head, &late, &context)).await;
    assert!(matches!(late, Err(AppendError::Conflict)), "{late:?}");
    assert_eq!(history(journal, &plan, 2).await.head, second.head);
}

/// The log takes an event for one that it has, because of its id alone: whoever wrote it learns that it is not there.
pub async fn a_lying_duplicate_is_found_out(world: &World) {
    let (journals, context) = (world.journals(), Context::service("test"));
    let (one, other) = (world.plan("liar/one"), world.plan("liar/other"));
    let event = world.event("liar", 1);
    let nothing = Head::default();
    for_certain(|| journals[0].append(&one, &nothing, &event, &context)).await.unwrap();
    match for_certain(|| journals[1].append(&other, &nothing, &event, &context)).await {
        // Its id was forgotten already.
        Ok(appended) => assert_eq!(history(&journals[0], &other, 1).await.head, appended.head),
        Err(AppendError::Fault(fault)) => {
            assert!(fault.to_string().contains("duplicate"), "{fault}");
            // A copy that was long on its way may have come after the id was forgotten; nothing else can be there.
            let there = for_certain(|| journals[0].load(&other)).await.unwrap().events;
            assert!(there.len() <= 1 && there.iter().all(|e| e.id == event.id), "{there:?}");
        }
        Err(AppendError::Conflict) => panic!("nobody else has written there"),
    }
}

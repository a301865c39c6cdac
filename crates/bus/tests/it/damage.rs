//! A store that has lost or changed something without a word: whoever follows it notices.

use crate::paused;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::{Arc, Mutex};
use strongroom_bus::log_store::{LogStore, PublishAnswer, RawMessage};
use strongroom_bus::{Context, Delivery, Fault, FollowError, Follower, Head, Journal};
use strongroom_domain::{Aggregate, Kind};

/// A log as it was stored, and as somebody has left it.
#[derive(Default)]
struct Stored(Mutex<Vec<RawMessage>>);

#[async_trait]
impl LogStore for Stored {
    async fn publish(
        &self,
        subject: &str,
        headers: Vec<(String, String)>,
        payload: Bytes,
        _: u64,
    ) -> PublishAnswer {
        let mut log = self.0.lock().unwrap();
        let sequence = log.len() as u64 + 1;
        log.push(RawMessage { sequence, subject: subject.to_owned(), headers, payload });
        PublishAnswer::Stored(sequence)
    }

    async fn last(&self, subject: &str) -> Result<u64, Fault> {
        let log = self.0.lock().unwrap();
        Ok(log.iter().rev().find(|m| m.subject == subject).map_or(0, |m| m.sequence))
    }

    async fn read(&self, subject: Option<&str>, from: u64, batch: usize) -> Result<Vec<RawMessage>, Fault> {
        let log = self.0.lock().unwrap();
        let wanted = log.iter().filter(|m| m.sequence >= from && subject.is_none_or(|s| s == m.subject));
        Ok(wanted.take(batch).cloned().collect())
    }

    async fn changes(&self) -> Result<BoxStream<'static, u64>, Fault> {
        Ok(futures::stream::pending().boxed())
    }

    async fn state(&self) -> Result<(String, u64), Fault> {
        Ok(("stored".into(), self.0.lock().unwrap().last().map_or(0, |m| m.sequence)))
    }
}

/// Six events of two aggregates in turn: a b a b a b.
async fn six() -> Arc<Stored> {
    let store = Arc::new(Stored::default());
    let journal = Journal::new(store.clone(), "/test".into());
    let mut heads = [Head::default(), Head::default()];
    for n in 0..6 {
        let plan = Aggregate::new(Kind::Plan, ["a", "b"][n % 2]);
        let appended = journal.append(&plan, &heads[n % 2], &paused("x"), &Context::service("test")).await;
        heads[n % 2] = appended.unwrap().head;
    }
    store
}

/// Follows from `checkpoint` to the end, or to the alarm.
async fn follow(store: Arc<Stored>, checkpoint: u64) -> Result<u64, FollowError> {
    let mut follower = Follower::new(store, checkpoint);
    loop {
        if let Delivery::CaughtUp(sequence) = follower.next().await? {
            return Ok(sequence);
        }
    }
}

#[tokio::test]
async fn a_whole_log_is_followed_to_its_end() {
    let store = six().await;
    assert_eq!(follow(store.clone(), 0).await.unwrap(), 6);
    assert_eq!(follow(store, 4).await.unwrap(), 6);
}

#[tokio::test]
async fn a_message_that_is_gone_is_missed() {
    let store = six().await;
    store.0.lock().unwrap().remove(3);
    let gap = follow(store.clone(), 0).await;
    assert!(matches!(gap, Err(FollowError::Gap { expected: 4, found: 5 })), "{gap:?}");
    let journal = Journal::new(store, "/test".into());
    assert!(journal.load(&Aggregate::new(Kind::Plan, "a")).await.is_ok());
    let halted = journal.load(&Aggregate::new(Kind::Plan, "b")).await.unwrap_err().to_string();
    assert!(halted.contains("its chain is broken"), "{halted}");
}

#[tokio::test]
async fn a_message_that_was_replaced_is_noticed_by_the_one_after_it() {
    // A bit of its bytes, its place in the chain, or who is said to have written it.
    type Change = fn(&mut RawMessage);
    let changes: [Change; 3] = [
        |m| m.payload = m.payload.iter().map(|b| if *b == b'x' { b'y' } else { *b }).collect(),
        |m| m.headers.iter_mut().filter(|(n, _)| n == "ce-version").for_each(|(_, v)| *v = "7".into()),
        |m| m.headers.iter_mut().filter(|(n, _)| n == "ce-source").for_each(|(_, v)| *v = "/other".into()),
    ];
    for change in changes {
        let store = six().await;
        change(&mut store.0.lock().unwrap()[2]);
        let broken = follow(store.clone(), 0).await;
        assert!(matches!(broken, Err(FollowError::Broken { sequence: 3 | 5, .. })), "{broken:?}");
        let journal = Journal::new(store, "/test".into());
        assert!(journal.load(&Aggregate::new(Kind::Plan, "a")).await.is_err());
    }
}

#[tokio::test]
async fn a_log_that_ends_before_the_checkpoint_is_another_log() {
    let store = six().await;
    store.0.lock().unwrap().truncate(3);
    let other = follow(store, 5).await;
    assert!(matches!(other, Err(FollowError::OtherLog { last: 3, checkpoint: 5 })), "{other:?}");
}

//! A follower and a replica that is a little behind.

use crate::{paused, some_plan};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;
use strongroom_bus::log_store::{LogStore, PublishAnswer, RawMessage};
use strongroom_bus::{Context, Delivery, Fault, Follower, Head, Journal};
use tokio::sync::watch;
use tokio::time::Instant;

/// A log of at most one event, told at once and shown a little later.
struct Laggard {
    stored: watch::Sender<Option<(RawMessage, Instant)>>,
    lag: Duration,
}

#[async_trait]
impl LogStore for Laggard {
    async fn publish(
        &self,
        subject: &str,
        headers: Vec<(String, String)>,
        payload: Bytes,
        _: u64,
    ) -> PublishAnswer {
        let message = RawMessage { sequence: 1, subject: subject.to_owned(), headers, payload };
        self.stored.send_replace(Some((message, Instant::now() + self.lag)));
        PublishAnswer::Stored(1)
    }

    async fn last(&self, _: &str) -> Result<u64, Fault> {
        Ok(self.stored.borrow().as_ref().map_or(0, |(message, _)| message.sequence))
    }

    async fn read(&self, _: Option<&str>, from: u64, _: usize) -> Result<Vec<RawMessage>, Fault> {
        let stored = self.stored.borrow().clone();
        let shown = stored.filter(|(m, from_when)| m.sequence >= from && *from_when <= Instant::now());
        Ok(shown.into_iter().map(|(message, _)| message).collect())
    }

    async fn changes(&self) -> Result<BoxStream<'static, u64>, Fault> {
        let told = futures::stream::unfold(self.stored.subscribe(), async |mut stored| {
            stored.changed().await.ok()?;
            Some((1, stored))
        });
        Ok(told.boxed())
    }

    async fn state(&self) -> Result<(String, u64), Fault> {
        Ok(("lag".into(), 0))
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_replica_shows_a_little_late_is_given_out_a_little_late() {
    // On a paused clock, time is what was waited for and nothing else.
    for (lag_ms, at_most_ms) in [(0, 10), (1, 10), (20, 60), (200, 600)] {
        let lag = Duration::from_millis(lag_ms);
        let store = Arc::new(Laggard { stored: watch::Sender::new(None), lag });
        let mut follower = Follower::new(store.clone(), 0);
        assert!(matches!(follower.next().await, Ok(Delivery::CaughtUp(0))));
        let journal = Journal::new(store, "/test".into());
        let written = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let (plan, context) = (some_plan(), Context::service("test"));
            journal.append(&plan, &Head::default(), &paused("x"), &context).await.unwrap();
            Instant::now()
        };
        let (delivery, written) = tokio::join!(follower.next(), written);
        assert!(matches!(delivery, Ok(Delivery::Event(_))), "{delivery:?}");
        let waited = written.elapsed();
        assert!(waited <= Duration::from_millis(at_most_ms), "{waited:?} for a lag of {lag:?}");
    }
}

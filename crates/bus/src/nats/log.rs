//! The log on a real server.

use super::Connection;
use super::connection::stored_at;
use crate::log_store::{LogStore, PublishAnswer, RawMessage};
use crate::{Fault, subjects};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;

/// The stream `STRONGROOM`.
#[derive(Clone)]
pub struct NatsLog {
    nats: Connection,
}

impl NatsLog {
    /// The log behind this connection.
    pub fn new(nats: Connection) -> Self {
        Self { nats }
    }
}

#[async_trait]
impl LogStore for NatsLog {
    async fn publish(
        &self,
        subject: &str,
        mut headers: Vec<(String, String)>,
        payload: Bytes,
        expected: u64,
    ) -> PublishAnswer {
        headers.push(("Nats-Expected-Last-Subject-Sequence".to_owned(), expected.to_string()));
        self.nats.publish_acked(subject, headers, payload).await
    }

    async fn last(&self, subject: &str) -> Result<u64, Fault> {
        Ok(self.nats.newest(subjects::LOG, subject).await?.map_or(0, |(sequence, _)| sequence))
    }

    async fn read(&self, subject: Option<&str>, from: u64, batch: usize) -> Result<Vec<RawMessage>, Fault> {
        let messages = self.nats.read(subjects::LOG, subject, from, batch).await?;
        Ok(messages.into_iter().map(clean).collect())
    }

    async fn changes(&self) -> Result<BoxStream<'static, u64>, Fault> {
        let mut stored = self.nats.subscribe(subjects::STORED_EVENTS).await?;
        // Only the newest place is kept, never the messages: a reader that is busy for a while would find tens of
        // thousands of them, each holding on to the buffer that it came in.
        let (tell, told) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    message = stored.next() => message,
                    () = tell.closed() => return,
                };
                let Some(message) = message else { return };
                tell.send_modify(|newest: &mut u64| *newest = (*newest).max(stored_at(&message)));
            }
        });
        let newest = futures::stream::unfold(told, |mut told| async move {
            told.changed().await.ok()?;
            let sequence = *told.borrow_and_update();
            Some((sequence, told))
        });
        Ok(newest.boxed())
    }

    async fn state(&self) -> Result<(String, u64), Fault> {
        let info = self.nats.api(&format!("STREAM.INFO.{}", subjects::LOG), &serde_json::json!({})).await?;
        let generation = info.pointer("/config/metadata/generation").and_then(serde_json::Value::as_str);
        let last = info.pointer("/state/last_seq").and_then(serde_json::Value::as_u64);
        match (generation, last) {
            (Some(generation), Some(last)) => Ok((generation.to_owned(), last)),
            _ => Err(Fault::Permanent(
                "the log has no generation: it was not made by 'strongroom provision'".into(),
            )),
        }
    }
}

/// The server keeps the guard among the headers; it is no part of the event.
fn clean(mut message: RawMessage) -> RawMessage {
    message.headers.retain(|(name, _)| name != "Nats-Expected-Last-Subject-Sequence");
    message
}

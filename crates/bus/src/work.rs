//! Durable work with explicit acks: what nodes report, and what nodes are woken for.
//!
//! The accident that this file prevents is P8: a job of hours whose delivery is given to someone else in the middle.
//! In-progress acks keep a delivery, and an ack is flow control only: the epoch in the log decides whose work counts.

use crate::nats::{Connection, Pulled, Settings};
use crate::twice::Twice;
use crate::{Bus, Fault, subjects};
use bytes::Bytes;
use std::time::Duration;
use strongroom_domain::NodeId;
use strongroom_domain::event::{decode_payload, encode_payload};
use strongroom_domain::wire::{LeaseAnswer, LeaseQuestion, NodeReport, Status, WorkItem};

/// A report to be taken down.
pub struct ReportDelivery {
    /// Which node said it: from the subject, which the node cannot choose.
    pub node: NodeId,
    /// What it said; the error says why it cannot be read.
    pub report: Result<NodeReport, String>,
    /// W3C trace context of the node's span.
    pub traceparent: Option<String>,
    ack: Ack,
}

/// A wake-up to be followed.
pub struct WorkDelivery {
    /// What to do; the error says why it cannot be read.
    pub item: Result<WorkItem, String>,
    /// How often it was delivered, this time included.
    pub deliveries: u64,
    /// W3C trace context of the admission.
    pub traceparent: Option<String>,
    /// Its answer.
    pub ack: Ack,
}

/// The answer to a delivery.
#[derive(Clone)]
pub struct Ack {
    nats: Connection,
    reply: String,
}

impl Ack {
    /// Done with it: waits until the server has taken the ack down.
    pub async fn done(&self) -> Result<(), Fault> {
        self.nats.request(&self.reply, Bytes::from_static(b"+ACK"), Duration::from_secs(5)).await.map(|_| ())
    }

    /// Still at it: the delivery is kept for another ack wait.
    pub async fn in_progress(&self) {
        self.nats.publish(&self.reply, Bytes::from_static(b"+WPI")).await;
    }

    /// Not now: deliver it again after a while.
    pub async fn later(&self, delay: Duration) {
        let text = format!("-NAK {{\"delay\": {}}}", delay.as_nanos());
        self.nats.publish(&self.reply, Bytes::from(text)).await;
    }
}

impl ReportDelivery {
    /// Taken down: it must not come again.
    pub async fn done(&self) -> Result<(), Fault> {
        self.ack.done().await
    }

    /// Could not be taken down now: deliver it again after a while.
    pub async fn later(&self, delay: Duration) {
        self.ack.later(delay).await;
    }
}

impl Bus {
    /// Wakes a node. Losing it is harmless: a reconciler does it again.
    pub async fn emit_work(
        &self,
        node: &NodeId,
        item: &WorkItem,
        traceparent: Option<&str>,
    ) -> Result<(), Fault> {
        let payload = encode_payload(item).map_err(|e| Fault::permanent("a wake-up", e))?;
        let mut headers = vec![("Nats-Msg-Id".to_owned(), format!("{}-{}", item.job, item.epoch))];
        headers.extend(traceparent.map(|t| ("traceparent".to_owned(), t.to_owned())));
        self.nats.store(&subjects::work(node.as_str()), headers, payload.into()).await.map(|_| ())
    }

    /// The next report of any node; `None` when none came within `wait`.
    pub async fn next_report(&self, wait: Duration) -> Result<Option<ReportDelivery>, Fault> {
        let pulled = self.twice.or_pull(|| self.nats.pull(subjects::REPORTS, "scheduler", wait));
        let Some(message) = pulled.await? else {
            return Ok(None);
        };
        let Some(node) = message.subject.rsplit('.').next().and_then(|n| n.parse().ok()) else {
            return Err(Fault::Permanent(format!(
                "a report on the subject '{}', which names no node",
                message.subject
            )));
        };
        let report = decode_payload(&message.payload).map_err(|e| e.to_string());
        let traceparent = message.header("traceparent").map(ToOwned::to_owned);
        Ok(Some(ReportDelivery {
            node,
            report,
            traceparent,
            ack: Ack { nats: self.nats.clone(), reply: message.reply },
        }))
    }

    /// Answers the nodes' questions whether their attempts still stand.
    pub async fn serve_leases<F>(&self, answer: F) -> Result<(), Fault>
    where
        F: Fn(&NodeId, &LeaseQuestion) -> LeaseAnswer + Send + Sync,
    {
        use futures::StreamExt;
        let mut subscriber = self.nats.queue_subscribe("strongroom.lease.*", "scheduler").await?;
        while let Some(message) = subscriber.next().await {
            let node: Option<NodeId> = message.subject.rsplit('.').next().and_then(|n| n.parse().ok());
            let question = decode_payload::<LeaseQuestion>(&message.payload);
            if let (Some(node), Ok(question), Some(reply)) = (node, question, message.reply)
                && let Ok(payload) = encode_payload(&answer(&node, &question))
            {
                self.nats.publish(&reply, payload.into()).await;
            }
        }
        Ok(())
    }
}

/// A node's door: it pulls its own work, reports, and says how it is. It cannot read or write the log.
#[derive(Clone)]
pub struct NodeBus {
    nats: Connection,
    node: NodeId,
    twice: Twice<Pulled>,
}

impl NodeBus {
    /// Connects as a node.
    pub async fn connect(settings: &Settings, node: NodeId) -> Result<Self, Fault> {
        Ok(Self { nats: Connection::open(settings).await?, node, twice: Twice::from_environment() })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.nats
    }

    /// Which node this is.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Whether the connection is up.
    pub fn is_connected(&self) -> bool {
        self.nats.is_connected()
    }

    /// The next wake-up; `None` when none came within `wait`.
    pub async fn next_work(&self, wait: Duration) -> Result<Option<WorkDelivery>, Fault> {
        let node = self.node.as_str();
        let pulled = self.twice.or_pull(|| self.nats.pull(subjects::WORK, node, wait));
        let Some(message) = pulled.await? else {
            return Ok(None);
        };
        Ok(Some(WorkDelivery {
            item: decode_payload(&message.payload).map_err(|e| e.to_string()),
            // $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
            deliveries: message.reply.split('.').nth(4).and_then(|n| n.parse().ok()).unwrap_or(1),
            traceparent: message.header("traceparent").map(ToOwned::to_owned),
            ack: Ack { nats: self.nats.clone(), reply: message.reply },
        }))
    }

    /// Reports, and waits until the report is on disk. `id` makes a repeated report one message.
    pub async fn report(
        &self,
        id: &str,
        report: &NodeReport,
        traceparent: Option<&str>,
    ) -> Result<(), Fault> {
        let payload = encode_payload(report).map_err(|e| Fault::permanent("a report", e))?;
        let mut headers = vec![("Nats-Msg-Id".to_owned(), id.to_owned())];
        headers.extend(traceparent.map(|t| ("traceparent".to_owned(), t.to_owned())));
        self.nats.store(&subjects::report(self.node.as_str()), headers, payload.into()).await.map(|_| ())
    }

    /// Asks whether an attempt still stands.
    pub async fn lease(&self, question: &LeaseQuestion) -> Result<LeaseAnswer, Fault> {
        let payload = encode_payload(question).map_err(|e| Fault::permanent("a lease", e))?;
        let reply = self
            .nats
            .request(&subjects::lease(self.node.as_str()), payload.into(), Duration::from_secs(3))
            .await?;
        decode_payload(&reply.payload).map_err(|e| Fault::permanent("a lease", e))
    }

    /// Says how the node (`what` = `heartbeat`) or one of its jobs is.
    pub async fn status(&self, what: &str, status: &Status) {
        if let Ok(payload) = encode_payload(status) {
            self.nats.publish(&subjects::status(self.node.as_str(), what), payload.into()).await;
        }
    }

    /// Stores one part of an archive's file index.
    pub async fn put_index(&self, archive: &str, chunk: u32, part: Bytes) -> Result<(), Fault> {
        self.nats
            .store(&subjects::index(self.node.as_str(), archive, chunk), Vec::new(), part)
            .await
            .map(|_| ())
    }
}

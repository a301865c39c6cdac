//! Making the streams and consumers. Safe to repeat; what exists is brought in line where the server allows it.

use crate::nats::{Connection, Settings};
use crate::{Fault, subjects};
use serde_json::{Value, json};
use std::time::Duration;
use strongroom_domain::NodeId;

/// What is to be there.
#[derive(Debug, Clone)]
pub struct Provision {
    /// 1 on one machine, 3 on a cluster.
    pub replicas: u32,
    /// The log's size at most, in bytes; a full log is a clean error.
    pub log_max_bytes: u64,
    /// The size of all file indexes at most, in bytes.
    pub indexes_max_bytes: u64,
    /// All nodes.
    pub nodes: Vec<NodeId>,
    /// How long a delivery to a node is kept without a sign of it.
    pub work_ack_wait: Duration,
    /// The generation that a new log gets.
    pub generation: String,
}

impl Provision {
    /// Makes and checks everything, as the user `provisioner`.
    pub async fn apply(&self, settings: &Settings) -> Result<(), Fault> {
        let nats = Connection::open(settings).await?;
        for stream in self.streams() {
            self.ensure_stream(&nats, stream).await?;
        }
        let ack_wait = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        for node in &self.nodes {
            let consumer = json!({
                "durable_name": node, "filter_subject": subjects::work(node.as_str()), "ack_policy": "explicit",
                "ack_wait": ack_wait(self.work_ack_wait), "max_deliver": -1, "max_ack_pending": 1000,
                "deliver_policy": "all",
            });
            ensure_consumer(&nats, subjects::WORK, node.as_str(), consumer).await?;
        }
        let scheduler = json!({
            "durable_name": "scheduler", "ack_policy": "explicit", "ack_wait": ack_wait(Duration::from_secs(30)),
            "max_deliver": -1, "max_ack_pending": 1000, "deliver_policy": "all",
        });
        ensure_consumer(&nats, subjects::REPORTS, "scheduler", scheduler).await
    }

    fn streams(&self) -> Vec<Value> {
        let base = |name: &str, subject: &str| {
            json!({
                "name": name, "subjects": [subject], "retention": "limits", "storage": "file",
                "num_replicas": self.replicas, "allow_direct": true, "max_consumers": -1, "max_msgs": -1,
                "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1, "discard": "old",
                "duplicate_window": 120_000_000_000_u64,
            })
        };
        let with = |mut stream: Value, changes: Value| {
            if let (Some(stream), Value::Object(changes)) = (stream.as_object_mut(), changes) {
                stream.extend(changes);
            }
            stream
        };
        let days = |n: u64| n * 24 * 3600 * 1_000_000_000;
        vec![
            with(
                base(subjects::LOG, subjects::EVENTS),
                json!({
                    "discard": "new", "max_bytes": self.log_max_bytes, "deny_delete": true, "deny_purge": true,
                    "allow_rollup_hdrs": false, "max_msg_size": 262_144, "compression": "s2",
                    // The feed of what is stored: a message that came in from another account is not passed on to a third.
                    "republish": { "src": subjects::EVENTS, "dest": subjects::STORED_EVENTS, "headers_only": true },
                    "metadata": { "generation": self.generation },
                }),
            ),
            with(
                base(subjects::WORK, "strongroom.work.*"),
                json!({ "retention": "workqueue", "discard": "new", "max_bytes": 268_435_456 }),
            ),
            with(
                base(subjects::REPORTS, "strongroom.report.*"),
                json!({ "retention": "workqueue", "discard": "new", "max_bytes": 536_870_912 }),
            ),
            with(
                base(subjects::STATUS, subjects::STATUSES),
                json!({ "storage": "memory", "max_msgs_per_subject": 1, "max_bytes": 33_554_432, "max_age": 3_600_000_000_000_u64,
                    "republish": { "src": subjects::STATUSES, "dest": subjects::STORED_STATUSES } }),
            ),
            with(
                base(subjects::SECRETS, "strongroom.secret.*.*"),
                json!({ "max_msgs_per_subject": 1, "max_bytes": 67_108_864 , "discard": "new"}),
            ),
            with(
                base(subjects::INDEXES, "strongroom.index.*.*.*"),
                json!({ "max_msgs_per_subject": 1, "discard": "new", "max_bytes": self.indexes_max_bytes, "compression": "s2" }),
            ),
            with(
                base(subjects::QUARANTINE, "strongroom.quarantine.>"),
                json!({ "max_msgs_per_subject": 1, "max_age": days(90), "max_bytes": 67_108_864 }),
            ),
        ]
    }

    async fn ensure_stream(&self, nats: &Connection, mut wanted: Value) -> Result<(), Fault> {
        let name = wanted["name"].as_str().unwrap_or_default().to_owned();
        let made = retry(|| async { nats.api(&format!("STREAM.CREATE.{name}"), &wanted).await }).await;
        match made {
            Ok(_) => Ok(()),
            // 10058: it exists with other settings. Its generation and size are its own; the rest is brought in line.
            Err(Fault::Permanent(problem)) if problem.contains("10058") => {
                let info = nats.api(&format!("STREAM.INFO.{name}"), &json!({})).await?;
                for kept in ["metadata", "num_replicas"] {
                    if let Some(value) = info.pointer(&format!("/config/{kept}")) {
                        wanted[kept] = value.clone();
                    }
                }
                let present = info.pointer("/config/max_bytes").and_then(Value::as_i64).unwrap_or(-1);
                if present > wanted["max_bytes"].as_i64().unwrap_or(-1) {
                    wanted["max_bytes"] = present.into();
                }
                retry(|| async { nats.api(&format!("STREAM.UPDATE.{name}"), &wanted).await })
                    .await
                    .map(|_| ())
            }
            Err(fault) => Err(fault),
        }
    }
}

async fn ensure_consumer(nats: &Connection, stream: &str, name: &str, config: Value) -> Result<(), Fault> {
    let request = json!({ "stream_name": stream, "config": config });
    retry(|| async { nats.api(&format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), &request).await })
        .await
        .map(|_| ())
}

/// A cluster that has just started has no leader for some seconds.
async fn retry<F, Fut>(call: F) -> Result<Value, Fault>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<Value, Fault>>,
{
    let mut last = Fault::Transient("not tried".into());
    for _ in 0..60 {
        match call().await {
            Err(fault) if fault.is_transient() => last = fault,
            // 10005 / 10008: not enough peers yet, JetStream not ready yet.
            Err(Fault::Permanent(p)) if p.contains("10005") || p.contains("10008") => {
                last = Fault::Transient(p)
            }
            answer => return answer,
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Err(last)
}

//! Making the streams and consumers. Safe to repeat; what exists is brought in line where the server allows it.
//!
//! The accidents that this file prevents: a log that can be purged, or that drops its oldest events when it is full, is
//! not the truth for long; and a log that is made anew with the old generation lets views believe that they know it.

use crate::nats::{Connection, Settings};
use crate::{Fault, subjects};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use strongroom_domain::NodeId;

/// What is to be there.
#[derive(Debug, Clone)]
pub struct Provision {
    /// 1 on one machine, 3 on a cluster. Streams that have more keep them.
    pub replicas: u32,
    /// The log's size at most, in bytes; a full log is a clean error. A log that is allowed more keeps that.
    pub log_max_bytes: u64,
    /// The size of all file indexes at most, in bytes.
    pub indexes_max_bytes: u64,
    /// All nodes.
    pub nodes: Vec<NodeId>,
    /// How long a delivery to a node is kept without a sign of it.
    pub work_ack_wait: Duration,
    /// The generation that a new log gets; a log that is there keeps its own.
    pub generation: String,
}

/// Why the streams are not as they must be.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Something is there with settings that cannot be changed.
    #[error(
        "{what} is there with other settings than it must have, and they cannot be changed: {problem}. Nothing was touched. \
         Use the version of strongroom that made it, or move the data folder away and restore into a new one"
    )]
    Unchangeable {
        /// Which stream or consumer.
        what: String,
        /// Which settings differ, and what the server says.
        problem: String,
    },
    /// The server does not do its part.
    #[error("making {what} failed")]
    Fault {
        /// Which stream or consumer.
        what: String,
        /// Why.
        #[source]
        cause: Fault,
    },
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] Fault),
}

/// Long enough for a cluster that has just started to elect its leaders on a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);

/// The server's code for a stream that is not there.
const STREAM_NOT_FOUND: u32 = 10_059;
/// Too few members are up for a stream of this many replicas; JetStream has no leader yet.
const NOT_YET: &[u32] = &[10_005, 10_008];

type Config = Map<String, Value>;

impl Provision {
    /// Makes and checks everything, as the user `provisioner`.
    pub async fn apply(&self, settings: &Settings) -> Result<(), ProvisionError> {
        let nats = Connection::open(settings).await?;
        for stream in self.streams() {
            ensure_stream(&nats, stream).await?;
        }
        for node in &self.nodes {
            let filter = subjects::work(node.as_str());
            let consumer = consumer(node.as_str(), Some(&filter), self.work_ack_wait);
            ensure_consumer(&nats, subjects::WORK, node.as_str(), consumer).await?;
        }
        let reports = consumer("scheduler", None, Duration::from_secs(30));
        ensure_consumer(&nats, subjects::REPORTS, "scheduler", reports).await
    }

    /// What a server must be allowed to store for all of this, in bytes: streams reserve what they may become.
    pub fn store_bytes(&self) -> u64 {
        let on_disk = |s: &Config| s.get("storage").and_then(Value::as_str) == Some("file");
        let size = |s: Config| s.get("max_bytes").and_then(Value::as_u64).unwrap_or(0);
        self.streams().into_iter().filter(on_disk).map(size).sum()
    }

    fn streams(&self) -> Vec<Config> {
        let days = |n: u64| n * 24 * 3600 * 1_000_000_000;
        vec![
            self.stream(
                subjects::LOG,
                subjects::EVENTS,
                json!({
                    "discard": "new", "max_bytes": self.log_max_bytes, "deny_delete": true, "deny_purge": true,
                    "allow_rollup_hdrs": false, "allow_msg_ttl": false, "max_msg_size": 262_144, "compression": "s2",
                    // The feed of what is stored: a message that came in from another account is not passed on to a third.
                    "republish": { "src": subjects::EVENTS, "dest": subjects::STORED_EVENTS, "headers_only": true },
                    "metadata": { "generation": self.generation },
                }),
            ),
            self.stream(
                subjects::WORK,
                "strongroom.work.*",
                json!({ "retention": "workqueue", "discard": "new", "max_bytes": 268_435_456 }),
            ),
            self.stream(
                subjects::REPORTS,
                "strongroom.report.*",
                json!({ "retention": "workqueue", "discard": "new", "max_bytes": 536_870_912 }),
            ),
            self.stream(
                subjects::STATUS,
                subjects::STATUSES,
                json!({
                    "storage": "memory", "max_msgs_per_subject": 1, "max_bytes": 33_554_432,
                    "max_age": 3_600_000_000_000_u64,
                    "republish": { "src": subjects::STATUSES, "dest": subjects::STORED_STATUSES },
                }),
            ),
            self.stream(
                subjects::SECRETS,
                "strongroom.secret.*.*",
                json!({ "max_msgs_per_subject": 1, "max_bytes": 67_108_864, "discard": "new" }),
            ),
            self.stream(
                subjects::INDEXES,
                "strongroom.index.*.*.*",
                json!({
                    "max_msgs_per_subject": 1, "discard": "new", "max_bytes": self.indexes_max_bytes,
                    "compression": "s2",
                }),
            ),
            self.stream(
                subjects::QUARANTINE,
                "strongroom.quarantine.>",
                json!({ "max_msgs_per_subject": 1, "max_age": days(90), "max_bytes": 67_108_864 }),
            ),
        ]
    }

    fn stream(&self, name: &str, subject: &str, special: Value) -> Config {
        let base = json!({
            "name": name, "subjects": [subject], "retention": "limits", "storage": "file",
            "num_replicas": self.replicas, "allow_direct": true, "max_consumers": -1, "max_msgs": -1,
            "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1, "discard": "old",
            "duplicate_window": 120_000_000_000_u64,
        });
        let (Value::Object(mut config), Value::Object(special)) = (base, special) else {
            return Config::new();
        };
        config.extend(special);
        config
    }
}

/// No backoff: it overrides the ack wait, and a job of hours would be given out again after its first second.
fn consumer(name: &str, filter: Option<&str>, ack_wait: Duration) -> Value {
    let ack_wait = u64::try_from(ack_wait.as_nanos()).unwrap_or(u64::MAX);
    json!({
        "durable_name": name, "filter_subject": filter.unwrap_or_default(), "ack_policy": "explicit",
        "ack_wait": ack_wait, "max_deliver": -1, "max_ack_pending": 1000, "deliver_policy": "all",
    })
}

async fn ensure_stream(nats: &Connection, wanted: Config) -> Result<(), ProvisionError> {
    let name = wanted.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let what = format!("stream {name}");
    let failed = |cause| ProvisionError::Fault { what: what.clone(), cause };
    // Asked for first: making a stream that is there is refused for want of space before its name is looked at.
    let info = match patiently(nats, &format!("STREAM.INFO.{name}"), &json!({})).await {
        Ok(info) => info,
        Err(Fault::Permanent(problem)) if says(&problem, STREAM_NOT_FOUND) => {
            let call = format!("STREAM.CREATE.{name}");
            return patiently(nats, &call, &Value::Object(wanted)).await.map(|_| ()).map_err(failed);
        }
        Err(fault) => return Err(failed(fault)),
    };
    let present = info.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
    let wanted = keep_its_own(&present, wanted);
    let differing = differences(&present, &wanted);
    if differing.is_empty() {
        return Ok(());
    }
    match patiently(nats, &format!("STREAM.UPDATE.{name}"), &Value::Object(wanted)).await {
        Ok(_) => {
            tracing::info!(stream = name, changes = differing, "a stream was brought in line");
            Ok(())
        }
        Err(Fault::Permanent(problem)) => Err(ProvisionError::Unchangeable {
            what,
            problem: format!("{differing}; the server says {problem}"),
        }),
        Err(fault) => Err(failed(fault)),
    }
}

/// What a stream that is there keeps: its generation, and what somebody has raised by hand.
fn keep_its_own(present: &Config, mut wanted: Config) -> Config {
    if let Some(metadata) = present.get("metadata") {
        wanted.insert("metadata".into(), metadata.clone());
    }
    for raised in ["num_replicas", "max_bytes"] {
        let number = |config: &Config| config.get(raised).and_then(Value::as_i64).unwrap_or(0);
        let unlimited = number(present) < 0;
        if (number(present) > number(&wanted) || unlimited)
            && let Some(value) = present.get(raised)
        {
            wanted.insert(raised.into(), value.clone());
        }
    }
    wanted
}

fn differences(present: &Config, wanted: &Config) -> String {
    let absent = Value::Null;
    let differing = wanted.iter().filter_map(|(key, value)| {
        let there = present.get(key).unwrap_or(&absent);
        // The server leaves out what is off.
        let same = there == value || (there.is_null() && *value == Value::Bool(false));
        (!same).then(|| format!("{key} is {there} and must be {value}"))
    });
    differing.collect::<Vec<_>>().join(", ")
}

async fn ensure_consumer(
    nats: &Connection,
    stream: &str,
    name: &str,
    config: Value,
) -> Result<(), ProvisionError> {
    let what = format!("consumer {name} of {stream}");
    let request = json!({ "stream_name": stream, "config": config });
    match patiently(nats, &format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), &request).await {
        Ok(_) => Ok(()),
        Err(Fault::Permanent(problem)) => Err(ProvisionError::Unchangeable { what, problem }),
        Err(cause) => Err(ProvisionError::Fault { what, cause }),
    }
}

/// A cluster that has just started has no leader for some seconds.
async fn patiently(nats: &Connection, call: &str, request: &Value) -> Result<Value, Fault> {
    let end = Instant::now() + PATIENCE;
    loop {
        let fault = match nats.api(call, request).await {
            Ok(value) => return Ok(value),
            Err(fault) => fault,
        };
        let passing = match &fault {
            Fault::Transient(_) => true,
            Fault::Permanent(problem) => NOT_YET.iter().any(|code| says(problem, *code)),
        };
        if !passing || Instant::now() >= end {
            return Err(fault);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether this is the server's error of that code.
fn says(problem: &str, code: u32) -> bool {
    problem.contains(&format!("\"err_code\":{code}"))
}

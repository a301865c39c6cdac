//! One connection to NATS.

use crate::Fault;
use crate::log_store::{PublishAnswer, RawMessage};
use async_nats::{Client, ConnectOptions, HeaderMap, Message, StatusCode, Subscriber};
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// How to connect.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Servers, comma separated: `nats://127.0.0.1:4222`.
    pub urls: String,
    /// Which user this is: the service's name, or `node-<name>`. It names the inbox that the user may read.
    pub user: String,
    /// The file that holds the user's nkey seed.
    pub nkey_file: PathBuf,
}

impl Settings {
    /// The `ce-source` of what this user writes.
    pub fn source(&self) -> String {
        format!("/{}", self.user)
    }
}

/// One connection. Cheap to clone; reconnects by itself for ever.
#[derive(Clone)]
pub struct Connection {
    client: Client,
}

/// A message that was pulled from a durable consumer.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// Its subject in the stream.
    pub subject: String,
    /// Where acks go.
    pub reply: String,
    /// Its bytes.
    pub payload: Bytes,
    headers: Vec<(String, String)>,
}

impl Pulled {
    /// The value of a header, by its exact name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[derive(Deserialize)]
struct PubAck {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// How long JetStream may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);

impl Connection {
    /// Connects, or says why not. A server that is not up yet is waited for (15 s), a refused key is an error at once.
    pub async fn open(settings: &Settings) -> Result<Self, Fault> {
        let seed = std::fs::read_to_string(&settings.nkey_file)
            .map_err(|e| Fault::permanent(&format!("reading the key of '{}'", settings.user), e))?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
        loop {
            let options = ConnectOptions::with_nkey(seed.trim().to_owned())
                .name(&settings.user)
                .custom_inbox_prefix(format!("_INBOX_{}", settings.user))
                .ping_interval(Duration::from_secs(10))
                .connection_timeout(Duration::from_secs(5))
                .reconnect_delay_callback(|attempts| Duration::from_millis((50 * attempts as u64).min(1000)))
                .max_reconnects(None);
            let urls: Vec<&str> = settings.urls.split(',').map(str::trim).collect();
            match options.connect(urls).await {
                Ok(client) => return Ok(Self { client }),
                Err(e) if tokio::time::Instant::now() >= deadline => {
                    return Err(Fault::transient(
                        &format!("connecting to {} as '{}'", settings.urls, settings.user),
                        e,
                    ));
                }
                Err(e) if e.kind() == async_nats::ConnectErrorKind::AuthorizationViolation => {
                    return Err(Fault::permanent(&format!("connecting as '{}'", settings.user), e));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Whether the connection is up.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// The client beneath, for tests that try what the bus itself never does.
    #[doc(hidden)]
    pub fn client_for_tests(&self) -> &Client {
        &self.client
    }

    /// Publishes without an answer; losing it is harmless.
    pub async fn publish(&self, subject: &str, payload: Bytes) {
        if let Err(e) = self.client.publish(subject.to_owned(), payload).await {
            tracing::debug!(subject, error = %e, "a message without answer was not sent");
        }
    }

    /// Asks and waits for one answer.
    pub async fn request(&self, subject: &str, payload: Bytes, wait: Duration) -> Result<Message, Fault> {
        self.request_with(subject, Vec::new(), payload, wait).await
    }

    async fn request_with(
        &self,
        subject: &str,
        headers: Vec<(String, String)>,
        payload: Bytes,
        wait: Duration,
    ) -> Result<Message, Fault> {
        let mut request = async_nats::Request::new().payload(payload).timeout(Some(wait));
        if !headers.is_empty() {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(name.as_str(), value.as_str());
            }
            request = request.headers(map);
        }
        self.client
            .send_request(subject.to_owned(), request)
            .await
            .map_err(|e| Fault::transient(&format!("no answer on '{subject}'"), e))
    }

    /// Subscribes to a subject.
    pub async fn subscribe(&self, subject: &str) -> Result<Subscriber, Fault> {
        self.client.subscribe(subject.to_owned()).await.map_err(|e| Fault::transient("subscribing", e))
    }

    /// Subscribes as a member of a group, of which one member gets each message.
    pub async fn queue_subscribe(&self, subject: &str, group: &str) -> Result<Subscriber, Fault> {
        self.client
            .queue_subscribe(subject.to_owned(), group.to_owned())
            .await
            .map_err(|e| Fault::transient("subscribing", e))
    }

    /// Publishes into a stream and waits until it is stored.
    pub async fn store(
        &self,
        subject: &str,
        headers: Vec<(String, String)>,
        payload: Bytes,
    ) -> Result<u64, Fault> {
        match self.publish_acked(subject, headers, payload).await {
            PublishAnswer::Stored(sequence) | PublishAnswer::Duplicate(sequence) => Ok(sequence),
            PublishAnswer::Unknown(problem) => Err(Fault::Transient(problem)),
            PublishAnswer::Refused(problem) => Err(Fault::Permanent(problem)),
            PublishAnswer::Conflict => Err(Fault::Transient("a conflict where nothing was expected".into())),
        }
    }

    /// Publishes into a stream and sorts the answer by what to do next.
    pub async fn publish_acked(
        &self,
        subject: &str,
        headers: Vec<(String, String)>,
        payload: Bytes,
    ) -> PublishAnswer {
        let reply = match self.request_with(subject, headers, payload, ANSWER).await {
            Ok(reply) => reply,
            Err(fault) => return PublishAnswer::Unknown(fault.to_string()),
        };
        let Ok(ack) = serde_json::from_slice::<PubAck>(&reply.payload) else {
            return PublishAnswer::Unknown("an answer that is no acknowledgement".into());
        };
        match ack.error {
            None if ack.duplicate => PublishAnswer::Duplicate(ack.seq),
            None => PublishAnswer::Stored(ack.seq),
            Some(e) => match e.err_code {
                10071 | 10164 | 10201 => PublishAnswer::Conflict,
                10047 | 10054 | 10077 | 10166 => {
                    PublishAnswer::Refused(format!("{} ({})", e.description, e.err_code))
                }
                code => PublishAnswer::Unknown(format!("{} ({code})", e.description)),
            },
        }
    }

    /// A call of JetStream's API; its error is a permanent fault.
    pub async fn api(&self, call: &str, request: &serde_json::Value) -> Result<serde_json::Value, Fault> {
        let payload = Bytes::from(request.to_string());
        let reply = self.request(&format!("$JS.API.{call}"), payload, ANSWER).await?;
        let value: serde_json::Value = serde_json::from_slice(&reply.payload)
            .map_err(|e| Fault::transient(&format!("answer to {call}"), e))?;
        match value.get("error") {
            None => Ok(value),
            // 503: no leader at the moment.
            Some(e) if e.get("code").and_then(serde_json::Value::as_u64) == Some(503) => {
                Err(Fault::Transient(format!("{call}: {e}")))
            }
            Some(e) => Err(Fault::Permanent(format!("{call}: {e}"))),
        }
    }

    /// The newest message of a subject, as the leader of the stream has it: its sequence and its bytes. A direct get may
    /// be answered by a replica that lags behind (ADR-31 of NATS), so it cannot tell that something is not there.
    pub async fn newest(&self, stream: &str, subject: &str) -> Result<Option<(u64, Bytes)>, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            message: Option<Stored>,
            error: Option<ApiError>,
        }
        #[derive(Deserialize)]
        struct Stored {
            seq: u64,
            #[serde(default)]
            data: String,
        }
        let request = Bytes::from(serde_json::json!({ "last_by_subj": subject }).to_string());
        let reply = self.request(&format!("$JS.API.STREAM.MSG.GET.{stream}"), request, ANSWER).await?;
        let not_understood =
            |e: &dyn std::fmt::Display| Fault::Transient(format!("newest of {subject}: {e}"));
        let answer: Answer = serde_json::from_slice(&reply.payload).map_err(|e| not_understood(&e))?;
        match answer {
            Answer { message: Some(stored), error: None } => {
                let bytes = BASE64_STANDARD.decode(stored.data).map_err(|e| not_understood(&e))?;
                Ok(Some((stored.seq, bytes.into())))
            }
            // 10037: no message found.
            Answer { error: Some(e), .. } if e.err_code == 10037 => Ok(None),
            Answer { error: Some(e), .. } => {
                Err(Fault::Transient(format!("newest of {subject}: {} ({})", e.description, e.err_code)))
            }
            Answer { .. } => Err(not_understood(&"an answer without a message")),
        }
    }

    /// Up to `batch` messages of a stream from sequence `from` on, of one subject (or pattern), when given. Fewer are all
    /// that the replica has which answered last.
    pub async fn read(
        &self,
        stream: &str,
        filter: Option<&str>,
        from: u64,
        batch: usize,
    ) -> Result<Vec<RawMessage>, Fault> {
        let (mut messages, mut pending) = self.read_once(stream, filter, from, batch).await?;
        // The server ends an answer early when it grows large. Half of a history must not be taken for the whole.
        while pending > 0 && messages.len() < batch {
            let Some(from) = messages.last().map(|m| m.sequence + 1) else { break };
            let more = self.read_once(stream, filter, from, batch - messages.len()).await?;
            pending = if more.0.is_empty() { 0 } else { more.1 };
            messages.extend(more.0);
        }
        Ok(messages)
    }

    /// One answer to a read, and how many messages the replica has beyond it.
    async fn read_once(
        &self,
        stream: &str,
        filter: Option<&str>,
        from: u64,
        batch: usize,
    ) -> Result<(Vec<RawMessage>, u64), Fault> {
        let request = serde_json::json!({
            "seq": from, "batch": batch, "max_bytes": 8 * 1024 * 1024, "next_by_subj": filter.unwrap_or(">"),
        });
        let inbox = self.client.new_inbox();
        let mut replies = self.subscribe(&inbox).await?;
        self.client
            .publish_with_reply(direct_get(stream), inbox, Bytes::from(request.to_string()))
            .await
            .map_err(|e| Fault::transient("reading", e))?;
        let mut messages = Vec::new();
        loop {
            let reply = tokio::time::timeout(ANSWER, replies.next())
                .await
                .map_err(|_| Fault::Transient(format!("{stream} gave no answer to a read")))?
                .ok_or_else(|| Fault::Transient("the connection was closed while reading".into()))?;
            match reply.status {
                // 204 ends a batch; 404: nothing from there on.
                Some(status) if status.as_u16() == 204 || status == StatusCode::NOT_FOUND => {
                    return Ok((messages, number_in(&reply, "Nats-Num-Pending")));
                }
                Some(StatusCode::NO_RESPONDERS) => {
                    return Err(Fault::Transient(format!("{stream} is not there")));
                }
                Some(status) if status != StatusCode::OK => {
                    let why = reply.description.unwrap_or_default();
                    return Err(Fault::Transient(format!("reading {stream}: {status} {why}")));
                }
                _ => messages.push(raw(&reply)?),
            }
        }
    }

    /// All messages of a stream that a pattern fits; for small streams.
    pub async fn read_all(&self, stream: &str, filter: &str) -> Result<Vec<RawMessage>, Fault> {
        let mut all: Vec<RawMessage> = Vec::new();
        loop {
            let from = all.last().map_or(1, |m| m.sequence + 1);
            let batch = self.read(stream, Some(filter), from, 500).await?;
            if batch.is_empty() {
                return Ok(all);
            }
            all.extend(batch);
        }
    }

    /// The next message of a durable pull consumer; `None` when none came within `wait`, or within 100 s.
    pub async fn pull(&self, stream: &str, consumer: &str, wait: Duration) -> Result<Option<Pulled>, Fault> {
        // Between accounts the server forgets who pulled after two minutes, and what comes then would be lost until its
        // ack wait is over.
        let wait = wait.min(Duration::from_secs(100));
        let inbox = self.client.new_inbox();
        let mut replies = self.subscribe(&inbox).await?;
        let request = serde_json::json!({ "batch": 1, "expires": wait.as_nanos() as u64 });
        self.client
            .publish_with_reply(
                format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
                inbox,
                Bytes::from(request.to_string()),
            )
            .await
            .map_err(|e| Fault::transient("pulling", e))?;
        let reply = match tokio::time::timeout(wait + Duration::from_secs(2), replies.next()).await {
            Err(_) => return Ok(None),
            Ok(None) => return Err(Fault::Transient("the connection was closed while pulling".into())),
            Ok(Some(reply)) => reply,
        };
        match (reply.status, &reply.reply) {
            (Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND), _) => Ok(None),
            (Some(status), _) if status != StatusCode::OK => Err(Fault::Transient(format!(
                "pulling from {stream}: {status} {}",
                reply.description.unwrap_or_default()
            ))),
            (_, Some(ack)) => Ok(Some(Pulled {
                subject: reply.subject.to_string(),
                reply: ack.to_string(),
                payload: reply.payload.clone(),
                headers: headers(&reply),
            })),
            (_, None) => Err(Fault::Permanent("a pulled message that cannot be acked".into())),
        }
    }
}

fn direct_get(stream: &str) -> String {
    format!("$JS.API.DIRECT.GET.{stream}")
}

fn headers(message: &Message) -> Vec<(String, String)> {
    let Some(map) = &message.headers else { return Vec::new() };
    map.iter().flat_map(|(n, vs)| vs.iter().map(|v| (n.to_string(), v.as_str().to_owned()))).collect()
}

/// Where the message stands of which this one tells that it was stored; 0 when it does not say.
pub(super) fn stored_at(message: &Message) -> u64 {
    number_in(message, "Nats-Sequence")
}

/// A number in a header; 0 when there is none.
fn number_in(message: &Message, name: &str) -> u64 {
    let value = message.headers.as_ref().and_then(|map| map.get(name));
    value.and_then(|v| v.as_str().parse().ok()).unwrap_or_default()
}

/// A message as a direct get gives it, with its true subject and sequence in headers.
fn raw(message: &Message) -> Result<RawMessage, Fault> {
    let mut headers = headers(message);
    let mut take = |name: &str| {
        let i = headers.iter().position(|(n, _)| n == name)?;
        Some(headers.swap_remove(i).1)
    };
    let subject = take("Nats-Subject");
    let sequence = take("Nats-Sequence").and_then(|s| s.parse().ok());
    for name in ["Nats-Stream", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence"] {
        take(name);
    }
    match (subject, sequence) {
        (Some(subject), Some(sequence)) => {
            Ok(RawMessage { sequence, subject, headers, payload: message.payload.clone() })
        }
        _ => Err(Fault::Transient("a direct get without subject or sequence".into())),
    }
}

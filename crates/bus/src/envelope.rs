//! CloudEvents 1.0 in NATS headers, binary mode (`cloudevents/bindings/nats-protocol-binding.md`). NATS keeps the case
//! of header names, so they are always written in lower case.

use crate::log_store::RawMessage;
use crate::subjects;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use strongroom_domain::{Aggregate, Event, EventId};

/// The end of an aggregate's event stream, as a writer must know it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Sequence in the log of the last event; 0 when there is none.
    pub sequence: u64,
    /// How many events the aggregate has.
    pub version: u64,
    /// SHA-256 of the last event (hex), empty when there is none.
    pub hash: String,
}

/// What surrounds a decision: who, why, and on which trace.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Who asked: `token:<name>`, `service:<name>`, `node:<name>`.
    pub actor: String,
    /// All events that follow from one request share this.
    pub correlation: Option<String>,
    /// The event that this one follows from.
    pub causation: Option<EventId>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Context {
    /// What a service does by itself.
    pub fn service(name: &str) -> Self {
        Self { actor: format!("service:{name}"), ..Self::default() }
    }

    /// What follows from an event: the same correlation and trace, caused by it.
    pub fn following(name: &str, cause: &Recorded) -> Self {
        Self {
            actor: format!("service:{name}"),
            correlation: cause.context.correlation.clone(),
            causation: Some(cause.id),
            traceparent: cause.context.traceparent.clone(),
        }
    }
}

/// One fact as it stands in the log.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its place in the log.
    pub sequence: u64,
    /// What it is about.
    pub aggregate: Aggregate,
    /// Its id.
    pub id: EventId,
    /// When it was decided, by the writer's clock. Order is by sequence, never by this.
    pub at: Timestamp,
    /// 1, 2, ... within the aggregate.
    pub version: u64,
    /// SHA-256 (hex) of the aggregate's previous event.
    pub previous: String,
    /// SHA-256 (hex) of this one.
    pub hash: String,
    /// Who wrote it.
    pub source: String,
    /// Who asked, and why.
    pub context: Context,
    /// The fact.
    pub event: Event,
}

impl Recorded {
    /// The head of its aggregate once this is the last event.
    pub fn head(&self) -> Head {
        Head { sequence: self.sequence, version: self.version, hash: self.hash.clone() }
    }

    /// Reads a message of the log; the error says why it is none of ours.
    pub fn read(raw: &RawMessage) -> Result<Self, String> {
        let aggregate = subjects::aggregate_of(&raw.subject).ok_or("its subject names no aggregate")?;
        let header = |name: &str| raw.header(name).ok_or_else(|| format!("it has no header '{name}'"));
        if header("ce-specversion")? != "1.0" {
            return Err("it is no CloudEvent of version 1.0".into());
        }
        let id = header("ce-id")?.parse().map_err(|_| "its ce-id is no UUID")?;
        let at = header("ce-time")?.parse().map_err(|_| "its ce-time is no time")?;
        let version = header("ce-version")?.parse().map_err(|_| "its ce-version is no number")?;
        let type_name = header("ce-type")?;
        let event = Event::decode(type_name, &raw.payload).map_err(|e| e.to_string())?;
        if event.kind() != aggregate.kind {
            return Err(format!("a '{type_name}' does not belong to a {}", aggregate.kind));
        }
        let previous = header("ce-previous").unwrap_or_default().to_owned();
        let optional = |name: &str| raw.header(name).map(ToOwned::to_owned);
        Ok(Self {
            sequence: raw.sequence,
            hash: hash(raw),
            aggregate,
            id,
            at,
            version,
            previous,
            source: header("ce-source")?.to_owned(),
            context: Context {
                actor: optional("ce-actor").unwrap_or_default(),
                correlation: optional("ce-correlation"),
                causation: optional("ce-causation").and_then(|c| c.parse().ok()),
                traceparent: optional("traceparent"),
            },
            event,
        })
    }
}

/// SHA-256 (hex) of an event: of its identity, its place in the chain and its payload, each ended by a line break. The
/// sequence is left out, so that an exported log keeps its hashes.
pub(crate) fn hash(raw: &RawMessage) -> String {
    let mut digest = Sha256::new();
    for name in ["ce-id", "ce-type", "ce-source", "ce-subject", "ce-time", "ce-version", "ce-previous"] {
        digest.update(raw.header(name).unwrap_or_default().as_bytes());
        digest.update(b"\n");
    }
    digest.update(&raw.payload);
    hex(&digest.finalize())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The headers of a new event.
pub(crate) fn headers(
    source: &str,
    aggregate: &Aggregate,
    head: &Head,
    id: EventId,
    at: Timestamp,
    event: &Event,
    context: &Context,
) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = [
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", id.to_string()),
        ("Nats-Msg-Id", id.to_string()),
        ("ce-type", event.type_name().to_owned()),
        ("ce-source", source.to_owned()),
        ("ce-subject", aggregate.id.clone()),
        ("ce-time", at.to_string()),
        ("ce-datacontenttype", "application/msgpack".to_owned()),
        ("ce-version", (head.version + 1).to_string()),
        ("ce-previous", head.hash.clone()),
        ("ce-actor", header_safe(&context.actor)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let mut optional = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            headers.push((name.to_owned(), header_safe(&value)));
        }
    };
    optional("ce-correlation", context.correlation.clone());
    optional("ce-causation", context.causation.map(|c| c.to_string()));
    optional("traceparent", context.traceparent.clone());
    headers
}

/// A header's value cannot hold a line break; whatever a person typed is made safe.
fn header_safe(value: &str) -> String {
    value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

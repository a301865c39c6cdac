//! What a fact is about: a kind and an id, which together are one concrete subject of the log.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of aggregates, as they stand in subjects and in event types.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
    strum::EnumIter,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[expect(missing_docs, reason = "the words are defined in the module of each kind")]
pub enum Kind {
    Server,
    Destination,
    Repository,
    Plan,
    Guard,
    Channel,
    Template,
    Token,
    Settings,
    Job,
    Schedule,
    Retention,
    Queue,
    Archive,
    Node,
    Session,
    Proof,
    Notification,
    Audit,
}

/// One aggregate: the unit of consistency, one event stream, one subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Aggregate {
    /// What sort of thing it is.
    pub kind: Kind,
    /// Which one: a slug or a UUID in lower case, never holding a dot, a space or a wildcard.
    pub id: String,
}

impl Aggregate {
    /// The aggregate of this kind and id. The id comes from one of the id types, so it is fit for a subject.
    pub fn new(kind: Kind, id: impl fmt::Display) -> Self {
        Self { kind, id: id.to_string() }
    }

    /// The one queue that admits jobs.
    pub fn queue() -> Self {
        Self::new(Kind::Queue, "main")
    }

    /// Reads `kind.id`, as it stands at the end of a subject; `None` when it is no aggregate of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once('.')?;
        let fit =
            !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        fit.then_some(())?;
        Some(Self { kind: kind.parse().ok()?, id: id.to_owned() })
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.id)
    }
}

//! What the journal and the followers need of a log: the seam between our rules and the server that keeps the bytes.

use crate::Fault;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// Its place in the log.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers, in no order.
    pub headers: Vec<(String, String)>,
    /// Its bytes.
    pub payload: Bytes,
}

impl RawMessage {
    /// The value of a header, by its exact name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What a server says to a guarded publish; the table in `log-and-faults.md` section 1.4, grouped by what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishAnswer {
    /// Stored at this sequence.
    Stored(u64),
    /// The id was seen before; this sequence should hold it, but the answer is not to be believed unread.
    Duplicate(u64),
    /// The expectation does not hold: a lost race, or our own earlier success.
    Conflict,
    /// Nothing is known; the same bytes may be sent again.
    Unknown(String),
    /// Refused for good: the log is full, the message too large, a right missing.
    Refused(String),
}

/// A log.
#[async_trait]
pub trait LogStore: Send + Sync {
    /// Publishes when the last sequence of this very subject is `expected` (0: the subject is empty).
    async fn publish(
        &self,
        subject: &str,
        headers: Vec<(String, String)>,
        payload: Bytes,
        expected: u64,
    ) -> PublishAnswer;

    /// The sequence of the last message of a subject, as the leader has it; 0 when there is none. What any writer was told
    /// to be stored before this was asked is counted.
    async fn last(&self, subject: &str) -> Result<u64, Fault>;

    /// Up to `batch` messages from sequence `from` on, in order; of one subject, when given. They come from any replica,
    /// which may lag behind and never has a gap; fewer than `batch` are all that it has.
    async fn read(&self, subject: Option<&str>, from: u64, batch: usize) -> Result<Vec<RawMessage>, Fault>;

    /// The sequence of each message as it is stored, for what it is worth: it may come late, twice, or never. Losing one
    /// costs time, never data.
    async fn changes(&self) -> Result<BoxStream<'static, u64>, Fault>;

    /// Generation and last sequence.
    async fn state(&self) -> Result<(String, u64), Fault>;
}

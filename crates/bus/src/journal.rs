//! Writing facts.
//!
//! The accident that this file prevents: an event that is lost, doubled, or written on top of one that the writer had
//! not seen. A lost acknowledgement and a lost race look alike (error 10071 on one replica, `duplicate` on three), so
//! after every conflict the aggregate is read back and ids are compared. The deduplication window is never believed.

use crate::envelope::{self, Context, Head, Recorded};
use crate::log_store::{LogStore, PublishAnswer, RawMessage};
use crate::{Fault, subjects};
use bytes::Bytes;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use strongroom_domain::{Aggregate, Event, EventId};

/// How often unknown answers are followed by the same bytes again (about 20 s in all).
const RETRIES: u32 = 12;
/// How often what an answer speaks of is looked for (about 1 s in all) before the same bytes are sent again.
const LOOKS: u32 = 6;
/// How often the replicas are asked for what the leader has (about 4 s in all).
const PATIENCE: u32 = 8;
/// How often a decision is made again after a lost race.
const REDECIDE: u32 = 5;
/// Messages in one read.
const BATCH: usize = 500;

/// An event to be written.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its id: from a command where a retry must be the same event, drawn where not.
    pub id: EventId,
    /// When it was decided.
    pub at: Timestamp,
    /// The fact.
    pub event: Event,
}

/// An event that is in the log for certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The aggregate's new head.
    pub head: Head,
    /// It was there before: an earlier try had succeeded without being heard.
    pub was_there: bool,
}

/// Why an event was not written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer was first; decide again on what is there now.
    #[error("the aggregate has moved on since it was read")]
    Conflict,
    /// The log does not do its part.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why a decision came to no event.
#[derive(Debug, thiserror::Error)]
pub enum DecideError<R: std::error::Error + 'static> {
    /// The request is answered with no.
    #[error(transparent)]
    Rejected(R),
    /// The log does not do its part.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What stands where an answer says that something does.
enum Seen {
    /// The very event.
    Ours(Box<Recorded>),
    /// Something else.
    Others,
    /// Nothing, so far: the replicas that answered lag behind, or a write that was in process came to nothing.
    Nothing,
}

/// All events of one aggregate.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Oldest first.
    pub events: Vec<Recorded>,
    /// Their end.
    pub head: Head,
}

/// The guarded way of writing.
#[derive(Clone)]
pub struct Journal {
    store: Arc<dyn LogStore>,
    source: Arc<str>,
}

impl Journal {
    /// A journal over a log; `source` stands in each event as its writer.
    pub fn new(store: Arc<dyn LogStore>, source: String) -> Self {
        Self { store, source: source.into() }
    }

    /// The log beneath.
    pub fn store(&self) -> &Arc<dyn LogStore> {
        &self.store
    }

    /// Appends one event when `head` is still the aggregate's end.
    pub async fn append(
        &self,
        aggregate: &Aggregate,
        head: &Head,
        new: &NewEvent,
        context: &Context,
    ) -> Result<Appended, AppendError> {
        let subject = subjects::event(aggregate);
        let payload = Bytes::from(new.event.encode().map_err(|e| Fault::permanent("encoding an event", e))?);
        let headers = envelope::headers(&self.source, aggregate, head, new.id, new.at, &new.event, context);
        let mut last_problem = String::new();
        for attempt in 0..RETRIES {
            let answer = self.store.publish(&subject, headers.clone(), payload.clone(), head.sequence).await;
            match answer {
                PublishAnswer::Stored(sequence) => {
                    let hash = self.hash_of(&headers, &subject, &payload);
                    let head = Head { sequence, version: head.version + 1, hash };
                    return Ok(Appended { head, was_there: false });
                }
                PublishAnswer::Duplicate(sequence) => match self.look_at(&subject, sequence, new.id).await? {
                    Seen::Ours(found) => return Ok(Appended { head: found.head(), was_there: true }),
                    Seen::Others => {
                        return Err(Fault::Permanent(format!(
                            "the log calls event {} a duplicate of sequence {sequence}, where it is not; do not go on before the log was checked",
                            new.id
                        ))
                        .into());
                    }
                    Seen::Nothing => last_problem = "no replica shows what the log calls a duplicate".into(),
                },
                PublishAnswer::Conflict => match self.look_after(&subject, head.sequence, new.id).await? {
                    Seen::Ours(found) => return Ok(Appended { head: found.head(), was_there: true }),
                    Seen::Others => return Err(AppendError::Conflict),
                    // Neither a lost race nor an earlier success is proved. The same bytes under the same guard are
                    // stored once at most, so they can be sent again.
                    Seen::Nothing => last_problem = "no replica shows what the log calls a conflict".into(),
                },
                PublishAnswer::Refused(problem) => {
                    return Err(Fault::Permanent(format!("the log refuses the event: {problem}")).into());
                }
                PublishAnswer::Unknown(problem) => last_problem = problem,
            }
            pause(attempt, new.id).await;
        }
        Err(Fault::Transient(format!("the log gave no answer: {last_problem}")).into())
    }

    /// Reads the aggregate, lets `decide` say which event follows (or none), and appends it; decides again after a
    /// lost race. `Ok(None)`: nothing was to be written.
    pub async fn decide<R, F>(
        &self,
        aggregate: &Aggregate,
        context: &Context,
        mut decide: F,
    ) -> Result<(Option<Appended>, History), DecideError<R>>
    where
        R: std::error::Error + Send + 'static,
        F: FnMut(&History) -> Result<Option<NewEvent>, R> + Send,
    {
        for attempt in 0..REDECIDE {
            let history = self.load(aggregate).await?;
            let Some(new) = decide(&history).map_err(DecideError::Rejected)? else {
                return Ok((None, history));
            };
            if let Some(there) = history.events.iter().find(|e| e.id == new.id) {
                return Ok((Some(Appended { head: there.head(), was_there: true }), history));
            }
            match self.append(aggregate, &history.head, &new, context).await {
                Ok(appended) => return Ok((Some(appended), history)),
                Err(AppendError::Conflict) => pause(attempt, new.id).await,
                Err(AppendError::Fault(fault)) => return Err(fault.into()),
            }
        }
        Err(Fault::Transient(format!("others kept writing to {aggregate} first")).into())
    }

    /// All events of an aggregate: each that anybody was told to be stored before this was called, though it is read from
    /// replicas that may lag behind. A "no" or an old plan would be the answer otherwise, and no guard is there to notice.
    /// One that cannot be read halts the aggregate: nothing is decided on half a history.
    pub async fn load(&self, aggregate: &Aggregate) -> Result<History, Fault> {
        let subject = subjects::event(aggregate);
        let end = self.store.last(&subject).await?;
        let mut history = History::default();
        let mut looks = 0;
        while history.head.sequence < end {
            let batch = self.store.read(Some(&subject), history.head.sequence + 1, BATCH).await?;
            if batch.is_empty() {
                if looks == PATIENCE {
                    return Err(Fault::Transient(format!(
                        "no replica shows {aggregate} up to {end}, where the leader has it"
                    )));
                }
                pause(looks, EventId(uuid::Uuid::nil())).await;
                looks += 1;
            }
            for raw in &batch {
                let event = Recorded::read(raw).map_err(|reason| {
                    Fault::Permanent(format!(
                        "{aggregate} is halted: its message at {} cannot be read: {reason}",
                        raw.sequence
                    ))
                })?;
                if event.version != history.head.version + 1 || event.previous != history.head.hash {
                    return Err(Fault::Permanent(format!(
                        "{aggregate} is halted: its chain is broken at {} (version {} after {})",
                        raw.sequence, event.version, history.head.version
                    )));
                }
                history.head = event.head();
                history.events.push(event);
            }
        }
        Ok(history)
    }

    /// What stands at this sequence, which the log says is the event with this id.
    async fn look_at(&self, subject: &str, sequence: u64, id: EventId) -> Result<Seen, Fault> {
        let batch = self.read_patiently(None, sequence, 1, id).await?;
        let Some(raw) = batch.first() else { return Ok(Seen::Nothing) };
        match Recorded::read(raw) {
            Ok(event) if raw.sequence == sequence && raw.subject == subject && event.id == id => {
                Ok(Seen::Ours(Box::new(event)))
            }
            _ => Ok(Seen::Others),
        }
    }

    /// What stands in the aggregate after `from`, where the log says that something does. Ours, if it was stored by this
    /// append, is the first there; one that was stored by an earlier one may be further on.
    async fn look_after(&self, subject: &str, from: u64, id: EventId) -> Result<Seen, Fault> {
        let mut next = from + 1;
        let mut batch = self.read_patiently(Some(subject), next, BATCH, id).await?;
        if batch.is_empty() {
            return Ok(Seen::Nothing);
        }
        loop {
            let events = batch.iter().filter_map(|raw| Recorded::read(raw).ok());
            if let Some(event) = events.into_iter().find(|event| event.id == id) {
                return Ok(Seen::Ours(Box::new(event)));
            }
            match batch.last() {
                Some(last) if batch.len() == BATCH => next = last.sequence + 1,
                _ => return Ok(Seen::Others),
            }
            batch = self.store.read(Some(subject), next, BATCH).await?;
        }
    }

    /// Reads what should be there until a replica shows it; empty when none did.
    async fn read_patiently(
        &self,
        subject: Option<&str>,
        from: u64,
        batch: usize,
        id: EventId,
    ) -> Result<Vec<RawMessage>, Fault> {
        for attempt in 0..LOOKS {
            match self.store.read(subject, from, batch).await {
                Ok(found) if !found.is_empty() => return Ok(found),
                Err(fault) if !fault.is_transient() => return Err(fault),
                Ok(_) | Err(_) => pause(attempt, id).await,
            }
        }
        Ok(Vec::new())
    }

    fn hash_of(&self, headers: &[(String, String)], subject: &str, payload: &Bytes) -> String {
        let raw = RawMessage {
            sequence: 0,
            subject: subject.to_owned(),
            headers: headers.to_vec(),
            payload: payload.clone(),
        };
        envelope::hash(&raw)
    }
}

/// Waits before a retry, longer each time and never the same for two writers: what sets them apart is the event's id, so
/// that a run can be repeated exactly.
async fn pause(attempt: u32, id: EventId) {
    let base = 20_u64 << attempt.min(7);
    let [.., a, b] = id.0.into_bytes();
    let apart = u64::from(u16::from_be_bytes([a, b]).rotate_left(attempt * 5));
    tokio::time::sleep(Duration::from_millis(base + apart % (base / 2 + 1))).await;
}

//! Writing facts.
//!
//! The accident that this file prevents: an event that is lost, doubled, or written on top of one that the writer had
//! not seen. A lost acknowledgement and a lost race look alike (error 10071 on one replica, `duplicate` on three), so
//! after every conflict the aggregate is read back and ids are compared. The deduplication window is never believed.

use crate::envelope::{self, Context, Head, Recorded};
use crate::log_store::{LogStore, PublishAnswer};
use crate::{Fault, subjects};
use bytes::Bytes;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use strongroom_domain::{Aggregate, Event, EventId};

/// How often unknown answers are followed by the same bytes again (about 20 s in all).
const RETRIES: u32 = 12;
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
                PublishAnswer::Duplicate(sequence) => {
                    return match self.find(&subject, sequence.saturating_sub(1), new.id).await? {
                        Some(found) if found.event == new.event => Ok(Appended { head: found.head(), was_there: true }),
                        _ => Err(Fault::Permanent(format!(
                            "the log calls event {} a duplicate of sequence {sequence}, where it is not; do not go on before the log was checked",
                            new.id
                        ))
                        .into()),
                    };
                }
                PublishAnswer::Conflict => {
                    return match self.find(&subject, head.sequence, new.id).await? {
                        Some(found) => Ok(Appended { head: found.head(), was_there: true }),
                        None => Err(AppendError::Conflict),
                    };
                }
                PublishAnswer::Refused(problem) => {
                    return Err(Fault::Permanent(format!("the log refuses the event: {problem}")).into());
                }
                PublishAnswer::Unknown(problem) => {
                    last_problem = problem;
                    pause(attempt).await;
                }
            }
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
                Err(AppendError::Conflict) => pause(attempt).await,
                Err(AppendError::Fault(fault)) => return Err(fault.into()),
            }
        }
        Err(Fault::Transient(format!("others kept writing to {aggregate} first")).into())
    }

    /// All events of an aggregate. One that cannot be read halts the aggregate: nothing is decided on half a history.
    pub async fn load(&self, aggregate: &Aggregate) -> Result<History, Fault> {
        let subject = subjects::event(aggregate);
        let mut history = History::default();
        loop {
            let batch = self.store.read(Some(&subject), history.head.sequence + 1, BATCH).await?;
            let done = batch.len() < BATCH;
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
            if done {
                return Ok(history);
            }
        }
    }

    /// Looks after `from` for an event with this id.
    async fn find(&self, subject: &str, from: u64, id: EventId) -> Result<Option<Recorded>, Fault> {
        let mut next = from + 1;
        loop {
            let batch = self.read_for_certain(subject, next).await?;
            for raw in &batch {
                if let Ok(event) = Recorded::read(raw)
                    && event.id == id
                {
                    return Ok(Some(event));
                }
            }
            match batch.last() {
                Some(last) if batch.len() == BATCH => next = last.sequence + 1,
                _ => return Ok(None),
            }
        }
    }

    /// Reads until the log has answered: what follows a conflict must be known, not guessed. After a conflict something
    /// stands beyond `from`, and a replica that lags may not show it yet.
    async fn read_for_certain(
        &self,
        subject: &str,
        from: u64,
    ) -> Result<Vec<crate::log_store::RawMessage>, Fault> {
        let mut problem = Fault::Transient("a replica lags behind a conflict".into());
        for attempt in 0..RETRIES {
            match self.store.read(Some(subject), from, BATCH).await {
                Ok(batch) if !batch.is_empty() => return Ok(batch),
                Ok(_) if attempt >= 4 => return Ok(Vec::new()),
                Ok(_) => {}
                Err(fault) if fault.is_transient() => problem = fault,
                Err(fault) => return Err(fault),
            }
            pause(attempt).await;
        }
        Err(problem)
    }

    fn hash_of(&self, headers: &[(String, String)], subject: &str, payload: &Bytes) -> String {
        let raw = crate::log_store::RawMessage {
            sequence: 0,
            subject: subject.to_owned(),
            headers: headers.to_vec(),
            payload: payload.clone(),
        };
        envelope::hash(&raw)
    }
}

/// Waits before a retry, longer each time and never the same for two writers.
async fn pause(attempt: u32) {
    let base = 20_u64 << attempt.min(7);
    let jitter = rand::random_range(0..=base / 2);
    tokio::time::sleep(Duration::from_millis(base + jitter)).await;
}

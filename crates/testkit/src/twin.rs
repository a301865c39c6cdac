//! A log in memory that answers as a server does on a bad day, the same way for the same seed.
//!
//! It does what was seen of nats-server 2.15 on one node and on three: acknowledgements are lost after the event was
//! stored; a publish that nobody answered is stored later all the same; one that was repeated is a conflict on one node
//! and a duplicate on three; on three, a write that is still in process makes a conflict and may then come to nothing;
//! reads come from any replica, and a replica may lag; word of growth comes late, twice or never. What it keeps is what
//! a log must: an event once stored stays, sequences have no gap, and the guard of a subject lets one writer win.
//!
//! Give it a paused clock (`tokio::time`), and hours of that pass in no time.

mod random;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use random::Random;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strongroom_bus::Fault;
use strongroom_bus::log_store::{LogStore, PublishAnswer, RawMessage};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

/// How long a repeated id is recognised, in milliseconds; the seed says which. A server's time is the longest of these;
/// the others are often over before a retry, so that whoever relies on it is found out.
const DEDUPLICATION_MS: [u64; 4] = [30, 300, 2_000, 120_000];
/// How long a replica may lag, in milliseconds; the seed says which.
const LAG_MS: [u64; 3] = [20, 500, 3_000];

/// Which servers it behaves like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// One node.
    One,
    /// A cluster of three.
    Three,
}

/// The log. Cheap to clone: clones are connections to the same one.
#[derive(Clone)]
pub struct TwinLog {
    shared: Arc<Shared>,
}

struct Shared {
    members: Members,
    seed: u64,
    growth: broadcast::Sender<Growth>,
    state: Mutex<State>,
}

struct State {
    random: Random,
    deduplication: Duration,
    lag_ms: u64,
    log: Vec<RawMessage>,
    replicas: Vec<Replica>,
    /// When each id was stored, and where.
    ids: HashMap<String, (u64, Instant)>,
    /// Ids and subjects of proposals that are not decided yet.
    proposed: HashSet<String>,
    no_leader_until: Instant,
}

/// One replica, as its readers see it.
struct Replica {
    shown: usize,
    lags_until: Instant,
}

#[derive(Clone, Copy)]
enum Growth {
    Stored(u64),
    /// The subscription is lost.
    End,
}

/// What happens to a publish on its way.
enum Fate {
    Well,
    NeverArrives,
    ArrivesLate(Duration),
    AnswerIsLost,
}

/// A publish as it travels.
#[derive(Clone)]
struct Request {
    subject: String,
    headers: Vec<(String, String)>,
    payload: Bytes,
    expected: u64,
}

impl Request {
    fn id(&self) -> Option<String> {
        self.headers.iter().find(|(name, _)| name == "Nats-Msg-Id").map(|(_, id)| id.clone())
    }
}

impl TwinLog {
    /// An empty log that misbehaves as this seed says.
    pub fn new(members: Members, seed: u64) -> Self {
        let replicas = match members {
            Members::One => 1,
            Members::Three => 3,
        };
        let now = Instant::now();
        let mut random = Random::new(seed);
        let state = State {
            deduplication: Duration::from_millis(random.one_of(&DEDUPLICATION_MS)),
            lag_ms: random.one_of(&LAG_MS),
            random,
            log: Vec::new(),
            replicas: (0..replicas).map(|_| Replica { shown: 0, lags_until: now }).collect(),
            ids: HashMap::new(),
            proposed: HashSet::new(),
            no_leader_until: now,
        };
        let (growth, _) = broadcast::channel(64);
        Self { shared: Arc::new(Shared { members, seed, growth, state: Mutex::new(state) }) }
    }

    /// All that is stored, as no reader can see it.
    pub fn truth(&self) -> Vec<RawMessage> {
        self.shared.state().log.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way there or back.
    async fn travel(&self) {
        let travel = Duration::from_micros(self.state().random.below(3000));
        sleep(travel).await;
    }

    /// Whether a question gets no answer this time.
    fn is_unanswered(&self) -> bool {
        let mut state = self.state();
        state.random.chance(5) || state.no_leader_until > Instant::now()
    }

    /// What the servers do with a publish that has arrived; the asker's patience has no part in it.
    async fn process(self: Arc<Self>, request: Request) -> PublishAnswer {
        match self.members {
            Members::One => self.process_on_one(request),
            Members::Three => self.process_on_three(request).await,
        }
    }

    /// One node looks at the guard first, and at the id when the guard holds.
    fn process_on_one(&self, request: Request) -> PublishAnswer {
        let mut state = self.state();
        if state.last_of(&request.subject) != request.expected {
            return PublishAnswer::Conflict;
        }
        if let Some(sequence) = state.duplicate_of(&request) {
            return PublishAnswer::Duplicate(sequence);
        }
        let sequence = state.store(request);
        drop(state);
        self.tell(sequence);
        PublishAnswer::Stored(sequence)
    }

    /// Three nodes look at the id first, and store only what a majority has taken.
    async fn process_on_three(&self, request: Request) -> PublishAnswer {
        let (subject, id) = (request.subject.clone(), request.id().unwrap_or_default());
        let (majority_takes, lost) = {
            let mut state = self.state();
            if state.no_leader_until > Instant::now() {
                return PublishAnswer::Unknown("no leader (503)".into());
            }
            if let Some(sequence) = state.duplicate_of(&request) {
                return PublishAnswer::Duplicate(sequence);
            }
            if state.proposed.contains(&id) {
                return PublishAnswer::Unknown("duplicate message id is in process (10158)".into());
            }
            // A write in process counts as a write, though it may still come to nothing.
            if state.proposed.contains(&subject) || state.last_of(&subject) != request.expected {
                return PublishAnswer::Conflict;
            }
            state.proposed.extend([id.clone(), subject.clone()]);
            let lost = state.random.chance(4);
            if lost {
                let gone = Duration::from_millis(state.random.below(1500));
                state.no_leader_until = Instant::now() + gone;
            }
            (Duration::from_micros(state.random.below(5000)), lost)
        };
        sleep(majority_takes).await;
        let mut state = self.state();
        state.proposed.remove(&id);
        state.proposed.remove(&subject);
        if lost {
            return PublishAnswer::Unknown("the leader was lost".into());
        }
        let sequence = state.store(request);
        drop(state);
        self.tell(sequence);
        PublishAnswer::Stored(sequence)
    }

    /// Word of growth: mostly once and soon.
    fn tell(&self, sequence: u64) {
        let (copies, late, end) = {
            let random = &mut self.state().random;
            let copies = if random.chance(10) { 0 } else { 1 + usize::from(random.chance(5)) };
            let late = if random.chance(20) { random.below(500) } else { 0 };
            (copies, Duration::from_millis(late), random.chance(3))
        };
        let growth = self.growth.clone();
        tokio::spawn(async move {
            sleep(late).await;
            // Nobody listening is no error.
            for _ in 0..copies {
                let _ = growth.send(Growth::Stored(sequence));
            }
            if end {
                let _ = growth.send(Growth::End);
            }
        });
    }
}

impl State {
    fn fate(&mut self) -> Fate {
        match self.random.below(100) {
            0..8 => Fate::NeverArrives,
            8..14 => Fate::ArrivesLate(Duration::from_millis(self.random.below(4000))),
            14..26 => Fate::AnswerIsLost,
            _ => Fate::Well,
        }
    }

    fn last_of(&self, subject: &str) -> u64 {
        self.log.iter().rev().find(|m| m.subject == subject).map_or(0, |m| m.sequence)
    }

    fn duplicate_of(&self, request: &Request) -> Option<u64> {
        let (sequence, at) = *self.ids.get(&request.id()?)?;
        (at.elapsed() < self.deduplication).then_some(sequence)
    }

    fn store(&mut self, request: Request) -> u64 {
        let sequence = self.log.len() as u64 + 1;
        if let Some(id) = request.id() {
            self.ids.insert(id, (sequence, Instant::now()));
        }
        let Request { subject, headers, payload, .. } = request;
        self.log.push(RawMessage { sequence, subject, headers, payload });
        sequence
    }

    /// What one replica, whichever it is, shows now: all up to some point, and nothing beyond it.
    fn shown(&mut self) -> &[RawMessage] {
        let now = Instant::now();
        let which = self.random.below(self.replicas.len() as u64) as usize;
        let lags_from_now = (self.replicas.len() > 1 && self.random.chance(25))
            .then(|| now + Duration::from_millis(self.random.below(self.lag_ms)));
        let all = self.log.len();
        let shown = self.replicas.get_mut(which).map_or(all, |replica| {
            if replica.lags_until <= now {
                replica.shown = all;
                replica.lags_until = lags_from_now.unwrap_or(now);
            }
            replica.shown
        });
        self.log.get(..shown).unwrap_or_default()
    }
}

#[async_trait]
impl LogStore for TwinLog {
    async fn publish(
        &self,
        subject: &str,
        headers: Vec<(String, String)>,
        payload: Bytes,
        expected: u64,
    ) -> PublishAnswer {
        let request = Request { subject: subject.to_owned(), headers, payload, expected };
        let fate = self.shared.state().fate();
        self.shared.travel().await;
        let unheard = || PublishAnswer::Unknown("no answer".into());
        let late = match fate {
            Fate::NeverArrives => return unheard(),
            Fate::ArrivesLate(late) => late,
            Fate::Well | Fate::AnswerIsLost => Duration::ZERO,
        };
        let shared = self.shared.clone();
        let processing = tokio::spawn(async move {
            sleep(late).await;
            shared.process(request).await
        });
        if matches!(fate, Fate::ArrivesLate(_)) {
            return unheard();
        }
        let answer = processing.await.unwrap_or_else(|_| unheard());
        self.shared.travel().await;
        if matches!(fate, Fate::AnswerIsLost) { unheard() } else { answer }
    }

    async fn last(&self, subject: &str) -> Result<u64, Fault> {
        self.shared.travel().await;
        if self.shared.is_unanswered() {
            return Err(Fault::Transient("no answer".into()));
        }
        Ok(self.shared.state().last_of(subject))
    }

    async fn read(&self, subject: Option<&str>, from: u64, batch: usize) -> Result<Vec<RawMessage>, Fault> {
        self.shared.travel().await;
        if self.shared.is_unanswered() {
            return Err(Fault::Transient("no answer".into()));
        }
        let mut state = self.shared.state();
        let wanted =
            state.shown().iter().filter(|m| m.sequence >= from && subject.is_none_or(|s| s == m.subject));
        Ok(wanted.take(batch).cloned().collect())
    }

    async fn changes(&self) -> Result<BoxStream<'static, u64>, Fault> {
        self.shared.travel().await;
        if self.shared.is_unanswered() {
            return Err(Fault::Transient("no answer".into()));
        }
        let listener = self.shared.growth.subscribe();
        let stream = futures::stream::unfold(listener, async |mut listener| {
            loop {
                match listener.recv().await {
                    Ok(Growth::Stored(sequence)) => return Some((sequence, listener)),
                    // What a slow listener missed is as good as lost on the way.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Ok(Growth::End) | Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        Ok(stream.boxed())
    }

    async fn state(&self) -> Result<(String, u64), Fault> {
        self.shared.travel().await;
        if self.shared.is_unanswered() {
            return Err(Fault::Transient("no answer".into()));
        }
        Ok((format!("twin-{}", self.shared.seed), self.shared.state().log.len() as u64))
    }
}

#[cfg(test)]
mod tests;

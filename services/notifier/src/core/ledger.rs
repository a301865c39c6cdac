//! Who is still to be told what: the fold of the log.
//!
//! The accident that this file prevents: a message that was never sent and is shown as told, or that is lost because the
//! notifier was killed. A delivery is due from the moment that the fact about which it is stands in the log, until a fact
//! says that it was delivered or given up.

use super::message::{JobFinished, OpenJob};
use super::told::{PlanStands, Told};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strongroom_bus::{Poison, Recorded};
use strongroom_domain::channel::Spec;
use strongroom_domain::{Aggregate, ChannelId, Event, EventId, JobId, Kind};
use uuid::Uuid;

/// A message that has not been delivered yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// To whom.
    pub channel: ChannelId,
    /// About which fact.
    pub about: EventId,
    /// Where that fact stands in the log.
    pub about_sequence: u64,
    /// When it was decided.
    pub ended_at: Timestamp,
    /// What is told.
    pub told: Told,
    /// How many attempts have failed.
    pub attempts: u32,
    /// When the next one is due.
    pub due_at: Timestamp,
    /// What the fact belongs to.
    pub correlation: Option<String>,
    /// The trace that the fact belongs to.
    pub traceparent: Option<String>,
}

/// The state that follows from the log up to a sequence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    sequence: u64,
    since: u64,
    /// `None`: retired.
    channels: BTreeMap<ChannelId, Option<Spec>>,
    jobs: BTreeMap<JobId, OpenJob>,
    pending: BTreeMap<Uuid, Pending>,
    /// By `<kind>.<id>`: where the message stands that could not be taken in.
    halted: BTreeMap<String, u64>,
    delivered_total: u64,
    failed_total: u64,
}

/// The notification of this channel about this fact: always the same, so that telling twice is seen.
pub fn notification_id(about: EventId, channel: &ChannelId) -> Uuid {
    EventId::of_command(&format!("notification/{about}/{channel}"), 0).0
}

impl Ledger {
    /// The state before the first event. Jobs that ended at `since` or before are history and are not told.
    pub fn new(since: u64) -> Self {
        Self { since, ..Self::default() }
    }

    /// Up to where the log has been taken in.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// From where on jobs are told.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Takes in the next event. The error says why it cannot be; its aggregate is then halted. One that was taken in
    /// before changes nothing.
    pub fn apply(&mut self, event: &Recorded) -> Result<(), String> {
        if event.sequence <= self.sequence {
            return Ok(());
        }
        let result = if self.halted.contains_key(&event.aggregate.to_string()) {
            Ok(())
        } else {
            self.take(event).inspect_err(|_| self.halt(&event.aggregate, event.sequence))
        };
        self.reach(event.sequence);
        result
    }

    /// Takes in a message that cannot be read.
    pub fn poison(&mut self, poison: &Poison) {
        if let Some(aggregate) = &poison.aggregate {
            self.halt(aggregate, poison.sequence);
        }
        self.reach(poison.sequence);
    }

    /// Where the message stands that halted this aggregate.
    pub fn halted_at(&self, aggregate: &str) -> Option<u64> {
        self.halted.get(aggregate).copied()
    }

    /// The aggregates that are halted.
    pub fn halted(&self) -> impl Iterator<Item = &str> {
        self.halted.keys().map(String::as_str)
    }

    /// Takes in what a halted aggregate missed, now that its whole history can be read.
    pub fn redrive(&mut self, aggregate: &Aggregate, history: &[Recorded]) -> Result<(), String> {
        let Some(from) = self.halted.remove(&aggregate.to_string()) else { return Ok(()) };
        let missed = from..=self.sequence;
        for event in history.iter().filter(|e| missed.contains(&e.sequence)) {
            if let Err(problem) = self.take(event) {
                self.halt(aggregate, event.sequence);
                return Err(problem);
            }
        }
        Ok(())
    }

    /// How a channel is defined now; `None` when it is not, or no longer.
    pub fn channel(&self, id: &ChannelId) -> Option<&Spec> {
        self.channels.get(id)?.as_ref()
    }

    /// All that is to be told, the longest due first. Only right once the log was taken in up to its end: what was told
    /// long ago stands here until the fold reaches the fact that says so.
    pub fn pending(&self) -> Vec<(Uuid, &Pending)> {
        let mut all: Vec<_> = self.pending.iter().map(|(id, p)| (*id, p)).collect();
        all.sort_by_key(|(_, p)| (p.due_at, p.about_sequence));
        all
    }

    /// How many deliveries were confirmed, and how many were given up.
    pub fn totals(&self) -> (u64, u64) {
        (self.delivered_total, self.failed_total)
    }

    fn take(&mut self, event: &Recorded) -> Result<(), String> {
        match &event.event {
            Event::ChannelDefined(spec) => {
                self.channels.insert(channel_id(&event.aggregate)?, Some(spec.clone()));
            }
            Event::ChannelRetired(_) => {
                self.channels.insert(channel_id(&event.aggregate)?, None);
            }
            Event::JobRequested(requested) => {
                self.jobs.insert(job_id(&event.aggregate)?, OpenJob::of(requested));
            }
            Event::NotificationAttempted(e) => {
                if let Some(pending) = self.pending.get_mut(&id(&event.aggregate)?) {
                    pending.attempts = e.attempt;
                    pending.due_at = e.next_at;
                }
            }
            Event::NotificationDelivered(_) => {
                self.pending.remove(&id(&event.aggregate)?);
                self.delivered_total += 1;
            }
            Event::NotificationFailed(_) => {
                self.pending.remove(&id(&event.aggregate)?);
                self.failed_total += 1;
            }
            Event::ScheduleOverdue(_) | Event::ScheduleInTime(_) => {
                let stands = PlanStands::of(event).ok_or("it is about no plan")?;
                self.tell(event, &Told::Plan(stands));
            }
            ended if ended.ends_job() => self.job_ended(event)?,
            _ => {}
        }
        Ok(())
    }

    fn job_ended(&mut self, event: &Recorded) -> Result<(), String> {
        let job = job_id(&event.aggregate)?;
        let open = self.jobs.remove(&job).ok_or("a job ended that nobody asked for")?;
        if let Some(finished) = JobFinished::of(job, open, &event.event) {
            self.tell(event, &Told::Job(finished));
        }
        Ok(())
    }

    /// Everybody is to be told.
    fn tell(&mut self, event: &Recorded, told: &Told) {
        for channel in self.channels.iter().filter(|(_, spec)| spec.is_some()).map(|(id, _)| id) {
            let pending = Pending {
                channel: channel.clone(),
                about: event.id,
                about_sequence: event.sequence,
                ended_at: event.at,
                told: told.clone(),
                attempts: 0,
                due_at: event.at,
                correlation: event.context.correlation.clone(),
                traceparent: event.context.traceparent.clone(),
            };
            self.pending.insert(notification_id(event.id, channel), pending);
        }
    }

    fn halt(&mut self, aggregate: &Aggregate, sequence: u64) {
        self.halted.entry(aggregate.to_string()).or_insert(sequence);
        if let (Kind::Notification, Ok(id)) = (aggregate.kind, id(aggregate)) {
            self.pending.remove(&id);
        }
    }

    fn reach(&mut self, sequence: u64) {
        let crossed = self.sequence < self.since && sequence >= self.since;
        self.sequence = sequence;
        if crossed {
            // History is not told again. What an earlier notifier had begun to tell is gone on with.
            let since = self.since;
            self.pending.retain(|_, p| p.about_sequence > since || p.attempts > 0);
        }
    }
}

fn id(aggregate: &Aggregate) -> Result<Uuid, String> {
    aggregate.id.parse().map_err(|_| format!("'{}' is no id of a notification", aggregate.id))
}

fn job_id(aggregate: &Aggregate) -> Result<JobId, String> {
    aggregate.id.parse().map_err(|_| format!("'{}' is no id of a job", aggregate.id))
}

fn channel_id(aggregate: &Aggregate) -> Result<ChannelId, String> {
    aggregate.id.parse().map_err(|_| format!("'{}' is no id of a channel", aggregate.id))
}

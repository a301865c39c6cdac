//! What must happen "after a while" or after a death, found by looking at the state and the clock.
//!
//! The accidents that this file prevents: P7, zombie jobs; and the opposite, honest attempts that are killed because it
//! was the scheduler that could not hear. Nothing here is a timer that dies with its process: whoever
//! looks next finds the same, and the ids of the facts make a second look harmless.

use super::World;
use super::reports::is_admitted;
use super::world::OpenJob;
use jiff::Timestamp;
use std::collections::HashMap;
use strongroom_bus::Head;
use strongroom_domain::job::{Interrupted, Phase, seconds_between};
use strongroom_domain::{Event, EventId, JobId, Kind, NodeId};

/// What was heard of nodes, by this scheduler's clock.
#[derive(Debug, Clone)]
pub struct Hearing {
    /// Since when it has been listening without a break: nobody is silent for longer than this.
    since: Timestamp,
    /// When it last made sure that it listens.
    listened_at: Timestamp,
    /// When each node was last heard of.
    nodes: HashMap<NodeId, Timestamp>,
    /// When each attempt was last named by its node.
    attempts: HashMap<(JobId, u64), Timestamp>,
}

impl Hearing {
    /// Nothing was heard yet.
    pub fn new(since: Timestamp) -> Self {
        Self { since, listened_at: since, nodes: HashMap::new(), attempts: HashMap::new() }
    }

    /// Makes sure that it listens. What was not heard without a connection, while the process slept, or over a clock that
    /// was set (`gap_s` is the longest time between two calls that is no break) says nothing about the nodes: all silence
    /// is counted anew from now on.
    pub fn listens(&mut self, hears: bool, now: Timestamp, gap_s: u64) {
        let set_back = now < self.listened_at;
        if set_back {
            // Times that lie ahead would hide a silence for as long as the clock was set back.
            for heard in self.nodes.values_mut().chain(self.attempts.values_mut()) {
                *heard = now.min(*heard);
            }
        }
        if !hears || set_back || seconds_between(self.listened_at, now) > gap_s {
            self.since = now;
        }
        self.listened_at = now;
    }

    /// A heartbeat or a question came. A node is heard about what was admitted to it and nothing else: it can neither keep
    /// another node's attempt alive nor fill the memory with attempts that there are not.
    pub fn heard(&mut self, world: &World, node: &NodeId, running: &[(JobId, u64)], now: Timestamp) {
        self.nodes.insert(node.clone(), now);
        for (job, epoch) in running.iter().filter(|(job, epoch)| is_admitted(world, *job, node, *epoch)) {
            self.attempts.insert((*job, *epoch), now);
        }
    }

    /// Forgets attempts of jobs that are no more.
    pub fn forget(&mut self, world: &World) {
        self.attempts.retain(|(job, _), _| world.jobs.contains_key(job));
    }

    fn node(&self, node: &NodeId) -> Timestamp {
        self.nodes.get(node).copied().unwrap_or(self.since).max(self.since)
    }

    fn attempt(&self, job: JobId, epoch: u64) -> Timestamp {
        self.attempts.get(&(job, epoch)).copied().unwrap_or(self.since).max(self.since)
    }

    /// Whether a node was not heard of for longer than this.
    pub fn is_silent(&self, node: &NodeId, now: Timestamp, lease_s: u64) -> bool {
        seconds_between(self.node(node), now) > lease_s
    }
}

/// A fact about a job that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Upkeep {
    /// Which job.
    pub job: JobId,
    /// Its end as it was seen.
    pub head: Head,
    /// The fact.
    pub event: Event,
    /// Its id: the same from every scheduler that sees the same.
    pub id: EventId,
}

/// All that is to be written now.
pub fn upkeep(world: &World, hearing: &Hearing, now: Timestamp, lease_s: u64) -> Vec<Upkeep> {
    let open = world.jobs.iter().filter(|(id, _)| !world.is_halted(Kind::Job, id));
    open.filter_map(|(id, job)| {
        let (event, word) = one(world, hearing, *id, job, now, lease_s)?;
        let epoch = job.admission.as_ref().map_or(0, |a| a.epoch);
        let id_of_fact = EventId::of_command(&format!("{word}/{id}/{epoch}"), 0);
        Some(Upkeep { job: *id, head: job.head.clone(), event, id: id_of_fact })
    })
    .collect()
}

fn one(
    world: &World,
    hearing: &Hearing,
    id: JobId,
    job: &OpenJob,
    now: Timestamp,
    lease_s: u64,
) -> Option<(Event, &'static str)> {
    if let Some(event) = job.state.cancel_waiting() {
        return Some((event, "cancelled"));
    }
    // What was given away begins in a moment.
    if job.admission.is_none()
        && let Some(event) = job.state.too_late_to_start(now)
    {
        return Some((event, "too-late"));
    }
    if let Some(event) = job.state.past_deadline(now) {
        return Some((event, "abandoned"));
    }
    if let Some(attempt) = &job.state.attempt {
        // A node that came up anew after the attempt had begun has no memory of it.
        let reborn = world.nodes.get(&attempt.node).filter(|n| n.sequence > job.started_sequence);
        if let Some(event) = reborn.and_then(|n| job.state.node_rebooted(&attempt.node, &n.boot)) {
            return Some((event, "interrupted"));
        }
        let heard_at = hearing.attempt(id, attempt.epoch);
        return job.state.lease_expired(heard_at, now, lease_s).map(|event| (event, "lease-expired"));
    }
    // Admitted, never begun, and its node is gone: the slot is given to others.
    let admission = job.admission.as_ref().filter(|_| job.state.phase == Phase::Waiting)?;
    let waited = seconds_between(admission.at, now) > lease_s;
    (waited && hearing.is_silent(&admission.node, now, lease_s)).then(|| {
        let reason = format!("node '{}' did not begin it and is not heard of", admission.node);
        (Event::JobInterrupted(Interrupted { epoch: admission.epoch, reason }), "not-begun")
    })
}

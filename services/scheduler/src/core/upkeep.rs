//! What must happen "after a while" or after a death, found by looking at the state and the clock.
//!
//! The accident that this file prevents is P7: zombie jobs. Nothing here is a timer that dies with its process: whoever
//! looks next finds the same, and the ids of the facts make a second look harmless.

use super::World;
use super::world::OpenJob;
use jiff::Timestamp;
use std::collections::HashMap;
use strongroom_bus::Head;
use strongroom_domain::job::{Interrupted, Phase, seconds_between};
use strongroom_domain::{Aggregate, Event, EventId, JobId, Kind, NodeId};

/// What was heard of nodes, by this scheduler's clock.
#[derive(Debug, Clone)]
pub struct Hearing {
    /// Since when it listens: a node that was not heard of yet is silent since then.
    pub since: Timestamp,
    /// When each node was last heard of.
    pub nodes: HashMap<NodeId, Timestamp>,
    /// When each attempt was last named by its node.
    pub attempts: HashMap<(JobId, u64), Timestamp>,
}

impl Hearing {
    /// Nothing was heard yet.
    pub fn new(since: Timestamp) -> Self {
        Self { since, nodes: HashMap::new(), attempts: HashMap::new() }
    }

    /// A heartbeat or a question came.
    pub fn heard(&mut self, node: &NodeId, running: &[(JobId, u64)], now: Timestamp) {
        self.nodes.insert(node.clone(), now);
        for attempt in running {
            self.attempts.insert(*attempt, now);
        }
    }

    /// Forgets attempts of jobs that are no more.
    pub fn forget(&mut self, world: &World) {
        self.attempts.retain(|(job, _), _| world.jobs.contains_key(job));
    }

    fn node(&self, node: &NodeId) -> Timestamp {
        self.nodes.get(node).copied().unwrap_or(self.since)
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
    let open = world.jobs.iter().filter(|(id, _)| !world.halted.contains(&Aggregate::new(Kind::Job, id)));
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
    if let Some(event) = job.state.past_deadline(now) {
        return Some((event, "abandoned"));
    }
    if let Some(attempt) = &job.state.attempt {
        // A node that came up anew after the attempt had begun has no memory of it.
        let reborn = world.nodes.get(&attempt.node).filter(|n| n.sequence > job.started_sequence);
        if let Some(event) = reborn.and_then(|n| job.state.node_rebooted(&attempt.node, &n.boot)) {
            return Some((event, "interrupted"));
        }
        let heard_at = hearing.attempts.get(&(id, attempt.epoch)).copied().unwrap_or(hearing.since);
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

//! Admitting jobs: one aggregate for all of them, so that limits hold strictly.
//!
//! The accident that this file prevents is P4: two writers on one repository. What a slow scheduler has not seen yet can
//! only make its append lose, because every admission is guarded by the one before it.

use super::follow_up::ACTOR;
use super::wake::Wakes;
use crate::core::World;
use crate::core::admission::decide;
use crate::core::upkeep::Hearing;
use crate::core::world::OpenJob;
use crate::desk::Desk;
use jiff::Timestamp;
use std::collections::HashSet;
use strongroom_bus::{AppendError, Head, NewEvent};
use strongroom_domain::queue::Admitted;
use strongroom_domain::{Aggregate, Event, EventId, JobId, NodeId};
use strongroom_service::{clock, trace};
use tracing::Instrument;
use uuid::Uuid;

/// Admits whoever may start, and wakes their nodes. Says whether something was written.
pub async fn admit(desk: &Desk, wakes: &mut Wakes) -> bool {
    let (mut head, jobs) = {
        let world = desk.world();
        if world.halted.contains(&Aggregate::queue()) {
            return false;
        }
        let silent = silent_nodes(&world, &desk.hearing(), clock::now(), desk.config.lease_s);
        let (admitted, _) = decide(&world, desk.config.limits, &silent);
        let jobs: Vec<(JobId, OpenJob)> =
            admitted.iter().filter_map(|id| Some((*id, world.jobs.get(id)?.clone()))).collect();
        (world.queue.clone(), jobs)
    };
    let mut wrote = false;
    for (id, job) in jobs {
        let span = tracing::info_span!("scheduler.admit", job = %id);
        trace::continue_from(&span, job.cause.traceparent.as_deref());
        match one(desk, wakes, &head, id, &job).instrument(span).await {
            // The next one is guarded by this one: nothing came in between.
            Ok(new_head) => head = new_head,
            Err(AppendError::Conflict) => return true,
            Err(AppendError::Fault(fault)) => {
                tracing::warn!(job = %id, error = %fault, "it could not be admitted; it is tried again");
                return wrote;
            }
        }
        wrote = true;
    }
    wrote
}

async fn one(
    desk: &Desk,
    wakes: &mut Wakes,
    head: &Head,
    id: JobId,
    job: &OpenJob,
) -> Result<Head, AppendError> {
    let traceparent = trace::traceparent(&tracing::Span::current());
    let context = job.cause.context(ACTOR.to_owned(), traceparent.clone());
    let admitted = Admitted { job: id, node: job.state.requested.node.clone(), attempt: job.admissions + 1 };
    let new = NewEvent {
        id: EventId(Uuid::now_v7()),
        at: clock::now(),
        event: Event::QueueAdmitted(admitted.clone()),
    };
    let appended = desk.bus.journal().append(&Aggregate::queue(), head, &new, &context).await?;
    wakes.wake(desk, &admitted, appended.head.sequence, &job.state.requested.spec, traceparent).await;
    Ok(appended.head)
}

/// Nodes of waiting jobs that nothing was heard of for too long.
pub fn silent_nodes(world: &World, hearing: &Hearing, now: Timestamp, lease_s: u64) -> HashSet<NodeId> {
    let nodes: HashSet<&NodeId> = world.jobs.values().map(|j| &j.state.requested.node).collect();
    nodes.into_iter().filter(|n| hearing.is_silent(n, now, lease_s)).cloned().collect()
}

//! Who may start now, seen from the world: limits, one writer a repository, and nodes that are there to do it.

use super::World;
use super::world::OpenJob;
use std::collections::HashSet;
use strongroom_domain::admission::{Holder, Limits, OwnLimits, Waiter, Waiting, admit};
use strongroom_domain::job::Phase;
use strongroom_domain::{JobId, Kind, NodeId};

/// Who may start, in that order, and why each of the others waits. `silent` are nodes that nothing was heard of: a job
/// for one of them waits without holding a slot that others could use.
pub fn decide(
    world: &World,
    limits: Limits,
    silent: &HashSet<NodeId>,
) -> (Vec<JobId>, Vec<(JobId, Waiting)>) {
    let holders: Vec<Holder> = world
        .jobs
        .iter()
        .filter(|(_, job)| job.admission.is_some())
        .map(|(id, job)| holder(world, *id, job))
        .collect();
    let waits = |job: &OpenJob| {
        job.state.phase == Phase::Waiting && job.admission.is_none() && !job.state.cancel_requested
    };
    let (mut waiters, mut waiting) = (Vec::new(), Vec::new());
    for (id, job) in world.jobs.iter().filter(|(_, job)| waits(job)) {
        let requested = &job.state.requested;
        if world.is_halted(Kind::Job, id) {
            continue;
        }
        if silent.contains(&requested.node) {
            waiting.push((*id, Waiting::Node { node: requested.node.clone() }));
            continue;
        }
        waiters.push(Waiter {
            own: own_limits(world, job),
            holder: holder(world, *id, job),
            node: requested.node.clone(),
            priority: requested.spec.priority(),
            since: job.state.waiting_since,
        });
    }
    let (admitted, others) = admit(world.limits.over(limits), &holders, &waiters);
    waiting.extend(others);
    (admitted, waiting)
}

fn own_limits(world: &World, job: &OpenJob) -> OwnLimits {
    let requested = &job.state.requested;
    let repository = requested.spec.repository().and_then(|id| world.repositories.get(id));
    let destination = repository.and_then(|repository| world.destinations.get(&repository.destination));
    OwnLimits {
        server: world.servers.get(&requested.server).and_then(|server| server.max_concurrent_jobs),
        destination: destination.and_then(|destination| destination.max_concurrent_jobs),
        repository: repository.and_then(|repository| repository.max_concurrent_jobs),
    }
}

fn holder(world: &World, id: JobId, job: &OpenJob) -> Holder {
    let requested = &job.state.requested;
    Holder {
        job: id,
        server: requested.server.clone(),
        repository: requested.spec.repository().cloned(),
        destination: requested
            .spec
            .repository()
            .and_then(|id| world.repositories.get(id))
            .map(|repository| repository.destination.clone()),
        writes: requested.spec.writes(),
    }
}

//! What follows from what a node says about a job, and whether its attempt still stands.
//!
//! A node can lie about its own jobs and do no more: what it says is taken only for a job that was admitted to it, with
//! the epoch of that admission, and only while that admission has not been taken from it.

use super::World;
use super::world::Admission;
use strongroom_bus::Recorded;
use strongroom_domain::job::{self, Refusal, Report};
use strongroom_domain::wire::{LeaseAnswer, LeaseQuestion};
use strongroom_domain::{Event, JobId, Kind, NodeId};

/// A job as its own events tell it.
pub struct JobHistory {
    state: job::State,
    /// The newest epoch that was taken from its node.
    dead_epoch: u64,
}

impl JobHistory {
    /// Folds it; `None` when it does not begin with a request.
    pub fn of(events: &[Recorded]) -> Option<Self> {
        let (first, others) = events.split_first()?;
        let mut history = Self { state: job::State::begin(&first.event, first.at)?, dead_epoch: 0 };
        for recorded in others {
            history.state.evolve(&recorded.event, recorded.at);
            if let Event::JobInterrupted(job::Interrupted { epoch, .. })
            | Event::JobLeaseExpired(job::LeaseExpired { epoch, .. }) = &recorded.event
            {
                history.dead_epoch = history.dead_epoch.max(*epoch);
            }
        }
        Some(history)
    }

    /// The fact that follows from a report that an attempt began.
    pub fn start(
        &self,
        admission: &Admission,
        node: &NodeId,
        epoch: u64,
        boot: &str,
    ) -> Result<Event, Refusal> {
        self.refuse_dead(epoch)?;
        self.state.start((&admission.node, admission.epoch, admission.attempt), node, epoch, boot)
    }

    /// The fact that follows from a report that an attempt ended.
    pub fn finish(
        &self,
        admission: &Admission,
        node: &NodeId,
        epoch: u64,
        report: Report,
    ) -> Result<Event, Refusal> {
        self.refuse_dead(epoch)?;
        if admission.node != *node {
            return Err(Refusal::WrongNode);
        }
        self.state.finish(node, epoch, admission.epoch, report)
    }

    fn refuse_dead(&self, epoch: u64) -> Result<(), Refusal> {
        if epoch <= self.dead_epoch { Err(Refusal::Stale) } else { Ok(()) }
    }
}

/// Whether an attempt still stands. A world that has not seen that far says yes: a no that comes too early would kill an
/// honest attempt, while a yes that comes too long is corrected by the epoch.
pub fn lease(world: &World, node: &NodeId, question: &LeaseQuestion) -> LeaseAnswer {
    if world.sequence < question.epoch {
        return LeaseAnswer::Held;
    }
    if world.is_halted(Kind::Job, question.job) {
        return LeaseAnswer::Held;
    }
    match world.jobs.get(&question.job) {
        Some(job) if stands(job.admission.as_ref(), node, question.epoch) => {
            if job.state.cancel_requested {
                LeaseAnswer::CancelRequested
            } else {
                LeaseAnswer::Held
            }
        }
        _ => LeaseAnswer::Stale,
    }
}

/// Whether this node has this job with this epoch.
pub fn is_admitted(world: &World, job: JobId, node: &NodeId, epoch: u64) -> bool {
    world.jobs.get(&job).is_some_and(|job| stands(job.admission.as_ref(), node, epoch))
}

fn stands(admission: Option<&Admission>, node: &NodeId, epoch: u64) -> bool {
    admission.is_some_and(|a| a.node == *node && a.epoch == epoch)
}

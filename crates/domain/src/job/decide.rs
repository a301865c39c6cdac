//! Which fact follows from a request or a report about a job, or why none does.

use super::{
    Abandoned, CancelRequested, Cancelled, Failed, Interrupted, JobSpec, LeaseExpired, Outcome, Phase,
    Started, State, Succeeded,
};
use crate::{Event, Failure, NodeId, Rejection};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How an attempt ended, as its node reports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ended", rename_all = "snake_case")]
pub enum Report {
    /// Done.
    Succeeded {
        /// What came of it.
        outcome: Outcome,
        /// The last lines of the log.
        #[serde(default)]
        log_tail: Vec<String>,
    },
    /// Failed.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Stopped because a cancel was asked for.
    Cancelled,
    /// Stopped because the executor is shutting down; the job is to run again.
    Interrupted {
        /// Why.
        reason: String,
    },
}

/// Why a node's report is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The same was taken down before: nothing to do.
    #[error("this was taken down before")]
    Duplicate,
    /// The attempt is no longer the present one; its work must stop.
    #[error("this attempt is no longer the present one")]
    Stale,
    /// The node is not the one that was admitted.
    #[error("another node was admitted for this job")]
    WrongNode,
}

/// How long a job may wait or run without success before it is given up, when its request does not say: a week.
pub const DEFAULT_DEADLINE_S: u64 = 7 * 24 * 3600;

impl State {
    /// A node says that it begins the attempt that was admitted as (`node`, `epoch`, `attempt`).
    pub fn start(
        &self,
        admitted: (&NodeId, u64, u32),
        node: &NodeId,
        epoch: u64,
        boot: &str,
    ) -> Result<Event, Refusal> {
        let (admitted_node, admitted_epoch, attempt) = admitted;
        if admitted_node != node {
            return Err(Refusal::WrongNode);
        }
        if self.phase.is_terminal() || epoch != admitted_epoch {
            return Err(Refusal::Stale);
        }
        if let Some(running) = &self.attempt {
            return Err(if running.epoch == epoch { Refusal::Duplicate } else { Refusal::Stale });
        }
        Ok(Event::JobStarted(Started { attempt, node: node.clone(), epoch, boot: boot.to_owned() }))
    }

    /// A node reports how its attempt ended. An attempt that was never taken down as started may still report when it
    /// was admitted (`admitted_epoch`): its first report was lost, its outcome is true.
    pub fn finish(
        &self,
        node: &NodeId,
        epoch: u64,
        admitted_epoch: u64,
        report: Report,
    ) -> Result<Event, Refusal> {
        if let Some(running) = &self.attempt {
            if running.epoch != epoch {
                return Err(Refusal::Stale);
            }
            if running.node != *node {
                return Err(Refusal::WrongNode);
            }
        } else if self.phase.is_terminal() {
            return Err(Refusal::Duplicate);
        } else if epoch != admitted_epoch {
            return Err(Refusal::Stale);
        }
        Ok(match report {
            Report::Succeeded { outcome, log_tail } => {
                Event::JobSucceeded(Succeeded { epoch, outcome, log_tail })
            }
            Report::Failed { failure } => Event::JobFailed(Failed { epoch, failure }),
            Report::Cancelled => Event::JobCancelled(Cancelled { epoch }),
            Report::Interrupted { reason } => Event::JobInterrupted(Interrupted { epoch, reason }),
        })
    }

    /// Somebody asks for the job to stop.
    pub fn request_cancel(&self, reason: Option<String>) -> Result<Option<Event>, Rejection> {
        if self.phase.is_terminal() {
            return Err(Rejection::conflict(
                "job_finished",
                format!("the job has ended already ({})", self.phase),
            ));
        }
        Ok((!self.cancel_requested).then_some(Event::JobCancelRequested(CancelRequested { reason })))
    }

    /// A cancel was asked for and no node works on the job: it is cancelled at once.
    pub fn cancel_waiting(&self) -> Option<Event> {
        (self.cancel_requested && self.phase == Phase::Waiting)
            .then_some(Event::JobCancelled(Cancelled { epoch: 0 }))
    }

    /// The executor of the running attempt has started anew with another boot id: that attempt is dead.
    pub fn node_rebooted(&self, node: &NodeId, boot: &str) -> Option<Event> {
        let running = self.attempt.as_ref()?;
        (running.node == *node && running.boot != boot).then(|| {
            Event::JobInterrupted(Interrupted {
                epoch: running.epoch,
                reason: "the executor was started anew; the attempt of its earlier life is over".to_owned(),
            })
        })
    }

    /// The node of the running attempt has been silent since `heard_at`, longer than `lease_s` seconds.
    pub fn lease_expired(&self, heard_at: Timestamp, now: Timestamp, lease_s: u64) -> Option<Event> {
        let running = self.attempt.as_ref()?;
        let silent_s = seconds_between(heard_at.max(running.started_at), now);
        (silent_s > lease_s)
            .then_some(Event::JobLeaseExpired(LeaseExpired { epoch: running.epoch, silent_s }))
    }

    /// The job was not let in until the moment up to which its schedule wants it to begin. One that has begun once goes on.
    pub fn too_late_to_start(&self, now: Timestamp) -> Option<Event> {
        let JobSpec::Backup(spec) = &self.requested.spec else { return None };
        let start_by = spec.start_by.filter(|by| now > *by)?;
        let waits = self.phase == Phase::Waiting && self.attempts == 0;
        waits.then(|| {
            Event::JobAbandoned(Abandoned {
                reason: format!(
                    "it could not begin until {start_by}, as its schedule says (start_within_s); look at what ran or waited before it"
                ),
            })
        })
    }

    /// The job has waited past its deadline without a node that does it.
    pub fn past_deadline(&self, now: Timestamp) -> Option<Event> {
        let deadline_s = self.requested.deadline_s.unwrap_or(DEFAULT_DEADLINE_S);
        // Since it began to wait: one that was interrupted after days of honest work is not to be given up for them.
        let waited_s = seconds_between(self.waiting_since, now);
        (self.phase == Phase::Waiting && waited_s > deadline_s).then(|| {
            Event::JobAbandoned(Abandoned {
                reason: format!(
                    "no node took it within {deadline_s} s, after {} attempts; look whether node '{}' is up",
                    self.attempts, self.requested.node
                ),
            })
        })
    }
}

/// Whole seconds from one time to a later one; 0 when it is not later (a clock that was stepped back).
pub fn seconds_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second().saturating_sub(from.as_second())).unwrap_or(0)
}

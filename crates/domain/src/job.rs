//! Job: one piece of work with a life of its own. Every accepted request ends in exactly one terminal event.
//!
//! The accidents that this file prevents are P1 (a killed borg stored as success) and P7 (zombie jobs): an outcome is
//! only taken with the epoch of the present attempt, a terminal state is never left, and what a dead node left
//! behind is found by its state, not by a timer.

mod decide;
mod result;
mod spec;
#[cfg(test)]
mod tests;

pub use decide::{DEFAULT_DEADLINE_S, Refusal, Report, seconds_between};
pub use result::{Cluster, Completeness, FINDINGS_KEPT, JobResult, Outcome};
pub use spec::{
    BackupSpec, Conflict, CopySpec, DatabaseTarget, DownloadForm, DownloadSpec, JobSpec, PARALLEL_JOBS,
    PRUNED_AT_ONCE, PruneSpec, Requested, RestoreClusterSpec, RestoreDatabaseSpec, RestoreDumpSpec,
    RestoreSpec, RestoreTarget, Spared, Trigger,
};

use crate::{Event, Failure, NodeId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Somebody asked for the job to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequested {
    /// Why, in the words of the person.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A node began an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// 1, 2, ...
    pub attempt: u32,
    /// Who works.
    pub node: NodeId,
    /// The fencing token: sequence of the admission.
    pub epoch: u64,
    /// The node's boot id.
    pub boot: String,
}

/// An attempt ended without an outcome: its executor died or was stopped. The job waits again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupted {
    /// Whose attempt.
    pub epoch: u64,
    /// What is known of the cause.
    pub reason: String,
}

/// The node of an attempt has been silent for too long. The job waits again; a late outcome of that attempt is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseExpired {
    /// Whose attempt.
    pub epoch: u64,
    /// How long it was silent, in seconds.
    pub silent_s: u64,
}

/// The job is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Succeeded {
    /// Whose attempt.
    pub epoch: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// The last lines of the log.
    #[serde(default)]
    pub log_tail: Vec<String>,
}

/// The job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Whose attempt; 0 when it never started.
    pub epoch: u64,
    /// Why and what to do.
    pub failure: Failure,
}

/// The job was stopped because somebody asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Whose attempt; 0 when it never started.
    pub epoch: u64,
}

/// The job was given up: no node took it in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abandoned {
    /// Why.
    pub reason: String,
}

/// Where a job stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Phase {
    /// Asked for; waits to be admitted, or admitted again after an interruption.
    Waiting,
    /// An attempt runs.
    Running,
    /// Ended: done, and all data is there.
    Complete,
    /// Ended: done, but with data missing from it.
    Incomplete,
    /// Ended with a failure.
    Failed,
    /// Ended because somebody asked for it.
    Cancelled,
    /// Ended because no node did it in time.
    Abandoned,
}

impl Phase {
    /// Whether nothing more happens to the job.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// The running attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1, 2, ...
    pub number: u32,
    /// Who works.
    pub node: NodeId,
    /// The fencing token.
    pub epoch: u64,
    /// The node's boot id at its start.
    pub boot: String,
    /// When it was taken down in the log.
    pub started_at: Timestamp,
}

/// What decisions about a job need to know.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// What was asked for.
    pub requested: Requested,
    /// When.
    pub requested_at: Timestamp,
    /// Where it stands.
    pub phase: Phase,
    /// The running attempt, in phase [`Phase::Running`].
    pub attempt: Option<Attempt>,
    /// How many attempts have been started.
    pub attempts: u32,
    /// Whether somebody asked for it to stop.
    pub cancel_requested: bool,
    /// When it last began to wait.
    pub waiting_since: Timestamp,
}

impl State {
    /// The state after the first event; `None` when that is not a request.
    pub fn begin(event: &Event, at: Timestamp) -> Option<Self> {
        let Event::JobRequested(requested) = event else { return None };
        Some(Self {
            requested: requested.clone(),
            requested_at: at,
            phase: Phase::Waiting,
            attempt: None,
            attempts: 0,
            cancel_requested: false,
            waiting_since: at,
        })
    }

    /// The state after one more event. It cannot fail: the log says what happened.
    pub fn evolve(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::JobCancelRequested(_) => self.cancel_requested = true,
            Event::JobStarted(e) => {
                self.phase = Phase::Running;
                self.attempts = e.attempt;
                self.attempt = Some(Attempt {
                    number: e.attempt,
                    node: e.node.clone(),
                    epoch: e.epoch,
                    boot: e.boot.clone(),
                    started_at: at,
                });
            }
            Event::JobInterrupted(_) | Event::JobLeaseExpired(_) => {
                self.phase = Phase::Waiting;
                self.attempt = None;
                self.waiting_since = at;
            }
            Event::JobSucceeded(e) => self.end(match e.outcome.completeness {
                Completeness::Complete => Phase::Complete,
                Completeness::Incomplete => Phase::Incomplete,
            }),
            Event::JobFailed(_) => self.end(Phase::Failed),
            Event::JobCancelled(_) => self.end(Phase::Cancelled),
            Event::JobAbandoned(_) => self.end(Phase::Abandoned),
            _ => {}
        }
    }

    fn end(&mut self, phase: Phase) {
        self.phase = phase;
        self.attempt = None;
    }
}

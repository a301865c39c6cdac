//! Jobs: what was asked for, where it stands, what came of it.

use super::{FoldError, View};
use crate::core::framed;
use crate::core::key::{By, Listed, suffix};
use crate::core::overlay::{AnyRecord, Overlay, Places, Record};
use crate::core::store::StoreError;
use serde::{Deserialize, Serialize};
use strongroom_bus::Recorded;
use strongroom_domain::failure::Finding;
use strongroom_domain::job::{Completeness, Phase};
use strongroom_domain::view::Job;
use strongroom_domain::{Event, JobId, Kind};

/// How many notes a job keeps: one that is interrupted again and again must not grow for ever.
const NOTES_KEPT: usize = 20;

/// The view.
pub struct Jobs;

impl View for Jobs {
    fn name(&self) -> &'static str {
        "jobs"
    }

    fn apply(&self, views: &mut Overlay<'_>, event: &Recorded) -> Result<(), FoldError> {
        if event.aggregate.kind != Kind::Job {
            return Ok(());
        }
        let id = id_of(event)?;
        let key = Listed::Jobs.record(id.0);
        if let Event::JobRequested(requested) = &event.event {
            let job = Job {
                id,
                kind: requested.spec.kind().to_owned(),
                phase: Phase::Waiting,
                requested: requested.clone(),
                requested_at: event.at,
                started_at: None,
                ended_at: None,
                attempts: 0,
                cancel_requested: false,
                result: None,
                findings: Vec::new(),
                incomplete_total: 0,
                benign_total: 0,
                failure: None,
                notes: Vec::new(),
                log_tail: Vec::new(),
                traceparent: event.context.traceparent.clone(),
                waiting: None,
            };
            return Ok(views.put(key, JobRecord { sequence: event.sequence, job })?);
        }
        views.edit(key, |place: &mut Option<JobRecord>| match place {
            Some(record) => {
                evolve(&mut record.job, event);
                Ok(())
            }
            None => Err(never_requested(event)),
        })?
    }
}

/// The id of an event's job.
pub fn id_of(event: &Recorded) -> Result<JobId, FoldError> {
    let id = &event.aggregate.id;
    id.parse().map_err(|e| FoldError::Senseless(format!("'{id}' is no id of a job: {e}")))
}

/// The answer to an event of a job whose request is not there.
pub fn never_requested(event: &Recorded) -> FoldError {
    FoldError::Senseless(format!("a '{}' of a job that was never requested", event.event.type_name()))
}

/// The job after one more event. It cannot fail: the log says what happened.
fn evolve(job: &mut Job, event: &Recorded) {
    match &event.event {
        Event::JobCancelRequested(cancel) => {
            job.cancel_requested = true;
            if let Some(reason) = &cancel.reason {
                note(job, format!("cancel asked for: {reason}"));
            }
        }
        Event::JobStarted(started) => {
            job.phase = Phase::Running;
            job.started_at = Some(event.at);
            job.attempts = started.attempt;
        }
        Event::JobInterrupted(interrupted) => {
            job.phase = Phase::Waiting;
            note(job, format!("attempt {} was interrupted: {}", job.attempts, interrupted.reason));
        }
        Event::JobLeaseExpired(expired) => {
            job.phase = Phase::Waiting;
            let text = format!(
                "attempt {} was given up: its node was silent for {} s",
                job.attempts, expired.silent_s
            );
            note(job, text);
        }
        Event::JobSucceeded(succeeded) => {
            let outcome = &succeeded.outcome;
            job.phase = match outcome.completeness {
                Completeness::Complete => Phase::Complete,
                Completeness::Incomplete => Phase::Incomplete,
            };
            job.ended_at = Some(event.at);
            job.result = Some(outcome.result.clone());
            job.findings.clone_from(&outcome.findings);
            job.incomplete_total = outcome.incomplete_total;
            job.benign_total = outcome.benign_total;
            job.log_tail.clone_from(&succeeded.log_tail);
        }
        Event::JobFailed(failed) => {
            job.phase = Phase::Failed;
            job.ended_at = Some(event.at);
            job.log_tail.clone_from(&failed.failure.log_tail);
            job.failure = Some(failed.failure.clone());
        }
        Event::JobCancelled(_) => {
            job.phase = Phase::Cancelled;
            job.ended_at = Some(event.at);
        }
        Event::JobAbandoned(abandoned) => {
            job.phase = Phase::Abandoned;
            job.ended_at = Some(event.at);
            note(job, format!("given up: {}", abandoned.reason));
        }
        _ => {}
    }
}

fn note(job: &mut Job, text: String) {
    if job.notes.len() >= NOTES_KEPT {
        job.notes.remove(0);
    }
    job.notes.push(text);
}

/// A job with its place among the others.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// The sequence of its request.
    pub sequence: u64,
    /// The job.
    pub job: Job,
}

/// What lists leave out.
#[derive(Serialize, Deserialize)]
struct Rest {
    sequence: u64,
    findings: Vec<Finding>,
    log_tail: Vec<String>,
}

impl AnyRecord for JobRecord {
    fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let mut shown = self.job.clone();
        let rest = Rest {
            sequence: self.sequence,
            findings: std::mem::take(&mut shown.findings),
            log_tail: std::mem::take(&mut shown.log_tail),
        };
        if let Some(failure) = &mut shown.failure {
            failure.log_tail.clear();
        }
        framed::encode(&shown, &rest)
    }

    fn places(&self) -> Option<Places> {
        let requested = &self.job.requested;
        let listed = Listed::Jobs;
        let mut indexes = vec![
            listed.index(By::All, ""),
            listed.index(By::Server, requested.server.as_str()),
            listed.index(By::Phase, &self.job.phase.to_string()),
        ];
        indexes.extend(requested.spec.repository().map(|r| listed.index(By::Repository, r.as_str())));
        indexes.extend(requested.spec.plan().map(|plan| listed.index(By::Plan, plan.as_str())));
        Some(Places { listed, suffix: suffix(self.sequence, self.job.id.0), indexes })
    }
}

impl Record for JobRecord {
    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (mut job, rest): (Job, Rest) = framed::decode(bytes)?;
        if let Some(failure) = &mut job.failure {
            failure.log_tail.clone_from(&rest.log_tail);
        }
        job.findings = rest.findings;
        job.log_tail = rest.log_tail;
        Ok(Self { sequence: rest.sequence, job })
    }
}

//! What people are told about: a job that ended, or a plan that is late.

use super::message::{JOB_FINISHED, JobFinished, body};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_bus::Recorded;
use strongroom_domain::lateness::Exemption;
use strongroom_domain::{Event, JobId, PlanId};

/// The type of the message about a plan whose newest good archive is older than it promises.
pub const PLAN_OVERDUE: &str = "plan.overdue";
/// The type of the message that it is so no longer.
pub const PLAN_IN_TIME: &str = "plan.in_time";

/// What is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Told {
    /// How a job ended.
    Job(JobFinished),
    /// That a plan is late, or in time again.
    Plan(PlanStands),
}

/// How a plan stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStands {
    /// Which plan.
    pub plan: PlanId,
    /// Whether it is late.
    pub overdue: bool,
    /// Since when it is, or was.
    pub since: Timestamp,
    /// When its newest good archive was begun, if it has one.
    pub last_good_at: Option<Timestamp>,
    /// How many of its runs have failed since one succeeded. None of one that is late: they did not even begin.
    pub failures_in_a_row: Option<u32>,
    /// Why it cannot be late any more, when no archive has come.
    pub exempt: Option<Exemption>,
    /// What to do about it.
    pub advice: Option<String>,
}

impl PlanStands {
    /// What is told of this event; `None` when it is about something else.
    pub fn of(event: &Recorded) -> Option<Self> {
        let plan = event.aggregate.id.parse().ok()?;
        match &event.event {
            Event::ScheduleOverdue(e) => Some(Self {
                plan,
                overdue: true,
                since: e.since,
                last_good_at: e.last_good_at,
                failures_in_a_row: Some(e.failures_in_a_row),
                exempt: None,
                advice: Some(advice(e.failures_in_a_row).to_owned()),
            }),
            Event::ScheduleInTime(e) => Some(Self {
                plan,
                overdue: false,
                since: e.overdue_since,
                last_good_at: e.last_good_at,
                failures_in_a_row: None,
                exempt: e.exempt,
                advice: None,
            }),
            _ => None,
        }
    }
}

fn advice(failures_in_a_row: u32) -> &'static str {
    if failures_in_a_row > 0 {
        "See why its newest run failed ('strongroom jobs list --plan ...'), mend that, and run it."
    } else {
        "No run of it has failed: see whether its archives lack data (they are incomplete then), that its node is up, and what its jobs wait for."
    }
}

impl Told {
    /// The bytes that are sent. Every attempt sends the same.
    pub fn body(&self, at: Timestamp) -> Vec<u8> {
        match self {
            Self::Job(finished) => body(JOB_FINISHED, at, finished),
            Self::Plan(plan) => body(if plan.overdue { PLAN_OVERDUE } else { PLAN_IN_TIME }, at, plan),
        }
    }

    /// The job that it is about, when it is about one.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::Job(finished) => Some(finished.job),
            Self::Plan(_) => None,
        }
    }
}

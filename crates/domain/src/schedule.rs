//! Schedule: what became of each nominal time of a plan. Every nominal time ends in exactly one fact here.

use crate::JobId;
use crate::lateness::Exemption;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A nominal time came and its job was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// The time that the schedule names, UTC.
    pub nominal_at: Timestamp,
    /// The job: [`JobId::of_trigger`].
    pub job: JobId,
}

/// A nominal time came and nothing was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The time that the schedule names, UTC.
    pub nominal_at: Timestamp,
    /// Why.
    pub reason: SkipReason,
}

/// Why a nominal time was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SkipReason {
    /// The run before had not ended, and the plan says to skip then.
    Overlap,
    /// The time passed while no scheduler ran, and the catch-up policy does not make up for it.
    Missed,
    /// The plan was paused.
    Paused,
    /// The time lies in a blackout window of the schedule.
    Blackout,
    /// The time was dealt with only after the deadline to start that the schedule gives.
    Expired,
}

/// A plan is late: its newest good archive is older than the plan promises, whatever the cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overdue {
    /// Since when, which was known before.
    pub since: Timestamp,
    /// When its newest good archive was begun, if it has one.
    #[serde(default)]
    pub last_good_at: Option<Timestamp>,
    /// How many of its runs have failed since one succeeded. None: then they did not even begin.
    #[serde(default)]
    pub failures_in_a_row: u32,
}

/// A plan that was late is so no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InTime {
    /// Since when it was late.
    pub overdue_since: Timestamp,
    /// When the good archive was begun that it has now.
    #[serde(default)]
    pub last_good_at: Option<Timestamp>,
    /// Why it cannot be late any more, when no archive has come: it was paused, or promises less now.
    #[serde(default)]
    pub exempt: Option<Exemption>,
}

/// What the schedule of one plan has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The newest nominal time that was dealt with.
    pub last_nominal_at: Option<Timestamp>,
}

impl State {
    /// The state after one more event.
    pub fn evolve(&mut self, event: &crate::Event) {
        let at = match event {
            crate::Event::ScheduleFired(e) => e.nominal_at,
            crate::Event::ScheduleSkipped(e) => e.nominal_at,
            _ => return,
        };
        self.last_nominal_at = Some(self.last_nominal_at.map_or(at, |last| last.max(at)));
    }
}

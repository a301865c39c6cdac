//! What can be asked about retention before anything is decided, and the answers.

use super::{Decision, Policy, Replay, Simulation};
use crate::archive::Target;
use crate::cron::ScheduleSpec;
use crate::{PlanId, RepositoryId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What would become of the archives of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Of which plan.
    pub plan: PlanId,
    /// By which rules; the plan's own, when absent.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// Whether a person asks in order to clean up: then it may be a plan that is paused or retired, of which nobody expects
    /// anything new.
    #[serde(default)]
    pub by_hand: bool,
    /// Of a simulation: when the plan would run; as it does, when absent.
    #[serde(default)]
    pub schedule: Option<ScheduleSpec>,
    /// From when a replay tells; from the first archive, when absent.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// Until when: a replay until now, and a simulation for a year, when absent.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// What would become of the archives of a plan in one repository, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Which one.
    pub repository: RepositoryId,
    /// What the rules and the guards say.
    pub decision: Decision,
    /// What goes, or would go behind a gate, as a job names it, the newest first.
    pub going: Vec<Target>,
}

/// Which archives would be there today, had these rules been applied from the beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// In which repository.
    pub repository: RepositoryId,
    /// What came of it.
    pub replay: Replay,
}

/// How many archives there would be, were the plan to go on by these rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Simulated {
    /// In which repository.
    pub repository: RepositoryId,
    /// What came of it.
    pub simulation: Simulation,
}

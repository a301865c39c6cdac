//! The decision as a fact: what retention removes of a plan, written down before anything is removed.

use super::{Gate, Gone, Policy};
use crate::archive::Target;
use crate::{JobId, RepositoryId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Retention decided about the archives of a plan. What goes is listed here; nothing else is removed by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// By which rules.
    pub policy: Policy,
    /// Of its schedule, when it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal_at: Option<Timestamp>,
    /// One for each repository in which the plan has archives.
    pub repositories: Vec<OfRepository>,
}

/// What was decided about the archives of a plan in one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRepository {
    /// Which one.
    pub repository: RepositoryId,
    /// How many archives of the plan there were.
    pub archives: u64,
    /// Why nothing goes, when it could not be decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// How many the rules keep no longer. More than are listed: one job removes [`crate::job::PRUNED_AT_ONCE`], and the
    /// next decision lists the rest.
    pub going: u64,
    /// The archives that go now, the newest first; none behind a gate.
    pub removes: Vec<Removal>,
    /// The job that removes them, when there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
}

/// An archive that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Which one.
    pub archive: Target,
    /// When it was made.
    pub made_at: Timestamp,
    /// Why nothing speaks for it.
    pub why: Gone,
}

//! Gate: why nothing at all may go now, whatever the rules say.

use super::{CLOCK_SLACK, Candidate, Facts, Proof, Rules};
use crate::ArchiveId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why nothing at all may go now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "snake_case")]
pub enum Gate {
    /// An archive is dated later than now: a clock is wrong, here or where it was made, and ages say nothing.
    Future {
        /// The archive.
        archive: ArchiveId,
        /// Its name.
        name: String,
        /// When it says that it was made.
        made_at: Timestamp,
    },
    /// The newest runs of the plan failed: what is there may be all that there will be.
    RunsFail {
        /// How many, since the last one that succeeded.
        failures_in_a_row: u32,
    },
    /// The plan is late: no new archive comes, and what is there may be all that there will be.
    Overdue {
        /// Since when.
        since: Timestamp,
    },
    /// The plan is paused: no new archive comes, and whoever has paused it did not ask for the old ones to go.
    Paused,
    /// A drill has refuted the newest archive: the next ones may be no better.
    NewestRefuted {
        /// The archive.
        archive: ArchiveId,
        /// Its name.
        name: String,
    },
    /// The newest archive was not proved by a drill, and the policy wants that.
    NewestUnverified {
        /// The archive.
        archive: ArchiveId,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Future { name, made_at, .. } => {
                write!(
                    f,
                    "{name} is dated {made_at}, which is yet to come: set the clocks right; nothing goes"
                )
            }
            Self::RunsFail { failures_in_a_row: 1 } => {
                f.write_str("the newest run failed: nothing goes until one succeeds")
            }
            Self::RunsFail { failures_in_a_row } => {
                write!(f, "the newest {failures_in_a_row} runs failed: nothing goes until one succeeds")
            }
            Self::Overdue { since } => {
                write!(
                    f,
                    "the plan is late since {since}: nothing goes until there is a new complete archive"
                )
            }
            Self::Paused => f.write_str("the plan is paused: nothing goes until it is resumed"),
            Self::NewestRefuted { name, .. } => {
                write!(
                    f,
                    "a drill could not restore {name}, the newest archive: nothing goes until there is a newer one"
                )
            }
            Self::NewestUnverified { name, .. } => {
                write!(f, "no drill has proved {name}, the newest archive: nothing goes until one has")
            }
        }
    }
}

/// What stands against any deletion, the gravest first.
pub(super) fn gate(
    rules: &Rules,
    newest: Option<&Candidate>,
    facts: &Facts,
    now: Timestamp,
    known_at: Timestamp,
) -> Option<Gate> {
    let newest = newest?;
    let (archive, name) = (newest.id, || newest.name.clone());
    let latest = now.checked_add(CLOCK_SLACK).unwrap_or(Timestamp::MAX);
    if newest.made_at > latest {
        return Some(Gate::Future { archive, name: name(), made_at: newest.made_at });
    }
    if facts.failures_in_a_row > 0 {
        return Some(Gate::RunsFail { failures_in_a_row: facts.failures_in_a_row });
    }
    if facts.paused {
        return Some(Gate::Paused);
    }
    if let Some(since) = facts.overdue_since {
        return Some(Gate::Overdue { since });
    }
    match newest.proof.known(known_at) {
        Proof::Proved { .. } => None,
        Proof::Refuted { .. } => Some(Gate::NewestRefuted { archive, name: name() }),
        Proof::NotTried if rules.policy.require_verified => {
            Some(Gate::NewestUnverified { archive, name: name() })
        }
        Proof::NotTried => None,
    }
}

//! Decision: what retention says of all archives of a plan at one moment.

use super::{Gate, Gone, Reason};
use crate::ArchiveId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What becomes of each archive, and whether anything may be done about it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The moment that it is about.
    pub decided_at: Timestamp,
    /// One for each archive, the newest first.
    pub verdicts: Vec<Verdict>,
    /// Why nothing may go now. The verdicts then say what would go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gated: Option<Gate>,
}

/// What becomes of one archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The archive.
    pub archive: ArchiveId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Bytes that it alone added, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_bytes: Option<u64>,
    /// Whether it stays.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Whether an archive stays, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It stays.
    Keep {
        /// All that speaks for it; never empty.
        reasons: Vec<Reason>,
    },
    /// It may go.
    Go {
        /// Why nothing speaks for it.
        why: Gone,
    },
}

impl Verdict {
    /// Whether it may go.
    pub fn goes(&self) -> bool {
        matches!(self.outcome, Outcome::Go { .. })
    }

    /// What speaks for it; empty when it may go.
    pub fn reasons(&self) -> &[Reason] {
        match &self.outcome {
            Outcome::Keep { reasons } => reasons,
            Outcome::Go { .. } => &[],
        }
    }
}

/// Why an archive of a stored list must not be deleted after all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "objection", rename_all = "snake_case")]
pub enum Objection {
    /// Nothing may go now.
    Gated {
        /// Why.
        gate: Gate,
    },
    /// It is none of the archives that were decided about.
    Unknown {
        /// The archive.
        archive: ArchiveId,
    },
    /// It is to be kept.
    Kept {
        /// The archive.
        archive: ArchiveId,
        /// What speaks for it.
        reasons: Vec<Reason>,
    },
}

impl Decision {
    /// The archives to delete now, in this order; none while it is gated. What was made later comes first, so that a
    /// deletion that is stopped half way leaves no archive without the one that it was made on.
    pub fn deletions(&self) -> Vec<ArchiveId> {
        if self.gated.is_some() {
            return Vec::new();
        }
        self.going().map(|verdict| verdict.archive).collect()
    }

    /// Those that go, or would go if it were not gated, the newest first.
    pub fn going(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.goes())
    }

    /// Those that stay, the newest first.
    pub fn staying(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| !verdict.goes())
    }

    /// About how many bytes would be free when those that go were deleted and the repository compacted: what each of them
    /// added when it was made. It is less where archives that stay share it. Nothing when that of any of them is unknown.
    pub fn freed_bytes(&self) -> Option<u64> {
        self.going().try_fold(0_u64, |sum, verdict| Some(sum.saturating_add(verdict.added_bytes?)))
    }

    /// What stands against deleting exactly these archives. A list that was stored a while ago is held against a decision
    /// over what is there now; with any objection, none of them is deleted.
    pub fn objections(&self, list: &[ArchiveId]) -> Vec<Objection> {
        if let Some(gate) = self.gated.as_ref().filter(|_| !list.is_empty()) {
            return vec![Objection::Gated { gate: gate.clone() }];
        }
        let verdicts: HashMap<ArchiveId, &Verdict> = self.verdicts.iter().map(|v| (v.archive, v)).collect();
        let objection = |archive: &ArchiveId| match verdicts.get(archive).map(|verdict| &verdict.outcome) {
            None => Some(Objection::Unknown { archive: *archive }),
            Some(Outcome::Keep { reasons }) => {
                Some(Objection::Kept { archive: *archive, reasons: reasons.clone() })
            }
            Some(Outcome::Go { .. }) => None,
        };
        list.iter().filter_map(objection).collect()
    }
}

//! The removal of archives that a plan's retention keeps no longer.
//!
//! The accident that this file prevents is P3: a rule that is looked at once more where the archives are removed, and that
//! removes others than people were shown. A node is told exactly which archives go, and removes no other.

use crate::archive::Target;
use crate::repository::Access;
use crate::retention::Policy;
use crate::{ArchiveId, PlanId};
use serde::{Deserialize, Serialize};

/// How many archives one job removes at most; the rest is the next one's.
pub const PRUNED_AT_ONCE: usize = 200;

/// A removal of several archives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneSpec {
    /// Whose archives they are.
    pub plan: PlanId,
    /// Where they lie.
    pub access: Access,
    /// By which rules they go.
    pub policy: Policy,
    /// Whether a person asked for it, by rules that are not the plan's own.
    #[serde(default)]
    pub by_hand: bool,
    /// Exactly these, those that need another one before that.
    pub archives: Vec<Target>,
    /// Those among them that stay all the same, and why. The scheduler adds them when it gives the work away: what was
    /// decided when the job was asked for may have changed until its turn comes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spared: Vec<Spared>,
}

/// An archive that was to go and stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spared {
    /// Which one.
    pub archive: ArchiveId,
    /// Why, as a sentence.
    pub why: String,
}

impl PruneSpec {
    /// What is to be removed after all.
    pub fn to_remove(&self) -> impl Iterator<Item = &Target> {
        self.archives.iter().filter(|target| !self.spares(target.id))
    }

    /// Whether this one stays after all.
    pub fn spares(&self, archive: ArchiveId) -> bool {
        self.spared.iter().any(|spared| spared.archive == archive)
    }
}

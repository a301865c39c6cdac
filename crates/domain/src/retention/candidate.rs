//! Candidate: an archive as retention sees it.

use crate::ArchiveId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An archive as retention sees it. Whoever collects them gives those of one plan in one repository, and all of them: what
/// is not in the list is neither protected nor deleted, and a base that is not in it cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which archive.
    pub id: ArchiveId,
    /// Its name in the repository.
    pub name: String,
    /// When it was begun.
    pub made_at: Timestamp,
    /// Whether all is in it that should be. One file that could not be read makes it incomplete; so does a run that ended
    /// half way.
    pub complete: bool,
    /// The archive that it was made on, and without which it is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ArchiveId>,
    /// What drills have found.
    #[serde(default)]
    pub proof: Proof,
    /// Who says that it must not go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Hold>,
    /// Bytes that it alone added to its repository, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_bytes: Option<u64>,
}

impl Candidate {
    /// An archive of which nothing more is known than that it is there and whole.
    pub fn new(id: ArchiveId, name: impl Into<String>, made_at: Timestamp) -> Self {
        Self {
            id,
            name: name.into(),
            made_at,
            complete: true,
            base: None,
            proof: Proof::NotTried,
            holds: Vec::new(),
            added_bytes: None,
        }
    }

    /// Whether it can be counted on, by what was known of it at that moment: it is whole, and no drill has refuted it.
    pub(super) fn is_good(&self, known_at: Timestamp) -> bool {
        self.complete && !matches!(self.proof.known(known_at), Proof::Refuted { .. })
    }
}

/// Whether it was shown that an archive can be restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Proof {
    /// Nobody has tried, or the try said nothing about the archive.
    #[default]
    NotTried,
    /// The newest drill restored it, and all checks passed.
    Proved {
        /// When it ended.
        at: Timestamp,
    },
    /// The newest drill could not restore it, or what it restored was not right.
    Refuted {
        /// When it ended.
        at: Timestamp,
    },
}

impl Proof {
    /// What was known of it at that moment.
    pub(super) fn known(self, known_at: Timestamp) -> Self {
        match self {
            Self::Proved { at } | Self::Refuted { at } if at > known_at => Self::NotTried,
            known => known,
        }
    }

    pub(super) fn is_proved(self, known_at: Timestamp) -> bool {
        matches!(self.known(known_at), Self::Proved { .. })
    }
}

/// Somebody's word that an archive must not go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// By which it is released, once among the holds of an archive.
    pub name: String,
    /// Who says so.
    pub by: String,
    /// Why.
    pub reason: String,
    /// From then on it holds nothing; it holds until it is released, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Hold {
    /// Whether it still holds.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

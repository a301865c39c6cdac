//! Holds: who says of an archive that it must not go.
//!
//! The accident that this prevents is P3: the archive that an audit, a court or a repair still needs goes with the old ones,
//! because nobody could say so where it counts. What was said of an archive that is deleted counts no more.

use super::Hold;
use crate::definition::check_text;
use crate::id::is_slug;
use crate::{Event, FieldError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a reason may be, in characters.
const REASON_CHARS: usize = 500;

/// All holds of one archive, each name once, in the order in which they were made; those that have ended too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Holds(Vec<Hold>);

impl Holds {
    /// What they are after one more event of the archive.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::ArchiveHeld(held) => match self.0.iter_mut().find(|hold| hold.name == held.hold.name) {
                Some(hold) => *hold = held.hold.clone(),
                None => self.0.push(held.hold.clone()),
            },
            Event::ArchiveReleased(released) => self.0.retain(|hold| hold.name != released.name),
            Event::ArchiveDeleted(_) => self.0.clear(),
            _ => {}
        }
    }

    /// The one of this name.
    pub fn named(&self, name: &str) -> Option<&Hold> {
        self.0.iter().find(|hold| hold.name == name)
    }

    /// Whether nobody has said anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Hold> {
        self.0.iter()
    }

    /// As a list.
    pub fn to_vec(&self) -> Vec<Hold> {
        self.0.clone()
    }
}

impl Hold {
    /// All that is wrong with it when it is made at `now`.
    pub fn problems(&self, now: Timestamp) -> Vec<FieldError> {
        let mut problems = Vec::new();
        if !is_slug(&self.name) {
            problems.push(FieldError::new("name", crate::id::NotASlug.to_string()));
        }
        if self.reason.trim().is_empty() {
            problems.push(FieldError::new("reason", "must say why, for those who want it gone"));
        }
        check_text(&mut problems, "reason", &self.reason, REASON_CHARS);
        if !self.holds(now) {
            let message = "must lie ahead: it would hold nothing; leave it out to hold until it is released";
            problems.push(FieldError::new("until", message));
        }
        problems
    }
}

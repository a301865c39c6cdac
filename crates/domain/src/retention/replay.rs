//! Replay: what if the policy had been this one? Which archives would exist today, and how far apart.

use super::course::Course;
use super::{Candidate, Proof, Rules};
use crate::ArchiveId;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What a policy would have left of the true history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// From when on the policy was applied.
    pub from: Timestamp,
    /// Up to when.
    pub until: Timestamp,
    /// The archives that would exist at `until`, the newest first.
    pub archives: Vec<Remains>,
    /// How many would have been deleted.
    pub deleted: u64,
    /// What the archives that would exist have added themselves; nothing when that of any is unknown. What they share with
    /// archives that went is not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_bytes: Option<u64>,
    /// The longest time between two archives that would be neighbours, the latest of equal ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_gap: Option<Gap>,
    /// When clocks in the policy's zone were changed from `from` to `until`.
    #[serde(default)]
    pub clock_changes: Vec<ClockChange>,
    /// Set when there were more archives than can be followed: then all of this is about this moment, not about `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_at: Option<Timestamp>,
}

/// An archive that would exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    /// Which one.
    pub archive: ArchiveId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub made_at: Timestamp,
}

/// A time in which there is no archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// When the archive before it was made.
    pub from: Timestamp,
    /// When the one after it was.
    pub to: Timestamp,
    /// How long it is, in seconds.
    pub duration_s: i64,
}

/// A day on which clocks are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockChange {
    /// The day, as it is when the new time begins.
    pub day: Date,
    /// The first moment of the new time.
    pub at: Timestamp,
    /// How far clocks are put forward, in seconds; back, when negative.
    pub forward_s: i32,
}

/// Applies the policy to the true history, as it would have been applied: after each archive, with what was known then.
///
/// `candidates` are all archives that there ever were, those that were deleted too. What was made before `from` is there when
/// it begins; what was made after `until` is not looked at. A drill's finding counts from its time on, and where the policy
/// waits for a proof it is applied when the proof comes; holds count from the beginning until they end. That the policy would
/// have been held up by runs that failed is not known here. After some seconds of work it is cut: [`Replay::cut_at`].
pub fn replay(rules: &Rules, candidates: &[Candidate], from: Timestamp, until: Timestamp) -> Replay {
    let mut course = Course::new(rules, candidates);
    let mut steps: Vec<(Timestamp, Option<usize>)> = Vec::new();
    let mut deleted = 0;
    for (i, candidate) in course.desk.candidates.iter().enumerate() {
        if candidate.made_at <= until {
            steps.push((candidate.made_at, Some(i)));
        }
        match candidate.proof {
            Proof::Proved { at } if rules.policy.require_verified && (from..=until).contains(&at) => {
                steps.push((at, None));
            }
            _ => {}
        }
    }
    // Of one moment the older archive, which has the higher index, comes first, and proofs come last.
    steps.sort_by_key(|(at, i)| (*at, i.is_none(), std::cmp::Reverse(*i)));
    let mut cut_at = None;
    for (at, made) in steps {
        if let Some(i) = made {
            course.add(i);
        }
        let before = course.present.len();
        if at >= from && !course.apply(at, at) {
            cut_at = Some(at);
            break;
        }
        deleted += before - course.present.len();
    }
    if cut_at.is_none() {
        let before = course.present.len();
        if !course.apply(until, until) {
            cut_at = Some(until);
        }
        deleted += before - course.present.len();
    }
    let archives: Vec<Remains> = course
        .archives()
        .map(|c| Remains { archive: c.id, name: c.name.clone(), made_at: c.made_at })
        .collect();
    Replay {
        from,
        until,
        deleted: deleted as u64,
        added_bytes: course.archives().try_fold(0_u64, |sum, c| Some(sum.saturating_add(c.added_bytes?))),
        worst_gap: worst_gap(&archives),
        archives,
        clock_changes: clock_changes(rules, from, until),
        cut_at,
    }
}

fn worst_gap(archives: &[Remains]) -> Option<Gap> {
    let mut worst: Option<Gap> = None;
    for (later, earlier) in archives.iter().zip(archives.iter().skip(1)) {
        let duration_s = later.made_at.duration_since(earlier.made_at).as_secs();
        if worst.is_none_or(|worst| duration_s > worst.duration_s) {
            worst = Some(Gap { from: earlier.made_at, to: later.made_at, duration_s });
        }
    }
    worst
}

/// A span of so many changes is longer than any history.
const MOST_CHANGES: usize = 1000;

fn clock_changes(rules: &Rules, from: Timestamp, until: Timestamp) -> Vec<ClockChange> {
    let zone = rules.zone();
    // What comes after a moment begins with the change at `from` itself.
    let before = from.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(from);
    let changes = zone.following(before).take_while(|change| change.timestamp() <= until).take(MOST_CHANGES);
    let mut offset = zone.to_offset(before);
    let mut found = Vec::new();
    for change in changes {
        let forward_s = change.offset().seconds() - offset.seconds();
        offset = change.offset();
        // Some changes are of the zone's name only.
        if forward_s != 0 {
            let at = change.timestamp();
            found.push(ClockChange { day: offset.to_datetime(at).date(), at, forward_s });
        }
    }
    found
}

//! The next runs of a schedule as people are shown them, before it is saved and while it stands.

use super::Schedule;
use super::times::Run;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One of the next runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upcoming {
    /// The nominal time, UTC.
    pub at: Timestamp,
    /// The same in the schedule's zone, with its offset: `2026-03-29T03:00:00+02:00`.
    pub local: String,
    /// What the clocks have to do with it.
    #[serde(default)]
    pub note: Option<ClockChange>,
    /// Which blackout window swallows it, by its place in the schedule's list. Such a time is skipped.
    #[serde(default)]
    pub swallowed_by: Option<usize>,
}

/// What a change of the clocks does to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ClockChange {
    /// The time that was asked for does not exist on that day: it runs right after the gap.
    Gap,
    /// The time comes twice on that day: it runs the first time only.
    Twice,
    /// The offset from UTC is another one than at the run before.
    Changed,
}

impl Schedule {
    /// The next `n` runs after `after`, those in a blackout included and marked.
    pub fn upcoming(&self, after: Timestamp, n: usize) -> Vec<Upcoming> {
        let mut before = after;
        let runs = std::iter::successors(self.next_run(after), |run| self.next_run(run.at));
        runs.take(n)
            .map(|run| {
                let note = self.note(before, run);
                before = run.at;
                Upcoming {
                    at: run.at,
                    local: run.at.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
                    note,
                    swallowed_by: self.swallowed_by(run.at),
                }
            })
            .collect()
    }

    fn note(&self, before: Timestamp, run: Run) -> Option<ClockChange> {
        let ambiguous = self.zone.to_ambiguous_timestamp(run.wall).offset();
        // A plan of every hour runs in both passes of a doubled hour, and asks for nothing within a gap.
        if !self.is_every_hour() {
            match ambiguous {
                jiff::tz::AmbiguousOffset::Gap { .. } => return Some(ClockChange::Gap),
                jiff::tz::AmbiguousOffset::Fold { .. } => return Some(ClockChange::Twice),
                jiff::tz::AmbiguousOffset::Unambiguous { .. } => {}
            }
        }
        (self.zone.to_offset(before) != self.zone.to_offset(run.at)).then_some(ClockChange::Changed)
    }
}

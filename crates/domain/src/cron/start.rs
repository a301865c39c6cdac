//! Until when the job of a nominal time may still start, and before whose.

use super::ScheduleSpec;
use crate::FieldError;
use jiff::{SignedDuration, Timestamp};

/// The highest priority that a plan can have.
pub const MAX_PRIORITY: u8 = 9;
/// The priority of a plan that does not say.
pub const USUAL_PRIORITY: u8 = 5;
/// A shorter deadline would skip jobs because a scheduler was restarted.
const MIN_START_WITHIN_S: u64 = 60;
/// A longer one is none.
const MAX_START_WITHIN_S: u64 = 30 * 24 * 3600;

/// Where a job stands among those that wait, higher first: the class of its kind
/// ([`JobSpec::priority`](crate::job::JobSpec::priority)), and within the class the priority of its plan.
///
/// A plan's priority orders plans and never lifts a backup over a restore: who waits for a restore has lost something.
pub fn rank(class: u8, priority: Option<u8>) -> u8 {
    let steps = MAX_PRIORITY.saturating_add(1);
    class.saturating_mul(steps).saturating_add(priority.unwrap_or(USUAL_PRIORITY).min(MAX_PRIORITY))
}

impl ScheduleSpec {
    /// The last instant at which the job of this nominal time may be let in; `None` when there is no deadline.
    pub fn start_by(&self, nominal_at: Timestamp) -> Option<Timestamp> {
        let within = i64::try_from(self.start_within_s?).ok()?;
        nominal_at.checked_add(SignedDuration::from_secs(within)).ok()
    }

    /// Whether it is too late to begin the job of this nominal time, that was not let in until now.
    pub fn expired(&self, nominal_at: Timestamp, now: Timestamp) -> bool {
        self.start_by(nominal_at).is_some_and(|by| now > by)
    }

    pub(super) fn problems_of_start(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        if self.priority.is_some_and(|p| p > MAX_PRIORITY) {
            problems
                .push(FieldError::new("priority", format!("must be 0 to {MAX_PRIORITY}; higher goes first")));
        }
        match self.start_within_s {
            Some(s) if !(MIN_START_WITHIN_S..=MAX_START_WITHIN_S).contains(&s) => {
                let message = format!(
                    "must be {MIN_START_WITHIN_S} to {MAX_START_WITHIN_S} (30 days), or absent for no deadline"
                );
                problems.push(FieldError::new("start_within_s", message));
            }
            Some(s) if s <= u64::from(self.jitter_s) => {
                let message =
                    "must be more than jitter_s, or jobs would be too late before they are asked for";
                problems.push(FieldError::new("start_within_s", message));
            }
            _ => {}
        }
        problems
    }
}

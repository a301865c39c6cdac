//! When a failed delivery is tried again, and when it is given up.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// The longest that the other side can make us wait.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 3600);

/// The waits between attempts.
#[derive(Debug, Clone)]
pub struct Ladder(Vec<Duration>);

impl Ladder {
    /// A ladder with these waits.
    pub fn new(waits: Vec<Duration>) -> Self {
        Self(waits)
    }

    /// When to try again after this attempt (1, 2, ...) failed; `None`: not again. The other side can ask for a longer
    /// wait than the ladder's, never for a shorter one.
    pub fn again_at(&self, attempt: u32, now: Timestamp, asked: Option<Duration>) -> Option<Timestamp> {
        let rung = usize::try_from(attempt.max(1) - 1).ok()?;
        let wait = self.0.get(rung)?;
        let wait = asked.map_or(*wait, |asked| asked.min(LONGEST_ASKED).max(*wait));
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        Some(now.checked_add(wait).unwrap_or(Timestamp::MAX))
    }
}

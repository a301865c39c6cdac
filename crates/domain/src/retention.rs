//! Retention: which archives of a plan stay and which may go, with a reason for each.
//!
//! The accident that this prevents is P3: retention that deletes good data. A rule by age alone deletes the last good archive
//! of a plan whose backups have stopped; a broken or empty archive pushes a good one out of its day; the base of a chain
//! goes, and what was made on it is nothing; a prune without a filter takes what belongs to others. The opposite is an
//! accident too: a prune that never runs, and nobody is told. So rules only propose. What they would let go is looked at
//! again by guards that no policy can turn off ([`decide`]), a gate says why nothing may go at all ([`Gate`]), and what is
//! deleted is a stored list of ids that is checked once more before anything is done ([`Decision::objections`]).
//!
//! The rules are borg's (`borg prune`), to the archive: `tests/borg_prune.rs` holds [`rules_keep`] against borg's own code.
//! A [`Policy`] is what people write, [`Rules`] is a policy that was understood.

mod candidate;
mod count;
mod course;
mod decide;
mod decided;
mod decision;
mod gate;
mod holds;
mod period;
mod question;
mod reason;
mod replay;
mod rules;
mod simulate;

pub use candidate::{Candidate, Hold, Proof};
pub use count::Count;
pub use decide::{Facts, decide};
pub use decided::{Decided, OfRepository, Removal};
pub use decision::{Decision, Objection, Outcome, Verdict};
pub use gate::Gate;
pub use holds::Holds;
pub use period::Rule;
pub use question::{Question, Replayed, Review, Simulated};
pub use reason::{Gone, Reason};
pub use replay::{ClockChange, Gap, Remains, Replay, replay};
pub use rules::{Kept, Rules, rules_keep};
pub use simulate::{Point, Simulation, simulate};

use crate::FieldError;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// How many archives of a plan are kept, in the words of `borg prune`. An archive that one rule keeps does not count in
/// the rules after it; they are applied in the order of the fields here. Every field is written out, also an absent one:
/// what is read back without a field is told to people as unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// All that are younger than this: a number and `H`, `d`, `w`, `m` (31 days) or `y` (365 days), such as `30d`.
    pub keep_within: Option<String>,
    /// So many of the newest. As with borg's `--keep-last`, archives made in the same second count as one, the newest.
    pub keep_last: Count,
    /// The newest of so many hours in which there is an archive.
    pub keep_hourly: Count,
    /// Of so many days.
    pub keep_daily: Count,
    /// Of so many weeks, as ISO 8601 has them: from Monday to Sunday, across the end of a year too.
    pub keep_weekly: Count,
    /// Of so many months.
    pub keep_monthly: Count,
    /// Of so many quarters of the calendar (`--keep-3monthly` of borg 1.4).
    pub keep_quarterly: Count,
    /// Of so many years.
    pub keep_yearly: Count,
    /// So many of the newest good archives are kept whatever the rules say; at least 1.
    pub minimum: u32,
    /// Whose hours, days and weeks: an IANA time zone, `UTC` when absent.
    pub time_zone: Option<String>,
    /// Whether nothing goes while the newest archive was not proved by a drill.
    pub require_verified: bool,
}

impl Default for Policy {
    /// The least that can be said. It keeps nothing by a rule yet, so [`Policy::problems`] refuses it.
    fn default() -> Self {
        Self {
            keep_within: None,
            keep_last: Count::NONE,
            keep_hourly: Count::NONE,
            keep_daily: Count::NONE,
            keep_weekly: Count::NONE,
            keep_monthly: Count::NONE,
            keep_quarterly: Count::NONE,
            keep_yearly: Count::NONE,
            minimum: 1,
            time_zone: None,
            require_verified: false,
        }
    }
}

impl Policy {
    /// For people who think in days: all archives of the last `days` days, and the newest good one however old.
    pub fn of_days(days: u32) -> Self {
        Self { keep_within: Some(format!("{days}d")), ..Self::default() }
    }

    /// Understands the policy, or says of each field what is wrong with it.
    pub fn parse(&self) -> Result<Rules, Vec<FieldError>> {
        let mut problems = Vec::new();
        let within = match self.keep_within.as_deref().map(period::interval).transpose() {
            Ok(within) => within,
            Err(message) => {
                problems.push(FieldError::new("keep_within", message));
                None
            }
        };
        if self.keep_within.is_none() && Rule::COUNTED.iter().all(|rule| self.count(*rule).is_none()) {
            let message = "set at least one of keep_within, keep_last, keep_hourly, keep_daily, keep_weekly, \
                           keep_monthly, keep_quarterly and keep_yearly: without any, all archives but the minimum would go";
            problems.push(FieldError::new("keep_last", message));
        }
        if self.minimum == 0 {
            let message = "must be at least 1: the newest good archive is always kept";
            problems.push(FieldError::new("minimum", message));
        }
        let zone = match self.time_zone.as_deref() {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).unwrap_or_else(|_| {
                let message = format!("'{name}' is no IANA time zone such as Europe/Paris");
                problems.push(FieldError::new("time_zone", message));
                TimeZone::UTC
            }),
        };
        if problems.is_empty() { Ok(Rules { policy: self.clone(), within, zone }) } else { Err(problems) }
    }

    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldError> {
        self.parse().err().unwrap_or_default()
    }

    /// How many this rule keeps; none of [`Rule::Within`], which does not count.
    pub fn count(&self, rule: Rule) -> Count {
        match rule {
            Rule::Within => Count::NONE,
            Rule::Last => self.keep_last,
            Rule::Hourly => self.keep_hourly,
            Rule::Daily => self.keep_daily,
            Rule::Weekly => self.keep_weekly,
            Rule::Monthly => self.keep_monthly,
            Rule::Quarterly => self.keep_quarterly,
            Rule::Yearly => self.keep_yearly,
        }
    }
}

/// An archive that is dated so much later than now, as several machines may differ, is no sign of a wrong clock.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(10);

#[cfg(test)]
mod tests;

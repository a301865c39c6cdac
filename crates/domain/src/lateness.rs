//! Whether a plan is late: its newest good archive is older than the plan promises.
//!
//! The accident that this prevents: backups that stopped weeks ago, and nobody was told, because nothing failed: the scheduler
//! was down, the node away, the queue full, the schedule mistyped. So it is not asked what happened but what is there, and how
//! old that is. Whatever the cause, a plan becomes overdue at one instant that is known beforehand.

#[cfg(test)]
mod tests;

use crate::cron::Schedule;
use crate::{FieldError, PlanId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The least grace of a schedule: a busy queue and a usual run are no lateness.
const LEAST_GRACE: SignedDuration = SignedDuration::from_hours(1);
/// The most grace that is given by itself: who backs up once a month does not want to hear of it three days later.
const MOST_GRACE: SignedDuration = SignedDuration::from_hours(24);
/// The clock of a node may be behind that of the scheduler: an archive that says to be a little older than the time
/// which it was made for is still that time's.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);
/// How many intervals of a schedule are looked at for its longest: more than a year of weeks, or a month of days.
const INTERVALS: usize = 60;

/// How old the newest good archive of a plan may be (its RPO), when the plan does not leave that to its schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// The newest good archive is never older than this many seconds, on any day. From the schedule, when absent.
    #[serde(default)]
    pub rpo_s: Option<u64>,
    /// How many seconds later than that it is late. When absent: none beside an `rpo_s`, and by the schedule a tenth of the
    /// time up to the next run, at least an hour and at most a day.
    #[serde(default)]
    pub grace_s: Option<u64>,
}

/// What is known of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// When it runs by itself, if it does. Times in a blackout promise nothing.
    pub schedule: Option<&'a Schedule>,
    /// When its newest good archive was begun: what is in there is at least that new. It does not matter who asked for it.
    pub last_good_at: Option<Timestamp>,
    /// Since when it promises anything: when it was defined, its schedule changed, or it was resumed, whichever is latest.
    pub since: Timestamp,
    /// Whether it is paused.
    pub paused: bool,
}

/// Whether a plan is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// It is not.
    InTime {
        /// The first instant at which it will be, when no archive is made until then.
        until: Timestamp,
    },
    /// It is.
    Overdue {
        /// Since this instant, which was known before.
        since: Timestamp,
    },
    /// It cannot be.
    Exempt {
        /// Why not.
        why: Exemption,
    },
}

/// How a plan stands, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStanding {
    /// Which plan.
    pub plan: PlanId,
    /// Whether it is late.
    #[serde(flatten)]
    pub standing: Standing,
    /// How old its newest good archive may become, grace included, in seconds; absent, when it promises nothing.
    #[serde(default)]
    pub target_s: Option<u64>,
    /// When that was begun, if it has one.
    #[serde(default)]
    pub last_good_at: Option<Timestamp>,
    /// How many of its runs have failed since one succeeded.
    #[serde(default)]
    pub failures_in_a_row: u32,
}

/// Why a plan cannot be late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Exemption {
    /// It has neither a schedule nor an `rpo_s`: it runs when somebody wants it to.
    NoObjective,
    /// It is paused.
    Paused,
    /// All times of its schedule are past and kept.
    NoTimesLeft,
}

impl Objective {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let year_s = 366 * 24 * 3600;
        if self.rpo_s.is_some_and(|s| !(60..=10 * year_s).contains(&s)) {
            problems.push(FieldError::new("rpo_s", "must be 60 (a minute) to 316224000 (ten years)"));
        }
        if self.grace_s.is_some_and(|s| s > year_s) {
            problems.push(FieldError::new("grace_s", format!("must be at most {year_s} (a year)")));
        }
        problems
    }

    /// How old the newest archive may become, grace included, to be shown: by the schedule it is the longest way from one of
    /// its next times to the one after. `None` when nothing is promised.
    pub fn target(&self, schedule: Option<&Schedule>, now: Timestamp) -> Option<SignedDuration> {
        if let Some(rpo) = self.rpo() {
            return rpo.checked_add(self.grace().unwrap_or(SignedDuration::ZERO));
        }
        let schedule = schedule?;
        let mut longest = None;
        let mut at = schedule.next_open(now)?;
        for _ in 0..INTERVALS {
            let Some(next) = schedule.next_open(at) else { break };
            longest = longest.max(Some(next.duration_since(at)));
            at = next;
        }
        let longest = longest?;
        longest.checked_add(self.grace().unwrap_or_else(|| usual_grace(longest)))
    }

    fn rpo(&self) -> Option<SignedDuration> {
        self.rpo_s.map(seconds)
    }

    fn grace(&self) -> Option<SignedDuration> {
        self.grace_s.map(seconds)
    }
}

/// Whether a plan is late.
///
/// With an `rpo_s`: when its newest good archive, or else its beginning, is older than that and the grace. By its schedule: each
/// nominal time promises an archive that is no older than it, once its grace is over. So on Sunday nothing of a plan of
/// Monday to Friday is late, and Friday's run is missed on Friday night and not on Monday.
pub fn standing(objective: &Objective, known: Known<'_>, now: Timestamp) -> Standing {
    if known.paused {
        return Standing::Exempt { why: Exemption::Paused };
    }
    match due(objective, known) {
        Err(why) => Standing::Exempt { why },
        Ok(due) if now >= due => Standing::Overdue { since: due },
        Ok(due) => Standing::InTime { until: due },
    }
}

/// The first instant at which it is late if no archive is made any more. It does not depend on what time it is.
fn due(objective: &Objective, known: Known<'_>) -> Result<Timestamp, Exemption> {
    let later = |at: Timestamp, by: SignedDuration| at.checked_add(by).unwrap_or(Timestamp::MAX);
    if let Some(rpo) = objective.rpo() {
        let newest = known.last_good_at.map_or(known.since, |good| good.max(known.since));
        return Ok(later(later(newest, rpo), objective.grace().unwrap_or(SignedDuration::ZERO)));
    }
    let schedule = known.schedule.ok_or(Exemption::NoObjective)?;
    let kept = known.last_good_at.map_or(known.since, |good| later(good, CLOCK_SKEW).max(known.since));
    let missed = schedule.next_open(kept).ok_or(Exemption::NoTimesLeft)?;
    let usual = || {
        let next = schedule.next_open(missed);
        next.map_or(MOST_GRACE, |next| usual_grace(next.duration_since(missed)))
    };
    Ok(later(missed, objective.grace().unwrap_or_else(usual)))
}

/// A tenth of the time up to the next run: never so much that a later run would be late before an earlier one.
fn usual_grace(interval: SignedDuration) -> SignedDuration {
    SignedDuration::from_secs(interval.as_secs() / 10).clamp(LEAST_GRACE, MOST_GRACE)
}

fn seconds(s: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(s).unwrap_or(i64::MAX))
}

//! When a schedule's nominal times are: cron in the plan's own time zone.
//!
//! The accident that this prevents is P6: jobs that ran twice in autumn or not at all in spring. A time in the
//! spring gap runs once right after it, a time in the autumn fold runs once, and times strictly increase. Nominal
//! times are instants in UTC, so that nothing downstream knows about zones.

use crate::FieldError;
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// When a plan runs by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// Five fields (minute hour day month weekday), six with seconds first, or `@hourly`, `@daily`, `@weekly`, ...
    pub cron: String,
    /// IANA time zone, `UTC` when absent.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// What becomes of times that passed while no scheduler ran.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// What becomes of a time that comes while the run before has not ended.
    #[serde(default)]
    pub overlap: Overlap,
    /// Spread: the job is asked for up to this many seconds after its nominal time, always the same for a plan.
    #[serde(default)]
    pub jitter_s: u32,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What becomes of times that passed while no scheduler ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are skipped.
    Skip,
    /// The latest one is run, the others are skipped.
    #[default]
    Latest,
    /// All are run, the latest ones first to count, up to a limit of 100.
    All,
}

/// What becomes of a time that comes while the run before has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// It waits for its turn.
    Queue,
}

/// A schedule that was understood.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl ScheduleSpec {
    /// Understands the schedule, or says which field is wrong.
    pub fn parse(&self) -> Result<Schedule, FieldError> {
        let zone = TimeZone::get(&self.time_zone).map_err(|_| {
            FieldError::new(
                "time_zone",
                format!("'{}' is no IANA time zone such as Europe/Paris", self.time_zone),
            )
        })?;
        let cron =
            CronParser::builder().seconds(Seconds::Optional).build().parse(&self.cron).map_err(|e| {
                FieldError::new("cron", format!("'{}' is no cron expression: {e}", self.cron))
            })?;
        Ok(Schedule { cron, zone })
    }

    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems: Vec<_> = self.parse().err().into_iter().collect();
        if self.jitter_s > 24 * 3600 {
            problems.push(FieldError::new("jitter_s", "must be at most 86400 (a day)"));
        }
        problems
    }

    /// How long after its nominal time this plan's job is asked for: the same for every run of the plan.
    pub fn jitter_of(&self, plan: &str) -> SignedDuration {
        if self.jitter_s == 0 {
            return SignedDuration::ZERO;
        }
        // FNV-1a: any spread will do, as long as every scheduler computes the same.
        let hash = plan
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        SignedDuration::from_secs(i64::try_from(hash % (u64::from(self.jitter_s) + 1)).unwrap_or(0))
    }
}

impl Schedule {
    /// The first nominal time after `after`; `None` when there is none (the 30th of February).
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after.to_zoned(self.zone.clone());
        // In the repeated hour of autumn a wall-clock search can come out at or before its start: look further then.
        for _ in 0..4 {
            let found = self.cron.find_next_occurrence(&from, false).ok()?;
            if found.timestamp() > after {
                return Some(found.timestamp());
            }
            from = from.checked_add(SignedDuration::from_mins(30)).ok()?;
        }
        None
    }

    /// The latest nominal time in `(after, until]`.
    pub fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        // From ever longer before the end, so that a schedule that was not looked at for long is not walked through.
        let mut back = SignedDuration::from_hours(1);
        loop {
            let from = until.checked_sub(back).map_or(after, |from| from.max(after));
            let mut latest = None;
            let mut at = from;
            while let Some(next) = self.next(at).filter(|next| *next <= until) {
                latest = Some(next);
                at = next;
            }
            if latest.is_some() || from == after {
                return latest;
            }
            back = back.saturating_mul(4);
        }
    }

    /// The nominal times in `(after, until]`, oldest first, at most `limit`.
    pub fn between(&self, after: Timestamp, until: Timestamp, limit: usize) -> Vec<Timestamp> {
        let mut times = Vec::new();
        let mut at = after;
        while times.len() < limit {
            match self.next(at) {
                Some(next) if next <= until => {
                    times.push(next);
                    at = next;
                }
                _ => break,
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn times(cron: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
        let spec = ScheduleSpec {
            cron: cron.into(),
            time_zone: zone.into(),
            catch_up: CatchUp::Latest,
            overlap: Overlap::Skip,
            jitter_s: 0,
        };
        let mut at: Timestamp = from.parse().unwrap();
        let schedule = spec.parse().unwrap();
        (0..n)
            .map(|_| {
                at = schedule.next(at).unwrap();
                at.to_string()
            })
            .collect()
    }

    #[test]
    fn a_time_in_the_spring_gap_runs_once_right_after_it() {
        // Berlin, 2026-03-29: 02:00 to 03:00 do not exist.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn a_time_in_the_autumn_fold_runs_once() {
        // Berlin, 2026-10-25: 02:00 to 03:00 come twice.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn errors_name_the_field() {
        let spec = |cron: &str, zone: &str| ScheduleSpec {
            cron: cron.into(),
            time_zone: zone.into(),
            catch_up: CatchUp::Skip,
            overlap: Overlap::Skip,
            jitter_s: 0,
        };
        assert_eq!(spec("61 * * * *", "UTC").problems()[0].field, "cron");
        assert_eq!(spec("hourly", "UTC").problems()[0].field, "cron");
        assert_eq!(spec("* * * * *", "Mars/Olympus").problems()[0].field, "time_zone");
    }

    proptest! {
        #[test]
        fn times_strictly_increase(minute in 0u8..60, hour in 0u8..24, start in 1_767_225_600_i64..1_798_761_600) {
            for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
                for cron in [format!("{minute} {hour} * * *"), format!("*/{} * * * *", minute.max(1))] {
                    let spec = ScheduleSpec { cron, time_zone: zone.into(), catch_up: CatchUp::Skip, overlap: Overlap::Skip, jitter_s: 0 };
                    let schedule = spec.parse().unwrap();
                    let mut at = Timestamp::from_second(start).unwrap();
                    for _ in 0..5 {
                        let next = schedule.next(at).unwrap();
                        prop_assert!(next > at);
                        at = next;
                    }
                }
            }
        }
    }
}

//! When a schedule's nominal times are: cron in the plan's own time zone.
//!
//! The accident that this prevents is P6: jobs that ran twice in autumn or not at all in spring. Nominal times are
//! instants in UTC, so that nothing downstream knows about zones. How clock changes are met is promised in [`Schedule`]
//! and held by a year of every zone in the tests.

mod blackout;
mod day;
mod preset;
mod sentence;
mod start;
#[cfg(test)]
mod tests;
mod times;
mod upcoming;

pub use blackout::Window;
pub use day::Day;
pub use preset::{DayOfMonth, Preset};
pub use sentence::Language;
pub use start::{MAX_PRIORITY, USUAL_PRIORITY, rank};
pub use times::Schedule;
pub use upcoming::{ClockChange, Upcoming};

use crate::FieldError;
use croner::parser::{CronParser, Seconds};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many missed times `all` makes up for when a plan does not say.
const USUAL_CATCH_UP_LIMIT: u32 = 100;
/// How many it may make up for at most: each is a job in the log.
const MAX_CATCH_UP_LIMIT: u32 = 1000;
/// A longer expression is no expression but a mistake.
const MAX_CRON_CHARS: usize = 200;

/// When a plan runs by itself.
///
/// People write `cron` or a `preset`; what is kept is `cron` alone, so that there is one truth about when a plan runs. Every
/// field is written out, also an absent one as null: what is read back without a field is told to people as unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
// Derives plain functions beside the traits, so that what is read can be put into its one form: see `canonical`.
#[serde(remote = "Self")]
pub struct ScheduleSpec {
    /// Five fields (minute hour day month weekday), six with seconds first, or `@hourly`, `@daily`, `@weekly`, ...
    #[serde(default)]
    pub cron: String,
    /// What people may write instead of `cron`. It stays here only when it is wrong or stands beside a `cron`, for
    /// [`problems`](Self::problems) to say so: a schedule that was accepted never holds one.
    #[serde(default)]
    pub preset: Option<Preset>,
    /// IANA time zone, `UTC` when absent.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// What becomes of times that passed while no scheduler ran.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// How many missed times `catch_up: all` makes up for: 1 to 1000, 100 when absent.
    #[serde(default)]
    pub catch_up_limit: Option<u32>,
    /// What becomes of a time that comes while the run before has not ended.
    #[serde(default)]
    pub overlap: Overlap,
    /// Spread: the job is asked for up to this many seconds after its nominal time, always the same for a plan.
    #[serde(default)]
    pub jitter_s: u32,
    /// When nothing is to run: a nominal time in a window is skipped.
    #[serde(default)]
    pub blackout: Vec<Window>,
    /// 0 to 9, 5 when absent: which of two waiting plans goes first. Restores go before all of them: see [`rank`].
    #[serde(default)]
    pub priority: Option<u8>,
    /// A job that was not let in this many seconds after its nominal time is not run any more; for ever, when absent.
    #[serde(default)]
    pub start_within_s: Option<u64>,
}

impl Serialize for ScheduleSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for ScheduleSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer).map(Self::canonical)
    }
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
    /// All are run, the latest ones first to count, up to [`ScheduleSpec::catch_up_limit`].
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

impl ScheduleSpec {
    /// A schedule with everything else as usual.
    pub fn new(cron: impl Into<String>, time_zone: impl Into<String>) -> Self {
        Self {
            cron: cron.into(),
            preset: None,
            time_zone: time_zone.into(),
            catch_up: CatchUp::default(),
            catch_up_limit: None,
            overlap: Overlap::default(),
            jitter_s: 0,
            blackout: Vec::new(),
            priority: None,
            start_within_s: None,
        }
    }

    /// The same with its preset said in cron. A preset that cannot be is left for [`problems`](Self::problems).
    fn canonical(mut self) -> Self {
        if self.cron.is_empty()
            && let Some(Ok(cron)) = self.preset.as_ref().map(Preset::cron)
        {
            self.cron = cron;
            self.preset = None;
        }
        self
    }

    /// Understands the schedule, or says which field is wrong.
    pub fn parse(&self) -> Result<Schedule, FieldError> {
        let zone = TimeZone::get(&self.time_zone).map_err(|_| {
            FieldError::new(
                "time_zone",
                format!("'{}' is no IANA time zone such as Europe/Paris", self.time_zone),
            )
        })?;
        if self.cron.is_empty() {
            return Err(FieldError::new(
                "cron",
                "is missing: give it, or a preset such as {\"every\":\"day\",\"at\":\"02:30\"}",
            ));
        }
        if self.cron.chars().count() > MAX_CRON_CHARS {
            return Err(FieldError::new("cron", format!("must be at most {MAX_CRON_CHARS} characters")));
        }
        let cron =
            CronParser::builder().seconds(Seconds::Optional).build().parse(&self.cron).map_err(|e| {
                FieldError::new("cron", format!("'{}' is no cron expression: {e}", self.cron))
            })?;
        Ok(Schedule::new(cron, zone, self.time_zone.clone(), self.blackout.clone()))
    }

    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = self.problems_of_times();
        if self.jitter_s > 24 * 3600 {
            problems.push(FieldError::new("jitter_s", "must be at most 86400 (a day)"));
        }
        if let Some(limit) = self.catch_up_limit {
            if self.catch_up != CatchUp::All {
                problems.push(FieldError::new("catch_up_limit", "is for catch_up 'all': leave it out"));
            } else if limit == 0 || limit > MAX_CATCH_UP_LIMIT {
                let message = format!("must be 1 to {MAX_CATCH_UP_LIMIT}");
                problems.push(FieldError::new("catch_up_limit", message));
            }
        }
        problems.extend(self.problems_of_start());
        problems
    }

    /// What is wrong with when it runs: the expression or preset, the zone, the windows, and all of them together.
    fn problems_of_times(&self) -> Vec<FieldError> {
        if let Some(preset) = &self.preset {
            // A preset that is right stands here only beside a cron expression.
            return match preset.cron() {
                Err(problems) => problems,
                Ok(_) => vec![FieldError::new("preset", "stands beside 'cron': give one of them")],
            };
        }
        let schedule = match self.parse() {
            Ok(schedule) => schedule,
            Err(problem) => return vec![problem],
        };
        let problems = blackout::problems(&self.blackout);
        if !problems.is_empty() {
            return problems;
        }
        schedule.problem().into_iter().collect()
    }

    /// How many missed times `catch_up: all` makes up for.
    pub fn catch_up_limit(&self) -> u32 {
        self.catch_up_limit.unwrap_or(USUAL_CATCH_UP_LIMIT)
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

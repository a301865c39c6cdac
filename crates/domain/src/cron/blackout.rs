//! When nothing is to run: hours of every week, and stretches of the calendar.
//!
//! A nominal time in a window is skipped, and the log says so. The accident that this prevents is a backup in the middle of a
//! shop's busiest hours; and the one that it must not make is a plan that never runs, so a schedule without an open time is refused.

use super::Day;
use super::times::{first_instant, last_instant};
use crate::FieldError;
use crate::definition::{check_text, within};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// More windows than this are a mistake, and each is looked at for each time.
const MOST_WINDOWS: usize = 50;
const DAY_S: i32 = 24 * 3600;

/// When nothing is to run, in the zone of the schedule. A window holds its beginning and not its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Window {
    /// Hours of every week, by the clock on the wall: an hour that comes twice is covered both times.
    Weekly {
        /// The days on which it begins; every day, when there is none.
        #[serde(default)]
        days: Vec<Day>,
        /// `HH:MM`.
        from: String,
        /// `HH:MM`, up to `24:00`. Not later than `from` means on the next day.
        to: String,
        /// Why, in the words of the person.
        #[serde(default)]
        reason: String,
    },
    /// A stretch of the calendar.
    Dated {
        /// A date or a date with a time: `2026-12-24` or `2026-12-24T18:00`.
        from: String,
        /// The same, later.
        to: String,
        /// Why, in the words of the person.
        reason: String,
    },
}

impl Window {
    /// Whether the window holds this instant. What cannot be read holds none; it is refused when it is defined.
    pub fn covers(&self, at: Timestamp, zone: &TimeZone) -> bool {
        self.covers_until(at, zone).is_some()
    }

    /// Until when all is covered from `at` on, at least: always later than `at`. `None` when `at` is not.
    pub(super) fn covers_until(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Weekly { days, from, to, .. } => {
                let end = weekly_end(days, clock(from)?, clock_or_midnight(to)?, zone.to_datetime(at))?;
                // In the first pass of a doubled hour the end comes soon, in the second one later.
                let end =
                    first_instant(zone, end).filter(|end| *end > at).or_else(|| last_instant(zone, end))?;
                // Behind a change of the clocks the wall may show what came before the beginning.
                let change = zone.following(at).next().map_or(end, |change| change.timestamp());
                Some(end.min(change)).filter(|end| *end > at)
            }
            Self::Dated { from, to, .. } => {
                let begins = first_instant(zone, moment(from)?)?;
                let ends = last_instant(zone, moment(to)?)?;
                (begins <= at && at < ends).then_some(ends)
            }
        }
    }

    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        match self {
            Self::Weekly { from, to, reason, .. } => {
                check_text(&mut problems, "reason", reason, 200);
                if clock(from).is_none() {
                    problems
                        .push(FieldError::new("from", format!("'{from}' is no time of day such as 08:00")));
                }
                if clock_or_midnight(to).is_none() {
                    problems.push(FieldError::new(
                        "to",
                        format!("'{to}' is no time of day such as 18:00, or 24:00"),
                    ));
                }
                if clock(from).is_some() && clock(from) == clock_or_midnight(to) {
                    let message = "must be another time than 'from'; a whole day is from 00:00 to 24:00";
                    problems.push(FieldError::new("to", message));
                }
            }
            Self::Dated { from, to, reason } => {
                check_text(&mut problems, "reason", reason, 200);
                if reason.trim().is_empty() {
                    problems
                        .push(FieldError::new("reason", "must say why, for whoever asks why nothing ran"));
                }
                for (field, text) in [("from", from), ("to", to)] {
                    if moment(text).is_none() {
                        let message = format!(
                            "'{text}' is no date or local time such as 2026-12-24 or 2026-12-24T18:00"
                        );
                        problems.push(FieldError::new(field, message));
                    }
                }
                if let (Some(begins), Some(ends)) = (moment(from), moment(to))
                    && ends <= begins
                {
                    problems.push(FieldError::new("to", "must be later than 'from'"));
                }
            }
        }
        problems
    }
}

/// All that is wrong with the windows of a schedule, each by itself.
pub(super) fn problems(windows: &[Window]) -> Vec<FieldError> {
    if windows.len() > MOST_WINDOWS {
        return vec![FieldError::new("blackout", format!("must be at most {MOST_WINDOWS} windows"))];
    }
    let mut problems = Vec::new();
    for (n, window) in windows.iter().enumerate() {
        problems.extend(within(&format!("blackout[{n}]"), window.problems()));
    }
    problems
}

/// On the wall, the end of the weekly window that holds `wall`.
fn weekly_end(days: &[Day], from_s: i32, to_s: i32, wall: DateTime) -> Option<DateTime> {
    let time = wall.time();
    let of_day_s = i32::from(time.hour()) * 3600 + i32::from(time.minute()) * 60 + i32::from(time.second());
    let length_s = if to_s > from_s { to_s - from_s } else { to_s + DAY_S - from_s };
    // It began today, or yesterday and goes past midnight.
    [0, 1].into_iter().find_map(|days_ago| {
        let begun_on = wall.date().checked_sub(Span::new().days(days_ago)).ok()?;
        let into_s = of_day_s + days_ago * DAY_S - from_s;
        let on = days.is_empty() || days.contains(&Day::from(begun_on.weekday()));
        if !on || !(0..length_s).contains(&into_s) {
            return None;
        }
        let begins = begun_on.to_datetime(jiff::civil::Time::midnight());
        begins.checked_add(Span::new().seconds(from_s + length_s)).ok()
    })
}

/// Seconds into the day of `HH:MM`.
pub(super) fn clock(text: &str) -> Option<i32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, below: i32| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i32>().ok().filter(|n| digits && *n < below)
    };
    Some(number(hours, 24)? * 3600 + number(minutes, 60)? * 60)
}

fn clock_or_midnight(text: &str) -> Option<i32> {
    if text == "24:00" { Some(DAY_S) } else { clock(text) }
}

/// A local date or time. One with an offset is no local time: the zone is the schedule's.
fn moment(text: &str) -> Option<DateTime> {
    let time = text.split_once(['T', ' ']).map_or("", |(_, time)| time);
    let plain = text.is_ascii() && time.bytes().all(|b| b.is_ascii_digit() || b == b':');
    if plain { text.parse().ok() } else { None }
}

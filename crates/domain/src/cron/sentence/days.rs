//! On which days an expression runs, in a form that can be said.

use super::super::day::Day;
use croner::CronPattern;

/// What croner calls the days of a field that are no plain numbers. Its own names for these bits are not public; the test of
/// days against croner's own matching holds them.
const NTH_BITS: [u8; 5] = [1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5];
const LAST_BIT: u8 = 1 << 6;
const NEAREST_WEEKDAY_BIT: u8 = 1 << 7;

/// On which days an expression runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cron) struct Days {
    /// Of the month; `None` when it is no matter.
    pub of_month: Option<OfMonth>,
    /// Of the week; `None` when it is no matter.
    pub of_week: Option<OfWeek>,
    /// Whether a day must be both; one of them is enough otherwise, as cron has it.
    pub both: bool,
}

/// Days of the month, one of which it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cron) struct OfMonth {
    pub numbers: Vec<u16>,
    /// Monday to Friday nearest to these, in the same month.
    pub nearest_weekday: Vec<u16>,
    pub last: bool,
    /// The last that is Monday to Friday.
    pub last_weekday: bool,
}

/// Days of the week, one of which it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cron) struct OfWeek {
    /// Any of these, Monday first.
    pub any: Vec<Day>,
    /// The first to fifth of the month.
    pub nth: Vec<(usize, Day)>,
    /// The last of the month.
    pub last: Vec<Day>,
}

impl Days {
    pub(in crate::cron) fn of(pattern: &CronPattern) -> Self {
        let last = pattern.days.is_feature_enabled(LAST_BIT);
        let last_weekday = last && pattern.days.is_feature_enabled(NEAREST_WEEKDAY_BIT);
        let of_month = OfMonth {
            numbers: pattern.days.values(),
            nearest_weekday: pattern.days.get_set_values(NEAREST_WEEKDAY_BIT),
            last: last && !last_weekday,
            last_weekday,
        };
        let named = |bit: u8| sorted(&pattern.days_of_week.get_set_values(bit));
        let of_week = OfWeek {
            any: sorted(&pattern.days_of_week.values()),
            nth: (1..)
                .zip(NTH_BITS)
                .flat_map(|(n, bit)| named(bit).into_iter().map(move |day| (n, day)))
                .collect(),
            last: named(LAST_BIT),
        };
        let both = pattern.matches_dom_and_dow();
        // A field that holds every day is no condition, and in the other sense swallows the other one.
        let (any_number, any_day) = (of_month.numbers.len() == 31, of_week.any.len() == 7);
        let (star_month, star_week) = (pattern.is_dom_wildcard(), pattern.is_dow_wildcard());
        if !both && !star_month && !star_week && (any_number || any_day) {
            return Self { of_month: None, of_week: None, both };
        }
        Self {
            of_month: Some(of_month).filter(|_| !star_month && !any_number),
            of_week: Some(of_week).filter(|_| !star_week && !any_day),
            both,
        }
    }

    pub(super) fn is_every(&self) -> bool {
        self.of_month.is_none() && self.of_week.is_none()
    }

    /// Whether it names no day at all, which croner lets pass (`,`).
    pub(super) fn is_never(&self) -> bool {
        let month = self
            .of_month
            .as_ref()
            .map(|m| m.numbers.is_empty() && m.nearest_weekday.is_empty() && !m.last && !m.last_weekday);
        let week = self.of_week.as_ref().map(|w| w.any.is_empty() && w.nth.is_empty() && w.last.is_empty());
        match (month, week) {
            (Some(month), Some(week)) => {
                if self.both {
                    month || week
                } else {
                    month && week
                }
            }
            (month, week) => month.or(week).unwrap_or(false),
        }
    }
}

/// Names of cron's numbers, in which 0 is Sunday and 7 as well.
fn sorted(numbers: &[u16]) -> Vec<Day> {
    use strum::IntoEnumIterator;
    Day::iter().filter(|day| numbers.iter().any(|n| n % 7 == u16::from(day.in_cron()))).collect()
}

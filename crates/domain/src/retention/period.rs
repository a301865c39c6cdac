//! Period: in which hour, day, week of its zone an archive was made, as a number that is cheap to compare.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A rule of a policy, in the order in which they are applied.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Rule {
    /// All that are younger than a time span.
    Within,
    /// The newest.
    Last,
    /// The newest of an hour.
    Hourly,
    /// The newest of a day.
    Daily,
    /// The newest of an ISO week.
    Weekly,
    /// The newest of a month.
    Monthly,
    /// The newest of a quarter of the calendar.
    Quarterly,
    /// The newest of a year.
    Yearly,
}

impl Rule {
    /// Those that keep a number of archives.
    pub const COUNTED: [Self; 7] =
        [Self::Last, Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Quarterly, Self::Yearly];
}

/// When an archive was made, as the clocks on the wall showed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub at: Timestamp,
    /// Seconds from 1970-01-01T00:00:00 to the wall clock's time, as if all days had 24 hours.
    wall_s: i64,
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
}

impl Moment {
    pub fn new(at: Timestamp, zone: &TimeZone) -> Self {
        let offset = zone.to_offset(at);
        let date = offset.to_datetime(at).date();
        // A moment before 1970 belongs to the second that it is in, not to the one that it is cut off to.
        let utc_s = i64::try_from(at.as_nanosecond().div_euclid(1_000_000_000)).unwrap_or(at.as_second());
        Self {
            at,
            wall_s: utc_s + i64::from(offset.seconds()),
            year: i64::from(date.year()),
            month: i64::from(date.month()),
        }
    }

    /// Equal for two moments exactly when borg's text for them is (`%Y-%m-%d %H`, `%G-%V`, ...). So the hour that comes
    /// twice in autumn is one hour.
    pub fn period(&self, rule: Rule) -> i64 {
        let day = self.wall_s.div_euclid(24 * 3600);
        match rule {
            Rule::Within | Rule::Last => self.wall_s,
            Rule::Hourly => self.wall_s.div_euclid(3600),
            Rule::Daily => day,
            // 1970-01-01 was a Thursday, and a week begins on Monday.
            Rule::Weekly => (day + 3).div_euclid(7),
            Rule::Monthly => self.year * 12 + self.month,
            Rule::Quarterly => self.year * 4 + (self.month - 1) / 3,
            Rule::Yearly => self.year,
        }
    }
}

/// More than anybody means, and far from the ends of time.
const MOST_HOURS: i64 = 1000 * 365 * 24;

/// A time span as `borg prune --keep-within` has it, or what would be right.
pub(super) fn interval(text: &str) -> Result<SignedDuration, String> {
    let wrong = || {
        let form = "must be a number from 1 on and one of H (hours), d (days), w (weeks), m (31 days) and y (365 days), such as 30d";
        format!("{form}; '{text}' is none")
    };
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let hours_each = match unit {
        'H' => 1,
        'd' => 24,
        'w' => 24 * 7,
        'm' => 24 * 31,
        'y' => 24 * 365,
        _ => return Err(wrong()),
    };
    let digits = text.strip_suffix(unit).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let digits = digits.filter(|digits| !digits.trim_start_matches('0').is_empty()).ok_or_else(wrong)?;
    // Digits that are no number are too many of them.
    let hours = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(hours_each));
    match hours.filter(|hours| *hours <= MOST_HOURS) {
        Some(hours) => Ok(SignedDuration::from_hours(hours)),
        None => {
            Err("must be at most 1000y; to keep all for ever, keep_hourly and its like can be \"all\""
                .to_owned())
        }
    }
}

//! Schedules as people say them, turned into cron.

use super::Day;
use super::blackout::clock;
use crate::FieldError;
use serde::{Deserialize, Serialize};

/// A schedule as people say it: `{"every":"week","on":["monday","friday"],"at":"02:30"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "every", rename_all = "snake_case", deny_unknown_fields)]
pub enum Preset {
    /// Every hour.
    Hour {
        /// At which minute, 0 to 59; on the hour, when absent.
        #[serde(default)]
        minute: u8,
    },
    /// Every day.
    Day {
        /// `HH:MM`.
        at: String,
    },
    /// On days of the week.
    Week {
        /// Which ones.
        on: Vec<Day>,
        /// `HH:MM`.
        at: String,
    },
    /// Once a month.
    Month {
        /// On which day.
        on: DayOfMonth,
        /// `HH:MM`.
        at: String,
    },
}

/// A day of the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayOfMonth {
    /// The last one, whatever its number.
    Last,
    /// By its number, 1 to 28: what every month has.
    #[serde(untagged)]
    Number(u8),
}

impl Preset {
    /// The same in cron, or all that is wrong with it.
    pub fn cron(&self) -> Result<String, Vec<FieldError>> {
        let mut problems = Vec::new();
        let cron = match self {
            Self::Hour { minute } => {
                if *minute > 59 {
                    problems.push(FieldError::new("preset.minute", "must be 0 to 59"));
                }
                format!("{minute} * * * *")
            }
            Self::Day { at } => format!("{} * * *", minute_and_hour(at, &mut problems)),
            Self::Week { on, at } => {
                let mut days = on.clone();
                days.sort_unstable();
                days.dedup();
                if days.is_empty() {
                    let message = "must name at least one day, such as [\"monday\"]";
                    problems.push(FieldError::new("preset.on", message));
                }
                let days: Vec<_> = days.into_iter().map(|day| day.in_cron().to_string()).collect();
                format!("{} * * {}", minute_and_hour(at, &mut problems), days.join(","))
            }
            Self::Month { on, at } => {
                let day = match on {
                    DayOfMonth::Last => "L".to_owned(),
                    DayOfMonth::Number(day) => {
                        if !(1..=28).contains(day) {
                            let message = "must be 1 to 28, which every month has, or 'last'";
                            problems.push(FieldError::new("preset.on", message));
                        }
                        day.to_string()
                    }
                };
                format!("{} {day} * *", minute_and_hour(at, &mut problems))
            }
        };
        if problems.is_empty() { Ok(cron) } else { Err(problems) }
    }
}

fn minute_and_hour(at: &str, problems: &mut Vec<FieldError>) -> String {
    let seconds = clock(at).unwrap_or_else(|| {
        problems.push(FieldError::new("preset.at", format!("'{at}' is no time of day such as 02:30")));
        0
    });
    format!("{} {}", seconds / 60 % 60, seconds / 3600)
}

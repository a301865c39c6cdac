//! A schedule in a sentence, for whoever does not read cron: "At 02:30, Monday to Friday, Paris time (Europe/Paris)".
//!
//! croner describes patterns as well, but says of `0-30/10` that it is every 10 minutes and of `LW` that it is the last day, and lists
//! every day of a week. A sentence that says another thing than what runs is worse than none; so what croner understood is
//! read here field by field, and a test holds the days that are said here against the days on which it runs.

mod days;
mod english;
mod french;

use super::Schedule;
pub(super) use days::Days;
use serde::{Deserialize, Serialize};

/// As many times of a day are named one by one.
const NAMED_TIMES: usize = 6;

/// A language that people are spoken to in.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    #[strum(serialize = "en")]
    English,
    /// French.
    #[serde(rename = "fr")]
    #[strum(serialize = "fr")]
    French,
}

/// What is counted within the next larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
}

/// What larger ones are named in which something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Minutes,
    Hours,
}

/// The phrases of a language, all in lower case: the sentence begins with a capital by itself.
trait Words {
    /// `parts` is never empty.
    fn and(&self, parts: &[String]) -> String;
    fn at(&self, times: &[String]) -> String;
    /// Every `n`, counted anew in each hour or minute; `evenly` when that cannot be noticed.
    fn every(&self, n: u16, unit: Unit, evenly: bool) -> String;
    fn at_each(&self, unit: Unit, numbers: &str, several: bool) -> String;
    fn every_hour(&self, minute: u16) -> String;
    fn every_hours(&self, n: usize, first: &str) -> String;
    fn hourly(&self) -> String;
    fn between(&self, first: &str, last: &str) -> String;
    fn within(&self, unit: Within, numbers: &str, several: bool) -> String;
    fn range(&self, first: u16, last: u16) -> String;
    fn every_day(&self) -> String;
    fn days(&self, days: &Days) -> String;
    fn months(&self, months: &[u16]) -> String;
    fn years(&self, years: &str) -> String;
    fn every_years(&self, n: u16, first: u16) -> String;
    fn never(&self) -> String;
    fn zone(&self, name: &str, city: Option<&str>) -> String;
}

impl Schedule {
    /// When it runs, in a sentence without a full stop, the zone included.
    pub fn sentence(&self, language: Language) -> String {
        match language {
            Language::English => self.said(&english::English),
            Language::French => self.said(&french::French),
        }
    }

    fn said(&self, words: &dyn Words) -> String {
        let pattern = &self.cron.pattern;
        let (seconds, minutes) = (pattern.seconds.values(), pattern.minutes.values());
        let (hours, months, years) =
            (pattern.hours.values(), pattern.months.values(), pattern.years.values());
        let days = Days::of(pattern);
        let never = [&seconds, &minutes, &hours, &months, &years].iter().any(|field| field.is_empty());
        let mut parts = Vec::new();
        if never || days.is_never() {
            parts.push(words.never());
        } else {
            parts.push(time(words, &seconds, &minutes, &hours));
            if !days.is_every() {
                parts.push(words.days(&days));
            } else if hours.len() < 24 {
                parts.push(words.every_day());
            }
            if months.len() < 12 {
                parts.push(words.months(&months));
            }
            if years.len() < 5000 {
                parts.push(years_said(words, &years));
            }
        }
        parts.push(words.zone(&self.zone_name, city(&self.zone_name)));
        let sentence = parts.join(", ");
        let mut chars = sentence.chars();
        chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
    }
}

fn time(words: &dyn Words, seconds: &[u16], minutes: &[u16], hours: &[u16]) -> String {
    let (all_day, on_the_minute) = (hours.len() == 24, seconds == [0]);
    if let ([second], false, true) = (seconds, all_day, minutes.len() * hours.len() <= NAMED_TIMES) {
        let each = hours.iter().flat_map(|h| minutes.iter().map(|m| time_of_day(*h, *m, *second)));
        return words.at(&each.collect::<Vec<_>>());
    }
    let first = time_of_day(first(hours), first(minutes), 0);
    let last = time_of_day(last(hours), last(minutes), 0);
    if let (true, [minute]) = (on_the_minute, minutes) {
        if all_day {
            return words.every_hour(*minute);
        }
        if let Some(n) = even_hours(hours) {
            return words.every_hours(n, &first);
        }
        if consecutive(hours) {
            return format!("{} {}", words.hourly(), words.between(&first, &last));
        }
    }
    let mut said = if on_the_minute {
        counted(words, Unit::Minute, minutes)
    } else {
        let mut said = counted(words, Unit::Second, seconds);
        if minutes.len() < 60 {
            said = format!("{said}, {}", within(words, Within::Minutes, minutes));
        }
        said
    };
    if !all_day && on_the_minute && consecutive(hours) {
        said = format!("{said} {}", words.between(&first, &last));
    } else if !all_day {
        said = format!("{said}, {}", within(words, Within::Hours, hours));
    }
    said
}

/// Seconds of each minute or minutes of each hour.
fn counted(words: &dyn Words, unit: Unit, values: &[u16]) -> String {
    if values.len() == 60 {
        return words.every(1, unit, true);
    }
    let step = values.get(1).copied().filter(|step| (2..=30).contains(step));
    match step.filter(|step| values.iter().copied().eq((0..60).step_by(usize::from(*step)))) {
        Some(step) => words.every(step, unit, 60 % step == 0),
        None => words.at_each(unit, &numbers(words, values), values.len() > 1),
    }
}

fn within(words: &dyn Words, unit: Within, values: &[u16]) -> String {
    words.within(unit, &numbers(words, values), values.len() > 1)
}

/// How many hours apart, when they are evenly spread over the day.
fn even_hours(hours: &[u16]) -> Option<usize> {
    let n = 24_usize.checked_div(hours.len()).filter(|n| *n >= 2 && n * hours.len() == 24)?;
    hours.iter().copied().eq((first(hours)..24).step_by(n)).then_some(n)
}

fn years_said(words: &dyn Words, years: &[u16]) -> String {
    if let [a, b, ..] = years
        && years.len() > NAMED_TIMES
        && b - a > 1
        && years.windows(2).all(|pair| matches!(pair, [x, y] if y - x == b - a))
    {
        let first = years.iter().copied().find(|year| *year >= 1970).unwrap_or(*a);
        return words.every_years(b - a, first);
    }
    if years.len() > 2 && consecutive(years) {
        return words.between(&first(years).to_string(), &last(years).to_string());
    }
    words.years(&numbers(words, years))
}

/// `0 to 4, 7 and 9`.
fn numbers(words: &dyn Words, values: &[u16]) -> String {
    let said = groups(values).into_iter().flat_map(|(first, last)| match last - first {
        0 => vec![first.to_string()],
        1 => vec![first.to_string(), last.to_string()],
        _ => vec![words.range(first, last)],
    });
    words.and(&said.collect::<Vec<_>>())
}

/// Runs of consecutive numbers, as first and last.
fn groups(values: &[u16]) -> Vec<(u16, u16)> {
    let mut groups: Vec<(u16, u16)> = Vec::new();
    for value in values {
        match groups.last_mut() {
            Some((_, last)) if *last + 1 == *value => *last = *value,
            _ => groups.push((*value, *value)),
        }
    }
    groups
}

/// `a, b and c`, with this word before the last.
fn joined(parts: &[String], word: &str) -> String {
    match parts {
        [before @ .., last] if !before.is_empty() => format!("{} {word} {last}", before.join(", ")),
        _ => parts.concat(),
    }
}

fn consecutive(values: &[u16]) -> bool {
    groups(values).len() == 1
}

fn first(values: &[u16]) -> u16 {
    values.first().copied().unwrap_or(0)
}

fn last(values: &[u16]) -> u16 {
    values.last().copied().unwrap_or(0)
}

fn time_of_day(hour: u16, minute: u16, second: u16) -> String {
    if second == 0 { format!("{hour:02}:{minute:02}") } else { format!("{hour:02}:{minute:02}:{second:02}") }
}

/// The city that a zone is named after, for zones of the usual form `Area/City`.
fn city(zone: &str) -> Option<&str> {
    const AREAS: &[&str] = &[
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    ];
    let (area, _) = zone.split_once('/')?;
    AREAS.contains(&area).then(|| zone.rsplit_once('/').map_or(zone, |(_, city)| city))
}

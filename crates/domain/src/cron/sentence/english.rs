//! The phrases of English.

use super::days::{Days, OfMonth, OfWeek};
use super::{Unit, Within, Words, consecutive, groups, joined};
use crate::cron::Day;

pub(super) struct English;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const ORDINALS: [&str; 6] = ["", "first", "second", "third", "fourth", "fifth"];

impl Words for English {
    fn and(&self, parts: &[String]) -> String {
        joined(parts, "and")
    }

    fn at(&self, times: &[String]) -> String {
        format!("at {}", self.and(times))
    }

    fn every(&self, n: u16, unit: Unit, evenly: bool) -> String {
        let (one, whole) = names(unit);
        match (n, evenly) {
            (1, _) => format!("every {one}"),
            (_, true) => format!("every {n} {one}s"),
            (_, false) => format!("every {n} {one}s from the start of each {whole}"),
        }
    }

    fn at_each(&self, unit: Unit, numbers: &str, several: bool) -> String {
        let (one, whole) = names(unit);
        format!("at {one}{} {numbers} of each {whole}", if several { "s" } else { "" })
    }

    fn every_hour(&self, minute: u16) -> String {
        if minute == 0 { "every hour, on the hour".into() } else { format!("every hour at minute {minute}") }
    }

    fn every_hours(&self, n: usize, first: &str) -> String {
        format!("every {n} hours from {first}")
    }

    fn hourly(&self) -> String {
        "every hour".into()
    }

    fn between(&self, first: &str, last: &str) -> String {
        format!("from {first} to {last}")
    }

    fn within(&self, unit: Within, numbers: &str, several: bool) -> String {
        let one = match unit {
            Within::Minutes => "minute",
            Within::Hours => "hour",
        };
        format!("during {one}{} {numbers}", if several { "s" } else { "" })
    }

    fn range(&self, first: u16, last: u16) -> String {
        format!("{first} to {last}")
    }

    fn every_day(&self) -> String {
        "every day".into()
    }

    fn days(&self, days: &Days) -> String {
        match (&days.of_month, &days.of_week) {
            (Some(month), Some(week)) if days.both => {
                format!("{} when that is {}", of_month(month), condition(week))
            }
            (Some(month), Some(week)) => format!("{}, and also {}", of_month(month), of_week(week)),
            (Some(month), None) => of_month(month),
            (None, Some(week)) => of_week(week),
            (None, None) => self.every_day(),
        }
    }

    fn months(&self, months: &[u16]) -> String {
        let names: Vec<_> = months.iter().filter_map(|m| month(*m)).collect();
        match names.as_slice() {
            [first, _, .., last] if consecutive(months) => format!("from {first} to {last}"),
            _ => format!("in {}", self.and(&names)),
        }
    }

    fn years(&self, years: &str) -> String {
        format!("in {years}")
    }

    fn every_years(&self, n: u16, first: u16) -> String {
        format!("every {n} years ({first}, {}, ...)", first + n)
    }

    fn never(&self) -> String {
        "never".into()
    }

    fn zone(&self, name: &str, city: Option<&str>) -> String {
        match city {
            Some(city) => format!("{} time ({name})", city.replace('_', " ")),
            None if matches!(name, "UTC" | "GMT") => name.to_owned(),
            None => format!("time zone {name}"),
        }
    }
}

fn names(unit: Unit) -> (&'static str, &'static str) {
    match unit {
        Unit::Second => ("second", "minute"),
        Unit::Minute => ("minute", "hour"),
    }
}

fn month(number: u16) -> Option<String> {
    MONTHS.get(usize::from(number).checked_sub(1)?).map(|name| (*name).to_owned())
}

fn ordinal(n: u16) -> String {
    let ending = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

fn of_month(days: &OfMonth) -> String {
    let mut items = Vec::new();
    let numbers: Vec<_> = groups(&days.numbers)
        .into_iter()
        .flat_map(|(first, last)| match last - first {
            0 => vec![format!("the {}", ordinal(first))],
            1 => vec![format!("the {}", ordinal(first)), format!("the {}", ordinal(last))],
            _ => vec![format!("the {} to the {}", ordinal(first), ordinal(last))],
        })
        .collect();
    if !numbers.is_empty() {
        items.push(format!("{} of the month", joined(&numbers, "and")));
    }
    for day in &days.nearest_weekday {
        items.push(format!("the weekday nearest to the {} of the month", ordinal(*day)));
    }
    if days.last {
        items.push("the last day of the month".into());
    }
    if days.last_weekday {
        items.push("the last weekday of the month".into());
    }
    format!("on {}", joined(&items, "and"))
}

fn name(day: Day) -> &'static str {
    match day {
        Day::Monday => "Monday",
        Day::Tuesday => "Tuesday",
        Day::Wednesday => "Wednesday",
        Day::Thursday => "Thursday",
        Day::Friday => "Friday",
        Day::Saturday => "Saturday",
        Day::Sunday => "Sunday",
    }
}

fn of_week(days: &OfWeek) -> String {
    let numbers: Vec<_> = days.any.iter().map(|day| *day as u16).collect();
    let mut items = match days.any.as_slice() {
        [] => vec![],
        [first, _, .., last] if consecutive(&numbers) => vec![format!("{} to {}", name(*first), name(*last))],
        any => {
            let names: Vec<_> = any.iter().map(|day| format!("{}s", name(*day))).collect();
            vec![format!("on {}", joined(&names, "and"))]
        }
    };
    items.extend(special(days).into_iter().map(|day| format!("on {day}")));
    joined(&items, "and")
}

fn condition(days: &OfWeek) -> String {
    let any = days.any.iter().map(|day| format!("a {}", name(*day)));
    joined(&any.chain(special(days)).collect::<Vec<_>>(), "or")
}

fn special(days: &OfWeek) -> Vec<String> {
    let nth = days.nth.iter().map(|(n, day)| {
        format!("the {} {} of the month", ORDINALS.get(*n).copied().unwrap_or_default(), name(*day))
    });
    nth.chain(days.last.iter().map(|day| format!("the last {} of the month", name(*day)))).collect()
}

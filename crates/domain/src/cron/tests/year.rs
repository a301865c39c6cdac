//! A year of every zone against the slowest way to know it: minute by minute, with a clock on the wall.
//!
//! The zones are all of Europe and America and all whose offset is no whole hour; those whose clocks show the same all year are
//! walked once. What must come out: no day lost in a gap, none run twice in a fold, and times strictly increase.

use super::*;
use jiff::SignedDuration;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;

const FROM: &str = "2026-01-01T00:00:00Z";
const MINUTES: i64 = 365 * 24 * 60;

/// What a clock on the wall shows.
struct Wall {
    minute: i64,
    hour: i64,
    last_of_month: bool,
    /// 0 is Sunday.
    weekday: i8,
}

/// An expression, whether it is about elapsed time, and what it says, without any cron.
type Case = (&'static str, bool, fn(&Wall) -> bool);

const SPARSE: &[Case] = &[
    ("30 2 * * *", false, |w| w.minute == 30 && w.hour == 2),
    ("0 0 * * *", false, |w| w.minute == 0 && w.hour == 0),
    ("15 1 L * *", false, |w| w.minute == 15 && w.hour == 1 && w.last_of_month),
    ("0 2 * * FRI", false, |w| w.minute == 0 && w.hour == 2 && w.weekday == 5),
    ("30 23 * * SAT", false, |w| w.minute == 30 && w.hour == 23 && w.weekday == 6),
    ("30 0 * * SUN", false, |w| w.minute == 30 && w.hour == 0 && w.weekday == 0),
    ("30 2,14 * * *", false, |w| w.minute == 30 && (w.hour == 2 || w.hour == 14)),
    ("0 */2 * * *", false, |w| w.minute == 0 && w.hour % 2 == 0),
    ("20 1-3 * * *", false, |w| w.minute == 20 && (1..=3).contains(&w.hour)),
];

const DENSE: &[Case] = &[
    ("0 * * * *", true, |w| w.minute == 0),
    ("*/15 * * * *", true, |w| w.minute % 15 == 0),
    ("*/7 * * * *", true, |w| w.minute % 7 == 0),
    ("*/20 0-4 * * *", false, |w| w.minute % 20 == 0 && w.hour <= 4),
];

/// One zone of each sort: the offset in minutes at the beginning of the year, and each later one with when it begins.
fn zones() -> BTreeMap<Vec<(i64, i64)>, TimeZone> {
    let (from, until) = (at(FROM), at(FROM) + SignedDuration::from_mins(MINUTES));
    let mut zones = BTreeMap::new();
    let mut names = 0;
    for name in jiff::tz::db().available() {
        let zone = TimeZone::get(name.as_str()).unwrap();
        let minutes = |t: Timestamp| i64::from(zone.to_offset(t).seconds()) / 60;
        let mut offsets = vec![(0, minutes(from))];
        for change in zone.following(from).take_while(|change| change.timestamp() < until) {
            let begins = change.timestamp().duration_since(from).as_mins();
            if offsets.last().unwrap().1 != minutes(change.timestamp()) {
                offsets.push((begins, minutes(change.timestamp())));
            }
        }
        let near = name.as_str().starts_with("Europe/") || name.as_str().starts_with("America/");
        if near || offsets.iter().any(|(_, offset)| offset % 60 != 0) {
            names += 1;
            zones.entry(offsets).or_insert(zone);
        }
    }
    assert!(names > 200, "the zones of this machine are too few: {names}");
    assert!(zones.len() > 30, "{}", zones.len());
    zones
}

/// The minutes of the year at which each case runs.
fn walked(offsets: &[(i64, i64)], cases: &[Case]) -> Vec<Vec<i64>> {
    let start = at(FROM).as_second() / 60;
    let mut found = vec![Vec::new(); cases.len()];
    let (mut offset, mut changes) = (offsets[0].1, offsets[1..].iter().peekable());
    // The latest that the wall has shown.
    let mut shown = start + offset - 1;
    let mut days = BTreeMap::new();
    let mut on_the_wall = |wall: i64| {
        let (day, of_day) = (wall.div_euclid(1440), wall.rem_euclid(1440));
        let (last_of_month, weekday) = *days.entry(day).or_insert_with(|| {
            let date: Date = "1970-01-01".parse().unwrap();
            let date = date.checked_add(SignedDuration::from_hours(24 * day)).unwrap();
            (date == date.last_of_month(), date.weekday().to_sunday_zero_offset())
        });
        Wall { minute: of_day % 60, hour: of_day / 60, last_of_month, weekday }
    };
    for minute in 0..MINUTES {
        offset = changes.next_if(|(begins, _)| *begins == minute).map_or(offset, |(_, offset)| *offset);
        let wall = start + minute + offset;
        let now = on_the_wall(wall);
        let lost: Vec<_> = (shown + 1..wall).map(&mut on_the_wall).collect();
        for ((_, elapsed, says), found) in cases.iter().zip(&mut found) {
            let first = wall > shown && (says(&now) || lost.iter().any(says));
            if if *elapsed { says(&now) } else { first } {
                found.push(minute);
            }
        }
        shown = shown.max(wall);
    }
    found
}

/// The same as the schedule has it, in a stretch of the year.
fn scheduled(cron: &str, zone: &TimeZone, (from, until): (i64, i64)) -> Vec<i64> {
    let start = at(FROM);
    let mut schedule = schedule(cron, "UTC");
    schedule.zone = zone.clone();
    let minute = |n| start + SignedDuration::from_mins(n);
    let times = schedule.between(minute(from - 1), minute(until - 1), usize::MAX);
    assert!(times.is_sorted_by(|a, b| a < b), "{cron} in {zone:?} does not strictly increase");
    times.into_iter().map(|t| t.duration_since(start).as_mins()).collect()
}

fn agree(cases: &[Case], stretches: impl Fn(&[(i64, i64)], usize) -> Vec<(i64, i64)>) {
    for (n, (offsets, zone)) in zones().iter().enumerate() {
        let walked = walked(offsets, cases);
        for (case, walked) in cases.iter().zip(walked) {
            for (from, until) in stretches(offsets, n) {
                let expected: Vec<_> = walked.iter().copied().filter(|m| (from..until).contains(m)).collect();
                assert!(!expected.is_empty());
                let found = scheduled(case.0, zone, (from, until));
                let differs = expected.iter().zip(&found).find(|(expected, found)| expected != found);
                assert_eq!(differs, None, "expected and found minute of the year of {} in {zone:?}", case.0);
                assert_eq!(found.len(), expected.len(), "{} in {zone:?}", case.0);
            }
        }
    }
}

#[test]
fn times_of_the_day_are_right_all_year_in_every_zone() {
    agree(SPARSE, |_, _| vec![(0, MINUTES)]);
}

#[test]
fn times_of_every_hour_are_right_around_every_change_in_every_zone_and_all_year_in_some() {
    agree(DENSE, |offsets, n| {
        if n % 16 == 1 {
            return vec![(0, MINUTES)];
        }
        let days = |begins: i64| ((begins - 1440).max(0), (begins + 2 * 1440).min(MINUTES));
        offsets.iter().map(|(begins, _)| days(*begins)).collect()
    });
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
//! Stories and laws of schedules, one file for each part.

mod blackout;
mod clocks;
mod definition;
mod sentence;
mod upcoming;
mod year;

use super::*;
use jiff::Timestamp;

fn spec(cron: &str, zone: &str) -> ScheduleSpec {
    ScheduleSpec::new(cron, zone)
}

fn schedule(cron: &str, zone: &str) -> Schedule {
    spec(cron, zone).parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn times(cron: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
    let (schedule, mut at) = (schedule(cron, zone), at(from));
    (0..n)
        .map(|_| {
            at = schedule.next(at).unwrap();
            at.to_string()
        })
        .collect()
}

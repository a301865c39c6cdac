//! Simulate: how many archives there will be, and how many bytes, when the schedule and the policy stay as they are.

use super::course::Course;
use super::{Candidate, Proof, Rules};
use crate::ArchiveId;
use crate::cron::Schedule;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How many runs are simulated: each quarter of an hour for more than a year.
const MOST_RUNS: usize = 50_000;
/// The size of a future archive is the average of so many of the newest whose size is known.
const AVERAGE_OF: usize = 10;

/// What is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulation {
    /// From when on.
    pub from: Timestamp,
    /// Up to when.
    pub until: Timestamp,
    /// How things stand at the end of each month in which the plan runs, oldest first; the last is about the end.
    pub points: Vec<Point>,
    /// How many runs there are.
    pub runs: u64,
    /// How many bytes a future archive was taken to add, when there was one to go by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_bytes_each: Option<u64>,
    /// Set when there are more runs than can be followed: it ends there, before `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_at: Option<Timestamp>,
}

/// How things stand after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The first day of the month, in the policy's zone.
    pub month: Date,
    /// The month's last run.
    pub at: Timestamp,
    /// How many archives are kept after it.
    pub archives: u64,
    /// About how many bytes these have added themselves, when it is known of all that exist now. What they share with
    /// archives that went is not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_bytes: Option<u64>,
}

/// Lets the schedule run from `now` to `until`, and the policy after each run.
///
/// All goes well in it: each archive is whole, stands by itself, and is proved where the policy waits for that; nobody holds or
/// releases anything. At most 50,000 runs, and some seconds of work: [`Simulation::cut_at`].
pub fn simulate(
    rules: &Rules,
    schedule: &Schedule,
    candidates: &[Candidate],
    now: Timestamp,
    until: Timestamp,
) -> Simulation {
    let mut times = schedule.between(now, until, MOST_RUNS + 1);
    let mut cut_at = (times.len() > MOST_RUNS).then(|| times.pop()).flatten();
    let added_bytes_each = average(candidates, now);
    let mut all: Vec<Candidate> = candidates.iter().filter(|c| c.made_at <= now).cloned().collect();
    all.extend(times.iter().enumerate().map(|(n, at)| {
        let proof = if rules.policy.require_verified { Proof::Proved { at: *at } } else { Proof::NotTried };
        // From the top down, where no archive of anybody is.
        let id = ArchiveId(Uuid::from_u128(u128::MAX - n as u128));
        Candidate { proof, added_bytes: added_bytes_each, ..Candidate::new(id, format!("run of {at}"), *at) }
    }));
    let mut course = Course::new(rules, &all);
    for i in times.len()..all.len() {
        course.add(i);
    }
    let mut simulation =
        Simulation { from: now, until, points: Vec::new(), runs: 0, added_bytes_each, cut_at: None };
    // The newest has the lowest index.
    for (i, at) in (0..times.len()).rev().zip(&times) {
        course.add(i);
        if !course.apply(*at, Timestamp::MAX) {
            cut_at = Some(*at);
            break;
        }
        simulation.runs += 1;
        let point = point(&course, i, *at);
        match simulation.points.last_mut() {
            Some(last) if last.month == point.month => *last = point,
            _ => simulation.points.push(point),
        }
    }
    simulation.cut_at = cut_at;
    simulation
}

fn point(course: &Course<'_>, i: usize, at: Timestamp) -> Point {
    let month = course.desk.moments.get(i).map(|moment| (moment.year, moment.month));
    let first_day = |(year, month)| Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, 1).ok();
    Point {
        month: month.and_then(first_day).unwrap_or(Date::ZERO),
        at,
        archives: course.present.len() as u64,
        added_bytes: course.archives().try_fold(0_u64, |sum, c| Some(sum.saturating_add(c.added_bytes?))),
    }
}

/// What the newest archives have added on average.
fn average(candidates: &[Candidate], now: Timestamp) -> Option<u64> {
    let known = candidates.iter().filter(|c| c.made_at <= now);
    let mut known: Vec<_> = known.filter_map(|c| Some((c.made_at, c.added_bytes?))).collect();
    known.sort_by_key(|(made_at, _)| std::cmp::Reverse(*made_at));
    known.truncate(AVERAGE_OF);
    let sum: u128 = known.iter().map(|(_, bytes)| u128::from(*bytes)).sum();
    u64::try_from(sum.checked_div(known.len() as u128)?).ok()
}

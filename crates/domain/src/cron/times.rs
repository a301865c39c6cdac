//! A schedule that was understood, and its times.

use super::Window;
use crate::FieldError;
use croner::Cron;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// How many times that lie in a blackout are looked past for one that does not. Fifty windows a week are met for years
/// before it; what ends here has no open time that anybody would wait for.
const MOST_SWALLOWED: usize = 1000;
/// From here on a schedule is looked at for whether it ever runs: whether it does must not depend on when it is asked.
const CHECKED_FROM_S: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z

/// A schedule that was understood.
///
/// What is promised when the clocks change, with 02:00 to 03:00 as the hour that is lost in spring and comes twice in autumn:
/// - **An expression that names its hours** (`30 2 * * *`, `0 2,14 * * *`, `*/15 0-5 * * *`, `0 */2 * * *`) is about the clock on
///   the wall. Each of its wall times comes exactly once: a lost one right after the gap (several together, and one that
///   stands there anyway, as one run), a doubled one the first time. No day is left out, also where the gap crosses midnight.
/// - **An expression of every hour** (`0 * * * *`, `*/15 * * * *`) is about elapsed time, as with cron since Vixie's: it goes on
///   through both passes of the doubled hour, and what would have been in the lost hour is not made up for, since the next
///   one comes as soon as ever. To stand still for an hour would break the very promise of such a plan.
/// - Times strictly increase, in both cases.
///
/// croner alone is not enough for this: it takes `30 2,14 * * *` for an interval, which loses 02:30 in spring and doubles it in
/// autumn, and it leaves out a day whose gap crosses midnight. So it is asked about the wall only, and zones are dealt with here.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub(super) cron: Cron,
    pub(super) zone: TimeZone,
    pub(super) zone_name: String,
    blackout: Vec<Window>,
    every_hour: bool,
}

/// One run as it was found: when it is, and what the expression says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The nominal time.
    pub at: Timestamp,
    /// The time on the wall that the expression names. It is not what a clock shows at `at` when it was lost in a gap.
    pub wall: DateTime,
}

impl Schedule {
    pub(super) fn new(cron: Cron, zone: TimeZone, zone_name: String, blackout: Vec<Window>) -> Self {
        let every_hour = (0..24).all(|hour| cron.pattern.hour_match(hour).unwrap_or(false));
        Self { cron, zone, zone_name, blackout, every_hour }
    }

    /// The first nominal time after `after`, whether or not a blackout swallows it; `None` when there is none.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.next_run(after).map(|run| run.at)
    }

    /// The first nominal time after `after` that no blackout swallows; `None` when there is none.
    pub fn next_open(&self, after: Timestamp) -> Option<Timestamp> {
        let mut at = self.next(after)?;
        for _ in 0..MOST_SWALLOWED {
            let Some(window) = self.window_over(at) else { return Some(at) };
            let end = window.covers_until(at, &self.zone)?;
            at = self.next(end.checked_sub(SignedDuration::from_nanos(1)).ok()?)?;
        }
        None
    }

    /// The latest nominal time in `(after, until]` that no blackout swallows.
    pub fn latest_open(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        // From ever longer before the end, so that a schedule that was not looked at for long is not walked through.
        let mut back = SignedDuration::from_hours(1);
        loop {
            let from = until.checked_sub(back).map_or(after, |from| from.max(after));
            let times = std::iter::successors(self.next_open(from), |at| self.next_open(*at));
            let latest = times.take_while(|at| *at <= until).last();
            if latest.is_some() || from == after {
                return latest;
            }
            back = back.saturating_mul(4);
        }
    }

    /// The nominal times in `(after, until]`, oldest first, at most `limit`.
    pub fn between(&self, after: Timestamp, until: Timestamp, limit: usize) -> Vec<Timestamp> {
        let times = std::iter::successors(self.next(after), |at| self.next(*at));
        times.take_while(|at| *at <= until).take(limit).collect()
    }

    /// Which of the schedule's blackout windows swallows this time: its place in the list.
    pub fn swallowed_by(&self, at: Timestamp) -> Option<usize> {
        self.blackout.iter().position(|window| window.covers(at, &self.zone))
    }

    fn window_over(&self, at: Timestamp) -> Option<&Window> {
        self.blackout.iter().find(|window| window.covers(at, &self.zone))
    }

    /// What is wrong with the times as a whole: there is none, or a blackout swallows them all.
    pub(super) fn problem(&self) -> Option<FieldError> {
        if self.next(Timestamp::UNIX_EPOCH).is_none() {
            let message =
                format!("'{}' names a time that never comes, such as a 30th of February", self.cron.as_str());
            return Some(FieldError::new("cron", message));
        }
        let from = Timestamp::from_second(CHECKED_FROM_S).ok()?;
        if self.blackout.is_empty() || self.next(from).is_none() || self.next_open(from).is_some() {
            return None;
        }
        Some(FieldError::new(
            "blackout",
            "covers every time of the schedule: it would never run; leave times open",
        ))
    }

    /// Whether the expression is about elapsed time, not about the clock on the wall.
    pub(super) fn is_every_hour(&self) -> bool {
        self.every_hour
    }

    pub(super) fn next_run(&self, after: Timestamp) -> Option<Run> {
        if self.every_hour { self.next_elapsed(after) } else { self.next_on_the_wall(after) }
    }

    /// Each wall time once. As [`first_instant`] never goes back while the wall goes on, the first that is later is the next.
    fn next_on_the_wall(&self, after: Timestamp) -> Option<Run> {
        let mut wall = self.zone.to_datetime(after);
        loop {
            wall = self.cron.find_next_occurrence(&wall, false).ok()?;
            let at = first_instant(&self.zone, wall)?;
            // In the second pass of a doubled hour, what comes on the wall has been already.
            if at > after {
                return Some(Run { at, wall });
            }
        }
    }

    /// Whatever the wall shows, one stretch of an unchanged offset after the other.
    fn next_elapsed(&self, after: Timestamp) -> Option<Run> {
        let (mut from, mut inclusive) = (after, false);
        loop {
            let offset = self.zone.to_offset(from);
            let wall = self.cron.find_next_occurrence(&offset.to_datetime(from), inclusive).ok()?;
            let at = offset.to_timestamp(wall).ok()?;
            match self.zone.following(from).next() {
                Some(change) if change.timestamp() <= at => (from, inclusive) = (change.timestamp(), true),
                _ => return Some(Run { at, wall }),
            }
        }
    }
}

/// When a clock in the zone first shows this time or, if it is lost in a gap, when the gap ends.
pub(super) fn first_instant(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
        AmbiguousOffset::Gap { before, .. } => {
            // Had the clocks not changed it would be then: the change is the last one up to there.
            let unchanged = before.to_timestamp(wall).ok()?.checked_add(SignedDuration::from_secs(1)).ok()?;
            zone.preceding(unchanged).next().map(|change| change.timestamp())
        }
    }
}

/// When a clock in the zone last shows this time: the same as [`first_instant`] but in a doubled hour.
pub(super) fn last_instant(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Fold { after, .. } => after.to_timestamp(wall).ok(),
        _ => first_instant(zone, wall),
    }
}

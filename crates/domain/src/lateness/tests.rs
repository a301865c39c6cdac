#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
//! Plans that are late, that are not, and that cannot be.

use super::*;
use crate::cron::{ScheduleSpec, Window};
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn schedule(cron: &str) -> Schedule {
    ScheduleSpec::new(cron, "Europe/Paris").parse().unwrap()
}

fn known<'a>(schedule: Option<&'a Schedule>, last_good: Option<&str>) -> Known<'a> {
    Known { schedule, last_good_at: last_good.map(at), since: at("2026-01-01T00:00:00Z"), paused: false }
}

/// By the schedule alone.
fn standing_at(cron: &str, last_good: Option<&str>, now: &str) -> Standing {
    standing(&Objective::default(), known(Some(&schedule(cron)), last_good), at(now))
}

fn in_time(until: &str) -> Standing {
    Standing::InTime { until: at(until) }
}

fn overdue(since: &str) -> Standing {
    Standing::Overdue { since: at(since) }
}

#[test]
fn a_daily_plan_is_late_a_tenth_of_a_day_after_the_time_that_brought_no_archive() {
    let last = Some("2026-05-05T00:00:10Z");
    let due = "2026-05-06T02:24:00Z";
    assert_eq!(standing_at("0 2 * * *", last, "2026-05-06T02:23:59Z"), in_time(due));
    assert_eq!(standing_at("0 2 * * *", last, due), overdue(due));
    assert_eq!(standing_at("0 2 * * *", last, "2026-06-06T00:00:00Z"), overdue(due), "and it stays so");
}

#[test]
fn a_new_plan_is_late_when_its_first_time_brought_nothing() {
    assert_eq!(standing_at("0 2 * * *", None, "2026-01-01T00:00:01Z"), in_time("2026-01-01T03:24:00Z"));
    assert_eq!(standing_at("0 2 * * *", None, "2026-01-01T04:00:00Z"), overdue("2026-01-01T03:24:00Z"));
}

#[test]
fn nothing_is_late_over_the_weekend() {
    // Friday 2026-05-08; the next run is on Monday. Friday's grace is a tenth of the way to there.
    let friday = Some("2026-05-08T00:00:05Z");
    assert_eq!(standing_at("0 2 * * 1-5", friday, "2026-05-10T23:00:00Z"), in_time("2026-05-11T02:24:00Z"));
    let thursday = Some("2026-05-07T00:00:05Z");
    assert_eq!(standing_at("0 2 * * 1-5", thursday, "2026-05-08T08:00:00Z"), overdue("2026-05-08T07:12:00Z"));
}

#[test]
fn a_run_by_hand_counts() {
    assert_eq!(standing_at("0 2 * * *", None, "2026-05-06T12:00:00Z"), overdue("2026-01-01T03:24:00Z"));
    let by_hand = Some("2026-05-06T11:00:00Z");
    assert_eq!(standing_at("0 2 * * *", by_hand, "2026-05-06T12:00:00Z"), in_time("2026-05-07T02:24:00Z"));
}

#[test]
fn a_run_by_hand_just_before_a_time_does_not_stand_for_it() {
    assert_eq!(
        standing_at("0 2 * * *", Some("2026-05-05T23:30:00Z"), "2026-05-06T02:24:00Z"),
        overdue("2026-05-06T02:24:00Z")
    );
}

#[test]
fn the_clock_of_a_node_may_be_a_little_behind() {
    let last = Some("2026-05-05T23:59:30Z");
    assert_eq!(standing_at("0 2 * * *", last, "2026-05-06T12:00:00Z"), in_time("2026-05-07T02:24:00Z"));
}

#[test]
fn clock_changes_make_nobody_late_and_hide_nobody() {
    // The day with the gap: 02:30 runs at 03:00, 01:00 UTC. Nor is the day of 25 hours late after 24.
    let gap = Some("2026-03-28T01:30:00Z");
    assert_eq!(standing_at("30 2 * * *", gap, "2026-03-29T01:00:00Z"), in_time("2026-03-29T03:21:00Z"));
    let long_day = Some("2026-10-25T00:30:00Z");
    assert_eq!(standing_at("30 2 * * *", long_day, "2026-10-26T01:00:00Z"), in_time("2026-10-26T03:54:00Z"));
}

#[test]
fn frequent_plans_have_an_hour_and_rare_ones_a_day() {
    let last = Some("2026-05-06T00:00:00Z");
    assert_eq!(standing_at("*/15 * * * *", last, "2026-05-06T00:30:00Z"), in_time("2026-05-06T01:15:00Z"));
    assert_eq!(standing_at("0 2 1 * *", last, "2026-05-06T00:30:00Z"), in_time("2026-06-02T00:00:00Z"));
}

#[test]
fn a_blackout_promises_nothing() {
    let mut spec = ScheduleSpec::new("0 * * * *", "UTC");
    let (from, to) = ("08:00".to_owned(), "18:00".to_owned());
    spec.blackout = vec![Window::Weekly { days: vec![], from, to, reason: String::new() }];
    let schedule = spec.parse().unwrap();
    let known = known(Some(&schedule), Some("2026-05-06T07:00:05Z"));
    let until = at("2026-05-06T19:00:00Z");
    assert_eq!(
        standing(&Objective::default(), known, at("2026-05-06T17:00:00Z")),
        Standing::InTime { until }
    );
}

#[test]
fn an_rpo_of_the_plan_goes_before_its_schedule_and_has_no_grace_of_itself() {
    let weekdays = schedule("0 2 * * 1-5");
    let known = known(Some(&weekdays), Some("2026-05-08T00:00:00Z"));
    let mut objective = Objective { rpo_s: Some(24 * 3600), grace_s: None };
    let saturday = at("2026-05-09T00:00:00Z");
    assert_eq!(standing(&objective, known, saturday), Standing::Overdue { since: saturday });
    objective.grace_s = Some(600);
    assert_eq!(standing(&objective, known, saturday), in_time("2026-05-09T00:10:00Z"));
    let by_hand_only = Known { schedule: None, ..known };
    assert_eq!(standing(&objective, by_hand_only, saturday), in_time("2026-05-09T00:10:00Z"));
}

#[test]
fn a_grace_of_the_plan_goes_before_the_usual_one() {
    let daily = schedule("0 2 * * *");
    let objective = Objective { rpo_s: None, grace_s: Some(0) };
    let known = known(Some(&daily), Some("2026-05-05T00:00:00Z"));
    assert_eq!(standing(&objective, known, at("2026-05-06T00:00:00Z")), overdue("2026-05-06T00:00:00Z"));
}

#[test]
fn who_promises_nothing_is_exempt() {
    let exempt = |why| Standing::Exempt { why };
    let now = at("2036-01-01T00:00:00Z");
    let objective = Objective::default();
    assert_eq!(standing(&objective, known(None, None), now), exempt(Exemption::NoObjective));
    let daily = schedule("@daily");
    let paused = Known { paused: true, ..known(Some(&daily), None) };
    assert_eq!(standing(&objective, paused, now), exempt(Exemption::Paused));
    assert_eq!(
        standing(&Objective { rpo_s: Some(60), grace_s: None }, paused, now),
        exempt(Exemption::Paused)
    );
    let once = schedule("0 0 2 1 5 * 2026");
    let kept = known(Some(&once), Some("2026-05-01T00:00:01Z"));
    assert_eq!(standing(&objective, kept, now), exempt(Exemption::NoTimesLeft));
    let missed = known(Some(&once), None);
    assert_eq!(
        standing(&objective, missed, now),
        overdue("2026-05-02T00:00:00Z"),
        "its only time was not kept"
    );
}

#[test]
fn what_was_before_a_pause_is_not_asked_for_after_it() {
    let daily = schedule("0 2 * * *");
    let since = at("2026-05-06T12:00:00Z");
    let resumed = Known { since, ..known(Some(&daily), Some("2026-02-01T00:00:00Z")) };
    assert_eq!(standing(&Objective::default(), resumed, since), in_time("2026-05-07T02:24:00Z"));
    let objective = Objective { rpo_s: Some(3600), grace_s: None };
    assert_eq!(standing(&objective, resumed, since), in_time("2026-05-06T13:00:00Z"));
}

#[test]
fn the_target_is_the_longest_way_between_two_times_with_grace() {
    let now = at("2026-05-06T12:00:00Z");
    let hours = |objective: Objective, cron: &str| {
        objective.target(Some(&schedule(cron)), now).map(|target| target.as_secs_f64() / 3600.0)
    };
    assert_eq!(hours(Objective::default(), "0 2 * * *"), Some(26.4));
    assert_eq!(hours(Objective::default(), "0 2 * * 1-5"), Some(79.2));
    assert_eq!(hours(Objective { rpo_s: Some(7200), grace_s: Some(1800) }, "0 2 * * *"), Some(2.5));
    assert_eq!(Objective::default().target(None, now), None);
}

#[test]
fn objectives_that_are_wrong_say_where() {
    let wrong = |rpo_s, grace_s| {
        let problems = Objective { rpo_s, grace_s }.problems();
        problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
    };
    assert_eq!(wrong(Some(59), None), ["rpo_s"]);
    assert_eq!(wrong(Some(u64::MAX), Some(u64::MAX)), ["rpo_s", "grace_s"]);
    assert_eq!(wrong(Some(60), Some(0)), [""; 0]);
}

const CRONS: [&str; 7] = [
    "0 2 * * *",
    "30 2 * * *",
    "0 2 * * 1-5",
    "*/15 * * * *",
    "0 3 L * *",
    "0 1,2,3,23 * * *",
    "0 0 13 * +FRI",
];

proptest! {
    #[test]
    fn without_an_archive_a_plan_becomes_late_once_and_stays_late(
        cron in 0..CRONS.len(), rpo_s in proptest::option::of(60u64..1_000_000), grace_s in proptest::option::of(0u64..100_000),
        good_s in proptest::option::of(0i64..31_536_000), steps in proptest::collection::vec(1i64..400_000, 1..60),
    ) {
        let (schedule, objective) = (schedule(CRONS[cron]), Objective { rpo_s, grace_s });
        let since = at("2026-01-01T00:00:00Z");
        let last_good_at = good_s.map(|s| since + SignedDuration::from_secs(s));
        let known = Known { schedule: Some(&schedule), last_good_at, since, paused: false };
        let due = match standing(&objective, known, since) {
            Standing::InTime { until } => until,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        let mut now = since;
        for step in steps {
            let expected = if now < due { Standing::InTime { until: due } } else { Standing::Overdue { since: due } };
            prop_assert_eq!(standing(&objective, known, now), expected);
            now += SignedDuration::from_secs(step);
        }
        let just_before = due - SignedDuration::from_nanos(1);
        prop_assert_eq!(standing(&objective, known, just_before), Standing::InTime { until: due });
        prop_assert_eq!(standing(&objective, known, due), Standing::Overdue { since: due });
    }

    /// The slow way: of all times and their grace, the first that is over without an archive as new as the time.
    #[test]
    fn it_is_late_from_the_first_grace_that_ends_without_an_archive(cron in 0..6usize, good_s in 0i64..2_000_000) {
        let schedule = schedule(CRONS[cron]);
        let since = at("2026-03-20T00:00:00Z");
        let good = since + SignedDuration::from_secs(good_s);
        let known = Known { schedule: Some(&schedule), last_good_at: Some(good), since, paused: false };
        let times = schedule.between(since, since + SignedDuration::from_hours(24 * 120), 4000);
        let first = times
            .windows(2)
            .filter(|pair| good + SignedDuration::from_secs(60) < pair[0])
            .map(|pair| {
                let tenth = pair[1].duration_since(pair[0]).as_secs() / 10;
                pair[0] + SignedDuration::from_secs(tenth.clamp(3600, 24 * 3600))
            })
            .min();
        let now = since + SignedDuration::from_hours(24 * 110);
        prop_assert_eq!(standing(&Objective::default(), known, now), Standing::Overdue { since: first.unwrap() });
    }

    #[test]
    fn a_newer_archive_never_makes_a_plan_later(cron in 0..CRONS.len(), older in 0i64..10_000_000, by in 0i64..1_000_000) {
        let schedule = schedule(CRONS[cron]);
        let since = at("2026-01-01T00:00:00Z");
        let due = |s| {
            let last_good_at = Some(since + SignedDuration::from_secs(s));
            let known = Known { schedule: Some(&schedule), last_good_at, since, paused: false };
            match standing(&Objective::default(), known, since) {
                Standing::InTime { until } => until,
                other => panic!("{other:?}"),
            }
        };
        prop_assert!(due(older) <= due(older + by));
    }
}

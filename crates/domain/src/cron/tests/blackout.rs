//! Windows in which nothing runs.

use super::*;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, civil};
use proptest::prelude::*;
use serde_json::json;

fn weekly(days: &[Day], from: &str, to: &str) -> Window {
    Window::Weekly { days: days.to_vec(), from: from.into(), to: to.into(), reason: String::new() }
}

fn dated(from: &str, to: &str) -> Window {
    Window::Dated { from: from.into(), to: to.into(), reason: "move".into() }
}

fn paris() -> TimeZone {
    TimeZone::get("Europe/Paris").unwrap()
}

/// Whether the window covers what a clock in Paris shows.
fn covers(window: &Window, local: &str) -> bool {
    let local: civil::DateTime = local.parse().unwrap();
    window.covers(paris().to_timestamp(local).unwrap(), &paris())
}

#[test]
fn a_window_holds_its_beginning_and_not_its_end() {
    let window = weekly(&[], "08:00", "18:00");
    for (local, held) in [("07:59:59", false), ("08:00", true), ("17:59:59", true), ("18:00", false)] {
        assert_eq!(covers(&window, &format!("2026-05-06T{local}")), held, "{local}");
    }
}

#[test]
fn a_window_past_midnight_belongs_to_the_day_on_which_it_begins() {
    // 2026-05-08 is a Friday.
    let window = weekly(&[Day::Friday], "22:00", "06:00");
    for (local, held) in [
        ("2026-05-08T05:00", false),
        ("2026-05-08T22:00", true),
        ("2026-05-09T05:59", true),
        ("2026-05-09T06:00", false),
        ("2026-05-09T23:00", false),
    ] {
        assert_eq!(covers(&window, local), held, "{local}");
    }
}

#[test]
fn a_whole_day_ends_at_midnight() {
    let window = weekly(&[Day::Friday], "00:00", "24:00");
    assert!(covers(&window, "2026-05-08T00:00") && covers(&window, "2026-05-08T23:59:59"));
    assert!(!covers(&window, "2026-05-07T23:59:59") && !covers(&window, "2026-05-09T00:00"));
}

#[test]
fn a_doubled_hour_is_covered_both_times() {
    let window = weekly(&[], "02:15", "02:45");
    for minutes in [15, 30, 75, 90] {
        assert!(window.covers(at("2026-10-25T00:00:00Z") + SignedDuration::from_mins(minutes), &paris()));
    }
    for minutes in [0, 14, 45, 60, 74, 105] {
        assert!(!window.covers(at("2026-10-25T00:00:00Z") + SignedDuration::from_mins(minutes), &paris()));
    }
}

#[test]
fn a_dated_window_is_in_the_zone_of_the_schedule() {
    let window = dated("2026-12-24T18:00", "2026-12-27");
    assert!(!covers(&window, "2026-12-24T17:59") && covers(&window, "2026-12-24T18:00"));
    assert!(covers(&window, "2026-12-26T23:59") && !covers(&window, "2026-12-27T00:00"));
    // From the end of the gap on; up to the second time that the clock shows 02:30.
    let window = dated("2026-03-29T02:30", "2026-10-25T02:30");
    assert!(
        !window.covers(at("2026-03-29T00:59:59Z"), &paris())
            && window.covers(at("2026-03-29T01:00:00Z"), &paris())
    );
    assert!(
        window.covers(at("2026-10-25T01:29:59Z"), &paris())
            && !window.covers(at("2026-10-25T01:30:00Z"), &paris())
    );
}

#[test]
fn the_next_open_time_is_behind_the_window() {
    let mut spec = spec("0 * * * *", "Europe/Paris");
    spec.blackout = vec![weekly(&[Day::Friday], "22:00", "06:00"), dated("2026-05-09", "2026-05-10T12:30")];
    let schedule = spec.parse().unwrap();
    assert_eq!(schedule.next_open(at("2026-05-08T20:00:00Z")), Some(at("2026-05-10T11:00:00Z")));
    assert_eq!(schedule.next(at("2026-05-08T20:00:00Z")), Some(at("2026-05-08T21:00:00Z")));
}

/// At the end of the first pass the wall goes back to before the beginning of the window.
#[test]
fn a_time_of_the_second_pass_before_the_window_is_open() {
    let mut spec = spec("3,30 * * * *", "Europe/Paris");
    spec.blackout = vec![weekly(&[], "02:05", "04:00")];
    let next = spec.parse().unwrap().next_open(at("2026-10-25T00:10:00Z"));
    assert_eq!(next, Some(at("2026-10-25T01:03:00Z")));
}

#[test]
fn windows_that_are_wrong_say_where() {
    let wrong = |windows: serde_json::Value| {
        let spec: ScheduleSpec =
            serde_json::from_value(json!({"cron": "@hourly", "blackout": windows})).unwrap();
        spec.problems().into_iter().map(|problem| problem.field).collect::<Vec<_>>()
    };
    let right = json!({"kind": "weekly", "from": "08:00", "to": "18:00"});
    assert_eq!(wrong(json!([right])), [""; 0]);
    assert_eq!(
        wrong(json!([right, {"kind": "weekly", "from": "24:00", "to": "8"}])),
        ["blackout[1].from", "blackout[1].to"]
    );
    assert_eq!(wrong(json!([{"kind": "weekly", "from": "08:00", "to": "08:00"}])), ["blackout[0].to"]);
    assert_eq!(
        wrong(json!([{"kind": "dated", "from": "2026-12-24", "to": "2026-12-24", "reason": "r"}])),
        ["blackout[0].to"]
    );
    assert_eq!(
        wrong(json!([{"kind": "dated", "from": "2026-12-24", "to": "2026-12-25", "reason": " "}])),
        ["blackout[0].reason"]
    );
    for instant in ["2026-12-24T00:00Z", "2026-12-24T00:00-01:00", "tomorrow", "2026-02-30"] {
        let window = json!({"kind": "dated", "from": instant, "to": "2027-01-01", "reason": "r"});
        assert_eq!(wrong(json!([window])), ["blackout[0].from"], "{instant}");
    }
    assert_eq!(wrong(json!(vec![right; 51])), ["blackout"]);
}

#[test]
fn a_plan_that_would_never_run_is_refused() {
    let problems = |cron: &str, windows: Vec<Window>| {
        let mut spec = spec(cron, "Europe/Paris");
        spec.blackout = windows;
        spec.problems().into_iter().map(|problem| problem.field).collect::<Vec<_>>()
    };
    assert_eq!(problems("0 3 * * *", vec![weekly(&[], "02:00", "04:00")]), ["blackout"]);
    assert_eq!(problems("* * * * *", vec![weekly(&[], "00:00", "24:00")]), ["blackout"]);
    assert_eq!(
        problems("0 3 * * *", vec![weekly(&[], "00:00", "12:00"), weekly(&[], "12:00", "24:00")]),
        ["blackout"]
    );
    assert_eq!(problems("0 0 3 * * * 2027", vec![dated("2026-12-01", "2028-02-01")]), ["blackout"]);
    let but_sunday = [Day::Monday, Day::Tuesday, Day::Wednesday, Day::Thursday, Day::Friday, Day::Saturday];
    assert_eq!(problems("0 3 * * *", vec![weekly(&but_sunday, "02:00", "04:00")]), [""; 0]);
    assert_eq!(
        problems("0 3 13 * *", vec![weekly(&but_sunday, "00:00", "24:00")]),
        [""; 0],
        "some 13th is a Sunday"
    );
    // More times a night than are looked past one by one.
    assert_eq!(problems("* * * * * *", vec![weekly(&[], "00:00", "23:59")]), [""; 0]);
}

proptest! {
    /// A window covers an instant when a clock on the wall is in it, however the clocks change.
    #[test]
    fn a_weekly_window_is_what_the_wall_shows(
        from in 0i32..1440, to in 0i32..1440, friday in any::<bool>(), second in 0i64..31_536_000, zone in 0usize..4,
    ) {
        prop_assume!(from != to);
        let zone = ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "America/Nuuk"][zone];
        let zone = TimeZone::get(zone).unwrap();
        let clock = |m: i32| format!("{:02}:{:02}", m / 60, m % 60);
        let window = weekly(if friday { &[Day::Friday] } else { &[] }, &clock(from), &clock(to));
        // Somewhere in the year, and close to a change of the clocks.
        let anywhere = at("2026-01-01T00:00:00Z") + SignedDuration::from_secs(second);
        let change = zone.following(anywhere).next().unwrap().timestamp();
        for instant in [anywhere, change + SignedDuration::from_secs(second % 10_800 - 5400)] {
            let wall = zone.to_datetime(instant);
            let minute = i32::from(wall.hour()) * 60 + i32::from(wall.minute());
            let on = |days_ago: i64| {
                let day = wall.date().checked_sub(jiff::Span::new().days(days_ago)).unwrap();
                !friday || day.weekday() == civil::Weekday::Friday
            };
            let expected = if from < to { on(0) && (from..to).contains(&minute) }
                else { (on(0) && minute >= from) || (on(1) && minute < to) };
            prop_assert_eq!(window.covers(instant, &zone), expected, "{:?} {}", window, wall);
            // All up to the end that it names is covered.
            if let Some(end) = window.covers_until(instant, &zone) {
                prop_assert!(end > instant);
                let length = end.duration_since(instant).as_secs();
                for part in 0..16 {
                    prop_assert!(window.covers(instant + SignedDuration::from_secs(length * part / 16), &zone));
                }
            }
        }
    }

    /// The open times are the times without those that a window covers.
    #[test]
    fn open_times_are_all_times_that_no_window_covers(from in 0i32..24, to in 0i32..24, day in 0i64..365) {
        prop_assume!(from != to);
        let mut spec = spec("*/20 1-3,12,23 * * *", "Europe/Paris");
        spec.blackout = vec![weekly(&[Day::Sunday, Day::Saturday], &format!("{from:02}:10"), &format!("{to:02}:10"))];
        let schedule = spec.parse().unwrap();
        let after = at("2026-01-01T00:00:00Z") + SignedDuration::from_hours(24 * day);
        let all = schedule.between(after, after + SignedDuration::from_hours(72), usize::MAX);
        let expected: Vec<_> = all.into_iter().filter(|t| schedule.swallowed_by(*t).is_none()).collect();
        let open = std::iter::successors(schedule.next_open(after), |t| schedule.next_open(*t));
        prop_assert_eq!(open.take(expected.len()).collect::<Vec<_>>(), expected);
    }
}

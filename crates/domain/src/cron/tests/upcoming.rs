//! The next runs as people are shown them.

use super::*;

fn shown(cron: &str, zone: &str, from: &str, n: usize) -> Vec<(String, Option<ClockChange>)> {
    schedule(cron, zone).upcoming(at(from), n).into_iter().map(|run| (run.local, run.note)).collect()
}

#[test]
fn a_run_says_that_its_time_does_not_exist() {
    assert_eq!(
        shown("30 2 * * *", "Europe/Paris", "2026-03-27T12:00:00Z", 3),
        [
            ("2026-03-28T02:30:00+01:00".into(), None),
            ("2026-03-29T03:00:00+02:00".into(), Some(ClockChange::Gap)),
            ("2026-03-30T02:30:00+02:00".into(), None),
        ]
    );
}

#[test]
fn a_run_says_that_its_time_comes_twice_and_the_next_one_that_the_offset_is_another() {
    assert_eq!(
        shown("30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00Z", 3),
        [
            ("2026-10-25T02:30:00+02:00".into(), Some(ClockChange::Twice)),
            ("2026-10-26T02:30:00+01:00".into(), Some(ClockChange::Changed)),
            ("2026-10-27T02:30:00+01:00".into(), None),
        ]
    );
}

#[test]
fn a_plan_of_every_hour_is_told_of_the_change_alone() {
    assert_eq!(
        shown("30 * * * *", "Europe/Paris", "2026-10-25T00:00:00Z", 3),
        [
            ("2026-10-25T02:30:00+02:00".into(), None),
            ("2026-10-25T02:30:00+01:00".into(), Some(ClockChange::Changed)),
            ("2026-10-25T03:30:00+01:00".into(), None),
        ]
    );
}

#[test]
fn runs_in_a_blackout_are_shown_with_the_window_that_swallows_them() {
    let mut spec = spec("0 6,20 * * *", "Europe/Paris");
    let window = |from: &str, to: &str| Window::Weekly {
        days: vec![],
        from: from.into(),
        to: to.into(),
        reason: String::new(),
    };
    spec.blackout = vec![window("12:00", "13:00"), window("18:00", "22:00")];
    let runs = spec.parse().unwrap().upcoming(at("2026-05-01T00:00:00Z"), 2);
    assert_eq!(runs.iter().map(|run| run.swallowed_by).collect::<Vec<_>>(), [None, Some(1)]);
}

#[test]
fn a_schedule_that_ends_shows_what_is_left() {
    assert_eq!(shown("0 0 3 30 12 * 2026", "UTC", "2026-01-01T00:00:00Z", 5).len(), 1);
}

//! What happens when the clocks change, told one by one.

use super::*;
use proptest::prelude::*;

#[test]
fn a_time_in_the_spring_gap_runs_once_right_after_it() {
    // Berlin, 2026-03-29: 02:00 to 03:00 do not exist.
    assert_eq!(
        times("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
}

#[test]
fn a_time_in_the_autumn_fold_runs_once() {
    // Berlin, 2026-10-25: 02:00 to 03:00 come twice.
    assert_eq!(
        times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
}

/// croner takes two hours for an interval, loses the one in the gap, and runs the one in the fold twice.
#[test]
fn a_time_of_several_is_neither_lost_in_spring_nor_doubled_in_autumn() {
    assert_eq!(
        times("30 2,14 * * *", "Europe/Berlin", "2026-03-28T13:30:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-29T12:30:00Z"]
    );
    assert_eq!(
        times("30 2,14 * * *", "Europe/Berlin", "2026-10-24T12:30:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-25T13:30:00Z"]
    );
}

/// In Nuuk the clocks go from Saturday 23:00 to Sunday 00:00. croner looks whether Sunday is asked for, and leaves the week out.
#[test]
fn a_gap_that_crosses_midnight_takes_no_day_away() {
    assert_eq!(
        times("30 23 * * SAT", "America/Nuuk", "2026-03-22T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-04-05T00:30:00Z"]
    );
}

#[test]
fn a_day_that_a_country_left_out_runs_when_the_next_one_begins() {
    // Samoa had no 30th of December 2011.
    assert_eq!(
        times("0 12 * * *", "Pacific/Apia", "2011-12-29T22:00:00Z", 2),
        ["2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"]
    );
}

#[test]
fn several_times_in_a_gap_and_the_one_at_its_end_are_one_run() {
    assert_eq!(
        times("*/20 1-3 * * *", "Europe/Berlin", "2026-03-29T00:40:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z"]
    );
}

#[test]
fn a_plan_of_every_hour_goes_on_through_both_passes_of_the_fold() {
    assert_eq!(
        times("30 * * * *", "Europe/Berlin", "2026-10-24T23:00:00Z", 4),
        ["2026-10-24T23:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"]
    );
    assert_eq!(
        times("*/15 0-23 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", 3),
        ["2026-10-25T01:00:00Z", "2026-10-25T01:15:00Z", "2026-10-25T01:30:00Z"]
    );
}

#[test]
fn a_plan_of_every_hour_makes_up_for_nothing_in_the_gap() {
    assert_eq!(
        times("30 * * * *", "Europe/Berlin", "2026-03-28T23:00:00Z", 3),
        ["2026-03-28T23:30:00Z", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]
    );
}

#[test]
fn half_an_hour_is_a_gap_and_a_fold_as_well() {
    // Lord Howe, 2026-04-05: 01:30 to 02:00 come twice; 2026-10-04: 02:00 to 02:30 do not exist.
    assert_eq!(
        times("45 1,9 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", 2),
        ["2026-04-04T14:45:00Z", "2026-04-04T23:15:00Z"]
    );
    assert_eq!(
        times("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", 1),
        ["2026-10-03T15:30:00Z"]
    );
}

#[test]
fn a_search_that_begins_in_the_second_pass_does_not_go_back_to_the_first() {
    assert_eq!(times("*/10 2 * * *", "Europe/Berlin", "2026-10-25T01:05:00Z", 1), ["2026-10-26T01:00:00Z"]);
}

#[test]
fn a_time_that_never_comes_is_none() {
    for cron in ["0 0 30 2 *", "0 * 30 2 *"] {
        assert_eq!(schedule(cron, "Europe/Berlin").next(at("2026-01-01T00:00:00Z")), None, "{cron}");
    }
}

proptest! {
    #[test]
    fn times_strictly_increase(minute in 0u8..60, hour in 0u8..24, start in 1_767_225_600_i64..1_798_761_600) {
        for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Nuuk"] {
            for cron in [
                format!("{minute} {hour} * * *"),
                format!("*/{} * * * *", minute.max(1)),
                format!("*/{} {hour},2 * * *", minute.max(1)),
            ] {
                let schedule = schedule(&cron, zone);
                let mut at = Timestamp::from_second(start).unwrap();
                for _ in 0..5 {
                    let next = schedule.next(at).unwrap();
                    prop_assert!(next > at);
                    at = next;
                }
            }
        }
    }

    /// What is next does not depend on where one looks from, also within a second.
    #[test]
    fn there_is_nothing_between_an_instant_and_its_next(start in 1_767_225_600_000_i64..1_798_761_600_000, part in 0i64..1000) {
        for cron in ["30 2,14 * * *", "*/20 1-3 * * *", "7 * * * *", "15 30 23 * * 6"] {
            let schedule = schedule(cron, "America/Nuuk");
            let start = Timestamp::from_millisecond(start).unwrap();
            let next = schedule.next(start).unwrap();
            let gap_ms = next.as_millisecond() - start.as_millisecond();
            let within = Timestamp::from_millisecond(start.as_millisecond() + (gap_ms - 1) * part / 1000).unwrap();
            prop_assert_eq!(schedule.next(within), Some(next));
        }
    }
}

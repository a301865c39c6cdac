#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
//! Limits that are crossed and cleared, and disks that fill up.

use super::*;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use strum::IntoEnumIterator;

/// What people are told of each sample.
fn told(threshold: &Threshold, samples: &[f64]) -> Vec<Option<Transition>> {
    let mut state = State::default();
    let mut told = Vec::new();
    for sample in samples {
        let (next, transition) = state.after(*sample, threshold);
        state = next;
        told.push(transition);
    }
    told
}

const CROSSED: Option<Transition> = Some(Transition::Crossed);
const CLEARED: Option<Transition> = Some(Transition::Cleared);

#[test]
fn a_processor_that_is_busy_for_a_moment_is_no_news() {
    assert_eq!(told(&Measure::Cpu.usual(), &[99.0, 99.0, 10.0, 99.0, 99.0, 89.9]), [None; 6]);
}

#[test]
fn what_stays_high_is_told_once_and_once_when_it_is_well_again() {
    assert_eq!(
        told(&Measure::Memory.usual(), &[90.0, 95.0, 90.0, 99.0, 86.0, 95.0, 85.0, 84.0, 90.0]),
        [None, None, CROSSED, None, None, None, CLEARED, None, None]
    );
}

#[test]
fn a_disk_is_told_of_at_once() {
    assert_eq!(told(&Measure::Disk.usual(), &[84.9, 85.0, 80.1, 80.0]), [None, CROSSED, None, CLEARED]);
}

#[test]
fn what_was_not_measured_changes_nothing() {
    assert_eq!(
        told(&Measure::Cpu.usual(), &[95.0, 95.0, f64::NAN, 95.0, f64::NAN]),
        [None, None, None, CROSSED, None]
    );
}

#[test]
fn thresholds_that_are_wrong_say_where() {
    let wrong = |limit_percent, margin_percent, samples| {
        let problems = Threshold { limit_percent, margin_percent, samples }.problems();
        problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
    };
    assert_eq!(wrong(0, 0, 0), ["limit_percent", "margin_percent", "samples"]);
    assert_eq!(wrong(101, 5, 101), ["limit_percent", "samples"]);
    assert_eq!(wrong(5, 5, 1), ["margin_percent"]);
    for measure in Measure::iter() {
        assert_eq!(measure.usual().problems(), [], "{measure}");
    }
}

#[test]
fn a_threshold_of_a_limit_alone_has_the_usual_rest() {
    let threshold: Threshold = serde_json::from_str(r#"{"limit_percent":70}"#).unwrap();
    assert_eq!(threshold, Threshold { limit_percent: 70, margin_percent: 5, samples: 3 });
}

proptest! {
    #[test]
    fn crossed_and_cleared_take_turns_and_are_deserved(
        samples in proptest::collection::vec(0.0f64..100.0, 0..200), limit in 2u8..100, margin in 0u8..20, n in 1u8..6,
    ) {
        let threshold = Threshold { limit_percent: limit, margin_percent: margin.min(limit - 1), samples: n };
        let told = told(&threshold, &samples);
        let mut raised = false;
        for (i, transition) in told.iter().enumerate() {
            match *transition {
                CROSSED => {
                    prop_assert!(!raised && i + 1 >= usize::from(n));
                    let row = &samples[i + 1 - usize::from(n)..=i];
                    prop_assert!(row.iter().all(|s| *s >= f64::from(limit)));
                    raised = true;
                }
                CLEARED => {
                    prop_assert!(raised && samples[i] <= f64::from(limit - threshold.margin_percent));
                    raised = false;
                }
                None if raised => prop_assert!(samples[i] > f64::from(limit - threshold.margin_percent)),
                None => {}
            }
        }
    }

    /// A value that swings by less than the margin is told of once at most.
    #[test]
    fn what_swings_within_the_margin_is_told_once(samples in proptest::collection::vec(85.1f64..95.0, 0..200)) {
        prop_assert!(told(&Measure::Cpu.usual(), &samples).iter().flatten().count() <= 1);
    }
}

const TB: u64 = 1_000_000_000_000;

fn start() -> Timestamp {
    "2026-05-01T00:00:00Z".parse().unwrap()
}

/// Samples one a quarter of an hour; `used` says how many bytes there are after so many seconds.
fn samples(n: i64, used: impl Fn(i64) -> i64) -> Vec<DiskSample> {
    let sample = |i| DiskSample {
        at: start() + SignedDuration::from_mins(15 * i),
        used_bytes: used(900 * i).unsigned_abs(),
        total_bytes: TB,
    };
    (0..n).map(sample).collect()
}

fn unknown(why: NoForecast) -> Forecast {
    Forecast::Unknown { why }
}

#[test]
fn a_disk_that_fills_steadily_is_full_when_the_line_says() {
    // 100 kB a second from half full: the other half takes 5,000,000 seconds from the beginning.
    let samples = samples(200, |s| 500_000_000_000 + 100_000 * s);
    let Forecast::Full { at } = forecast(&samples) else { panic!("{:?}", forecast(&samples)) };
    let error_s = at.duration_since(start() + SignedDuration::from_secs(5_000_000)).as_secs().abs();
    assert!(error_s < 60, "{at}");
}

#[test]
fn daily_ups_and_downs_do_not_hide_the_trend() {
    let swing = |s: i64| if s % 86_400 < 43_200 { 2_000_000_000 } else { 0 };
    let samples = samples(96 * 14, |s| 500_000_000_000 + 100_000 * s + swing(s));
    let Forecast::Full { at } = forecast(&samples) else { panic!("{:?}", forecast(&samples)) };
    let error_s = at.duration_since(start() + SignedDuration::from_secs(5_000_000)).as_secs().abs();
    assert!(error_s < 86_400, "{at}");
}

#[test]
fn there_is_no_forecast_without_a_reason_for_it() {
    let growing = |s: i64| 500_000_000_000 + 100_000 * s;
    assert_eq!(forecast(&[]), unknown(NoForecast::TooFewSamples));
    assert_eq!(
        forecast(&samples(96, growing)),
        unknown(NoForecast::TooFewSamples),
        "a quarter of an hour less than a day"
    );
    assert!(matches!(forecast(&samples(97, growing)), Forecast::Full { .. }));
    assert_eq!(forecast(&samples(200, |s| 500_000_000_000 - 100_000 * s)), unknown(NoForecast::NotGrowing));
    assert_eq!(forecast(&samples(200, |_| 500_000_000_000)), unknown(NoForecast::NotGrowing));
    assert_eq!(forecast(&samples(200, |s| 500_000_000_000 + s)), unknown(NoForecast::FarAway));
    let wild = |s: i64| 500_000_000_000 + 1000 * s + (s / 900 % 2) * 300_000_000_000;
    assert_eq!(forecast(&samples(200, wild)), unknown(NoForecast::Noisy));
}

#[test]
fn a_disk_that_was_grown_begins_anew() {
    let mut samples = samples(200, |s| 500_000_000_000 + 100_000 * s);
    for sample in samples.iter_mut().skip(150) {
        sample.total_bytes *= 2;
    }
    assert_eq!(forecast(&samples), unknown(NoForecast::TooFewSamples));
}

#[test]
fn a_full_disk_is_full_now() {
    let full = DiskSample { at: start(), used_bytes: TB, total_bytes: TB };
    assert_eq!(forecast(&[full]), Forecast::Full { at: start() });
}

proptest! {
    #[test]
    fn a_forecast_is_never_in_the_past_and_never_fails(
        used in proptest::collection::vec(0..=TB, 0..150), minutes in proptest::collection::vec(0i64..600, 150),
    ) {
        let mut at = start();
        let samples: Vec<_> = used.iter().zip(minutes).map(|(used_bytes, minutes)| {
            at += SignedDuration::from_mins(minutes);
            DiskSample { at, used_bytes: *used_bytes, total_bytes: TB }
        }).collect();
        if let Forecast::Full { at } = forecast(&samples) {
            prop_assert!(at >= samples.last().unwrap().at);
        }
    }

    #[test]
    fn what_fills_faster_is_full_sooner(slow in 200_000i64..1_000_000, more in 1_000i64..500_000) {
        let full = |rate: i64| match forecast(&samples(120, |s| 500_000_000_000 + rate * s)) {
            Forecast::Full { at } => at,
            other => panic!("{other:?}"),
        };
        prop_assert!(full(slow + more) < full(slow));
    }
}

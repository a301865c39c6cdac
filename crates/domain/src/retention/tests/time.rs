//! What would have been, and what will be.

use super::*;
use crate::cron::{Schedule, ScheduleSpec};
use jiff::SignedDuration;

fn schedule(cron: &str, zone: &str) -> Schedule {
    let spec: ScheduleSpec =
        serde_json::from_value(serde_json::json!({"cron": cron, "time_zone": zone})).unwrap();
    spec.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn remains(replay: &Replay) -> Vec<&str> {
    replay.archives.iter().map(|remains| remains.name.as_str()).collect()
}

#[test]
fn weeks_years_and_quarters_end_where_the_zone_says() {
    let rules = |policy: Policy| Policy { time_zone: Some("Europe/Paris".into()), ..policy }.parse().unwrap();
    let kept = |policy: Policy, times: [&str; 3]| -> Vec<bool> {
        let times = times.map(at);
        rules_keep(&rules(policy), &times, now()).iter().map(Option::is_some).collect()
    };
    let two = Count::Number(2);
    // In Paris it is the 1st of January an hour before UTC has it.
    let new_year = ["2025-12-31T23:00:00Z", "2025-12-31T22:59:59Z", "2025-12-31T22:00:00Z"];
    assert_eq!(kept(Policy { keep_yearly: two, ..Policy::default() }, new_year), [true, true, false]);
    assert_eq!(kept(Policy { keep_quarterly: two, ..Policy::default() }, new_year), [true, true, false]);
    // 2025-12-29 is the Monday of 2026's first week.
    let week = ["2026-01-04T22:59:59Z", "2025-12-28T23:00:00Z", "2025-12-28T22:59:59Z"];
    assert_eq!(kept(Policy { keep_weekly: two, ..Policy::default() }, week), [true, false, true]);
    // The hour that comes twice is one; borg sees it so too.
    let fold = ["2025-10-26T01:30:00Z", "2025-10-26T00:30:00Z", "2025-10-25T23:59:59Z"];
    assert_eq!(kept(Policy { keep_hourly: two, ..Policy::default() }, fold), [true, false, true]);
}

#[test]
fn a_hundred_thousand_archives_are_decided_on_at_once() {
    // Each minute, in a zone with changes of clocks, on top of one another; the bench prints how long it takes in release.
    let candidates: Vec<Candidate> = (0..100_000_u32)
        .map(|n| {
            let made_at = now() - SignedDuration::from_mins(i64::from(n));
            let base = (n % 50 != 49).then(|| id(u128::from(n) + 1));
            Candidate { base, ..Candidate::new(id(u128::from(n)), format!("a{n}"), made_at) }
        })
        .collect();
    let policy = Policy {
        keep_hourly: Count::All,
        keep_weekly: Count::Number(52),
        time_zone: Some("Europe/Paris".into()),
        ..keep_daily(7)
    };
    let decision = decided(&policy, &candidates);
    assert_eq!(decision.verdicts.len(), 100_000);
    // The newest of an hour, and what it was made on down to the full one: in each hour 49 minutes at most.
    let kept = decision.staying().count();
    assert!((100_000 / 60..100_000).contains(&kept), "{kept}");
}

#[test]
fn a_replay_shows_what_the_policy_would_have_left() {
    let rules = Policy { keep_weekly: Count::Number(2), ..keep_daily(3) }.parse().unwrap();
    let replayed = replay(&rules, &daily(60), days_ago(60).made_at, now());
    // 2026-06-30 is a Tuesday: three days, then the Sundays of two weeks before. What a week was kept for had to be there
    // all the time since, which a single decision over everything does not see.
    assert_eq!(remains(&replayed), ["a0", "a1", "a2", "a9", "a16"]);
    assert_eq!((replayed.deleted, replayed.added_bytes, replayed.cut_at), (55, Some(5000), None));
    let gap = replayed.worst_gap.unwrap();
    assert_eq!(gap, Gap { from: days_ago(9).made_at, to: days_ago(2).made_at, duration_s: 7 * DAY });
}

#[test]
fn a_replay_begins_with_what_was_there_and_knows_of_a_proof_when_it_came() {
    let rules = Policy { require_verified: true, ..keep_daily(1) }.parse().unwrap();
    let mut candidates = daily(6);
    let from = days_ago(3).made_at + SignedDuration::from_hours(1);
    assert_eq!(replay(&rules, &candidates, from, now()).archives.len(), 6, "nothing was ever proved");
    // Proved in the evening: from then on only it is left; the next one waits for its own proof.
    candidates[2].proof = Proof::Proved { at: candidates[2].made_at + SignedDuration::from_hours(6) };
    let replayed = replay(&rules, &candidates, from, now());
    assert_eq!((remains(&replayed), replayed.deleted), (vec!["a0", "a1", "a2"], 3));
    // By the end, two days later, the proof of the newest says nothing about the time before.
    candidates[0].proof = Proof::Proved { at: now() + SignedDuration::from_hours(1) };
    assert_eq!(replay(&rules, &candidates, from, now()).archives.len(), 3);
    let replayed = replay(&rules, &candidates, from, now() + SignedDuration::from_hours(2));
    assert_eq!(remains(&replayed), ["a0"]);
    let earlier = replay(&rules, &candidates, from, days_ago(4).made_at);
    assert_eq!(remains(&earlier), ["a4", "a5"], "what came later is not looked at");
}

#[test]
fn a_replay_names_the_days_with_a_clock_change() {
    let rules = Policy { time_zone: Some("Europe/Berlin".into()), ..keep_daily(3) }.parse().unwrap();
    let changes = |from: &str, until: &str| -> Vec<(String, i32)> {
        let replayed = replay(&rules, &[], at(from), at(until));
        replayed.clock_changes.iter().map(|change| (change.day.to_string(), change.forward_s)).collect()
    };
    let both = [("2026-03-29".to_owned(), 3600), ("2026-10-25".to_owned(), -3600)];
    assert_eq!(changes("2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z"), both);
    assert_eq!(changes("2026-03-29T01:00:00Z", "2026-10-25T00:59:59Z"), both[..1]);
    assert_eq!(changes("2026-03-29T01:00:01Z", "2026-10-25T01:00:00Z"), both[1..]);
    let utc = keep_daily(3).parse().unwrap();
    assert_eq!(replay(&utc, &[], Timestamp::MIN, Timestamp::MAX).clock_changes, []);
}

#[test]
fn a_year_ahead_is_known_by_month() {
    let policy = Policy { keep_monthly: Count::Number(4), ..keep_daily(7) };
    let rules = policy.parse().unwrap();
    let until = at("2027-06-30T12:00:00Z");
    let simulated = simulate(&rules, &schedule("0 12 * * *", "UTC"), &daily(3), now(), until);
    assert_eq!((simulated.runs, simulated.cut_at, simulated.added_bytes_each), (365, None, Some(1000)));
    assert_eq!(simulated.points.len(), 12);
    let first = simulated.points[0];
    // Seven days, the last of June, and the oldest of all while there are fewer than four months; July counts as a day.
    assert_eq!(
        (first.month.to_string().as_str(), first.archives, first.added_bytes),
        ("2026-07-01", 9, Some(9000))
    );
    let last = simulated.points[11];
    assert_eq!((last.month.to_string().as_str(), last.at, last.archives), ("2027-06-01", until, 11));
}

#[test]
fn a_plan_that_waits_for_proofs_is_simulated_as_if_they_came() {
    let rules = Policy { require_verified: true, ..keep_daily(2) }.parse().unwrap();
    let until = at("2026-07-30T12:00:00Z");
    let simulated = simulate(&rules, &schedule("@daily", "UTC"), &daily(3), now(), until);
    assert_eq!(simulated.points.last().unwrap().archives, 2);
    let unknown = [Candidate { added_bytes: None, ..days_ago(1) }];
    let simulated = simulate(&rules, &schedule("@daily", "UTC"), &unknown, now(), until);
    assert_eq!(simulated.points.last().unwrap().added_bytes, None);
}

#[test]
fn a_schedule_of_every_minute_is_cut_and_says_so() {
    let rules = Policy { keep_last: Count::Number(5), ..Policy::default() }.parse().unwrap();
    let until = at("2027-06-30T12:00:00Z");
    let simulated = simulate(&rules, &schedule("* * * * *", "UTC"), &[], now(), until);
    assert_eq!(simulated.runs, 50_000);
    assert_eq!(simulated.cut_at, Some(now() + SignedDuration::from_mins(50_001)));
    // A policy that keeps all of them is more work still, and is cut earlier.
    let rules = Policy { keep_last: Count::All, ..Policy::default() }.parse().unwrap();
    let simulated = simulate(&rules, &schedule("* * * * *", "UTC"), &[], now(), until);
    assert!((1000..50_000).contains(&simulated.runs), "{}", simulated.runs);
    assert_eq!(simulated.points.last().unwrap().archives, simulated.runs);
    let runs = i64::try_from(simulated.runs).unwrap();
    assert_eq!(simulated.cut_at, Some(now() + SignedDuration::from_mins(runs + 1)));
}

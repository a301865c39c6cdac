//! What can go wrong, one after the other, and what is kept all the same.

use super::*;
use jiff::SignedDuration;

#[test]
fn every_archive_has_its_reasons_in_words() {
    let policy = Policy {
        keep_last: Count::Number(2),
        keep_daily: Count::Number(3),
        keep_yearly: Count::All,
        ..keep_daily(3)
    };
    let mut candidates = daily(7);
    let morning = days_ago(3).made_at - SignedDuration::from_hours(5);
    candidates.push(Candidate::new(id(99), "morning", morning));
    candidates[6].holds.push(Hold {
        name: "audit-2026".into(),
        by: "anna".into(),
        reason: "audit".into(),
        until: Some("2026-12-31T00:00:00Z".parse().unwrap()),
    });
    let decision = decided(&policy, &candidates);
    assert_eq!(words(&decision, "a0"), "last 1 of 2; newest good archive; minimum 1 of 1");
    assert_eq!(words(&decision, "a1"), "last 2 of 2");
    assert_eq!(words(&decision, "a2"), "daily 1 of 3");
    assert_eq!(words(&decision, "a3"), "daily 2 of 3");
    assert_eq!(words(&decision, "morning"), "goes: covered by daily archive a3");
    assert_eq!(words(&decision, "a5"), "goes: covered by yearly archive a0");
    assert_eq!(words(&decision, "a6"), "held by anna until 2026-12-31: audit");
    assert_eq!(words(&decided(&keep_daily(2), &candidates), "a5"), "goes: no rule keeps it");
    let decision = decided(&Policy { keep_weekly: Count::Number(9), ..keep_daily(2) }, &daily(20));
    assert_eq!(words(&decision, "a19"), "weekly 4 of 9, as the oldest");
    let decision = decided(&Policy { keep_within: Some("2d".into()), ..keep_daily(1) }, &daily(5));
    assert_eq!(words(&decision, "a1"), "within 2d");
    assert_eq!(words(&decision, "a2"), "daily 1 of 1");
    let decision = decided(&Policy { keep_monthly: Count::All, minimum: 3, ..keep_daily(1) }, &daily(40));
    assert_eq!(words(&decision, "a30"), "monthly 1 of all");
    assert_eq!(words(&decision, "a2"), "minimum 3 of 3");
}

#[test]
fn backups_that_have_stopped_lose_nothing_more_than_the_policy_says_and_never_the_last() {
    let old: Vec<_> = (200..210).map(days_ago).collect();
    let decision = decided(&Policy::of_days(30), &old);
    assert_eq!(names(decision.staying()), ["a200"]);
    assert_eq!(words(&decision, "a200"), "newest good archive; minimum 1 of 1");
    let decision = decided(&Policy { minimum: 3, ..Policy::of_days(30) }, &old);
    assert_eq!(names(decision.staying()), ["a200", "a201", "a202"]);
}

#[test]
fn an_incomplete_archive_pushes_no_good_one_out() {
    let mut candidates = daily(4);
    // Half an hour later on each of the last two days, a run that was cut off.
    for n in 0..2 {
        let made_at = candidates[n].made_at + SignedDuration::from_mins(30);
        let name = format!("half{n}");
        candidates.push(Candidate { complete: false, ..Candidate::new(id(50 + n as u128), name, made_at) });
    }
    let late = now() + SignedDuration::from_hours(1);
    let rules = keep_daily(2).parse().unwrap();
    let decision = decide(&rules, &candidates, &Facts::default(), late);
    assert_eq!(words(&decision, "a0"), "daily 1 of 2; newest good archive; minimum 1 of 1");
    assert_eq!(words(&decision, "a1"), "daily 2 of 2");
    assert_eq!(words(&decision, "half0"), "daily 1 of 2; newest archive");
    assert_eq!(names(decision.going()), ["a2", "a3"]);
}

#[test]
fn a_plan_whose_archives_are_all_incomplete_has_a_history_too() {
    let candidates: Vec<_> =
        daily(9).into_iter().map(|candidate| Candidate { complete: false, ..candidate }).collect();
    let decision = decided(&Policy { minimum: 2, ..keep_daily(4) }, &candidates);
    assert_eq!(names(decision.staying()), ["a0", "a1", "a2", "a3"]);
    assert_eq!(words(&decision, "a1"), "daily 2 of 4; minimum 2 of 2");
}

#[test]
fn a_refuted_archive_is_not_the_newest_good_one() {
    let mut candidates: Vec<_> = (100..104).map(days_ago).collect();
    candidates[1].proof = Proof::Refuted { at: now() };
    candidates[2].proof = Proof::Refuted { at: now() };
    candidates[0].complete = false;
    let decision = decided(&Policy::of_days(30), &candidates);
    assert_eq!(names(decision.staying()), ["a100", "a103"]);
    assert_eq!(words(&decision, "a103"), "newest good archive; minimum 1 of 1");
    assert_eq!(words(&decision, "a100"), "newest archive");
}

#[test]
fn the_last_archive_that_a_drill_has_proved_stays_however_old() {
    let mut candidates = daily(60);
    candidates[50].proof = Proof::Proved { at: now() };
    candidates[55].proof = Proof::Proved { at: now() };
    let decision = decided(&keep_daily(2), &candidates);
    assert_eq!(names(decision.staying()), ["a0", "a1", "a50"]);
    assert_eq!(words(&decision, "a50"), "last archive that a drill has proved");
}

#[test]
fn what_an_archive_was_made_on_stays_as_long_as_the_archive() {
    // A full one each 10 days, and each other one on top of the one before it.
    let mut candidates = daily(40);
    for (days, candidate) in candidates.iter_mut().enumerate() {
        candidate.base = (days % 10 != 9).then(|| id(days as u128 + 1));
    }
    let decision = decided(&keep_daily(1), &candidates);
    assert_eq!(names(decision.staying()), (0..10).map(|n| format!("a{n}")).collect::<Vec<_>>());
    assert_eq!(words(&decision, "a9"), "base of a8");
    // Deletion begins with what was made on others.
    assert_eq!(decision.deletions(), (10..40).map(id).collect::<Vec<_>>());
}

#[test]
fn bases_in_a_circle_or_out_of_sight_are_no_reason_to_hang() {
    let mut candidates = daily(5);
    candidates[0].base = Some(id(3));
    candidates[3].base = Some(id(4));
    candidates[4].base = Some(id(3));
    candidates[1].base = Some(id(1));
    candidates[2].base = Some(id(1234));
    let decision = decided(&keep_daily(1), &candidates);
    assert_eq!(names(decision.staying()), ["a0", "a3", "a4"]);
}

#[test]
fn a_hold_ends_at_its_time_and_without_one_never() {
    let hold = |until: Option<Timestamp>| Hold {
        name: "h".into(),
        by: "anna".into(),
        reason: "audit".into(),
        until,
    };
    let mut candidates = daily(6);
    candidates[3].holds.push(hold(Some(now())));
    candidates[4].holds.push(hold(Some(now() + SignedDuration::from_secs(1))));
    candidates[5].holds.push(hold(None));
    let decision = decided(&keep_daily(1), &candidates);
    assert_eq!(names(decision.staying()), ["a0", "a4", "a5"]);
    assert_eq!(words(&decision, "a4"), "held by anna until 2026-06-30T12:00:01Z: audit");
    assert_eq!(words(&decision, "a5"), "held by anna: audit");
}

#[test]
fn nothing_goes_while_the_newest_runs_fail_but_it_is_shown_what_would() {
    let rules = keep_daily(2).parse().unwrap();
    let decision = decide(&rules, &daily(5), &Facts { failures_in_a_row: 3, ..Facts::default() }, now());
    assert_eq!(decision.gated, Some(Gate::RunsFail { failures_in_a_row: 3 }));
    assert_eq!(decision.deletions(), []);
    assert_eq!(names(decision.going()), ["a2", "a3", "a4"]);
    assert_eq!(decision.freed_bytes(), Some(3000));
    let text = decision.gated.unwrap().to_string();
    assert_eq!(text, "the newest 3 runs failed: nothing goes until one succeeds");
}

#[test]
fn nothing_goes_while_the_newest_is_unverified_when_the_policy_says_so() {
    let policy = Policy { require_verified: true, ..keep_daily(2) };
    let mut candidates = daily(5);
    candidates[1].proof = Proof::Proved { at: now() };
    let gate = decided(&policy, &candidates).gated.unwrap();
    assert_eq!(gate, Gate::NewestUnverified { archive: id(0), name: "a0".into() });
    candidates[0].proof = Proof::Proved { at: now() };
    let decision = decided(&policy, &candidates);
    assert_eq!((decision.gated.clone(), decision.deletions().len()), (None, 3));
}

#[test]
fn nothing_goes_when_a_drill_has_refuted_the_newest_whatever_the_policy_says() {
    let mut candidates = daily(5);
    candidates[0].proof = Proof::Refuted { at: now() };
    let gate = decided(&keep_daily(2), &candidates).gated.unwrap();
    assert_eq!(gate, Gate::NewestRefuted { archive: id(0), name: "a0".into() });
}

#[test]
fn nothing_goes_by_a_clock_that_archives_are_ahead_of() {
    let rules = Policy::of_days(3).parse().unwrap();
    let at = |minutes| now() - SignedDuration::from_mins(minutes);
    assert_eq!(decide(&rules, &daily(9), &Facts::default(), at(10)).gated, None, "clocks differ a little");
    let gate = decide(&rules, &daily(9), &Facts::default(), at(11)).gated.unwrap();
    assert_eq!(gate, Gate::Future { archive: id(0), name: "a0".into(), made_at: now() });
}

#[test]
fn the_space_is_unknown_when_that_of_one_archive_is() {
    let mut candidates = daily(5);
    assert_eq!(decided(&keep_daily(2), &candidates).freed_bytes(), Some(3000));
    candidates[0].added_bytes = None;
    assert_eq!(decided(&keep_daily(2), &candidates).freed_bytes(), Some(3000), "it stays");
    candidates[4].added_bytes = None;
    assert_eq!(decided(&keep_daily(2), &candidates).freed_bytes(), None);
}

#[test]
fn a_stored_list_is_not_acted_on_when_the_world_has_changed() {
    let mut candidates = daily(5);
    let stored = decided(&keep_daily(2), &candidates).deletions();
    assert_eq!(decided(&keep_daily(2), &candidates).objections(&stored), []);
    // One of them is held since, and one is gone already.
    candidates[3].holds.push(Hold {
        name: "h".into(),
        by: "anna".into(),
        reason: "audit".into(),
        until: None,
    });
    candidates.pop();
    let objections = decided(&keep_daily(2), &candidates).objections(&stored);
    let reasons =
        vec![Reason::Held { name: "h".into(), by: "anna".into(), why: "audit".into(), until: None }];
    assert_eq!(
        objections,
        [Objection::Kept { archive: id(3), reasons }, Objection::Unknown { archive: id(4) }]
    );
    let rules = keep_daily(2).parse().unwrap();
    let failing = decide(&rules, &candidates, &Facts { failures_in_a_row: 1, ..Facts::default() }, now());
    assert!(matches!(failing.objections(&stored)[..], [Objection::Gated { .. }]));
}

#[test]
fn an_archive_that_is_listed_twice_is_not_deleted_by_its_other_entry() {
    let mut candidates = daily(5);
    candidates.push(days_ago(4));
    let decision = decided(&keep_daily(2), &candidates);
    assert_eq!(words(&decision, "a4"), "listed twice");
    assert_eq!(decision.deletions(), [id(2), id(3)]);
}

#[test]
fn a_proved_archive_that_is_incomplete_does_not_stand_for_a_whole_one() {
    let mut candidates = daily(60);
    candidates[40].proof = Proof::Proved { at: now() };
    candidates[40].complete = false;
    candidates[50].proof = Proof::Proved { at: now() };
    assert_eq!(names(decided(&keep_daily(1), &candidates).staying()), ["a0", "a40", "a50"]);
}

//! How policies and decisions are written: plans, events and people's scripts hold them.

use super::*;
use serde_json::json;

fn fields(policy: &Policy) -> Vec<String> {
    policy.problems().into_iter().map(|problem| problem.field).collect()
}

#[test]
fn a_policy_is_written_in_the_words_of_borg() {
    let written = json!({
        "keep_within": "2d", "keep_last": 3, "keep_hourly": 24, "keep_daily": 7, "keep_weekly": 4, "keep_monthly": "all",
        "keep_quarterly": 8, "keep_yearly": 10, "minimum": 2, "time_zone": "Europe/Paris", "require_verified": true,
    });
    let policy: Policy = serde_json::from_value(written.clone()).unwrap();
    assert_eq!((policy.keep_monthly, policy.keep_weekly), (Count::All, Count::Number(4)));
    assert_eq!(serde_json::to_value(&policy).unwrap(), written);
    assert_eq!(policy.problems(), []);
    let packed = rmp_serde::to_vec_named(&policy).unwrap();
    assert_eq!(rmp_serde::from_slice::<Policy>(&packed).unwrap(), policy);
}

#[test]
fn what_a_policy_does_not_say_has_a_safe_meaning() {
    let policy: Policy =
        serde_json::from_value(json!({"keep_daily": 7, "of_a_later_version": true})).unwrap();
    assert_eq!(policy, keep_daily(7));
    assert_eq!(
        serde_json::to_value(&policy).unwrap(),
        json!({
            "keep_within": null, "keep_last": 0, "keep_hourly": 0, "keep_daily": 7, "keep_weekly": 0, "keep_monthly": 0,
            "keep_quarterly": 0, "keep_yearly": 0, "minimum": 1, "time_zone": null, "require_verified": false,
        })
    );
    for wrong in [json!({"keep_daily": -1}), json!({"keep_daily": "many"}), json!({"keep_daily": 5e9})] {
        serde_json::from_value::<Policy>(wrong).unwrap_err();
    }
}

#[test]
fn a_policy_in_days_is_one_of_within() {
    assert_eq!(Policy::of_days(30), Policy { keep_within: Some("30d".into()), ..Policy::default() });
    assert_eq!(Policy::of_days(30).problems(), []);
    assert_eq!(fields(&Policy::of_days(0)), ["keep_within"]);
    assert_eq!(fields(&Policy::of_days(u32::MAX)), ["keep_within"]);
    assert_eq!(names(decided(&Policy::of_days(3), &daily(9)).staying()), ["a0", "a1", "a2"]);
}

#[test]
fn what_is_wrong_is_named_by_its_field_with_what_would_be_right() {
    assert_eq!(fields(&Policy::default()), ["keep_last"]);
    assert_eq!(fields(&Policy { minimum: 0, ..keep_daily(1) }), ["minimum"]);
    let policy = Policy {
        keep_within: Some("3 days".into()),
        time_zone: Some("Mars/Olympus".into()),
        minimum: 0,
        ..Policy::default()
    };
    assert_eq!(fields(&policy), ["keep_within", "minimum", "time_zone"]);
    let message = policy.problems().remove(0).message;
    assert!(message.contains("such as 30d") && message.contains("'3 days'"), "{message}");
}

#[test]
fn a_decision_says_for_each_archive_what_becomes_of_it() {
    let mut candidates = daily(3);
    candidates[1].base = Some(id(2));
    candidates[1].holds.push(Hold {
        name: "h".into(),
        by: "anna".into(),
        reason: "audit".into(),
        until: None,
    });
    let mut more = candidates.clone();
    more.push(Candidate::new(id(7), "early", days_ago(0).made_at - jiff::SignedDuration::from_hours(1)));
    let rules = keep_daily(1).parse().unwrap();
    let decision = decide(&rules, &more, &Facts { failures_in_a_row: 1, ..Facts::default() }, now());
    let written = json!({
        "decided_at": "2026-06-30T12:00:00Z",
        "verdicts": [
            {
                "archive": id(0), "name": "a0", "made_at": "2026-06-30T12:00:00Z", "added_bytes": 1000, "outcome": "keep",
                "reasons": [
                    {"reason": "rule", "rule": "daily", "nth": 1, "of": 1, "oldest": false},
                    {"reason": "newest_good"},
                    {"reason": "minimum", "nth": 1, "of": 1},
                ],
            },
            {
                "archive": id(7), "name": "early", "made_at": "2026-06-30T11:00:00Z", "outcome": "go",
                "why": {"reason": "covered", "rule": "daily", "by": id(0), "name": "a0"},
            },
            {
                "archive": id(1), "name": "a1", "made_at": "2026-06-29T12:00:00Z", "added_bytes": 1000, "outcome": "keep",
                "reasons": [{"reason": "held", "name": "h", "by": "anna", "why": "audit"}],
            },
            {
                "archive": id(2), "name": "a2", "made_at": "2026-06-28T12:00:00Z", "added_bytes": 1000, "outcome": "keep",
                "reasons": [{"reason": "base", "of": id(1), "name": "a1"}],
            },
        ],
        "gated": {"gate": "runs_fail", "failures_in_a_row": 1},
    });
    assert_eq!(serde_json::to_value(&decision).unwrap(), written);
    assert_eq!(serde_json::from_value::<Decision>(written).unwrap(), decision);
    let packed = rmp_serde::to_vec_named(&decision).unwrap();
    assert_eq!(rmp_serde::from_slice::<Decision>(&packed).unwrap(), decision);
}

#[test]
fn a_candidate_needs_little_to_be_written() {
    let written = json!({"id": id(1), "name": "a1", "made_at": "2026-06-29T12:00:00Z", "complete": true});
    let candidate: Candidate = serde_json::from_value(written).unwrap();
    assert_eq!(candidate, Candidate { added_bytes: None, ..days_ago(1) });
    let proof: Proof =
        serde_json::from_value(json!({"state": "proved", "at": "2026-06-30T12:00:00Z"})).unwrap();
    assert_eq!(proof, Proof::Proved { at: now() });
}

//! What holds for every history and every policy.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    // Of one time, of one day, of years; in half of the histories with bases.
    let step_s = prop::sample::select(vec![0_i64, 1, 1800, 3600, 40_000, DAY, 20 * DAY]);
    let one = (step_s, 0..10_u8, 0..8_u8, 0..12_u8, prop::option::of(1..4_usize));
    (prop::collection::vec(one, 0..50), any::<bool>()).prop_map(|(made, chained)| {
        let mut at_s = NOON;
        let mut candidates: Vec<Candidate> = Vec::new();
        for (n, (step_s, complete, proof, held, base)) in made.iter().enumerate() {
            at_s -= step_s;
            let until = Timestamp::from_second(NOON + i64::from(*held) - 2).unwrap();
            candidates.push(Candidate {
                complete: *complete > 1,
                base: base.filter(|_| chained).map(|below| id((n + below) as u128)),
                proof: match proof {
                    0 => Proof::Proved { at: now() },
                    1 => Proof::Refuted { at: now() },
                    _ => Proof::NotTried,
                },
                holds: (*held < 4)
                    .then(|| Hold {
                        name: "h".into(),
                        by: "b".into(),
                        reason: "r".into(),
                        until: Some(until),
                    })
                    .into_iter()
                    .collect(),
                added_bytes: Some(1),
                ..Candidate::new(
                    id(n as u128),
                    format!("{:02}", n * 7 % 50),
                    Timestamp::from_second(at_s).unwrap(),
                )
            });
        }
        candidates
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    let count = || {
        prop_oneof![
            3 => Just(Count::NONE),
            3 => (1..6_u32).prop_map(Count::Number),
            1 => Just(Count::All),
        ]
    };
    let within = prop::option::of(prop::sample::select(vec!["1H", "1d", "3w"]));
    let zone = prop::option::of(prop::sample::select(vec!["Europe/Paris", "Australia/Lord_Howe"]));
    (prop::array::uniform7(count()), within, 1..4_u32, zone).prop_map(|(counts, within, minimum, zone)| {
        let [keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_quarterly, keep_yearly] =
            counts;
        let mut policy = Policy {
            keep_within: within.map(Into::into),
            keep_last,
            keep_hourly,
            keep_daily,
            keep_weekly,
            keep_monthly,
            keep_quarterly,
            keep_yearly,
            minimum,
            time_zone: zone.map(Into::into),
            require_verified: false,
        };
        if policy.parse().is_err() {
            policy.keep_daily = Count::Number(2);
        }
        policy
    })
}

fn good(candidate: &Candidate) -> bool {
    candidate.complete && !matches!(candidate.proof, Proof::Refuted { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_must_not_go_never_goes(candidates in candidates(), policy in policies(), failures_in_a_row in 0..3_u32) {
        let rules = policy.parse().unwrap();
        let decision = decide(&rules, &candidates, &Facts { failures_in_a_row, ..Facts::default() }, now());
        prop_assert_eq!(decision.verdicts.len(), candidates.len());
        let going: BTreeSet<ArchiveId> = decision.going().map(|verdict| verdict.archive).collect();
        for verdict in decision.staying() {
            prop_assert!(!verdict.reasons().is_empty());
        }
        // They come from the newest to the oldest, and with the same age by name.
        let mut newest_first: Vec<_> = candidates.iter().collect();
        newest_first.sort_by_key(|c| std::cmp::Reverse((c.made_at, c.name.clone())));
        let order: Vec<_> = decision.verdicts.iter().map(|verdict| verdict.archive).collect();
        prop_assert_eq!(order, newest_first.iter().map(|c| c.id).collect::<Vec<_>>());
        for candidate in &candidates {
            if !going.contains(&candidate.id) {
                if let Some(base) = candidate.base {
                    prop_assert!(!going.contains(&base), "the base of {}", candidate.name);
                }
            } else {
                prop_assert!(candidate.holds.iter().all(|hold| hold.until.unwrap() <= now()));
            }
        }
        let goods: Vec<_> = newest_first.iter().filter(|c| good(c)).collect();
        for kept in goods.iter().take(policy.minimum as usize) {
            prop_assert!(!going.contains(&kept.id), "the newest good ones");
        }
        let left = candidates.len() - going.len();
        prop_assert!(left >= candidates.len().min(policy.minimum as usize));
        let proved = newest_first.iter().find(|c| matches!(c.proof, Proof::Proved { .. }));
        prop_assert!(proved.is_none_or(|c| !going.contains(&c.id)));
        if failures_in_a_row > 0 && !candidates.is_empty() {
            prop_assert!(decision.gated.is_some());
        }
        if decision.gated.is_some() {
            prop_assert_eq!(decision.deletions(), vec![]);
        } else {
            prop_assert_eq!(decision.deletions().into_iter().collect::<BTreeSet<_>>(), going);
        }
    }

    #[test]
    fn what_is_not_good_takes_no_good_archives_place(candidates in candidates(), policy in policies()) {
        let only_good: Vec<_> = candidates.iter().filter(|c| good(c)).cloned().collect();
        let without = decided(&policy, &only_good);
        let with = decided(&policy, &candidates);
        let going: BTreeSet<_> = with.going().map(|verdict| verdict.archive).collect();
        for verdict in without.staying() {
            prop_assert!(!going.contains(&verdict.archive), "{} is kept without the others", verdict.name);
        }
    }

    #[test]
    fn deciding_again_gives_nothing_new_however_much_of_it_was_deleted(
        candidates in candidates(), policy in policies(), deleted in prop::collection::vec(any::<bool>(), 50),
    ) {
        let first: Vec<_> = decided(&policy, &candidates).going().map(|verdict| verdict.archive).collect();
        for all in [true, false] {
            let gone: BTreeSet<_> = first.iter().zip(&deleted).filter(|(_, d)| all || **d).map(|(i, _)| *i).collect();
            let left: Vec<_> = candidates.iter().filter(|c| !gone.contains(&c.id)).cloned().collect();
            let again = decided(&policy, &left);
            let again: Vec<_> = again.going().map(|verdict| verdict.archive).collect();
            let rest: Vec<_> = first.iter().filter(|i| !gone.contains(i)).copied().collect();
            prop_assert_eq!(again, rest);
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(
        candidates in candidates().prop_shuffle(), policy in policies(),
    ) {
        let mut sorted = candidates.clone();
        sorted.sort_by_key(|c| c.id);
        prop_assert_eq!(decided(&policy, &candidates), decided(&policy, &sorted));
    }
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod guards;
mod holds;
mod laws;
mod shape;
mod time;

use super::*;
use crate::ArchiveId;
use jiff::Timestamp;
use uuid::Uuid;

const DAY: i64 = 24 * 3600;

/// 2026-06-30T12:00:00Z.
const NOON: i64 = 1_782_820_800;

fn now() -> Timestamp {
    Timestamp::from_second(NOON).unwrap()
}

fn id(n: u128) -> ArchiveId {
    ArchiveId(Uuid::from_u128(n))
}

/// An archive that was made so many days ago; its name is `a` and that number.
fn days_ago(days: u32) -> Candidate {
    let made_at = Timestamp::from_second(NOON - i64::from(days) * DAY).unwrap();
    Candidate { added_bytes: Some(1000), ..Candidate::new(id(u128::from(days)), format!("a{days}"), made_at) }
}

/// One on each of so many days, the newest today.
fn daily(days: u32) -> Vec<Candidate> {
    (0..days).map(days_ago).collect()
}

fn keep_daily(days: u32) -> Policy {
    Policy { keep_daily: Count::Number(days), ..Policy::default() }
}

fn decided(policy: &Policy, candidates: &[Candidate]) -> Decision {
    decide(&policy.parse().unwrap(), candidates, &Facts::default(), now())
}

/// What people read about the archive of this name.
fn words(decision: &Decision, name: &str) -> String {
    let verdict = decision.verdicts.iter().find(|verdict| verdict.name == name).unwrap();
    match &verdict.outcome {
        Outcome::Keep { reasons } => reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        Outcome::Go { why } => format!("goes: {why}"),
    }
}

fn names<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Vec<&'a str> {
    verdicts.map(|verdict| verdict.name.as_str()).collect()
}

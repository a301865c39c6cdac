//! Reviews: what retention says of the archives of a plan, typed for programs and in sentences for people.

use serde_json::{Value, json};
use strongroom_domain::retention::{Outcome, Review, Verdict};

/// How many archives of a repository stay and go, or would go behind a gate.
pub struct Counts {
    /// Those that stay.
    pub kept: u64,
    /// Those that go.
    pub going: u64,
    /// About how many bytes that would free; unknown when that of any of them is.
    pub freed_bytes: Option<u64>,
}

impl Counts {
    /// Of one repository.
    pub fn of(review: &Review) -> Self {
        let decision = &review.decision;
        Self {
            kept: decision.staying().count() as u64,
            going: decision.going().count() as u64,
            freed_bytes: decision.freed_bytes(),
        }
    }

    /// Of all of them.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        let none = Self { kept: 0, going: 0, freed_bytes: Some(0) };
        all.into_iter().fold(none, |sum, next| Self {
            kept: sum.kept + next.kept,
            going: sum.going + next.going,
            freed_bytes: sum.freed_bytes.zip(next.freed_bytes).map(|(a, b)| a.saturating_add(b)),
        })
    }
}

/// What retention says of one repository.
pub fn shown(review: &Review) -> Value {
    let Counts { kept, going, freed_bytes } = Counts::of(review);
    let decision = &review.decision;
    json!({
        "repository": review.repository, "decided_at": decision.decided_at, "kept": kept, "going": going,
        "freed_bytes": freed_bytes, "gate": gate(review), "archives": verdicts(review),
    })
}

/// Why nothing may go, when that is so: typed, and as a sentence beside.
pub fn gate(review: &Review) -> Value {
    let Some(gate) = &review.decision.gated else { return Value::Null };
    let mut shown = json!(gate);
    if let Value::Object(fields) = &mut shown {
        fields.insert("why".into(), json!(gate.to_string()));
    }
    shown
}

/// What becomes of each archive, the newest first.
pub fn verdicts(review: &Review) -> Vec<Value> {
    review.decision.verdicts.iter().map(verdict).collect()
}

fn verdict(verdict: &Verdict) -> Value {
    let (outcome, reasons, why) = match &verdict.outcome {
        Outcome::Keep { reasons } => {
            let why: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            ("keep", json!(reasons), why.join("; "))
        }
        Outcome::Go { why } => ("go", json!([why]), why.to_string()),
    };
    json!({
        "archive": verdict.archive, "name": verdict.name, "made_at": verdict.made_at,
        "added_bytes": verdict.added_bytes, "outcome": outcome, "why": why, "reasons": reasons,
    })
}

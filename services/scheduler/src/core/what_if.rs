//! What would become of the archives of a plan by rules that are only tried: now, had they always been applied, and in a year.

use super::World;
use super::retention::review;
use jiff::{SignedDuration, Timestamp};
use strongroom_domain::cron::Schedule;
use strongroom_domain::retention::{
    Candidate, Question, Replayed, Review, Rules, Simulated, replay, simulate,
};
use strongroom_domain::{Rejection, RepositoryId};

/// How far ahead is looked when nobody says.
const A_YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A question with all that it is about, so that whoever answers it needs the world no longer: it may take a while.
#[derive(Debug)]
pub struct WhatIf {
    rules: Rules,
    schedule: Option<Schedule>,
    archives: Vec<Archives>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    now: Timestamp,
}

/// The archives of the plan in one repository.
#[derive(Debug)]
struct Archives {
    repository: RepositoryId,
    /// What it has.
    present: Vec<Candidate>,
    /// What it had.
    past: Vec<Candidate>,
}

/// What would become of the archives now.
pub fn reviews(world: &World, question: &Question, now: Timestamp) -> Result<Vec<Review>, Rejection> {
    Ok(review(world, &question.plan, &rules(world, question)?, question.by_hand, now))
}

fn rules(world: &World, question: &Question) -> Result<Rules, Rejection> {
    let plan = world.plans.get(&question.plan);
    let of_plan = plan.and_then(|plan| plan.spec.retention.clone());
    let is_known = plan.is_some() || question.by_hand && world.keeping.plans.contains_key(&question.plan);
    if !is_known {
        return Err(Rejection::NotFound { kind: "plan".into(), id: question.plan.to_string() });
    }
    let policy = question.policy.clone().or(of_plan).ok_or_else(|| {
        let detail = "this plan keeps all of its archives: give it a retention, or ask what one would do";
        Rejection::conflict("no_retention", detail)
    })?;
    policy.parse().map_err(|fields| Rejection::Invalid { fields })
}

impl WhatIf {
    /// What a question is about.
    pub fn of(world: &World, question: &Question, now: Timestamp) -> Result<Self, Rejection> {
        let rules = rules(world, question)?;
        let spec =
            question.schedule.clone().or_else(|| world.plans.get(&question.plan)?.spec.schedule.clone());
        let schedule = spec.map(|spec| spec.parse()).transpose();
        let schedule = schedule.map_err(|field| Rejection::Invalid { fields: vec![field] })?;
        let kept = world.keeping.plans.get(&question.plan);
        let of = |id: &RepositoryId| {
            let present = world.candidates(&question.plan, id, false, &[]);
            Archives {
                repository: id.clone(),
                present: present.into_iter().map(|(candidate, _)| candidate).collect(),
                past: world.past(&question.plan, id).cloned().collect(),
            }
        };
        let archives = kept.into_iter().flat_map(|kept| kept.archives.keys()).map(of).collect();
        Ok(Self { rules, schedule, archives, from: question.from, until: question.until, now })
    }

    /// Which archives would be there today.
    pub fn replayed(&self) -> Vec<Replayed> {
        let histories = self.archives.iter().map(|of| {
            let candidates: Vec<Candidate> = of.present.iter().chain(&of.past).cloned().collect();
            let first = candidates.iter().map(|candidate| candidate.made_at).min().unwrap_or(self.now);
            let (from, until) = (self.from.unwrap_or(first), self.until.unwrap_or(self.now));
            let replay = replay(&self.rules, &candidates, from, until);
            Replayed { repository: of.repository.clone(), replay }
        });
        histories.collect()
    }

    /// How many archives there would be.
    pub fn simulated(&self) -> Result<Vec<Simulated>, Rejection> {
        let schedule = self.schedule.as_ref().ok_or_else(|| {
            let message = "is needed: this plan has none of its own, so nobody knows when it would run";
            Rejection::field("schedule", message)
        })?;
        let in_a_year = self.now.checked_add(A_YEAR).unwrap_or(Timestamp::MAX);
        let until = self.until.unwrap_or(in_a_year);
        let of = |of: &Archives| Simulated {
            repository: of.repository.clone(),
            simulation: simulate(&self.rules, schedule, &of.present, self.now, until),
        };
        Ok(self.archives.iter().map(of).collect())
    }
}

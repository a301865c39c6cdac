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
    /// What it had and has, by repository.
    histories: Vec<(RepositoryId, Vec<Candidate>)>,
    /// What it has.
    present: Vec<(RepositoryId, Vec<Candidate>)>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    now: Timestamp,
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
        let repositories: Vec<RepositoryId> =
            kept.into_iter().flat_map(|kept| kept.archives.keys().cloned()).collect();
        let histories =
            repositories.iter().map(|id| (id.clone(), world.history(&question.plan, id))).collect();
        let present = |id: &RepositoryId| {
            let all = world.candidates(&question.plan, id, false, &[]);
            (id.clone(), all.into_iter().map(|(candidate, _)| candidate).collect())
        };
        let present = repositories.iter().map(present).collect();
        Ok(Self { rules, schedule, histories, present, from: question.from, until: question.until, now })
    }

    /// Which archives would be there today.
    pub fn replayed(&self) -> Vec<Replayed> {
        let histories = self.histories.iter().map(|(repository, candidates)| {
            let first = candidates.iter().map(|candidate| candidate.made_at).min().unwrap_or(self.now);
            let (from, until) = (self.from.unwrap_or(first), self.until.unwrap_or(self.now));
            let replay = replay(&self.rules, candidates, from, until);
            Replayed { repository: repository.clone(), replay }
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
        let of = |(repository, candidates): &(RepositoryId, Vec<Candidate>)| Simulated {
            repository: repository.clone(),
            simulation: simulate(&self.rules, schedule, candidates, self.now, until),
        };
        Ok(self.present.iter().map(of).collect())
    }
}

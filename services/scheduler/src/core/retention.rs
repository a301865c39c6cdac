//! When it is decided what is kept of a plan, and what follows from that.
//!
//! The accidents that this prevents are P3. A list of what goes is written down before anything is removed, and it is looked
//! at once more when the removal is given to its node: what was held, what something new rests on, or what has become
//! the last good archive meanwhile stays. And the other way round: retention that does nothing, and nobody is told. Why
//! nothing goes is a fact as well, when it begins and when it ends.

use super::World;
use super::cause::Cause;
use super::due::Due;
use super::keeping::Kept;
use super::world::Plan;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use strongroom_bus::Recorded;
use strongroom_domain::archive::Target;
use strongroom_domain::job::{JobSpec, PRUNED_AT_ONCE, PruneSpec, Requested, Spared, Trigger};
use strongroom_domain::retention::{
    Candidate, Decided, Decision, Facts, Hold, OfRepository, Outcome, Policy, Removal, Review, Rules, decide,
};
use strongroom_domain::{Event, EventId, JobId, Kind, PlanId, RepositoryId};

/// How often it is looked whether something goes because of its age alone.
const LOOK_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// When this scheduler has last looked at a plan. In memory only: to look once more does no harm.
pub type Looked = HashMap<PlanId, (u64, Timestamp)>;

/// A removal that was decided and not asked for yet.
#[derive(Debug, Clone)]
pub struct Unpruned {
    /// Whose archives.
    pub plan: PlanId,
    /// Where they lie.
    pub repository: RepositoryId,
    /// By which rules.
    pub policy: Policy,
    /// Which ones.
    pub archives: Vec<Target>,
    /// The decision.
    pub cause: Cause,
}

/// What would become of all archives of a plan by these rules.
pub fn review(world: &World, plan: &PlanId, rules: &Rules, by_hand: bool, now: Timestamp) -> Vec<Review> {
    let Some(kept) = world.keeping.plans.get(plan) else { return Vec::new() };
    let repositories = kept.archives.keys().filter(|id| !world.is_halted(Kind::Repository, id));
    repositories
        .filter_map(|repository| {
            let decision = look(world, plan, kept, repository, rules, (by_hand, &[]), now);
            (!decision.1.verdicts.is_empty()).then(|| {
                let (targets, decision) = decision;
                let going = decision.going().filter_map(|v| targets.get(&v.archive).cloned()).collect();
                Review { repository: repository.clone(), decision, going }
            })
        })
        .collect()
}

type Targets = HashMap<strongroom_domain::ArchiveId, Target>;

fn look(
    world: &World,
    plan: &PlanId,
    kept: &Kept,
    repository: &RepositoryId,
    rules: &Rules,
    (by_hand, besides): (bool, &[Target]),
    now: Timestamp,
) -> (Targets, Decision) {
    let (candidates, targets): (Vec<Candidate>, Vec<Target>) =
        world.candidates(plan, repository, besides).into_iter().unzip();
    let candidates: Vec<Candidate> = candidates.into_iter().map(|c| unreadable_is_held(world, c)).collect();
    let facts = if by_hand { Facts::default() } else { facts(world, plan, kept) };
    let decision = decide(rules, &candidates, &facts, now);
    (targets.into_iter().map(|target| (target.id, target)).collect(), decision)
}

/// What speaks against any removal beside the archives.
fn facts(world: &World, plan: &PlanId, kept: &Kept) -> Facts {
    Facts {
        failures_in_a_row: kept.failures_in_a_row,
        overdue_since: world.schedules.get(plan).and_then(|schedule| schedule.overdue_since),
        paused: world.plans.get(plan).is_some_and(|plan| plan.paused.is_some()),
    }
}

/// Who knows what the message says that cannot be read: it may be a hold.
fn unreadable_is_held(world: &World, mut candidate: Candidate) -> Candidate {
    if world.is_halted(Kind::Archive, candidate.id) {
        candidate.holds.push(Hold {
            name: "unreadable".into(),
            by: "strongroom".into(),
            reason: "a message about this archive cannot be read".into(),
            until: None,
        });
    }
    candidate
}

/// The decisions that are to be written down now.
pub fn due(world: &World, looked: &mut Looked, now: Timestamp) -> Vec<Due> {
    looked.retain(|plan, _| world.plans.contains_key(plan));
    let plans = world.plans.iter().filter(|(id, _)| is_readable(world, id));
    plans.filter_map(|(id, plan)| due_of(world, looked, id, plan, now)).collect()
}

fn is_readable(world: &World, id: &PlanId) -> bool {
    !world.is_halted(Kind::Plan, id) && !world.is_halted(Kind::Retention, id)
}

fn due_of(world: &World, looked: &mut Looked, id: &PlanId, plan: &Plan, now: Timestamp) -> Option<Due> {
    let policy = plan.spec.retention.as_ref()?;
    let kept = world.keeping.plans.get(id)?;
    let nominal_at = match &plan.spec.retention_schedule {
        None if !is_to_be_looked_at(kept, looked.get(id).copied(), now) => return None,
        None => None,
        Some(schedule) => {
            let after =
                kept.decided.as_ref().map_or(plan.retention_since, |d| d.at.max(plan.retention_since));
            let jitter = schedule.jitter_of(id.as_str());
            let until = now.checked_sub(jitter).ok()?;
            // Of several that have passed, one does what all would have done.
            let passed = schedule.parse().ok()?.latest(after, until)?;
            Some(passed)
        }
    };
    // One after the other: what is being removed is not counted with.
    if is_pruning(world, id) {
        return None;
    }
    looked.insert(id.clone(), (kept.changed, now));
    let rules = policy.parse().ok()?;
    let reviews = review(world, id, &rules, false, now);
    let decision_id = EventId::of_command(&format!("retention/{id}/{}", kept.head.sequence), 0);
    let repositories: Vec<OfRepository> =
        reviews.into_iter().map(|review| of_repository(review, &decision_id)).collect();
    let said: BTreeMap<_, _> =
        repositories.iter().filter_map(|of| Some((of.repository.clone(), of.gate.clone()?))).collect();
    let known = kept.decided.as_ref().map(|past| &past.gates);
    let is_news = repositories.iter().any(|of| !of.removes.is_empty())
        || nominal_at.is_some()
        || known.map_or(!said.is_empty(), |known| !gates_alike(known, &said));
    is_news.then(|| Due {
        plan: id.clone(),
        head: kept.head.clone(),
        event: Event::RetentionDecided(Decided { policy: policy.clone(), nominal_at, repositories }),
        id: decision_id,
    })
}

/// Whether they are closed for the same kind of reason: that one more run has failed is told by that run.
fn gates_alike(
    known: &BTreeMap<RepositoryId, strongroom_domain::retention::Gate>,
    said: &BTreeMap<RepositoryId, strongroom_domain::retention::Gate>,
) -> bool {
    known.len() == said.len()
        && known.iter().zip(said).all(|((a, gate), (b, other))| {
            a == b && std::mem::discriminant(gate) == std::mem::discriminant(other)
        })
}

/// Whether something may have changed since it was last looked at: by a message, by the time, or by a clock that was set back.
fn is_to_be_looked_at(kept: &Kept, looked: Option<(u64, Timestamp)>, now: Timestamp) -> bool {
    looked.is_none_or(|(changed, at)| {
        kept.changed > changed || now < at || now.duration_since(at) >= LOOK_EVERY
    })
}

/// Whether a removal of this plan's archives has not ended, or was decided and not even asked for.
fn is_pruning(world: &World, plan: &PlanId) -> bool {
    world.unpruned.values().any(|unpruned| unpruned.plan == *plan)
        || world
            .jobs
            .values()
            .any(|job| matches!(&job.state.requested.spec, JobSpec::Prune(spec) if spec.plan == *plan))
}

fn of_repository(review: Review, decision_id: &EventId) -> OfRepository {
    let Review { repository, decision, going } = review;
    let total = going.len() as u64;
    // What was made last goes first, so that nothing is ever there without what it was made on.
    let listed = decision.going().zip(going).filter(|_| decision.gated.is_none()).take(PRUNED_AT_ONCE);
    let removes: Vec<Removal> = listed
        .filter_map(|(verdict, archive)| match &verdict.outcome {
            Outcome::Go { why } => Some(Removal { archive, made_at: verdict.made_at, why: why.clone() }),
            Outcome::Keep { .. } => None,
        })
        .collect();
    let job = (!removes.is_empty()).then(|| prune_job(decision_id, &repository));
    let archives = decision.verdicts.len() as u64;
    OfRepository { repository, archives, gate: decision.gated, going: total, removes, job }
}

fn prune_job(decision: &EventId, repository: &RepositoryId) -> JobId {
    JobId(EventId::of_command(&format!("prune/{}/{repository}", decision.0), 0).0)
}

/// What a decision asks for.
pub fn unpruned(recorded: &Recorded, decided: &Decided) -> Vec<(JobId, Unpruned)> {
    let Ok(plan) = recorded.aggregate.id.parse::<PlanId>() else { return Vec::new() };
    let removals = decided.repositories.iter().filter_map(|of| Some((of.job?, of)));
    removals
        .map(|(job, of)| {
            let archives = of.removes.iter().map(|removal| removal.archive.clone()).collect();
            let (repository, policy) = (of.repository.clone(), decided.policy.clone());
            let cause = Cause::of(recorded);
            (job, Unpruned { plan: plan.clone(), repository, policy, archives, cause })
        })
        .collect()
}

/// The removals that are to be asked for.
pub fn prunes(world: &World) -> Vec<(JobId, Requested, Cause)> {
    let waiting = world.unpruned.iter().filter(|(job, _)| !world.is_halted(Kind::Job, job));
    waiting
        .filter_map(|(job, unpruned)| Some((*job, request(world, unpruned)?, unpruned.cause.clone())))
        .collect()
}

fn request(world: &World, unpruned: &Unpruned) -> Option<Requested> {
    let repository = world.repositories.get(&unpruned.repository)?;
    let server = repository.server.clone();
    let spec = JobSpec::Prune(PruneSpec {
        plan: unpruned.plan.clone(),
        access: world.access(&unpruned.repository).ok()?,
        policy: unpruned.policy.clone(),
        by_hand: false,
        archives: unpruned.archives.clone(),
        spared: Vec::new(),
    });
    let node = world.servers.get(&server)?.node.clone();
    Some(Requested { spec, server, node, trigger: Trigger::System, deadline_s: None })
}

/// A removal as it is given to its node: without what stays after all.
pub fn as_given(world: &World, spec: &mut PruneSpec, now: Timestamp) {
    let spare_all = |why: String| {
        let spared = spec.archives.iter().map(|t| Spared { archive: t.id, why: why.clone() });
        spared.collect::<Vec<_>>()
    };
    let of_plan = world.plans.get(&spec.plan).and_then(|plan| plan.spec.retention.as_ref());
    if !spec.by_hand && of_plan != Some(&spec.policy) {
        spec.spared = spare_all("the plan's retention has changed since that was decided".into());
        return;
    }
    if !is_readable(world, &spec.plan) {
        spec.spared = spare_all("a message about the plan cannot be read".into());
        return;
    }
    let (kept, rules) = (world.keeping.plans.get(&spec.plan), spec.policy.parse());
    let (Some(kept), Ok(rules)) = (kept, rules) else {
        spec.spared = spare_all("the plan is not known any more".into());
        return;
    };
    let (_, decision) =
        look(world, &spec.plan, kept, &spec.access.repository, &rules, (spec.by_hand, &spec.archives), now);
    if let Some(gate) = &decision.gated {
        spec.spared = spare_all(gate.to_string());
        return;
    }
    let stays = |target: &Target| {
        let verdict = decision.verdicts.iter().find(|verdict| verdict.archive == target.id)?;
        let reasons: Vec<String> = verdict.reasons().iter().map(ToString::to_string).collect();
        (!verdict.goes()).then(|| Spared { archive: target.id, why: reasons.join(", ") })
    };
    spec.spared = spec.archives.iter().filter_map(stays).collect();
}

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
use super::lateness;
use super::world::Plan;
use jiff::{SignedDuration, Timestamp};
use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap};
use strongroom_bus::Recorded;
use strongroom_domain::archive::Target;
use strongroom_domain::job::{JobSpec, PRUNED_AT_ONCE, PruneSpec, Requested, Spared, Trigger};
use strongroom_domain::lateness::Standing;
use strongroom_domain::retention::{
    Candidate, Decided, Decision, Facts, Gate, Hold, OfRepository, Outcome, Policy, Removal, Review, Rules,
    decide,
};
use strongroom_domain::{ArchiveId, Event, EventId, JobId, Kind, PlanId, RepositoryId};

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
    let guarded = Guarded::of(world);
    let Some(kept) = world.keeping.plans.get(plan) else { return Vec::new() };
    let repositories = kept.archives.keys().filter(|id| !world.is_halted(Kind::Repository, id));
    repositories.filter_map(|id| review_in(world, &guarded, (plan, id), rules, by_hand, now)).collect()
}

fn review_in(
    world: &World,
    guarded: &Guarded,
    (plan, repository): (&PlanId, &RepositoryId),
    rules: &Rules,
    by_hand: bool,
    now: Timestamp,
) -> Option<Review> {
    let (targets, decision) = look(world, guarded, (plan, repository), rules, (by_hand, &[]), now)?;
    (!decision.verdicts.is_empty()).then(|| {
        let going = decision.going().filter_map(|v| targets.get(&v.archive).cloned()).collect();
        Review { repository: repository.clone(), decision, going }
    })
}

type Targets = HashMap<ArchiveId, Target>;

fn look(
    world: &World,
    guarded: &Guarded,
    (plan, repository): (&PlanId, &RepositoryId),
    rules: &Rules,
    (by_hand, besides): (bool, &[Target]),
    now: Timestamp,
) -> Option<(Targets, Decision)> {
    let kept = world.keeping.plans.get(plan)?;
    let (candidates, targets): (Vec<Candidate>, Vec<Target>) =
        world.candidates(plan, repository, by_hand, besides).into_iter().unzip();
    let targets: Targets = targets.into_iter().map(|target| (target.id, target)).collect();
    let made_last = kept.archives.get(repository).and_then(|all| {
        let there = all.values().filter(|made| targets.contains_key(&made.candidate.id));
        there.max_by_key(|made| made.since).map(|made| made.candidate.id)
    });
    let candidates: Vec<Candidate> = candidates
        .into_iter()
        .map(|mut candidate| {
            let why = guarded.why(world, candidate.id, &targets);
            // A clock that was wrong when it was made must not make the newest the oldest.
            let last = (made_last == Some(candidate.id)).then(|| "it was made last".to_owned());
            candidate.holds.extend(why.or(last).map(|reason| Hold {
                name: "strongroom".into(),
                by: "strongroom".into(),
                reason,
                until: None,
            }));
            candidate
        })
        .collect();
    let facts = match facts(world, plan, kept, now) {
        // Whoever cleans up a plan that is paused, or deleted, knows that nothing new comes.
        facts if by_hand && (facts.paused || !world.plans.contains_key(plan)) => Facts::default(),
        facts => facts,
    };
    Some((targets, decide(rules, &candidates, &facts, now)))
}

/// What speaks against any removal beside the archives.
fn facts(world: &World, id: &PlanId, kept: &Kept, now: Timestamp) -> Facts {
    let plan = world.plans.get(id);
    let known = world.schedules.get(id).and_then(|schedule| schedule.overdue_since);
    // The fact may come later than this: what it will say is known already.
    let found = || match lateness::of_plan(world, id, plan?, now) {
        Standing::Overdue { since } => Some(since),
        Standing::InTime { .. } | Standing::Exempt { .. } => None,
    };
    Facts {
        failures_in_a_row: kept.failures_in_a_row,
        overdue_since: known.or_else(found),
        paused: plan.is_some_and(|plan| plan.paused.is_some()),
    }
}

/// What is in use, or is needed by something that retention does not look at.
struct Guarded {
    /// By whom an archive is read, or will be.
    read: HashMap<ArchiveId, String>,
    /// The archives that need another one, by that one.
    dependents: HashMap<ArchiveId, Vec<(ArchiveId, String)>>,
}

impl Guarded {
    fn of(world: &World) -> Self {
        let mut read: HashMap<ArchiveId, String> = HashMap::new();
        let mut reads = |mut archive: ArchiveId, job: &JobId| {
            // Of a whole server, all that it rests on is read with it. Each is come to once, so it ends.
            while read.insert(archive, format!("job {job} reads it")).is_none() {
                let Some(base) = world.dependents.get(&archive).map(|dependent| dependent.base) else {
                    break;
                };
                archive = base;
            }
        };
        for (id, job) in &world.jobs {
            if let Some(archive) = job.state.requested.spec.read() {
                reads(archive, id);
            }
        }
        world.uncopied.iter().for_each(|(job, copy)| reads(copy.archive.id, job));
        let mut dependents: HashMap<ArchiveId, Vec<(ArchiveId, String)>> = HashMap::new();
        for (id, dependent) in &world.dependents {
            dependents.entry(dependent.base).or_default().push((*id, dependent.name.clone()));
        }
        Self { read, dependents }
    }

    /// Why an archive must stay, whatever the rules say of it.
    fn why(&self, world: &World, archive: ArchiveId, looked_at: &Targets) -> Option<String> {
        // Who knows what the message says that cannot be read: it may be a hold.
        if world.is_halted(Kind::Archive, archive) {
            return Some("a message about this archive cannot be read".into());
        }
        let needs = |(id, name): &(ArchiveId, String)| {
            // One that a scan has missed may be there again tomorrow, and one whose deletion is asked for may stay.
            (!looked_at.contains_key(id)).then(|| format!("{name} needs it"))
        };
        let needed = self.dependents.get(&archive).into_iter().flatten().find_map(needs);
        self.read.get(&archive).cloned().or(needed)
    }
}

/// The decisions that are to be written down now.
pub fn due(world: &World, looked: &mut Looked, now: Timestamp) -> Vec<Due> {
    looked.retain(|plan, _| world.plans.contains_key(plan));
    let guarded = LazyCell::new(|| Guarded::of(world));
    let plans = world.plans.iter().filter(|(id, _)| is_readable(world, id));
    plans.filter_map(|(id, plan)| due_of(world, &guarded, looked, (id, plan), now)).collect()
}

/// Whether all is known of a plan that has a say in what goes: its definition, whether it is late, what was decided.
fn is_readable(world: &World, id: &PlanId) -> bool {
    [Kind::Plan, Kind::Schedule, Kind::Retention].into_iter().all(|kind| !world.is_halted(kind, id))
}

fn due_of(
    world: &World,
    guarded: &LazyCell<Guarded, impl FnOnce() -> Guarded>,
    looked: &mut Looked,
    (id, plan): (&PlanId, &Plan),
    now: Timestamp,
) -> Option<Due> {
    let policy = plan.spec.retention.as_ref()?;
    let kept = world.keeping.plans.get(id)?;
    let is_to_be_looked_at = || is_to_be_looked_at(kept, looked.get(id).copied(), now);
    let nominal_at = match &plan.spec.retention_schedule {
        None if !is_to_be_looked_at() => return None,
        None => None,
        Some(schedule) => {
            let after =
                kept.decided.as_ref().map_or(plan.retention_since, |d| d.at.max(plan.retention_since));
            let jitter = schedule.jitter_of(id.as_str());
            let until = now.checked_sub(jitter).ok()?;
            // Of several that have passed, one does what all would have done.
            match schedule.parse().ok()?.latest_open(after, until) {
                Some(passed) => Some(passed),
                // What did not fit into the last decision does not wait for the next time.
                None if kept.decided.as_ref().is_some_and(|past| past.is_more) && is_to_be_looked_at() => {
                    None
                }
                None => return None,
            }
        }
    };
    let rules = policy.parse().ok()?;
    // One after the other: what is being removed is not counted with.
    let (pruning, free): (Vec<_>, Vec<_>) =
        kept.archives.keys().partition(|repository| is_pruning(world, id, repository));
    let repositories = free.into_iter().filter(|repository| !world.is_halted(Kind::Repository, repository));
    let reviews = repositories.filter_map(|of| review_in(world, guarded, (id, of), &rules, false, now));
    let decision_id = EventId::of_command(&format!("retention/{id}/{}", kept.head.sequence), 0);
    let mut room = PRUNED_AT_ONCE;
    let repositories: Vec<OfRepository> =
        reviews.map(|review| of_repository(review, &decision_id, &mut room)).collect();
    if !pruning.is_empty() && repositories.iter().all(|of| of.removes.is_empty()) {
        // When that has ended, it is looked at again.
        return None;
    }
    looked.insert(id.clone(), (kept.changed, now));
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
fn gates_alike(known: &BTreeMap<RepositoryId, Gate>, said: &BTreeMap<RepositoryId, Gate>) -> bool {
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

/// Whether a removal of this plan's archives there has not ended, or was decided and not even asked for.
fn is_pruning(world: &World, plan: &PlanId, repository: &RepositoryId) -> bool {
    let is_this = |spec: &JobSpec| matches!(spec, JobSpec::Prune(spec) if spec.plan == *plan && spec.access.repository == *repository);
    world.unpruned.values().any(|unpruned| unpruned.plan == *plan && unpruned.repository == *repository)
        || world.jobs.values().any(|job| is_this(&job.state.requested.spec))
}

/// There is room for so many in one decision, over all repositories: it is one message.
fn of_repository(review: Review, decision_id: &EventId, room: &mut usize) -> OfRepository {
    let Review { repository, decision, going } = review;
    let total = going.len() as u64;
    // What was made last goes first, so that nothing is ever there without what it was made on.
    let listed = decision.going().zip(going).filter(|_| decision.gated.is_none()).take(*room);
    let removes: Vec<Removal> = listed
        .filter_map(|(verdict, archive)| match &verdict.outcome {
            Outcome::Go { why } => Some(Removal { archive, made_at: verdict.made_at, why: why.clone() }),
            Outcome::Keep { .. } => None,
        })
        .collect();
    *room = room.saturating_sub(removes.len());
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
    let looked = spec.policy.parse().ok().and_then(|rules| {
        let (of, besides) = ((&spec.plan, &spec.access.repository), (spec.by_hand, &*spec.archives));
        look(world, &Guarded::of(world), of, &rules, besides, now)
    });
    let Some((_, decision)) = looked else {
        spec.spared = spare_all("the plan is not known any more".into());
        return;
    };
    if let Some(gate) = &decision.gated {
        spec.spared = spare_all(gate.to_string());
        return;
    }
    let stays = |target: &Target| {
        let why = match decision.verdicts.iter().find(|verdict| verdict.archive == target.id) {
            // A scan has missed it, or its repository is not looked at any more: should it be there, nobody has decided about it.
            None => "it is not known to be there".to_owned(),
            Some(verdict) if verdict.goes() => return None,
            Some(verdict) => verdict.reasons().iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        Some(Spared { archive: target.id, why })
    };
    spec.spared = spec.archives.iter().filter_map(stays).collect();
}

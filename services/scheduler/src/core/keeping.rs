//! The archives of each plan, as retention looks at them: what the log says of when they were made, whether they are whole,
//! what they need, and who holds them.
//!
//! The accident that this prevents is P3: a retention that looks at what lies in a repository, and takes what belongs to
//! other plans, other servers, or nobody it knows. An archive is a plan's when a backup of the plan has made it, when it
//! was copied from such a one, or when a scan has found it under a name that the plan alone gives.

use super::World;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap, VecDeque};
use strongroom_bus::{Head, Recorded};
use strongroom_domain::archive::{Adopted, Facts, Target};
use strongroom_domain::job::{JobResult, JobSpec, Requested};
use strongroom_domain::retention::{Candidate, Decided, Gate, Holds};
use strongroom_domain::{ArchiveId, Event, PlanId, RepositoryId};

/// How many archives of a plan that are gone are remembered, for a replay of its history.
const PAST_KEPT: usize = 10_000;

/// What is known of the archives of a plan.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Those that it has, by repository.
    pub archives: BTreeMap<RepositoryId, BTreeMap<ArchiveId, Made>>,
    /// Those that it had, the oldest first.
    pub past: VecDeque<(RepositoryId, Candidate)>,
    /// When its newest good archive was begun, of those that it has.
    pub last_good_at: Option<Timestamp>,
    /// How many of its runs have failed since one succeeded.
    pub failures_in_a_row: u32,
    /// Where the newest message stands that may change what is kept.
    pub changed: u64,
    /// What was decided last.
    pub decided: Option<Past>,
    /// The end of its decisions.
    pub head: Head,
}

/// The last decision about a plan.
#[derive(Debug, Clone)]
pub struct Past {
    /// When it was made.
    pub at: Timestamp,
    /// Why nothing went, by repository.
    pub gates: BTreeMap<RepositoryId, Gate>,
    /// Whether more is to go than one decision lists.
    pub is_more: bool,
}

/// An archive of a plan.
#[derive(Debug, Clone)]
pub struct Made {
    /// As retention sees it, but for holds.
    pub candidate: Candidate,
    /// By which the repository knows it.
    pub borg_id: String,
    /// A scan missed it.
    pub missing: bool,
    /// When it was begun; not later than the log knows of it, whatever its node's clock says.
    pub begun_at: Timestamp,
    /// Where the message stands that has brought it.
    pub since: u64,
    /// It is of a plan of this name that was deleted: who has defined it anew has not asked for that one's archives to go.
    pub of_past: bool,
}

impl Made {
    fn of(facts: &Facts, complete: bool, recorded: &Recorded) -> Self {
        let physical = facts.dump.as_ref().and_then(|dump| dump.physical.as_ref());
        let candidate = Candidate {
            complete,
            base: physical.and_then(|physical| physical.base.as_ref()).map(|base| base.id),
            added_bytes: facts.added_bytes(),
            ..Candidate::new(facts.id, facts.name.clone(), facts.started_at)
        };
        Self {
            candidate,
            borg_id: facts.borg_id.clone(),
            missing: false,
            begun_at: facts.started_at.min(recorded.at),
            since: recorded.sequence,
            of_past: false,
        }
    }

    /// How a job names it.
    pub fn target(&self) -> Target {
        Target { id: self.candidate.id, name: self.candidate.name.clone(), borg_id: self.borg_id.clone() }
    }
}

impl Kept {
    /// Something has changed about its archives.
    fn changed(&mut self, at: u64) {
        self.changed = at;
        let there = self.archives.values().flat_map(BTreeMap::values);
        let there = there.filter(|made| !made.missing && !made.of_past && made.candidate.complete);
        self.last_good_at = there.map(|made| made.begun_at).max();
    }
}

/// All that retention knows.
#[derive(Debug, Clone, Default)]
pub struct Keeping {
    /// By plan; also of plans that are retired, which may come back.
    pub plans: BTreeMap<PlanId, Kept>,
    /// Holds, by archive: of all archives, whosever they are.
    pub holds: HashMap<ArchiveId, Holds>,
    /// Whose each archive is.
    whose: HashMap<ArchiveId, PlanId>,
}

impl Keeping {
    /// A backup or a copy has made an archive.
    pub fn made(
        &mut self,
        plan: &PlanId,
        repository: &RepositoryId,
        facts: &Facts,
        complete: bool,
        recorded: &Recorded,
    ) {
        let kept = self.plans.entry(plan.clone()).or_default();
        let made = Made::of(facts, complete, recorded);
        // All of them need not be looked through for that: there is one more.
        if complete {
            kept.last_good_at = kept.last_good_at.max(Some(made.begun_at));
        }
        kept.changed = recorded.sequence;
        kept.archives.entry(repository.clone()).or_default().insert(facts.id, made);
        self.whose.insert(facts.id, plan.clone());
    }

    /// A scan has found one that is a plan's by its name. Whether all is in it that should be, nobody knows.
    pub fn adopted(&mut self, adopted: &Adopted, recorded: &Recorded) {
        let known = self.whose.contains_key(&adopted.facts.id);
        if let Some(plan) = adopted.plan.as_ref().filter(|_| !known) {
            self.made(plan, &adopted.repository, &adopted.facts, false, recorded);
        }
    }

    /// A run of a plan has ended; one that was cancelled says nothing.
    pub fn ran(&mut self, plan: &PlanId, succeeded: bool, at: u64) {
        let kept = self.plans.entry(plan.clone()).or_default();
        kept.changed = at;
        kept.failures_in_a_row = if succeeded { 0 } else { kept.failures_in_a_row.saturating_add(1) };
    }

    /// Something has changed about an archive.
    fn change(&mut self, id: ArchiveId, at: u64, change: impl FnOnce(&mut Made)) {
        let Some(kept) = self.whose.get(&id).and_then(|plan| self.plans.get_mut(plan)) else { return };
        if let Some(made) = kept.archives.values_mut().find_map(|all| all.get_mut(&id)) {
            change(made);
        }
        kept.changed(at);
    }

    fn gone(&mut self, id: ArchiveId, at: u64) {
        self.holds.remove(&id);
        let Some(kept) = self.whose.remove(&id).and_then(|plan| self.plans.get_mut(&plan)) else { return };
        for (repository, all) in &mut kept.archives {
            kept.past.extend(all.remove(&id).map(|made| (repository.clone(), made.candidate)));
        }
        if kept.past.len() > PAST_KEPT {
            kept.past.pop_front();
        }
        kept.archives.retain(|_, all| !all.is_empty());
        kept.changed(at);
    }

    /// A plan was defined, paused, resumed, or became late: what is kept may be another now.
    pub fn defined(&mut self, id: &PlanId, at: u64) {
        self.plans.entry(id.clone()).or_default().changed = at;
    }

    /// A plan was deleted: its archives stay. One of the same name that is defined later may be of something else.
    fn retired(&mut self, plan: &str, at: u64) {
        let plan = plan.parse::<PlanId>().ok();
        if let Some(kept) = plan.and_then(|plan| self.plans.get_mut(&plan)) {
            kept.archives.values_mut().flat_map(BTreeMap::values_mut).for_each(|made| made.of_past = true);
            kept.failures_in_a_row = 0;
            kept.changed(at);
        }
    }

    /// A repository was deleted here, and its bytes stay where they are: nobody removes anything there any more.
    fn forgotten(&mut self, repository: &str, at: u64) {
        let Ok(repository) = repository.parse::<RepositoryId>() else { return };
        for kept in self.plans.values_mut() {
            for id in kept.archives.remove(&repository).into_iter().flat_map(BTreeMap::into_keys) {
                self.whose.remove(&id);
            }
            kept.past.retain(|(there, _)| *there != repository);
            kept.changed(at);
        }
    }

    /// What an event says about archives, holds and decisions.
    pub fn event(&mut self, recorded: &Recorded) {
        let (at, id) = (recorded.sequence, recorded.aggregate.id.parse::<ArchiveId>());
        match (&recorded.event, id) {
            (Event::ArchiveAdopted(adopted), _) => self.adopted(adopted, recorded),
            (Event::PlanRetired(_), _) => self.retired(&recorded.aggregate.id, at),
            (Event::RepositoryRetired(_), _) => self.forgotten(&recorded.aggregate.id, at),
            (Event::ArchiveDeleted(_), Ok(id)) => self.gone(id, at),
            (Event::ArchiveMissing(_), Ok(id)) => self.change(id, at, |made| made.missing = true),
            (Event::ArchiveFound(_), Ok(id)) => self.change(id, at, |made| made.missing = false),
            (event @ (Event::ArchiveHeld(_) | Event::ArchiveReleased(_)), Ok(id)) => {
                self.holds.entry(id).or_default().evolve(event);
                self.change(id, at, |_| {});
            }
            (Event::RetentionDecided(decided), _) => self.decided(recorded, decided),
            _ => {}
        }
    }

    fn decided(&mut self, recorded: &Recorded, decided: &Decided) {
        let Ok(plan) = recorded.aggregate.id.parse::<PlanId>() else { return };
        let kept = self.plans.entry(plan).or_default();
        kept.head = recorded.head();
        let gates = decided.repositories.iter();
        let gates = gates.filter_map(|of| Some((of.repository.clone(), of.gate.clone()?))).collect();
        let is_more =
            decided.repositories.iter().any(|of| of.gate.is_none() && of.going > of.removes.len() as u64);
        kept.decided = Some(Past { at: decided.nominal_at.unwrap_or(recorded.at), gates, is_more });
    }

    /// The outcome of a job that has made an archive.
    pub fn job_succeeded(
        &mut self,
        requested: &Requested,
        result: &JobResult,
        incomplete: bool,
        recorded: &Recorded,
    ) {
        match (&requested.spec, result) {
            (JobSpec::Backup(spec), JobResult::Backup { archive, .. }) => {
                self.made(&spec.plan, &spec.access.repository, archive, !incomplete, recorded);
                self.ran(&spec.plan, true, recorded.sequence);
            }
            (JobSpec::CopyArchive(spec), JobResult::CopyArchive { archive, .. }) => {
                if let Some(plan) = &spec.plan {
                    self.made(plan, &spec.access.repository, archive, !spec.incomplete, recorded);
                }
            }
            _ => {}
        }
    }
}

impl World {
    /// The archives of a plan in a repository, as retention sees them: those that are there, and that nobody is about to
    /// delete besides. These are looked at all the same. Those of a deleted plan of this name are only a person's business.
    pub fn candidates(
        &self,
        plan: &PlanId,
        repository: &RepositoryId,
        by_hand: bool,
        besides: &[Target],
    ) -> Vec<(Candidate, Target)> {
        let Some(all) = self.keeping.plans.get(plan).and_then(|kept| kept.archives.get(repository)) else {
            return Vec::new();
        };
        let mut leaving = self.being_deleted(repository);
        for target in besides {
            leaving.remove(&target.id);
        }
        let there = all.values().filter(|made| !made.missing && !leaving.contains(&made.candidate.id));
        let there = there.filter(|made| by_hand || !made.of_past);
        there
            .map(|made| {
                let holds = self.keeping.holds.get(&made.candidate.id).map(Holds::to_vec).unwrap_or_default();
                (Candidate { holds, ..made.candidate.clone() }, made.target())
            })
            .collect()
    }

    /// The archives that a plan had in a repository, as far as they are remembered.
    pub fn past(&self, plan: &PlanId, repository: &RepositoryId) -> impl Iterator<Item = &Candidate> {
        let past = self.keeping.plans.get(plan).into_iter().flat_map(|kept| &kept.past);
        past.filter(move |(there, _)| there == repository).map(|(_, candidate)| candidate)
    }
}

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
use strongroom_domain::retention::{Candidate, Decided, Gate, Hold};
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
}

impl Made {
    fn of(facts: &Facts, complete: bool) -> Self {
        let physical = facts.dump.as_ref().and_then(|dump| dump.physical.as_ref());
        let candidate = Candidate {
            complete,
            base: physical.and_then(|physical| physical.base.as_ref()).map(|base| base.id),
            added_bytes: facts.added_bytes(),
            ..Candidate::new(facts.id, facts.name.clone(), facts.started_at)
        };
        Self { candidate, borg_id: facts.borg_id.clone(), missing: false }
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
        let there = self.archives.values().flat_map(BTreeMap::values).filter(|made| !made.missing);
        self.last_good_at = there.filter(|m| m.candidate.complete).map(|m| m.candidate.made_at).max();
    }
}

/// All that retention knows.
#[derive(Debug, Clone, Default)]
pub struct Keeping {
    /// By plan; also of plans that are retired, which may come back.
    pub plans: BTreeMap<PlanId, Kept>,
    /// Holds, by archive: of all archives, whosever they are.
    pub holds: HashMap<ArchiveId, Vec<Hold>>,
    /// Whose each archive is.
    whose: HashMap<ArchiveId, PlanId>,
}

impl Keeping {
    /// A backup or a copy has made an archive.
    pub fn made(&mut self, plan: &PlanId, repository: &RepositoryId, facts: &Facts, complete: bool, at: u64) {
        let kept = self.plans.entry(plan.clone()).or_default();
        let made = Made::of(facts, complete);
        // All of them need not be looked through for that: there is one more.
        if complete {
            kept.last_good_at = kept.last_good_at.max(Some(facts.started_at));
        }
        kept.changed = at;
        kept.archives.entry(repository.clone()).or_default().insert(facts.id, made);
        self.whose.insert(facts.id, plan.clone());
    }

    /// A scan has found one that is a plan's by its name. Whether all is in it that should be, nobody knows.
    pub fn adopted(&mut self, adopted: &Adopted, at: u64) {
        let known = self.whose.contains_key(&adopted.facts.id);
        if let Some(plan) = adopted.plan.as_ref().filter(|_| !known) {
            self.made(plan, &adopted.repository, &adopted.facts, false, at);
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

    /// What an event says about archives, holds and decisions.
    pub fn event(&mut self, recorded: &Recorded) {
        let (at, id) = (recorded.sequence, recorded.aggregate.id.parse::<ArchiveId>());
        match (&recorded.event, id) {
            (Event::ArchiveAdopted(adopted), _) => self.adopted(adopted, at),
            (Event::ArchiveDeleted(_), Ok(id)) => self.gone(id, at),
            (Event::ArchiveMissing(_), Ok(id)) => self.change(id, at, |made| made.missing = true),
            (Event::ArchiveFound(_), Ok(id)) => self.change(id, at, |made| made.missing = false),
            (Event::ArchiveHeld(held), Ok(id)) => {
                let holds = self.holds.entry(id).or_default();
                holds.retain(|hold| hold.name != held.hold.name);
                holds.push(held.hold.clone());
                self.change(id, at, |_| {});
            }
            (Event::ArchiveReleased(released), Ok(id)) => {
                if let Some(holds) = self.holds.get_mut(&id) {
                    holds.retain(|hold| hold.name != released.name);
                }
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
        kept.decided = Some(Past { at: decided.nominal_at.unwrap_or(recorded.at), gates });
    }

    /// The outcome of a job that has made an archive.
    pub fn job_succeeded(&mut self, requested: &Requested, result: &JobResult, incomplete: bool, at: u64) {
        match (&requested.spec, result) {
            (JobSpec::Backup(spec), JobResult::Backup { archive, .. }) => {
                self.made(&spec.plan, &spec.access.repository, archive, !incomplete, at);
                self.ran(&spec.plan, true, at);
            }
            (JobSpec::CopyArchive(spec), JobResult::CopyArchive { archive, .. }) => {
                if let Some(plan) = &spec.plan {
                    self.made(plan, &spec.access.repository, archive, !spec.incomplete, at);
                }
            }
            _ => {}
        }
    }
}

impl World {
    /// The archives of a plan in a repository, as retention sees them: those that are there, and that nobody is about to
    /// delete besides. These are looked at all the same.
    pub fn candidates(
        &self,
        plan: &PlanId,
        repository: &RepositoryId,
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
        there
            .map(|made| {
                let holds = self.keeping.holds.get(&made.candidate.id).cloned().unwrap_or_default();
                (Candidate { holds, ..made.candidate.clone() }, made.target())
            })
            .collect()
    }

    /// All archives that a plan has and had in a repository, as far as they are remembered.
    pub fn history(&self, plan: &PlanId, repository: &RepositoryId) -> Vec<Candidate> {
        let past = self.keeping.plans.get(plan).into_iter().flat_map(|kept| &kept.past);
        let past = past.filter(|(there, _)| there == repository).map(|(_, candidate)| candidate.clone());
        self.candidates(plan, repository, &[])
            .into_iter()
            .map(|(candidate, _)| candidate)
            .chain(past)
            .collect()
    }
}

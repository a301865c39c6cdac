//! The world as the log tells it: everything that decisions about time, admission and jobs need to know.
//!
//! Any number of schedulers fold the same log into the same world, so all of them decide alike; where they do not see
//! equally far, the guard of the append lets one of them win.

mod jobs;

use super::cause::Cause;
use super::chains::Dependent;
use super::copying::Uncopied;
use super::indexing::Unindexed;
use super::keeping::Keeping;
use super::retention::{self, Unpruned};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use strongroom_bus::{Head, Recorded};
use strongroom_domain::chain::Chain;
use strongroom_domain::job::{self, JobSpec, Phase, Requested, Trigger};
use strongroom_domain::repository::Access;
use strongroom_domain::settings::LimitsSpec;
use strongroom_domain::{
    Aggregate, ArchiveId, DestinationId, Event, JobId, Kind, NodeId, PlanId, RepositoryId, ServerId,
    destination, plan, repository, server,
};

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// How far the log was folded.
    pub sequence: u64,
    /// Servers, the last definition of each, retired ones too.
    pub servers: HashMap<ServerId, server::Spec>,
    /// Destinations, likewise.
    pub destinations: HashMap<DestinationId, destination::Spec>,
    /// Repositories, likewise.
    pub repositories: HashMap<RepositoryId, repository::Spec>,
    /// Borg's id of each repository, as its newest init job told it.
    pub borg_ids: HashMap<RepositoryId, String>,
    /// How many bytes the newest archive of each plan has.
    pub sizes: HashMap<PlanId, u64>,
    /// Plans that are not retired.
    pub plans: BTreeMap<PlanId, Plan>,
    /// What has become of each plan's nominal times.
    pub schedules: HashMap<PlanId, Schedule>,
    /// Jobs that have not ended.
    pub jobs: BTreeMap<JobId, OpenJob>,
    /// Triggers that fired and whose job was not asked for yet.
    pub fired: BTreeMap<JobId, Fired>,
    /// The limits of the whole system, as people have changed them.
    pub limits: LimitsSpec,
    /// The end of the queue.
    pub queue: Head,
    /// Archives that are known, by repository.
    pub archives: HashMap<RepositoryId, HashMap<ArchiveId, KnownArchive>>,
    /// Of each plan of a whole server, the archives that the next one may be made on.
    pub chains: BTreeMap<PlanId, Chain>,
    /// Archives that need another one.
    pub dependents: BTreeMap<ArchiveId, Dependent>,
    /// What retention knows.
    pub keeping: Keeping,
    /// Removals that were decided and not asked for yet, by their jobs.
    pub unpruned: BTreeMap<JobId, Unpruned>,
    /// Archives whose deletion was reported and stands in no fact of their own yet.
    pub deletions: BTreeMap<ArchiveId, Deletion>,
    /// Archives that a backup made and that nobody was asked to index yet.
    pub unindexed: BTreeMap<ArchiveId, Unindexed>,
    /// Copies of archives that are to be made and were not asked for so far, by their jobs.
    pub uncopied: BTreeMap<JobId, Uncopied>,
    /// Scans that were done lately, the newest last.
    pub scanned: VecDeque<Scan>,
    /// When somebody last asked for a look into each repository that is not retired; its definition, before that.
    pub looked_into: BTreeMap<RepositoryId, Timestamp>,
    /// Nodes, by how they last came up.
    pub nodes: HashMap<NodeId, Node>,
    /// Aggregates with a message that cannot be read. Nothing is decided about them.
    pub halted: BTreeSet<Aggregate>,
}

/// A plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// As it is now.
    pub spec: plan::Spec,
    /// Where the newest message about it stands.
    pub changed: u64,
    /// Why it is paused.
    pub paused: Option<String>,
    /// When it was last resumed: times up to then belong to the pause, also when nobody looked during it.
    pub resumed_at: Option<Timestamp>,
    /// Since when its schedule is what it is: earlier times are not its times.
    pub schedule_since: Timestamp,
    /// The same of the schedule of its retention.
    pub retention_since: Timestamp,
    /// And of its objective.
    pub objective_since: Timestamp,
}

impl Plan {
    /// Since when it promises archives as it does now.
    pub fn promises_since(&self) -> Timestamp {
        let defined = self.schedule_since.max(self.objective_since);
        self.resumed_at.map_or(defined, |resumed| resumed.max(defined))
    }
}

/// What has become of a plan's nominal times.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    /// The newest one that was dealt with.
    pub last_nominal_at: Option<Timestamp>,
    /// Since when the plan is late, when it was found to be.
    pub overdue_since: Option<Timestamp>,
    /// The end of the aggregate.
    pub head: Head,
}

/// A job that has not ended.
#[derive(Debug, Clone)]
pub struct OpenJob {
    /// Where it stands.
    pub state: job::State,
    /// The end of its aggregate.
    pub head: Head,
    /// The admission that holds, from the admission to the end of that attempt.
    pub admission: Option<Admission>,
    /// How often it was admitted.
    pub admissions: u32,
    /// Where its newest attempt's beginning stands in the log.
    pub started_sequence: u64,
    /// Its request, as the cause of what follows.
    pub cause: Cause,
}

/// Who may do a job, under which token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// On which node.
    pub node: NodeId,
    /// The fencing token: the sequence of the admission.
    pub epoch: u64,
    /// 1, 2, ...
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
}

/// A trigger that fired.
#[derive(Debug, Clone)]
pub struct Fired {
    /// What is to be asked for: the plan as it was when it fired. The reason, when that cannot be said.
    pub request: Result<Requested, String>,
    /// The firing.
    pub cause: Cause,
}

/// An archive that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownArchive {
    /// Since which sequence.
    pub since: u64,
    /// Whether a scan missed it.
    pub missing: bool,
}

/// A deletion that was reported.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// The job that has removed it.
    pub job: JobId,
    /// Where it lay.
    pub repository: RepositoryId,
    /// The report.
    pub cause: Cause,
}

/// An attempt at a scan: whose pages are taken.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The job.
    pub job: JobId,
    /// Who scans.
    pub node: NodeId,
    /// The fencing token.
    pub epoch: u64,
    /// What is scanned.
    pub repository: RepositoryId,
    /// The request of the scan.
    pub cause: Cause,
}

/// A node that came up.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its boot id.
    pub boot: String,
    /// Where its coming up stands in the log.
    pub sequence: u64,
}

impl World {
    /// The world after one more event.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.sequence = recorded.sequence;
        self.keeping.event(recorded);
        let id = recorded.aggregate.id.as_str();
        match &recorded.event {
            Event::ServerDefined(spec) => insert(&mut self.servers, id, spec),
            Event::DestinationDefined(spec) => insert(&mut self.destinations, id, spec),
            Event::RepositoryDefined(spec) => {
                insert(&mut self.repositories, id, spec);
                if let Ok(id) = id.parse() {
                    self.looked_into.entry(id).or_insert(recorded.at);
                }
            }
            Event::RepositoryRetired(_) => {
                let _ = id.parse().map(|id: RepositoryId| self.looked_into.remove(&id));
            }
            Event::SettingsLimitsDefined(spec) => self.limits = spec.clone(),
            Event::PlanDefined(spec) => self.plan_defined(id, spec, recorded),
            Event::PlanRetired(_) => {
                let _ = id.parse().map(|id: PlanId| self.plans.remove(&id));
            }
            Event::PlanPaused(paused) => {
                self.plan(id, recorded.sequence, |plan| plan.paused = Some(paused.reason.clone()));
            }
            Event::PlanResumed(_) => self.plan(id, recorded.sequence, |plan| {
                if plan.paused.take().is_some() {
                    plan.resumed_at = Some(recorded.at);
                }
            }),
            Event::ScheduleFired(fired) => {
                self.dealt_with(id, fired.nominal_at, recorded);
                if !self.jobs.contains_key(&fired.job) {
                    let request = self.request_of(id, fired.nominal_at);
                    self.fired.insert(fired.job, Fired { request, cause: Cause::of(recorded) });
                }
            }
            Event::ScheduleSkipped(skipped) => self.dealt_with(id, skipped.nominal_at, recorded),
            Event::ScheduleOverdue(overdue) => self.stands(id, Some(overdue.since), recorded),
            Event::ScheduleInTime(_) => self.stands(id, None, recorded),
            Event::QueueAdmitted(admitted) => {
                self.queue = recorded.head();
                if let Some(job) = self.jobs.get_mut(&admitted.job) {
                    job.admissions = admitted.attempt;
                    job.admission = Some(Admission {
                        node: admitted.node.clone(),
                        epoch: recorded.sequence,
                        attempt: admitted.attempt,
                        at: recorded.at,
                    });
                }
            }
            Event::NodeJoined(joined) => {
                let node = Node { boot: joined.boot.clone(), sequence: recorded.sequence };
                insert(&mut self.nodes, id, &node);
            }
            Event::ArchiveAdopted(adopted) => {
                self.known(&adopted.repository, adopted.facts.id, recorded.sequence, false);
                self.depends(&adopted.facts);
            }
            Event::RetentionDecided(decided) => {
                let asked = |job: &JobId| self.jobs.contains_key(job);
                let unpruned = retention::unpruned(recorded, decided).into_iter();
                let unpruned: Vec<_> = unpruned.filter(|(job, _)| !asked(job)).collect();
                self.unpruned.extend(unpruned);
            }
            Event::ArchiveDeleted(deleted) => {
                if let Ok(id) = id.parse::<ArchiveId>() {
                    self.deletions.remove(&id);
                    self.unindexed.remove(&id);
                    self.uncopied.retain(|_, copy| copy.archive.id != id);
                    self.dependents.remove(&id);
                    self.set_gone(id, true);
                    if let Some(archives) = self.archives.get_mut(&deleted.repository) {
                        archives.remove(&id);
                    }
                }
            }
            Event::ArchiveMissing(missing) => self.set_missing(&missing.repository, id, true),
            Event::ArchiveFound(found) => self.set_missing(&found.repository, id, false),
            event if event.kind() == Kind::Job => self.job_event(recorded),
            _ => {}
        }
    }

    /// A message that cannot be read.
    pub fn poison(&mut self, sequence: u64, aggregate: Option<Aggregate>) {
        self.sequence = sequence;
        self.halted.extend(aggregate);
    }

    fn plan_defined(&mut self, id: &str, spec: &plan::Spec, recorded: &Recorded) {
        let Ok(id) = id.parse::<PlanId>() else { return };
        let at = recorded.at;
        self.keeping.defined(&id, recorded.sequence);
        match self.plans.get_mut(&id) {
            Some(plan) => {
                if plan.spec.schedule != spec.schedule {
                    plan.schedule_since = at;
                }
                if plan.spec.objective != spec.objective {
                    plan.objective_since = at;
                }
                if plan.spec.retention_schedule != spec.retention_schedule {
                    plan.retention_since = at;
                }
                plan.spec = spec.clone();
                plan.changed = recorded.sequence;
            }
            None => {
                let spec = spec.clone();
                self.plans.insert(
                    id,
                    Plan {
                        spec,
                        changed: recorded.sequence,
                        paused: None,
                        resumed_at: None,
                        schedule_since: at,
                        retention_since: at,
                        objective_since: at,
                    },
                );
            }
        }
    }

    fn plan(&mut self, id: &str, at: u64, change: impl FnOnce(&mut Plan)) {
        let Ok(id) = id.parse::<PlanId>() else { return };
        if let Some(plan) = self.plans.get_mut(&id) {
            change(plan);
            plan.changed = at;
            self.keeping.defined(&id, at);
        }
    }

    fn stands(&mut self, id: &str, overdue_since: Option<Timestamp>, recorded: &Recorded) {
        if let Ok(id) = id.parse::<PlanId>() {
            let schedule = self.schedules.entry(id.clone()).or_default();
            (schedule.overdue_since, schedule.head) = (overdue_since, recorded.head());
            self.keeping.defined(&id, recorded.sequence);
        }
    }

    fn dealt_with(&mut self, id: &str, nominal_at: Timestamp, recorded: &Recorded) {
        let Ok(id) = id.parse::<PlanId>() else { return };
        let schedule = self.schedules.entry(id).or_default();
        schedule.last_nominal_at =
            Some(schedule.last_nominal_at.map_or(nominal_at, |last| last.max(nominal_at)));
        schedule.head = recorded.head();
    }

    fn known(&mut self, repository: &RepositoryId, archive: ArchiveId, since: u64, missing: bool) {
        self.archives.entry(repository.clone()).or_default().insert(archive, KnownArchive { since, missing });
    }

    fn set_missing(&mut self, repository: &RepositoryId, id: &str, missing: bool) {
        let archives = self.archives.get_mut(repository);
        if let (Ok(id), Some(archives)) = (id.parse::<ArchiveId>(), archives)
            && let Some(known) = archives.get_mut(&id)
        {
            known.missing = missing;
            self.set_gone(id, missing);
        }
    }

    /// How a node finds a repository, as it is defined now.
    pub fn access(&self, id: &RepositoryId) -> Result<Access, String> {
        let spec = self.repositories.get(id).ok_or_else(|| format!("repository '{id}' is not defined"))?;
        let place = self.destinations.get(&spec.destination);
        let place = place.ok_or_else(|| format!("destination '{}' is not defined", spec.destination))?;
        Ok(spec.access(id, place))
    }

    fn request_of(&self, plan: &str, nominal_at: Timestamp) -> Result<Requested, String> {
        let id: PlanId = plan.parse().map_err(|_| format!("'{plan}' is no plan"))?;
        let plan = self.plans.get(&id).ok_or_else(|| format!("plan '{id}' is not defined"))?;
        let schedule = plan.spec.schedule.as_ref();
        let server = self.servers.get(&plan.spec.server);
        let server = server.ok_or_else(|| format!("server '{}' is not defined", plan.spec.server))?;
        Ok(Requested {
            spec: JobSpec::Backup(job::BackupSpec {
                access: self.access(&plan.spec.repository)?,
                source: plan.spec.source.clone(),
                compression: plan.spec.compression.clone(),
                limits: plan.spec.limits.clone(),
                copies: plan.spec.copies.clone(),
                hooks: plan.spec.hooks.clone(),
                quiesce: plan.spec.quiesce.clone(),
                variant: plan.spec.variant,
                full_every: plan.spec.full_every,
                priority: schedule.and_then(|schedule| schedule.priority),
                start_by: schedule.and_then(|schedule| schedule.start_by(nominal_at)),
                full: false,
                base: None,
                plan: id,
            }),
            server: plan.spec.server.clone(),
            node: server.node.clone(),
            trigger: Trigger::Schedule { nominal_at },
            deadline_s: None,
        })
    }

    /// Whether a run of this plan has not ended, or was triggered and not even asked for.
    pub fn has_open_run(&self, plan: &PlanId) -> bool {
        let of_plan = |requested: &Requested| requested.spec.plan() == Some(plan);
        self.jobs.values().any(|j| of_plan(&j.state.requested))
            || self.fired.values().any(|f| f.request.as_ref().is_ok_and(of_plan))
    }

    /// Archives of a repository that a job is about to delete, or has deleted.
    pub fn being_deleted(&self, repository: &RepositoryId) -> HashSet<ArchiveId> {
        let specs = self.jobs.values().map(|job| &job.state.requested.spec);
        let asked = specs.filter(|spec| spec.repository() == Some(repository)).flat_map(JobSpec::removed);
        let decided = self.unpruned.values().filter(|unpruned| unpruned.repository == *repository);
        let decided = decided.flat_map(|unpruned| unpruned.archives.iter().map(|target| target.id));
        let done = self.deletions.iter().filter(|(_, d)| d.repository == *repository).map(|(id, _)| *id);
        asked.chain(decided).chain(done).collect()
    }

    /// Whether nothing is decided about this, because a message of it cannot be read.
    pub fn is_halted(&self, kind: Kind, id: impl std::fmt::Display) -> bool {
        !self.halted.is_empty() && self.halted.contains(&Aggregate::new(kind, id))
    }

    /// How many jobs are in this phase.
    pub fn count(&self, phase: Phase) -> usize {
        self.jobs.values().filter(|j| j.state.phase == phase).count()
    }
}

fn insert<K: std::str::FromStr + Eq + std::hash::Hash, V: Clone>(
    map: &mut HashMap<K, V>,
    id: &str,
    value: &V,
) {
    if let Ok(id) = id.parse() {
        map.insert(id, value.clone());
    }
}

//! The world as the log tells it: everything that decisions about time, admission and jobs need to know.
//!
//! Any number of schedulers fold the same log into the same world, so all of them decide alike; where they do not see
//! equally far, the guard of the append lets one of them win.

use super::cause::Cause;
use super::chains::Dependent;
use super::copying::{Uncopied, is_incomplete, target_of};
use super::indexing::Unindexed;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use strongroom_bus::{Head, Recorded};
use strongroom_domain::archive::Facts;
use strongroom_domain::chain::Chain;
use strongroom_domain::job::{self, JobResult, JobSpec, Phase, Requested, Trigger};
use strongroom_domain::repository::Access;
use strongroom_domain::{
    Aggregate, ArchiveId, DestinationId, Event, JobId, Kind, NodeId, PlanId, RepositoryId, ServerId,
    destination, plan, repository, server,
};

/// How many scans that were done are remembered, for pages of theirs that come late.
const SCANS_KEPT: usize = 64;

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
    /// The end of the queue.
    pub queue: Head,
    /// Archives that are known, by repository.
    pub archives: HashMap<RepositoryId, HashMap<ArchiveId, KnownArchive>>,
    /// Of each plan of a whole server, the archives that the next one may be made on.
    pub chains: BTreeMap<PlanId, Chain>,
    /// Archives that need another one.
    pub dependents: BTreeMap<ArchiveId, Dependent>,
    /// Archives whose deletion was reported and stands in no fact of their own yet, by the job.
    pub deletions: BTreeMap<JobId, Deletion>,
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
    /// Why it is paused.
    pub paused: Option<String>,
    /// When it was last resumed: times up to then belong to the pause, also when nobody looked during it.
    pub resumed_at: Option<Timestamp>,
    /// Since when its schedule is what it is: earlier times are not its times.
    pub schedule_since: Timestamp,
}

/// What has become of a plan's nominal times.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    /// The newest one that was dealt with.
    pub last_nominal_at: Option<Timestamp>,
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
    /// Which archive.
    pub archive: ArchiveId,
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
            Event::PlanDefined(spec) => self.plan_defined(id, spec, recorded.at),
            Event::PlanRetired(_) => {
                let _ = id.parse().map(|id: PlanId| self.plans.remove(&id));
            }
            Event::PlanPaused(paused) => self.plan(id, |plan| plan.paused = Some(paused.reason.clone())),
            Event::PlanResumed(_) => self.plan(id, |plan| {
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
            Event::ArchiveDeleted(deleted) => {
                self.deletions.remove(&deleted.job);
                if let Ok(id) = id.parse::<ArchiveId>() {
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

    fn plan_defined(&mut self, id: &str, spec: &plan::Spec, at: Timestamp) {
        let Ok(id) = id.parse::<PlanId>() else { return };
        match self.plans.get_mut(&id) {
            Some(plan) => {
                if plan.spec.schedule != spec.schedule {
                    plan.schedule_since = at;
                }
                plan.spec = spec.clone();
            }
            None => {
                let spec = spec.clone();
                self.plans.insert(id, Plan { spec, paused: None, resumed_at: None, schedule_since: at });
            }
        }
    }

    fn plan(&mut self, id: &str, change: impl FnOnce(&mut Plan)) {
        if let Some(plan) = id.parse().ok().and_then(|id: PlanId| self.plans.get_mut(&id)) {
            change(plan);
        }
    }

    fn dealt_with(&mut self, id: &str, nominal_at: Timestamp, recorded: &Recorded) {
        let Ok(id) = id.parse::<PlanId>() else { return };
        let schedule = self.schedules.entry(id).or_default();
        schedule.last_nominal_at =
            Some(schedule.last_nominal_at.map_or(nominal_at, |last| last.max(nominal_at)));
        schedule.head = recorded.head();
    }

    fn job_event(&mut self, recorded: &Recorded) {
        let Ok(id) = recorded.aggregate.id.parse::<JobId>() else { return };
        if let Event::JobRequested(requested) = &recorded.event {
            match &requested.spec {
                JobSpec::ScanRepository { access } => {
                    if let Some(last) = self.looked_into.get_mut(&access.repository) {
                        *last = recorded.at;
                    }
                }
                JobSpec::IndexArchive { archive, .. } => {
                    self.unindexed.remove(&archive.id);
                }
                JobSpec::DeleteArchive { archive, .. } => {
                    self.unindexed.remove(&archive.id);
                    self.uncopied.retain(|_, copy| copy.archive.id != archive.id);
                }
                JobSpec::CopyArchive(_) => {
                    self.uncopied.remove(&id);
                }
                _ => {}
            }
        }
        if let Some(state) = job::State::begin(&recorded.event, recorded.at) {
            self.fired.remove(&id);
            let job = OpenJob {
                state,
                head: recorded.head(),
                admission: None,
                admissions: 0,
                started_sequence: 0,
                cause: Cause::of(recorded),
            };
            self.jobs.insert(id, job);
            return;
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.state.evolve(&recorded.event, recorded.at);
        job.head = recorded.head();
        match &recorded.event {
            Event::JobStarted(_) => job.started_sequence = recorded.sequence,
            Event::JobFailed(failed) => {
                let plan = job.state.requested.spec.plan().cloned();
                self.chain_failed(plan, failed.failure.code);
            }
            Event::JobInterrupted(_) | Event::JobLeaseExpired(_) => job.admission = None,
            Event::JobSucceeded(done) => {
                let requested = job.state.requested.clone();
                self.job_succeeded(id, &requested, &done.outcome.result, recorded);
            }
            _ => {}
        }
        if recorded.event.ends_job() {
            self.jobs.remove(&id);
        }
    }

    fn job_succeeded(&mut self, id: JobId, requested: &Requested, result: &JobResult, recorded: &Recorded) {
        match (&requested.spec, result) {
            (JobSpec::InitRepository { access }, JobResult::InitRepository { borg_repository_id, .. }) => {
                self.borg_ids.insert(access.repository.clone(), borg_repository_id.clone());
            }
            (JobSpec::Backup(spec), JobResult::Backup { archive, .. }) => {
                if let Some(bytes) = archive.original_bytes() {
                    self.sizes.insert(spec.plan.clone(), bytes);
                }
                let repository = spec.access.repository.clone();
                self.known(&repository, archive.id, recorded.sequence, false);
                for to in &spec.copies {
                    let copy = Uncopied {
                        archive: target_of(archive),
                        from: repository.clone(),
                        to: to.clone(),
                        server: requested.server.clone(),
                        plan: spec.plan.clone(),
                        incomplete: is_incomplete(&recorded.event),
                        cause: Cause::of(recorded),
                    };
                    self.uncopied.insert(copy.job(), copy);
                }
                self.chained(&spec.plan, archive, &repository, is_incomplete(&recorded.event));
                self.without_index(archive, repository, requested, recorded);
            }
            (JobSpec::CopyArchive(spec), JobResult::CopyArchive { archive, .. }) => {
                let repository = spec.access.repository.clone();
                self.known(&repository, archive.id, recorded.sequence, false);
                self.without_index(archive, repository, requested, recorded);
            }
            (JobSpec::DeleteArchive { access, archive, .. }, JobResult::DeleteArchive { .. }) => {
                let (archive, repository) = (archive.id, access.repository.clone());
                // The fact of its own comes a moment later, and a backup may be given away before that.
                self.dependents.remove(&archive);
                self.set_gone(archive, true);
                self.deletions.insert(id, Deletion { archive, repository, cause: Cause::of(recorded) });
            }
            (JobSpec::ScanRepository { .. }, JobResult::ScanRepository { .. }) => {
                self.scanned.extend(self.open_scan(id));
                if self.scanned.len() > SCANS_KEPT {
                    self.scanned.pop_front();
                }
            }
            _ => {}
        }
    }

    fn without_index(
        &mut self,
        archive: &Facts,
        repository: RepositoryId,
        requested: &Requested,
        recorded: &Recorded,
    ) {
        if archive.index.is_none() {
            let (server, cause) = (requested.server.clone(), Cause::of(recorded));
            let unindexed = Unindexed { archive: target_of(archive), repository, server, cause };
            self.unindexed.insert(archive.id, unindexed);
        }
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
        let asked = self.jobs.values().filter_map(|j| match &j.state.requested.spec {
            JobSpec::DeleteArchive { access, archive, .. } if access.repository == *repository => {
                Some(archive.id)
            }
            _ => None,
        });
        let done = self.deletions.values().filter(|d| d.repository == *repository).map(|d| d.archive);
        asked.chain(done).collect()
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

//! What the events of jobs mean for the world: what runs, what was made, and what is gone.

use super::{Deletion, OpenJob, World};
use crate::core::cause::Cause;
use crate::core::copying::{Uncopied, is_incomplete, target_of};
use crate::core::indexing::Unindexed;
use strongroom_bus::Recorded;
use strongroom_domain::archive::Facts;
use strongroom_domain::job::{self, JobResult, JobSpec, Requested};
use strongroom_domain::{ArchiveId, Event, JobId, RepositoryId};

/// How many scans that were done are remembered, for pages of theirs that come late.
const SCANS_KEPT: usize = 64;

impl World {
    pub(super) fn job_event(&mut self, recorded: &Recorded) {
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
                JobSpec::Prune(spec) => {
                    self.unpruned.remove(&id);
                    for target in &spec.archives {
                        self.unindexed.remove(&target.id);
                    }
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
                if let Some(plan) = &plan {
                    self.keeping.ran(plan, false, recorded.sequence);
                }
                self.chain_failed(plan, failed.failure.code);
            }
            Event::JobAbandoned(_) => {
                if let Some(plan) = job.state.requested.spec.plan() {
                    self.keeping.ran(plan, false, recorded.sequence);
                }
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
        let incomplete = is_incomplete(&recorded.event);
        self.keeping.job_succeeded(requested, result, incomplete, recorded);
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
                self.removed(id, archive.id, &access.repository, recorded);
            }
            (JobSpec::Prune(spec), JobResult::Prune { deleted, .. }) => {
                // A node can say nothing of what it was not given.
                for archive in deleted.iter().filter(|id| spec.archives.iter().any(|t| t.id == **id)) {
                    self.removed(id, *archive, &spec.access.repository, recorded);
                }
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

    /// An archive was removed. The fact of its own comes a moment later, and a backup may be given away before that.
    fn removed(&mut self, job: JobId, archive: ArchiveId, repository: &RepositoryId, recorded: &Recorded) {
        self.dependents.remove(&archive);
        self.set_gone(archive, true);
        self.uncopied.retain(|_, copy| copy.archive.id != archive);
        let deletion = Deletion { job, repository: repository.clone(), cause: Cause::of(recorded) };
        self.deletions.insert(archive, deletion);
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
}

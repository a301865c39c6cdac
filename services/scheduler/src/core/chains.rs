//! What a backup is made on, and which archives others need.
//!
//! The accident that this prevents: a base that is deleted between the moment that an archive is asked for and the one that
//! it is made, or of two that wait, both made on the same. So this is looked at when the work is given away: the repository
//! has room for one writer, and what was made before is known by then.

use super::World;
use super::retention;
use jiff::Timestamp;
use strongroom_domain::archive::Facts;
use strongroom_domain::chain::{Choice, Link, Wanted};
use strongroom_domain::job::JobSpec;
use strongroom_domain::retention::Holds;
use strongroom_domain::{ArchiveId, FailureCode, PlanId, RepositoryId};

/// An archive that is nothing without another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependent {
    /// Which one it needs.
    pub base: ArchiveId,
    /// Its own name.
    pub name: String,
}

/// A job as it is given to its node: a backup with what it is made on, a deletion with what stands against it.
pub fn as_given(world: &World, spec: &JobSpec, now: Timestamp) -> JobSpec {
    let mut spec = spec.clone();
    match &mut spec {
        JobSpec::Backup(backup) if !backup.variant.is_full() => {
            let wanted = Wanted {
                variant: backup.variant,
                full_every: backup.full_every,
                full: backup.full,
                repository: &backup.access.repository,
                source: backup.source.kind(),
                increments: backup.source.increments(),
            };
            let chosen = world.chains.get(&backup.plan).map(|chain| chain.choose(wanted, now));
            backup.base = match chosen {
                Some(Choice::On(base)) => Some(base.clone()),
                Some(Choice::Full(_)) | None => None,
            };
        }
        JobSpec::DeleteArchive { archive, needed_by, held, .. } => {
            let mut holds = world.keeping.holds.get(&archive.id).into_iter().flat_map(Holds::iter);
            *held = holds.find(|hold| hold.holds(now)).map(|hold| format!("{}: {}", hold.by, hold.reason));
            let needs = world.dependents.values().filter(|d| d.base == archive.id);
            *needed_by = needs.map(|d| d.name.clone()).collect();
            needed_by.sort();
        }
        JobSpec::Prune(prune) => retention::as_given(world, prune, now),
        _ => {}
    }
    spec
}

impl World {
    /// A backup has made an archive: of a whole server, the next one may be made on it.
    pub fn chained(&mut self, plan: &PlanId, archive: &Facts, repository: &RepositoryId, incomplete: bool) {
        self.depends(archive);
        if let Some(link) = Link::of(archive, repository, incomplete) {
            self.chains.entry(plan.clone()).or_default().made(link);
        }
    }

    /// An archive may need another one.
    pub fn depends(&mut self, archive: &Facts) {
        let physical = archive.dump.as_ref().and_then(|dump| dump.physical.as_ref());
        if let Some(base) = physical.and_then(|physical| physical.base.as_ref()) {
            self.dependents.insert(archive.id, Dependent { base: base.id, name: archive.name.clone() });
        }
    }

    /// An archive is gone, or there again.
    pub fn set_gone(&mut self, archive: ArchiveId, gone: bool) {
        self.chains.values_mut().for_each(|chain| chain.set_gone(archive, gone));
    }

    /// A backup has failed: whether the next one can go on is for its node to say.
    pub fn chain_failed(&mut self, plan: Option<PlanId>, code: FailureCode) {
        let chain = plan.and_then(|plan| self.chains.get_mut(&plan));
        if let Some(chain) = chain.filter(|_| code == FailureCode::ChainBroken) {
            chain.broke();
        }
    }
}

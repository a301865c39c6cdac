//! What a backup is made on, and which archives others need.
//!
//! The accident that this prevents: a base that is deleted between the moment that an archive is asked for and the one that
//! it is made, or of two that wait, both made on the same. So this is looked at when the work is given away: the repository
//! has room for one writer, and what was made before is known by then.

use super::World;
use jiff::Timestamp;
use strongroom_domain::ArchiveId;
use strongroom_domain::chain::{Choice, Wanted};
use strongroom_domain::job::JobSpec;

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
            };
            let chosen = world.chains.get(&backup.plan).map(|chain| chain.choose(wanted, now));
            backup.base = match chosen {
                Some(Choice::On(base)) => Some(base.clone()),
                Some(Choice::Full(_)) | None => None,
            };
        }
        JobSpec::DeleteArchive { archive, needed_by, .. } => {
            let needs = world.dependents.values().filter(|d| d.base == archive.id);
            *needed_by = needs.map(|d| d.name.clone()).collect();
            needed_by.sort();
        }
        _ => {}
    }
    spec
}

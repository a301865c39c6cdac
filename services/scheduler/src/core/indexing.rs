//! Which archives are to get an index of their files, so that they can be browsed.
//!
//! It is made after the backup and not as a part of it: a look at every entry takes half as long again as the backup of
//! an unchanged tree, and nobody should wait for it to know that the backup is done.

use super::World;
use super::cause::Cause;
use strongroom_domain::archive::Target;
use strongroom_domain::job::{JobSpec, Requested, Trigger};
use strongroom_domain::{ArchiveId, EventId, JobId, Kind, RepositoryId, ServerId};

/// An archive that a backup made without an index of its files.
#[derive(Debug, Clone, PartialEq)]
pub struct Unindexed {
    /// Which archive.
    pub archive: Target,
    /// Where it lies.
    pub repository: RepositoryId,
    /// Whose data it is.
    pub server: ServerId,
    /// The end of the backup.
    pub cause: Cause,
}

/// The jobs that are to be asked for, each with the backup that it follows from. It is asked for once an archive, however
/// it ends: people see one that failed, and can ask again.
pub fn due(world: &World) -> Vec<(JobId, Requested, Unindexed)> {
    let due = world.unindexed.iter().filter_map(|(id, backup)| request(world, *id, backup));
    due.filter(|(job, ..)| !world.is_halted(Kind::Job, job)).collect()
}

fn request(world: &World, id: ArchiveId, backup: &Unindexed) -> Option<(JobId, Requested, Unindexed)> {
    let access = world.access(&backup.repository).ok()?;
    // Not the node that made it: the server may have moved to another one since.
    let node = world.servers.get(&backup.server)?.node.clone();
    let spec = JobSpec::IndexArchive { access, archive: backup.archive.clone(), sample: true };
    let job = JobId(EventId::of_command(&format!("index/{id}"), 0).0);
    let server = backup.server.clone();
    Some((job, Requested { spec, server, node, trigger: Trigger::System, deadline_s: None }, backup.clone()))
}

//! Which archives are to be copied into other repositories, as their plans say.
//!
//! The accident that this prevents: the only copy was at the place that burnt. A copy is a job of its own, so that a backup
//! is done when it is done, and a destination elsewhere that is away fails its copy and not the backup.

use super::World;
use super::cause::Cause;
use strongroom_domain::archive::{Facts, Target};
use strongroom_domain::job::{Completeness, CopySpec, JobSpec, Requested, Trigger};
use strongroom_domain::{Event, EventId, JobId, Kind, PlanId, RepositoryId, ServerId};

/// An archive that is to be copied into another repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Uncopied {
    /// Which archive.
    pub archive: Target,
    /// Where it lies.
    pub from: RepositoryId,
    /// Where to.
    pub to: RepositoryId,
    /// Whose data it is.
    pub server: ServerId,
    /// Whose backup.
    pub plan: PlanId,
    /// Whether data is missing from it.
    pub incomplete: bool,
    /// The end of the backup.
    pub cause: Cause,
}

impl Uncopied {
    /// The job that makes it: every scheduler asks for the same.
    pub fn job(&self) -> JobId {
        JobId(EventId::of_command(&format!("copy/{}/{}", self.archive.id, self.to), 0).0)
    }
}

/// The jobs that are to be asked for, each with the backup that it follows from. It is asked for once a copy, however it
/// ends: people are told of one that failed, and can ask again.
pub fn due(world: &World) -> Vec<(JobId, Requested, Uncopied)> {
    let due = world.uncopied.iter().filter_map(|(job, copy)| request(world, *job, copy));
    due.filter(|(job, ..)| !world.is_halted(Kind::Job, job)).collect()
}

fn request(world: &World, job: JobId, copy: &Uncopied) -> Option<(JobId, Requested, Uncopied)> {
    let (from, access) = (world.access(&copy.from).ok()?, world.access(&copy.to).ok()?);
    // Not the node that made the archive: the server may have moved to another one since.
    let node = world.servers.get(&copy.server)?.node.clone();
    let (archive, plan) = (copy.archive.clone(), Some(copy.plan.clone()));
    let spec = JobSpec::CopyArchive(CopySpec { from, archive, plan, incomplete: copy.incomplete, access });
    let server = copy.server.clone();
    Some((job, Requested { spec, server, node, trigger: Trigger::System, deadline_s: None }, copy.clone()))
}

/// Whether a backup that ended so lacks data.
pub fn is_incomplete(event: &Event) -> bool {
    matches!(event, Event::JobSucceeded(done) if done.outcome.completeness == Completeness::Incomplete)
}

/// How a job names an archive.
pub fn target_of(archive: &Facts) -> Target {
    Target { id: archive.id, name: archive.name.clone(), borg_id: archive.borg_id.clone() }
}

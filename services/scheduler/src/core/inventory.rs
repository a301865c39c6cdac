//! When a repository is to be looked into by itself, without anybody asking.
//!
//! The accident that this prevents: an archive whose job was cancelled or given up just as borg was done, which lies in the
//! repository and in no catalog; or one that somebody removed by hand, which the catalog goes on promising.

use super::World;
use jiff::{SignedDuration, Timestamp};
use strongroom_domain::job::{JobSpec, Requested, Trigger};
use strongroom_domain::{EventId, JobId, RepositoryId};

/// How old the last look into a repository may become.
pub const EVERY: SignedDuration = SignedDuration::from_hours(24);

/// The scans that are due. Their ids follow from the look before, so that any number of schedulers ask for one.
pub fn due(world: &World, now: Timestamp) -> Vec<(JobId, Requested)> {
    let looked = world.looked_into.iter().filter(|(_, last)| now.duration_since(**last) >= EVERY);
    looked.filter_map(|(id, last)| request(world, id, *last)).collect()
}

fn request(world: &World, id: &RepositoryId, last: Timestamp) -> Option<(JobId, Requested)> {
    let server = world.repositories.get(id)?.server.clone();
    let node = world.servers.get(&server)?.node.clone();
    // Nobody would do it, and it would wait in vain.
    world.nodes.get(&node)?;
    let spec = JobSpec::ScanRepository { access: world.access(id).ok()? };
    let job = JobId(EventId::of_command(&format!("inventory/{id}/{last}"), 0).0);
    Some((job, Requested { spec, server, node, trigger: Trigger::System, deadline_s: None }))
}

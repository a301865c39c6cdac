//! Where a server is restored to: a folder that is empty or not there, below one that is allowed.

use crate::jobs::Bench;
use crate::jobs::ground::Ground;
use crate::jobs::init::file_failure;
use crate::jobs::restore::{existing_roots, resolve};
use crate::scratch::Scratch;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use strongroom_domain::job::Cluster;
use strongroom_domain::{Failure, FailureCode, JobId};

/// The folder of the server in a scratch folder.
pub const DATA: &str = "data";
/// What says in a restored server which job has made it.
const NOTE: &str = "strongroom_restored.json";

/// Where it goes.
pub struct Place {
    /// An existing folder inside of a root, on its file system.
    near: PathBuf,
    /// The folder that it becomes.
    whole: PathBuf,
    roots: Vec<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    job: JobId,
    cluster: Cluster,
}

impl Place {
    /// Finds it.
    pub fn find(target: &Path, allowed: &[String]) -> Result<Self, Failure> {
        let roots = existing_roots(allowed)?;
        let (near, whole) = resolve(target, &roots)?;
        if roots.contains(&whole) {
            let message = format!(
                "{} is an allowed folder itself; name one below it, which the server becomes",
                whole.display()
            );
            return Err(Failure::new(FailureCode::TargetRefused, message));
        }
        // Beside it, not in it.
        let near = if near == whole { whole.parent().unwrap_or(&near).to_owned() } else { near };
        Ok(Self { near, whole, roots })
    }

    /// What a job has restored there already.
    pub fn made_by(&self, job: JobId) -> Option<Cluster> {
        let note: Note = serde_json::from_slice(&fs::read(self.whole.join(NOTE)).ok()?).ok()?;
        (note.job == job).then_some(note.cluster)
    }

    /// Whether nothing stands there.
    pub fn is_free(&self) -> Result<(), Failure> {
        let stands = |what: &str| {
            let message = format!(
                "{} {what}; a server is restored into a folder that is empty or not there",
                self.whole.display()
            );
            Err(stands_there(message))
        };
        match fs::read_dir(&self.whole) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => stands("is no folder"),
            Err(e) => Err(self.failed(&e)),
            Ok(mut entries) => {
                if entries.next().is_some() {
                    stands("is not empty")
                } else {
                    Ok(())
                }
            }
        }
    }

    /// What is free on its file system.
    pub fn free_bytes(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.near).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// A scratch folder on its file system, through which others can go to what is in it.
    pub fn scratch(&self, bench: &Bench<'_>) -> Result<Scratch, Failure> {
        let ground = Ground::open(&self.near, &self.roots)?;
        let ground = ground.ok_or_else(|| self.failed(&io::ErrorKind::NotFound.into()))?;
        ground.takes_entries()?;
        let scratch = Scratch::make(&ground, bench.job, bench.epoch, 0, &bench.state.restores());
        let scratch = scratch.map_err(|e| self.failed(&e))?;
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711))
            .map_err(|e| self.failed(&e))?;
        Ok(scratch)
    }

    /// Makes the target of what was restored into a scratch folder. It is on the disk before it has its name.
    pub fn take(&self, scratch: Scratch, job: JobId, cluster: &Cluster) -> Result<(), Failure> {
        let failed = |e: io::Error| self.failed(&e);
        let data = scratch.path().join(DATA);
        let note = serde_json::to_vec_pretty(&Note { job, cluster: cluster.clone() })
            .map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
        fs::write(data.join(NOTE), note).map_err(failed)?;
        let folder = fs::File::open(&data).map_err(failed)?;
        rustix::fs::syncfs(&folder).map_err(|e| failed(e.into()))?;
        let parent = self.whole.parent().unwrap_or(Path::new("/"));
        let ground = Ground::make(parent, &self.roots)?;
        ground.takes_entries()?;
        let name = self.whole.file_name().map(OsString::from).unwrap_or_default();
        // An empty folder gives way, and nothing else does (`man 2 rename`).
        fs::rename(&data, ground.at(&name)).map_err(|e| match e.kind() {
            io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotADirectory => {
                let message = format!("{} is not empty any more", self.whole.display());
                stands_there(message)
            }
            _ => failed(e),
        })?;
        fs::File::open(ground.path()).and_then(|parent| parent.sync_all()).map_err(failed)?;
        scratch.remove();
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Failure {
        file_failure(&self.whole.display().to_string(), error)
    }
}
/// A server is never put over another one, whatever is asked for.
fn stands_there(message: String) -> Failure {
    let advice = "Choose a folder that is empty or not there yet.".to_owned();
    Failure { advice, ..Failure::new(FailureCode::TargetExists, message) }
}

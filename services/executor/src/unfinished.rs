//! Backups that came to no end, and of whose archives checkpoints or parts are left.
//!
//! What they have stored is not stored again by the next backup, as long as they are there: a first backup that is longer
//! than its time limit gets on a part of the way each time. Once a backup of the repository is whole, nothing needs them,
//! and they would hold their space for ever.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use strongroom_domain::{JobId, RepositoryId};
use strongroom_service::file;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// In which repository.
    pub repository: RepositoryId,
    /// Of which archive.
    pub archive: String,
}

/// Keeps it. What cannot be kept is a line in the log: it costs space and nothing else.
pub fn keep(folder: &Path, job: JobId, unfinished: &Unfinished) {
    let kept = serde_json::to_vec(unfinished).map_err(std::io::Error::other);
    if let Err(e) = kept.and_then(|bytes| file::write_private(&folder.join(format!("{job}.json")), &bytes)) {
        tracing::warn!(%job, error = %e, "which checkpoints are left could not be kept");
    }
}

/// Forgets it, once nothing is left of it.
pub fn forget(folder: &Path, job: JobId) {
    // It is not there for most jobs.
    let _ = std::fs::remove_file(folder.join(format!("{job}.json")));
}

/// Those in a repository, and what is removed when they are gone.
pub fn of(folder: &Path, repository: &RepositoryId) -> Vec<(PathBuf, Unfinished)> {
    let notes = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let read = |path: PathBuf| {
        let unfinished: Unfinished = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        (unfinished.repository == *repository).then_some((path, unfinished))
    };
    notes.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn each_repository_has_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let id = |text: &str| -> RepositoryId { text.parse().unwrap() };
        let one = |n: u128, repository: &str| {
            let unfinished = Unfinished { repository: id(repository), archive: format!("p-{n}") };
            keep(folder.path(), JobId(Uuid::from_u128(n)), &unfinished);
            unfinished
        };
        let (a, _) = (one(1, "a"), one(2, "b"));
        std::fs::write(folder.path().join("odd"), "odd").unwrap();
        let found = of(folder.path(), &id("a"));
        assert_eq!(found.iter().map(|(_, u)| u).collect::<Vec<_>>(), [&a]);
        for (path, _) in found {
            std::fs::remove_file(path).unwrap();
        }
        assert_eq!((of(folder.path(), &id("a")).len(), of(folder.path(), &id("b")).len()), (0, 1));
    }
}

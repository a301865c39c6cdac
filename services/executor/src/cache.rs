//! Borg's cache, where a borg that was killed has half made it.
//!
//! The accident that this file prevents is P4: what a killed job leaves behind stops all that come after. Borg makes the
//! folder of its cache first and the `config` in it later; killed in between, every later borg takes the folder for a
//! cache and ends with an error, until somebody removes it.

use crate::repository;
use std::io;
use std::path::Path;

/// Removes the cache of the repository at `location` when it is half made; borg makes it anew. Called before the first
/// borg of a job that writes: only those open a cache, and they are admitted one at a time for a repository, so nobody
/// is just making it.
pub fn mend(base: &Path, location: &Path) {
    // A repository that cannot be looked at is told by borg itself, in its own words.
    let Some(id) = repository::id_at(location) else { return };
    let cache = base.join(".cache/borg").join(id);
    if cache.is_dir() && is_missing(&cache.join("config")) {
        tracing::warn!(cache = %cache.display(), "an earlier borg was killed while it made its cache; it is made anew");
        if let Err(e) = std::fs::remove_dir_all(&cache) {
            tracing::warn!(cache = %cache.display(), error = %e, "a half made cache was not removed");
        }
    }
}

/// Only when it is known to be missing: one that cannot be looked at may be there.
fn is_missing(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_the_half_made_cache_of_this_repository_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (base, repository) = (folder.path().join("base"), folder.path().join("repository"));
        let (half, whole) = ("ab".repeat(32), "cd".repeat(32));
        for id in [&half, &whole, &"ef".repeat(32)] {
            std::fs::create_dir_all(base.join(".cache/borg").join(id)).unwrap();
        }
        std::fs::write(base.join(".cache/borg").join(&whole).join("config"), "[cache]").unwrap();
        std::fs::create_dir(&repository).unwrap();
        let left = |id: &str| {
            std::fs::write(repository.join("config"), format!("[repository]\nversion = 1\nid = {id}\n"))
                .unwrap();
            mend(&base, &repository);
            std::fs::read_dir(base.join(".cache/borg")).unwrap().count()
        };
        assert_eq!(left(&whole), 3);
        assert_eq!(left("../../.."), 3, "what is no id names no folder");
        assert_eq!(left(""), 3);
        assert_eq!(left(&half), 2);
        assert!(!base.join(".cache/borg").join(&half).exists());
        mend(&base, &folder.path().join("no repository"));
    }
}

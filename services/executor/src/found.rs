//! What was found while an archive was made, kept until its job has ended.
//!
//! The accident that this file prevents is P2: an executor that is killed after borg was done and before it could tell
//! leaves an archive behind; the next attempt finds it, and would call it complete without knowing what could not be read.

use crate::core::findings::Findings;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use strongroom_domain::JobId;
use strongroom_service::file;

/// How long it is kept when nobody asks for it.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Keeps them. What cannot be kept is a line in the log: the archive itself is there.
pub fn keep(folder: &Path, job: JobId, findings: &Findings) {
    let kept = serde_json::to_vec(findings).map_err(std::io::Error::other);
    if let Err(e) = kept.and_then(|bytes| file::write_private(&path(folder, job), &bytes)) {
        tracing::warn!(%job, error = %e, "what was found could not be kept");
    }
}

/// What was kept.
pub fn recall(folder: &Path, job: JobId) -> Option<Findings> {
    serde_json::from_slice(&std::fs::read(path(folder, job)).ok()?).ok()
}

/// Forgets it, once it was told.
pub fn forget(folder: &Path, job: JobId) {
    // It is not there for most jobs.
    let _ = std::fs::remove_file(path(folder, job));
}

/// Forgets what was found so long ago that nobody goes on with its job: one that was given up while this executor was down.
pub fn clear(folder: &Path, now: SystemTime) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let changed = entry.metadata().and_then(|m| m.modified());
        if changed.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > KEPT)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn path(folder: &Path, job: JobId) -> PathBuf {
    folder.join(format!("{job}.json"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use strongroom_domain::failure::{Finding, Severity};
    use uuid::Uuid;

    #[test]
    fn what_was_kept_is_recalled_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let job = JobId(Uuid::from_u128(7));
        assert_eq!(recall(folder.path(), job), None);
        let finding =
            Finding { severity: Severity::Incomplete, path: Some("/x".into()), message: "m".into() };
        let findings = Findings { kept: vec![finding], incomplete_total: 3, benign_total: 0 };
        keep(folder.path(), job, &findings);
        assert_eq!(recall(folder.path(), job), Some(findings));
        forget(folder.path(), job);
        assert_eq!(recall(folder.path(), job), None);
    }

    #[test]
    fn what_nobody_asked_for_in_a_month_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let job = JobId(Uuid::from_u128(7));
        keep(folder.path(), job, &Findings::default());
        let written = std::fs::metadata(path(folder.path(), job)).unwrap().modified().unwrap();
        clear(folder.path(), written + KEPT);
        assert!(recall(folder.path(), job).is_some());
        clear(folder.path(), written + KEPT + Duration::from_secs(1));
        assert_eq!(recall(folder.path(), job), None);
    }
}

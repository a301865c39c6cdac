//! What was found while an archive was made, kept until its job has ended.
//!
//! The accident that this file prevents is P2: an executor that is killed after borg was done and before it could tell
//! leaves an archive behind; the next attempt finds it, and would call it complete without knowing what could not be read.

use crate::core::messages::Findings;
use std::path::{Path, PathBuf};
use strongroom_domain::JobId;
use strongroom_service::file;

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

fn path(folder: &Path, job: JobId) -> PathBuf {
    folder.join(format!("{job}.json"))
}

#[cfg(test)]
mod tests {
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
}

//! `borg init`.
//!
//! A repository is made beside its place and then moved there: one that was half made when its executor was killed would
//! stand in the way of every later try.
//!
//! The accident that this file prevents: a repository without encryption was there, which opens with any passphrase, and
//! everything would be stored in it for all to read, while a passphrase was shown and encryption promised.

use super::{Bench, Finished, finished, unreadable};
use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::core::{archive, command};
use std::path::Path;
use strongroom_domain::job::JobResult;
use strongroom_domain::repository::Access;
use strongroom_domain::{Failure, FailureCode};

/// Makes a repository, or finds that it is there and opens.
pub async fn run(bench: &Bench<'_>, access: &Access) -> Result<Finished, NoOutcome> {
    bench.step("init");
    let place = Path::new(&access.location);
    let existed = is_something_at(place)?;
    if !existed {
        make(bench, access, place).await?;
    }
    let info = bench.borg(command::info(access, None)).await;
    let info = info.map_err(|e| {
        let no_repository = e.says("Repository.InvalidRepository") || e.says("Repository.DoesNotExist");
        match (NoOutcome::from(e), no_repository && existed) {
            (NoOutcome::Failed(_), true) => {
                let message = format!("there is something at {} that is no borg repository", access.location);
                Failure::new(FailureCode::RepositoryExists, message).into()
            }
            (other, _) => other,
        }
    })?;
    let (borg_repository_id, mode) = archive::repository(&info.stdout).map_err(unreadable)?;
    if mode != access.encryption.to_string() {
        let message = format!(
            "the repository at {} has the encryption '{mode}', and not '{}'",
            access.location, access.encryption
        );
        return Err(Failure::new(FailureCode::RepositoryExists, message).into());
    }
    let result = JobResult::InitRepository { borg_repository_id, existed };
    Ok(finished(result, Findings::default(), info.tail))
}

async fn make(bench: &Bench<'_>, access: &Access, place: &Path) -> Result<(), NoOutcome> {
    let beside = format!("{}.init-{}", access.location, bench.job);
    // What a killed attempt of this very job has left.
    match std::fs::remove_dir_all(&beside) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(file_failure(&beside, &e).into()),
        _ => {}
    }
    let made = bench.borg(command::init(access.encryption, &beside)).await;
    let moved = match made {
        Ok(_) => {
            std::fs::rename(&beside, place).map_err(|e| NoOutcome::from(file_failure(&access.location, &e)))
        }
        Err(e) => Err(e.into()),
    };
    if moved.is_err() {
        let _ = std::fs::remove_dir_all(&beside);
    }
    moved
}

fn is_something_at(place: &Path) -> Result<bool, Failure> {
    match std::fs::read_dir(place) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => Ok(true),
        Err(e) => Err(file_failure(&place.display().to_string(), &e)),
    }
}

/// A failure of the file system.
pub fn file_failure(path: &str, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            FailureCode::PermissionDenied
        }
        std::io::ErrorKind::AlreadyExists => FailureCode::TargetExists,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => FailureCode::NoSpace,
        _ => FailureCode::Unknown,
    };
    Failure::new(code, format!("{path}: {error}"))
}

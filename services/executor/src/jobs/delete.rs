//! `borg delete` of one archive, then `borg compact`.
//!
//! The accident that this file prevents: a deletion that was cancelled, or whose borg was killed, after the archive was
//! gone, and a catalog that goes on promising it.

use super::{Bench, Finished, compact, finished, index};
use crate::borg::NotDone;
use crate::control::{NoOutcome, Stop};
use crate::core::findings::Findings;
use crate::core::{archive, command};
use strongroom_domain::FailureCode;
use strongroom_domain::archive::Target;
use strongroom_domain::job::JobResult;
use strongroom_domain::repository::Access;

/// Deletes it; one that is gone already is as good as deleted.
pub async fn run(bench: &Bench<'_>, access: &Access, target: &Target) -> Result<Finished, NoOutcome> {
    bench.step("delete");
    let (was_gone, mut findings, mut tail) = match index::name_of(bench, access, target).await {
        Ok(name) => {
            match bench.borg(command::delete(access, &name)).await {
                Ok(done) => (false, done.findings, done.tail),
                Err(NotDone::Stopped(why)) if why != Stop::Cancel => return Err(NoOutcome::Stopped(why)),
                Err(NotDone::Failed(failure, _)) if failure.code == FailureCode::RepositoryLocked => {
                    return Err(failure.into());
                }
                // Borg may have been ended after the point of no return.
                Err(not_done) if is_still_there(bench, access, target).await => return Err(not_done.into()),
                Err(_) => (false, Findings::default(), Vec::new()),
            }
        }
        Err(NoOutcome::Failed(f)) if f.code == FailureCode::ArchiveMissing => {
            (true, Findings::default(), Vec::new())
        }
        Err(e) => return Err(e),
    };
    compact::run(bench, access, &mut findings, &mut tail).await?;
    Ok(finished(JobResult::DeleteArchive { was_gone }, findings, tail))
}

/// Whether the repository holds it. As long as that cannot be told, nobody may say that it is gone.
async fn is_still_there(bench: &Bench<'_>, access: &Access, target: &Target) -> bool {
    let listed = bench.borg_past_cancel(command::list_archives(access)).await;
    let archives = listed.ok().and_then(|done| archive::all(&done.stdout, &access.repository).ok());
    archives.is_none_or(|all| all.iter().any(|a| a.borg_id == target.borg_id))
}

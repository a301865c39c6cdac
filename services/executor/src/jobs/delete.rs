//! `borg delete` of one archive, then `borg compact`.

use super::{Bench, Finished, finished, index};
use crate::borg::NotDone;
use crate::control::NoOutcome;
use crate::core::command;
use crate::core::findings::Findings;
use strongroom_domain::FailureCode;
use strongroom_domain::archive::Target;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::JobResult;
use strongroom_domain::repository::Access;

/// Deletes it; one that is gone already is as good as deleted.
pub async fn run(bench: &Bench<'_>, access: &Access, target: &Target) -> Result<Finished, NoOutcome> {
    bench.step("delete");
    let (was_gone, mut findings, mut tail) = match index::name_of(bench, access, target).await {
        Ok(name) => {
            let done = bench.borg(command::delete(access, &name)).await?;
            (false, done.findings, done.tail)
        }
        Err(NoOutcome::Failed(f)) if f.code == FailureCode::ArchiveMissing => {
            (true, Findings::default(), Vec::new())
        }
        Err(e) => return Err(e),
    };
    bench.step("compact");
    match bench.borg_past_cancel(command::compact(access)).await {
        Ok(done) => tail.extend(done.tail),
        Err(NotDone::Stopped(why)) => return Err(NoOutcome::Stopped(why)),
        // The archive is gone; its space is freed by the next compact.
        Err(NotDone::Failed(failure, _)) => {
            findings.benign_total += 1;
            let message = format!("space was not freed yet: {}", failure.message);
            findings.kept.push(Finding { severity: Severity::Benign, path: None, message });
        }
    }
    Ok(finished(JobResult::DeleteArchive { was_gone }, findings, tail))
}

//! The kinds of work on dump stores: a file each, and a line in [`run`].

mod backup;
mod chunking;
mod contents;
mod copy;
pub mod files;
mod making;
pub mod members;
mod removing;
mod storing;

use super::{Bench, Finished, download, finished, restore, restore_cluster, restore_database};
use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::dump_store;
use crate::streams::Streams;
use strongroom_domain::destination::Location;
use strongroom_domain::job::{JobResult, JobSpec};
use strongroom_domain::repository::Access;
use strongroom_domain::{Failure, FailureCode};

/// Does the work.
pub async fn run(
    bench: &Bench<'_>,
    spec: &JobSpec,
    access: &Access,
    place: &Location,
) -> Result<Finished, NoOutcome> {
    bench.step("open");
    let streams = private(bench)?;
    let finding = async { Ok(dump_store::find(bench, access, place, &streams).await?) };
    let found = stoppable(bench, finding).await?;
    if let JobSpec::InitRepository { .. } = spec {
        let making = async { Ok(found.make().await?) };
        let (borg_repository_id, existed) = stoppable(bench, making).await?;
        let made = JobResult::InitRepository { borg_repository_id, existed };
        return Ok(finished(made, Findings::default(), Vec::new()));
    }
    let opening = async { Ok(found.open(bench, bench.borg_repository_id).await?) };
    let opened = stoppable(bench, opening).await?;
    match spec {
        JobSpec::InitRepository { .. }
        | JobSpec::RestoreDump(_)
        | JobSpec::TestSource { .. }
        | JobSpec::TestDestination { .. } => {
            Err(Failure::new(FailureCode::Unknown, "this is not done in a store that is open").into())
        }
        JobSpec::Backup(spec) => backup::run(bench, spec, &opened, &streams).await,
        JobSpec::CopyArchive(spec) => copy::run(bench, spec, &opened, &streams).await,
        JobSpec::Download(spec) => Box::pin(download::run(bench, spec, Some(&opened))).await,
        JobSpec::DeleteArchive { archive, .. } => removing::delete(bench, &opened, archive).await,
        JobSpec::Prune(spec) => removing::prune(bench, &opened, spec).await,
        JobSpec::ScanRepository { .. } => contents::scan(bench, &opened).await,
        JobSpec::IndexArchive { archive, .. } => contents::index(bench, &opened, archive).await,
        JobSpec::Restore(spec) => restore::run(bench, spec, Some(&opened)).await,
        JobSpec::RestoreCluster(spec) => restore_cluster::run(bench, spec, Some(&opened)).await,
        JobSpec::RestoreDatabase(spec) => restore_database::run(bench, spec, Some(&opened)).await,
    }
}

/// The private folder of a job.
fn private(bench: &Bench<'_>) -> Result<Streams, Failure> {
    Streams::make_as(&bench.state.streams(), &format!("{}-{}-store", bench.job, bench.epoch))
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("the private folder of the job: {e}")))
}

/// Works until it is done or the attempt is to stop, upon which it is dropped.
async fn stoppable<T>(
    bench: &Bench<'_>,
    work: impl Future<Output = Result<T, NoOutcome>>,
) -> Result<T, NoOutcome> {
    bench.control.clone().unless_stopped(work).await?
}

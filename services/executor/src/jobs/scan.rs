//! `borg list`: what is really there, told page by page.

use super::{Bench, Finished, finished, unreadable};
use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::core::{archive, command};
use strongroom_domain::archive::Facts;
use strongroom_domain::job::JobResult;
use strongroom_domain::repository::Access;
use strongroom_domain::wire::NodeReport;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::trace;

/// Archives of one page.
const PAGE: usize = 200;
/// How many archives the last page can name, of 18 bytes each: a message holds 1 MiB.
const NAMED: usize = 40_000;

/// Reads the repository, and tells what is there.
pub async fn run(bench: &Bench<'_>, access: &Access) -> Result<Finished, NoOutcome> {
    bench.step("list");
    let listed = bench.borg(command::describe_archives(access)).await?;
    let archives = archive::all(&listed.stdout, &access.repository).map_err(unreadable)?;
    let total = tell_all(bench, &archives).await?;
    Ok(finished(JobResult::ScanRepository { archives: total }, Findings::default(), Vec::new()))
}

/// Tells of all archives that are there, and says how many they are.
pub async fn tell_all(bench: &Bench<'_>, archives: &[Facts]) -> Result<u64, NoOutcome> {
    let mut all = (archives.len() <= NAMED).then(|| archives.iter().map(|a| a.id).collect::<Vec<_>>());
    let mut pages: Vec<Vec<Facts>> = archives.chunks(PAGE).map(<[Facts]>::to_vec).collect();
    if pages.is_empty() {
        // That nothing is there is to be said as well.
        pages.push(Vec::new());
    }
    let last = pages.len().saturating_sub(1);
    for (n, archives) in pages.into_iter().enumerate() {
        let page = u32::try_from(n).unwrap_or(u32::MAX);
        let (job, epoch, last) = (bench.job, bench.epoch, n == last);
        let all = if last { all.take() } else { None };
        let report = NodeReport::Scanned { job, epoch, page, archives, last, all };
        let id = format!("{}-{}-page-{page}", bench.job, bench.epoch);
        tell(bench, &id, &report).await?;
    }
    Ok(archives.len() as u64)
}

async fn tell(bench: &Bench<'_>, id: &str, report: &NodeReport) -> Result<(), NoOutcome> {
    let traceparent = trace::traceparent(&tracing::Span::current());
    while let Err(fault) = bench.bus.report(id, report, traceparent.as_deref()).await {
        if !fault.is_transient() {
            return Err(Failure::new(FailureCode::Unknown, fault.to_string()).into());
        }
        if let Some(why) = bench.control.why() {
            return Err(NoOutcome::Stopped(why));
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    Ok(())
}

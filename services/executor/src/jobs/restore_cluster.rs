//! A whole server, out of a chain of archives, as a folder that its program can be started on.
//!
//! The accident that this file prevents: a restore that finds out half way that a link of the chain is gone or was changed,
//! and leaves a folder behind that looks like a server. All of it is put together, and recovered, in a scratch folder; the
//! target is made by one change of names, when everything is there.

mod chain;
mod place;
mod postgresql;

use super::{Bench, Finished, finished};
use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::dump_store::Opened;
use crate::jobs::restore::blocking;
use chain::Chain;
use place::Place;
use std::path::PathBuf;
use strongroom_domain::job::{Cluster, JobResult, RestoreClusterSpec};
use strongroom_domain::preview::ClusterPreview;

/// Restores.
pub async fn run(
    bench: &Bench<'_>,
    spec: &RestoreClusterSpec,
    store: Option<&Opened<'_>>,
) -> Result<Finished, NoOutcome> {
    bench.step("look");
    let (target, roots) = (PathBuf::from(&spec.target), spec.allowed_roots.clone());
    let place = blocking(move || Place::find(&target, &roots)).await?;
    if let Some(cluster) = place.made_by(bench.job) {
        // By an attempt whose report was lost.
        return Ok(done(cluster, Findings::default()));
    }
    let chain = Chain::find(bench, spec, store).await?;
    let server = postgresql::Server::find(bench, spec, &chain).await?;
    if spec.dry_run {
        return Ok(preview(&place, &chain, &server, spec));
    }
    place.is_free()?;
    chain.holds(spec.until)?;
    let scratch = place.scratch(bench)?;
    let restoring = server.restore(bench, spec, &chain, &scratch);
    let (cluster, findings) = match restoring.await {
        Ok(restored) => restored,
        Err(why) => {
            // A large folder takes a while to remove.
            let _ = tokio::task::spawn_blocking(move || scratch.remove()).await;
            return Err(why);
        }
    };
    bench.step("place");
    let (job, told) = (bench.job, cluster.clone());
    blocking(move || place.take(scratch, job, &told)).await?;
    Ok(done(cluster, findings))
}

fn done(cluster: Cluster, findings: Findings) -> Finished {
    finished(JobResult::RestoreCluster { cluster }, findings, Vec::new())
}

fn preview(
    place: &Place,
    chain: &Chain<'_>,
    server: &postgresql::Server,
    spec: &RestoreClusterSpec,
) -> Finished {
    let refusal = place.is_free().and_then(|()| chain.holds(spec.until)).err();
    let (earliest, latest) = (chain.first(), chain.last());
    let preview = ClusterPreview {
        target: spec.target.clone(),
        archives: chain.names(),
        size_bytes: chain.size_bytes(),
        free_bytes: place.free_bytes(),
        earliest: earliest.stopped_at,
        latest: latest.stopped_at,
        earliest_lsn: Some(earliest.stop_lsn),
        latest_lsn: Some(latest.stop_lsn),
        tool: server.tool(),
        refusal: refusal.map(|failure| failure.message),
    };
    finished(JobResult::PreviewRestoreCluster { preview }, Findings::default(), Vec::new())
}

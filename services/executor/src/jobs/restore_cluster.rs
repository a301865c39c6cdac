//! A whole server, out of a chain of archives, as a folder that its program can be started on.
//!
//! The accident that this file prevents: a restore that finds out half way that a link of the chain is gone or was changed,
//! and leaves a folder behind that looks like a server. All of it is put together, and recovered, in a scratch folder; the
//! target is made by one change of names, when everything is there.

mod chain;
mod mysql;
mod place;
mod postgresql;
mod work;

use super::{Bench, Finished, finished};
use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::dump_store::Opened;
use crate::jobs::restore::blocking;
use crate::scratch::Scratch;
use chain::Chain;
use place::Place;
use std::path::PathBuf;
use strongroom_domain::chain::{Lsn, Position};
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
    let server = Server::find(bench, spec, &chain).await?;
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

/// What recovers a server, in each of the systems.
enum Server {
    Postgresql(postgresql::Server),
    Mysql(mysql::Server),
}

impl Server {
    async fn find(
        bench: &Bench<'_>,
        spec: &RestoreClusterSpec,
        chain: &Chain<'_>,
    ) -> Result<Self, NoOutcome> {
        Ok(match &chain.full().position {
            Position::Postgresql(_) => Self::Postgresql(postgresql::Server::find(bench, spec, chain).await?),
            Position::Mysql(position) => {
                Self::Mysql(mysql::Server::find(bench, spec, &position.series).await?)
            }
        })
    }

    fn tool(&self) -> Option<String> {
        match self {
            Self::Postgresql(server) => server.tool(),
            Self::Mysql(server) => Some(server.tool()),
        }
    }

    async fn restore(
        &self,
        bench: &Bench<'_>,
        spec: &RestoreClusterSpec,
        chain: &Chain<'_>,
        scratch: &Scratch,
    ) -> Result<(Cluster, Findings), NoOutcome> {
        match self {
            Self::Postgresql(server) => server.restore(bench, spec, chain, scratch).await,
            Self::Mysql(server) => {
                Ok((server.restore(bench, spec, chain, scratch).await?, Findings::default()))
            }
        }
    }
}

/// The place in PostgreSQL's log at which an archive ends.
fn lsn(position: &Position) -> Option<Lsn> {
    match position {
        Position::Postgresql(position) => Some(position.stop_lsn),
        Position::Mysql(_) => None,
    }
}

fn done(cluster: Cluster, findings: Findings) -> Finished {
    finished(JobResult::RestoreCluster { cluster }, findings, Vec::new())
}

fn preview(place: &Place, chain: &Chain<'_>, server: &Server, spec: &RestoreClusterSpec) -> Finished {
    let refusal = place.is_free().and_then(|()| chain.holds(spec.until)).err();
    let (earliest, latest) = chain.ends();
    let preview = ClusterPreview {
        target: spec.target.clone(),
        archives: chain.names(),
        size_bytes: chain.size_bytes(),
        free_bytes: place.free_bytes(),
        earliest: earliest.stopped_at(),
        latest: latest.stopped_at(),
        earliest_lsn: lsn(earliest),
        latest_lsn: lsn(latest),
        tool: server.tool(),
        refusal: refusal.map(|failure| failure.message),
    };
    finished(JobResult::PreviewRestoreCluster { preview }, Findings::default(), Vec::new())
}

//! What is in a dump store: told, and indexed.

use crate::control::NoOutcome;
use crate::core::chunks::Index;
use crate::core::dump_store as forms;
use crate::core::findings::Findings;
use crate::core::index::Indexer;
use crate::dump_store::{Archive, Opened, missing_in};
use crate::jobs::index::{store, unusable};
use crate::jobs::store::stoppable;
use crate::jobs::{Bench, Finished, finished, scan};
use crate::stores::Object;
use strongroom_domain::archive::Target;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::JobResult;
use strongroom_domain::view::Entry;
use strongroom_domain::{Failure, FailureCode};

/// Tells which archives are there, whole: one that lacks a part is none, and why is told as a finding.
pub async fn scan(bench: &Bench<'_>, opened: &Opened<'_>) -> Result<Finished, NoOutcome> {
    bench.step("list");
    let (archives, findings) = stoppable(bench, async { look(opened).await }).await?;
    let archives = scan::tell_all(bench, &archives).await?;
    Ok(finished(JobResult::ScanRepository { archives }, findings, Vec::new()))
}

async fn look(opened: &Opened<'_>) -> Result<(Vec<strongroom_domain::archive::Facts>, Findings), NoOutcome> {
    let there = opened.store.list(forms::ARCHIVES).await?;
    let (mut archives, mut findings) = (Vec::new(), Findings::default());
    let names: Vec<&str> = there.iter().filter_map(|object| forms::archive_of(&object.name)).collect();
    // After the archives: each was made when its chunks were there.
    let chunks = if opened.naming().is_some() { opened.chunks().await? } else { Index::default() };
    for name in names {
        let problem = match opened.archive(name).await {
            Ok(Some(archive)) => match missing(opened, &there, &chunks, &archive).await? {
                None => {
                    archives.push(archive.facts);
                    continue;
                }
                Some(missing) => format!("the archive {name} is not whole: {missing}"),
            },
            // It was removed meanwhile.
            Ok(None) => continue,
            Err(failure) if failure.code == FailureCode::ArchiveDamaged => failure.message,
            Err(failure) => return Err(failure.into()),
        };
        findings.add(Finding { severity: Severity::Incomplete, path: None, message: problem });
    }
    Ok((archives, findings))
}

/// What an archive lacks of what was listed.
async fn missing(
    opened: &Opened<'_>,
    there: &[Object],
    chunks: &Index,
    archive: &Archive,
) -> Result<Option<String>, Failure> {
    let artefacts = &archive.manifest.dump.artefacts;
    match missing_in(there, artefacts) {
        None => Box::pin(opened.missing_chunk(chunks, artefacts)).await,
        missing => Ok(missing),
    }
}

/// Makes the index of an archive out of the list of what it consists of.
pub async fn index(bench: &Bench<'_>, opened: &Opened<'_>, target: &Target) -> Result<Finished, NoOutcome> {
    bench.step("index");
    let archive = opened.target(target).await?;
    let mut indexer = Indexer::default();
    let mut n = 0;
    for artefact in &archive.manifest.dump.artefacts {
        let entry = Entry {
            path: artefact.path.clone(),
            kind: "-".into(),
            size_bytes: artefact.size_bytes,
            mode: "-rw-------".into(),
            user: String::new(),
            group: String::new(),
            modified_at: archive.manifest.dumped_at.to_string(),
            link_target: None,
        };
        for part in indexer.add(entry).map_err(unusable)? {
            store(bench, target.id, n, part).await?;
            n += 1;
        }
    }
    let (rest, facts) = indexer.finish().map_err(unusable)?;
    for part in rest {
        store(bench, target.id, n, part).await?;
        n += 1;
    }
    Ok(finished(JobResult::IndexArchive { index: facts }, Findings::default(), Vec::new()))
}

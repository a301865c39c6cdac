//! A dump, into a dump store.

use crate::control::NoOutcome;
use crate::core::census::{self, Lists};
use crate::core::dump::gone;
use crate::core::manifest::{self, About};
use crate::core::tar;
use crate::dump_store::Opened;
use crate::jobs::backup::{recalled, server_of, sources_are_there, told_of_files};
use crate::jobs::store::making::{self, Came, Made};
use crate::jobs::store::stoppable;
use crate::jobs::store::storing::{Kept, Place, Storing, all_of_it};
use crate::jobs::{Bench, Finished, finished, quiesce};
use crate::parts::{Fed, From, Part, produce};
use crate::pipeline::Recipe;
use crate::sources::{self, Prepared};
use crate::streams::Streams;
use serde::Serialize;
use serde_json::Value;
use strongroom_domain::archive::{Artefact, Dump};
use strongroom_domain::job::{BackupSpec, JobResult};
use strongroom_domain::source::Source;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::clock;

/// The last lines of programs that are kept.
const TAIL_LINES: usize = 50;

/// Backs up.
pub async fn run(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    opened: &Opened<'_>,
    streams: &Streams,
) -> Result<Finished, NoOutcome> {
    let name = spec.archive_name(bench.job);
    let storing = async {
        // Before anything is stopped.
        sources_are_there(spec)?;
        let chain = stoppable(bench, async { Ok(chain_is_there(opened, spec).await?) });
        Box::pin(chain).await?;
        let rate = spec.limits.upload_rate_kib_per_s;
        let beginning = async { Ok(Storing::begin(bench, opened, rate).await?) };
        let begun = stoppable(bench, beginning).await?;
        // On the heap: it is large, and would be carried along by all that waits for it.
        let storing = Box::pin(stoppable(bench, store_all(bench, spec, &begun, streams, &name)));
        quiesce::around(bench, spec, storing).await
    };
    let (archive, recovered, findings, tail) = match making::make(bench, opened, &name, storing).await? {
        Came::Now { archive, findings, tail } => (archive, false, findings, tail),
        Came::Before(archive) => (archive, true, recalled(bench), Vec::new()),
    };
    // It is for people to know, and nothing depends on it.
    let space = stoppable(bench, async { Ok(opened.store.space().await?) }).await.unwrap_or_default();
    let result = JobResult::Backup { archive: archive.facts, recovered, space };
    Ok(finished(result, findings, tail))
}

/// What is made on an archive that is gone, or not whole, can never be restored.
async fn chain_is_there(opened: &Opened<'_>, spec: &BackupSpec) -> Result<(), Failure> {
    let mut next = spec.base.as_ref().map(|base| base.archive.clone());
    while let Some(target) = next {
        let broken = |why: String| {
            let message = format!("the archive {}, which the next one would need, {why}", target.name);
            Failure::new(FailureCode::ChainBroken, message)
        };
        let archive = match opened.target(&target).await {
            Ok(archive) => archive,
            Err(failure) if failure.code == FailureCode::ArchiveMissing => {
                return Err(broken("is not in the repository any more".into()));
            }
            Err(failure) if failure.code == FailureCode::ArchiveDamaged => {
                return Err(broken(format!("is damaged: {}", failure.message)));
            }
            Err(failure) => return Err(failure),
        };
        if let Some(missing) = opened.what_is_missing(&archive).await? {
            return Err(broken(format!("is not whole: {missing}")));
        }
        next = archive.manifest.dump.physical.and_then(|physical| physical.base);
    }
    Ok(())
}

async fn store_all(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    storing: &Storing<'_>,
    streams: &Streams,
    name: &str,
) -> Result<Made, NoOutcome> {
    let started_at = clock::now();
    let opened = storing.opened();
    let recipe = opened.recipe(&spec.compression)?;
    bench.step("connect");
    let Prepared { server_version, tool, mut parts, mut findings, properties, physical } =
        prepared(bench, spec, streams, opened).await?;
    if !properties.is_null() {
        parts.push(listed(manifest::PROPERTIES, "properties", &properties)?);
    }
    bench.step("dump");
    let (mut artefacts, mut tail): (Vec<Artefact>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut lists, all) = (Lists::new(), parts.len());
    for (n, part) in parts.into_iter().enumerate() {
        let (kind, database) = (part.kind, part.database.clone().unwrap_or_default());
        let fed = store_part(storing, &recipe, name, n + 1, part, artefacts.len() as u64).await?;
        let Fed { artefact, tail: words, contents, findings: mut found } = fed;
        if let Some(files) = spec.source.files().filter(|_| kind == tar::KIND) {
            told_of_files(&mut found, files);
        }
        findings.merge(found);
        tail.extend(words);
        if let Some(artefact) = &artefact {
            census::list(&mut lists, &artefact.path, contents);
        }
        match artefact {
            Some(artefact) => artefacts.push(artefact),
            None => gone(kind, &database, &artefacts).into_iter().for_each(|gone| findings.add(gone)),
        }
    }
    if !lists.is_empty() {
        let part = listed(manifest::TABLES, "tables", &lists)?;
        let fed = store_part(storing, &recipe, name, all + 1, part, artefacts.len() as u64).await?;
        artefacts.extend(fed.artefact);
    }
    making::all_are_there(bench, opened, name, &artefacts).await?;
    let repository_bytes = storing.chunks_are_there().await?;
    let artefacts_total = artefacts.len() as u64;
    let source = spec.source.kind().to_owned();
    let paths = spec.source.files().map(|files| files.paths.clone()).unwrap_or_default();
    let physical = sources::conclude(bench, &spec.source, streams, physical, &tail).await?;
    let dump = Dump { source, server_version, tool, artefacts, artefacts_total, paths, physical };
    let about = About {
        name: name.to_owned(),
        started_at,
        comment: manifest::comment(spec, bench.job, server_of(spec)),
        hostname: crate::heartbeat::hostname(),
        repository_bytes,
    };
    let manifest = manifest::write(&dump, &Value::Null, Lists::new(), Some(about), clock::now())
        .map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
    let tail = tail.split_off(tail.len().saturating_sub(TAIL_LINES));
    Ok(Made { manifest, findings, tail })
}

/// What is to be dumped: databases, and files as one part behind them.
async fn prepared(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    streams: &Streams,
    opened: &Opened<'_>,
) -> Result<Prepared, NoOutcome> {
    let mut prepared = match &spec.source {
        Source::Files(_) => Prepared::nothing(),
        _ => sources::prepare_for(bench, spec, streams, Some(opened)).await?,
    };
    if let Some(files) = spec.source.files() {
        sources::files::add(bench, files, streams, &mut prepared).await?;
    }
    Ok(prepared)
}

/// What a restore needs to know besides: encrypted like the rest, for it tells who owns what, and what tables are called.
fn listed(path: &str, kind: &'static str, what: &impl Serialize) -> Result<Part, Failure> {
    let text =
        serde_json::to_vec(what).map_err(|e| Failure::new(FailureCode::Unknown, format!("{path}: {e}")))?;
    Ok(Part {
        path: path.into(),
        kind,
        database: None,
        format: None,
        expected_bytes: Some(text.len() as u64),
        may_vanish: false,
        from: From::Bytes(text),
    })
}

/// Stores a part, in one pass from its program to its object.
async fn store_part(
    storing: &Storing<'_>,
    recipe: &Recipe,
    name: &str,
    n: usize,
    part: Part,
    parts: u64,
) -> Result<Fed, Failure> {
    let (path, expected_bytes) = (part.path.clone(), part.expected_bytes);
    let place = Place { archive: name, n, path: &path };
    let mut gone = None;
    let kept = storing.part(recipe, place, expected_bytes, async |give| {
        let mut sink = storing.counting(give, &path, parts);
        let fed = produce(part, &mut sink).await?;
        if fed.artefact.is_none() {
            gone = Some(fed);
            return Ok(None);
        }
        sink.end().await?;
        Ok(Some(fed))
    });
    let Some(Kept { made: mut fed, plain_bytes, stored }) = kept.await? else {
        let nothing = || Failure::new(FailureCode::Unknown, format!("nothing was stored of {path}"));
        return gone.ok_or_else(nothing);
    };
    if let Some(artefact) = &mut fed.artefact {
        all_of_it(&path, plain_bytes, artefact.size_bytes)?;
        artefact.stored = Some(stored);
    }
    Ok(fed)
}

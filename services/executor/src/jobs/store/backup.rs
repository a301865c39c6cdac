//! A dump, into a dump store.
//!
//! The accident that this file prevents is P1: an archive that looks whole and is not. Each attempt writes objects of its
//! own; what makes an archive of them is a small object that is written last, once, and only when all others were seen in
//! their place with the size that was counted on the way.

use crate::control::NoOutcome;
use crate::core::dump::gone;
use crate::core::dump_store as forms;
use crate::core::findings::Findings;
use crate::core::manifest::{self, About};
use crate::core::progress::ProgressLine;
use crate::core::sum::Summed;
use crate::dump_store::{Archive, Opened, missing_in};
use crate::found;
use crate::jobs::backup::{recalled, server_of};
use crate::jobs::store::stoppable;
use crate::jobs::{Bench, Finished, finished};
use crate::parts::{Fed, From, NotFed, Part, Sink, produce};
use crate::pipeline::{Flow, Recipe, pack, way};
use crate::sources::{self, Prepared};
use crate::streams::Streams;
use crate::unfinished::{self, Unfinished};
use bytes::Bytes;
use serde_json::Value;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strongroom_domain::archive::{Artefact, Dump, Stored};
use strongroom_domain::job::{BackupSpec, JobResult};
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::clock;
use tokio::sync::mpsc;
use tokio::time::Instant;

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
    // The first attempt as well may have had an earlier life, before its executor was killed.
    if let Some(archive) = made_before(opened, &name).await? {
        return Ok(recovered(bench, archive));
    }
    opened.store.clear(&forms::folder(&name)).await?;
    clear_unfinished(bench, spec, opened, &name).await;
    let note = Unfinished { repository: spec.access.repository.clone(), archive: name.clone() };
    unfinished::keep(&bench.state.unfinished(), bench.job, &note);
    let made = stoppable(bench, store_all(bench, spec, opened, streams, &name)).await;
    // From here on it comes to be: an attempt that is not the present one any more must not make it.
    let made = match (made, bench.control.why()) {
        (Ok(made), None) => made,
        (Ok(_), Some(why)) => {
            clear_own(bench, opened, &name).await;
            return Err(NoOutcome::Stopped(why));
        }
        (Err(why), _) => {
            clear_own(bench, opened, &name).await;
            return Err(why);
        }
    };
    bench.step("read-back");
    let Made { manifest, findings, tail } = made;
    found::keep(&bench.state.findings(), bench.job, &findings);
    let written = opened.store.create(&forms::manifest_of(&name), manifest).await;
    // Whether it was written or not, and whatever was said of it: what counts is what is there.
    let there = opened.archive(&name).await;
    match (written, there) {
        (Ok(true), Ok(Some(archive))) => {
            unfinished::forget(&bench.state.unfinished(), bench.job);
            let result = JobResult::Backup { archive: archive.facts, recovered: false };
            Ok(finished(result, findings, tail))
        }
        (Ok(false), Ok(Some(archive))) => {
            clear_own(bench, opened, &name).await;
            match opened.what_is_missing(&archive).await? {
                None => Ok(recovered(bench, archive)),
                Some(missing) => {
                    let message = format!("another attempt has made {name}, but it is not whole: {missing}");
                    Err(Failure::new(FailureCode::NotReadBack, message).into())
                }
            }
        }
        (Ok(_), Ok(None)) => {
            let message = format!("{name} was stored, but could not be read back: it is not there");
            Err(Failure::new(FailureCode::NotReadBack, message).into())
        }
        (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure.into()),
    }
}

/// What an earlier attempt has made, when it is whole.
async fn made_before(opened: &Opened<'_>, name: &str) -> Result<Option<Archive>, NoOutcome> {
    let Some(archive) = opened.archive(name).await? else { return Ok(None) };
    match opened.what_is_missing(&archive).await? {
        None => Ok(Some(archive)),
        Some(missing) => {
            tracing::warn!(
                archive = name,
                missing,
                "what an earlier attempt has stored is not whole, and is removed"
            );
            opened.store.delete(&forms::manifest_of(name)).await?;
            Ok(None)
        }
    }
}

fn recovered(bench: &Bench<'_>, archive: Archive) -> Finished {
    unfinished::forget(&bench.state.unfinished(), bench.job);
    let result = JobResult::Backup { archive: archive.facts, recovered: true };
    finished(result, recalled(bench), Vec::new())
}

/// Removes what killed attempts of other jobs have left.
async fn clear_unfinished(bench: &Bench<'_>, spec: &BackupSpec, opened: &Opened<'_>, name: &str) {
    for (note, earlier) in unfinished::of(&bench.state.unfinished(), &spec.access.repository) {
        if earlier.archive == name {
            continue;
        }
        // One that is whole was told, or will be by the next attempt at its job.
        let cleared = match opened.archive(&earlier.archive).await {
            Ok(None) => opened.store.clear(&forms::folder(&earlier.archive)).await,
            Ok(Some(_)) => Ok(()),
            Err(failure) => Err(failure),
        };
        match cleared {
            Ok(()) => {
                let _ = std::fs::remove_file(note);
            }
            Err(failure) => {
                tracing::warn!(
                    archive = earlier.archive,
                    problem = failure.message,
                    "what a backup has left was not removed"
                );
            }
        }
    }
}

/// Removes what this attempt has stored. What stays is removed by the next backup.
async fn clear_own(bench: &Bench<'_>, opened: &Opened<'_>, name: &str) {
    match opened.store.clear(&forms::attempt(name, bench.epoch)).await {
        Ok(()) => unfinished::forget(&bench.state.unfinished(), bench.job),
        Err(failure) => {
            tracing::warn!(job = %bench.job, problem = failure.message, "what was stored of it was not removed");
        }
    }
}

/// All parts of an archive, stored, and the list of them.
struct Made {
    manifest: Vec<u8>,
    findings: Findings,
    tail: Vec<String>,
}

async fn store_all(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    opened: &Opened<'_>,
    streams: &Streams,
    name: &str,
) -> Result<Made, NoOutcome> {
    let started_at = clock::now();
    let recipe = opened.recipe(&spec.compression)?;
    bench.step("connect");
    let Prepared { server_version, tool, mut parts, mut findings, properties } =
        sources::prepare(bench, &spec.source, streams).await?;
    if !properties.is_null() {
        parts.push(properties_part(&properties)?);
    }
    bench.step("dump");
    let storing = Storing {
        bench,
        opened,
        recipe,
        pace: Pace::new(spec.limits.upload_rate_kib_per_s),
        plain: AtomicU64::new(0),
        stored: AtomicU64::new(0),
    };
    let (mut artefacts, mut tail): (Vec<Artefact>, Vec<String>) = (Vec::new(), Vec::new());
    for (n, part) in parts.into_iter().enumerate() {
        let (kind, database) = (part.kind, part.database.clone().unwrap_or_default());
        let object = forms::object(name, bench.epoch, n + 1, &part.path, &storing.recipe.suffix());
        let Fed { artefact, tail: words } = storing.part(part, object, artefacts.len() as u64).await?;
        tail.extend(words);
        match artefact {
            Some(artefact) => artefacts.push(artefact),
            None => gone(kind, &database, &artefacts).into_iter().for_each(|gone| findings.add(gone)),
        }
    }
    let there = opened.store.list(&forms::attempt(name, bench.epoch)).await?;
    if let Some(missing) = missing_in(&there, &artefacts) {
        let message = format!("{name} was stored, but could not be read back: {missing}");
        return Err(Failure::new(FailureCode::NotReadBack, message).into());
    }
    let artefacts_total = artefacts.len() as u64;
    let source = spec.source.kind().to_owned();
    let dump = Dump { source, server_version, tool, artefacts, artefacts_total };
    let about = About {
        name: name.to_owned(),
        started_at,
        comment: manifest::comment(spec, bench.job, server_of(spec)),
        hostname: crate::heartbeat::hostname(),
    };
    let manifest = manifest::write(&dump, &Value::Null, Some(about), clock::now())
        .map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
    let tail = tail.split_off(tail.len().saturating_sub(TAIL_LINES));
    Ok(Made { manifest, findings, tail })
}

/// What a restore needs to know besides: encrypted like the rest, for it tells who owns what.
fn properties_part(properties: &Value) -> Result<Part, Failure> {
    let text = serde_json::to_vec(properties)
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("the properties: {e}")))?;
    Ok(Part {
        path: manifest::PROPERTIES.into(),
        kind: "properties",
        database: None,
        format: None,
        expected_bytes: Some(text.len() as u64),
        may_vanish: false,
        from: From::Bytes(text),
    })
}

struct Storing<'a> {
    bench: &'a Bench<'a>,
    opened: &'a Opened<'a>,
    recipe: Recipe,
    pace: Pace,
    plain: AtomicU64,
    stored: AtomicU64,
}

impl Storing<'_> {
    /// Stores a part, in one pass from its program to its object.
    async fn part(&self, part: Part, object: String, parts: u64) -> Result<Fed, NoOutcome> {
        let path = part.path.clone();
        let mut upload = self.opened.store.upload(&object, part.expected_bytes).await?;
        let (give, input) = way();
        let (output, come) = way();
        let packing = pack(self.recipe.clone(), input, output);
        let producing = async {
            let mut sink = Counting { give, storing: self, path: &path, parts };
            let fed = produce(part, &mut sink).await?;
            sink.give.send(Flow::End).await.map_err(|_| NotFed::ReaderGone)?;
            Ok::<_, NotFed>(fed)
        };
        let uploading = async {
            // Dropped with its end, so that nobody waits for it when it fails.
            let mut come = come;
            while let Some(flow) = come.recv().await {
                match flow {
                    Flow::Piece(piece) => {
                        let bytes = piece.len() as u64;
                        upload.write(piece).await?;
                        let total = self.stored.fetch_add(bytes, Ordering::Relaxed) + bytes;
                        self.pace.keep(total).await;
                    }
                    Flow::End => return Ok(true),
                }
            }
            Ok::<_, Failure>(false)
        };
        let (fed, uploaded) = tokio::join!(producing, uploading);
        let sums = packing.sums().await;
        let failure = match (fed, uploaded, sums) {
            (_, Err(failure), _) | (Err(NotFed::Failed(failure)), ..) | (_, _, Err(failure)) => failure,
            (Ok(Fed { artefact: None, tail }), ..) => {
                upload.abort().await;
                return Ok(Fed { artefact: None, tail });
            }
            (Ok(Fed { artefact: Some(artefact), tail }), Ok(true), Ok((plain, kept))) => {
                if (plain.bytes, &plain.sha256) == (artefact.size_bytes, &artefact.sha256) {
                    upload.finish().await?;
                    let artefact = Artefact { stored: Some(self.stored(object, kept)), ..artefact };
                    return Ok(Fed { artefact: Some(artefact), tail });
                }
                Failure::new(
                    FailureCode::Unknown,
                    format!("{path} changed on its way, in the memory of this node"),
                )
            }
            (Err(NotFed::ReaderGone), ..) | (_, Ok(false), _) => {
                Failure::new(FailureCode::Unknown, format!("{path} was not taken to its end"))
            }
        };
        upload.abort().await;
        Err(failure.into())
    }

    fn stored(&self, object: String, kept: Summed) -> Stored {
        Stored {
            object,
            size_bytes: kept.bytes,
            sha256: kept.sha256,
            compression: self.recipe.compression,
            encryption: self.recipe.encryption(),
        }
    }
}

/// Takes on what is dumped, and tells how far it is.
struct Counting<'a> {
    give: mpsc::Sender<Flow>,
    storing: &'a Storing<'a>,
    path: &'a str,
    parts: u64,
}

impl Sink for Counting<'_> {
    async fn give(&mut self, piece: Bytes) -> Result<(), NotFed> {
        let bytes = piece.len() as u64;
        self.give.send(Flow::Piece(piece)).await.map_err(|_| NotFed::ReaderGone)?;
        let original_size = self.storing.plain.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let stored = self.storing.stored.load(Ordering::Relaxed);
        let line = ProgressLine::Archive {
            nfiles: self.parts,
            original_size,
            compressed_size: stored,
            deduplicated_size: stored,
            path: self.path.to_owned(),
        };
        let meter = &self.storing.bench.meter;
        meter.lock().unwrap_or_else(PoisonError::into_inner).take(line, clock::now());
        Ok(())
    }
}

/// Keeps to a rate, over the whole of an attempt.
struct Pace {
    since: Instant,
    bytes_per_s: Option<u64>,
}

impl Pace {
    fn new(kib_per_s: Option<u32>) -> Self {
        Self { since: Instant::now(), bytes_per_s: kib_per_s.map(|rate| u64::from(rate.max(1)) * 1024) }
    }

    /// Waits until so much may have been sent.
    async fn keep(&self, bytes: u64) {
        if let Some(rate) = self.bytes_per_s {
            let due = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
            tokio::time::sleep_until(self.since + due).await;
        }
    }
}

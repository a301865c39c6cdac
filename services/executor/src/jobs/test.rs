//! Whether something would work, before anything depends on it: a source is looked at as a backup would, and a destination
//! is written to, read, listed, and cleared again.

use super::{Bench, Finished, finished};
use crate::clusters;
use crate::control::NoOutcome;
use crate::core::excludes::Excludes;
use crate::core::findings::Findings;
use crate::core::sum;
use crate::measure;
use crate::parts::Part;
use crate::sources::{self, Prepared};
use crate::stores::Store;
use std::path::Path;
use strongroom_domain::chain::Variant;
use strongroom_domain::destination::Location;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::JobResult;
use strongroom_domain::probe::{Cluster, DestinationProbe, PARTS_TOLD, PartProbe, SourceProbe};
use strongroom_domain::source::{Files, Source};
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Where it is written to.
const FOLDER: &str = ".strongroom-test";
/// How much is written to a destination.
const TRIED_BYTES: usize = 1 << 20;

/// Looks at a source.
pub async fn source(bench: &Bench<'_>, source: &Source, variant: Variant) -> Result<Finished, NoOutcome> {
    bench.step("look");
    if let Source::Files(files) = source {
        return of_files(bench, files).await;
    }
    let streams = bench.streams()?;
    let clusters = clusters_of(source).await;
    let prepared = sources::prepare(bench, source, variant, &streams).await;
    let Prepared { server_version, tool, parts, mut findings, properties: _, physical: _ } =
        prepared.map_err(|why| clusters::with_those(why, &clusters))?;
    findings.merge(sources::rights(bench, source, &streams).await?);
    let paths = match source.files() {
        Some(files) => count(bench, files, &mut findings).await?,
        None => Counted::default(),
    };
    let of_parts: u64 = parts.iter().filter_map(|part| part.expected_bytes).sum();
    let probe = SourceProbe {
        source: source.kind().to_owned(),
        server_version,
        tool,
        size_bytes: of_parts.saturating_add(paths.size_bytes),
        size_cut: paths.cut,
        parts_total: (parts.len() + paths.parts.len()) as u64,
        parts: parts.iter().map(told).chain(paths.parts).take(PARTS_TOLD).collect(),
        clusters,
    };
    Ok(finished(JobResult::TestSource { probe }, findings, Vec::new()))
}

/// The servers on the node, when the source is one of them, by its socket.
async fn clusters_of(source: &Source) -> Vec<Cluster> {
    let server = match source {
        Source::Postgresql(server) => Some(server),
        Source::Application(set) => set.postgresql.as_ref(),
        _ => None,
    };
    match server {
        Some(server) => clusters::of_node(server.connection.host.as_deref()).await,
        None => Vec::new(),
    }
}

fn told(part: &Part) -> PartProbe {
    let name = part.database.clone().unwrap_or_else(|| part.path.clone());
    PartProbe { kind: part.kind.to_owned(), name, size_bytes: part.expected_bytes }
}

async fn of_files(bench: &Bench<'_>, files: &Files) -> Result<Finished, NoOutcome> {
    let tool = format!("borg {}", bench.borg.version().await?);
    let mut findings = Findings::default();
    let paths = count(bench, files, &mut findings).await?;
    let probe = SourceProbe {
        source: "files".into(),
        server_version: String::new(),
        tool,
        parts_total: paths.parts.len() as u64,
        parts: paths.parts.into_iter().take(PARTS_TOLD).collect(),
        size_bytes: paths.size_bytes,
        size_cut: paths.cut,
        clusters: Vec::new(),
    };
    Ok(finished(JobResult::TestSource { probe }, findings, Vec::new()))
}

/// What files are there.
#[derive(Default)]
struct Counted {
    parts: Vec<PartProbe>,
    size_bytes: u64,
    cut: bool,
}

/// Looks at files, and says what a backup of them could not read.
async fn count(bench: &Bench<'_>, files: &Files, findings: &mut Findings) -> Result<Counted, NoOutcome> {
    files.paths.iter().filter_map(unread).for_each(|finding| findings.add(finding));
    let measured = bench.control.clone().unless_stopped(measure::measure(files)).await?;
    let is_named = |path: &Path| files.paths.iter().any(|named| Path::new(named) == path);
    for path in measured.unread.iter().filter(|path| !is_named(path)) {
        let (path, message) = (Some(path.display().to_string()), "may not be read".to_owned());
        findings.add(Finding { severity: Severity::Incomplete, path, message });
    }
    let more = measured.unread_total.saturating_sub(measured.unread.len() as u64);
    if more > 0 {
        let message = format!("{more} more files and folders may not be read");
        findings.add(Finding { severity: Severity::Incomplete, path: None, message });
    }
    let mut note = |message| findings.add(Finding { severity: Severity::Benign, path: None, message });
    if measured.cut {
        note(format!(
            "counting was given up after {} files and folders: there is more than the size says",
            measured.entries
        ));
    }
    for pattern in Excludes::read(&files.excludes).unknown {
        note(format!(
            "what the exclude '{pattern}' leaves out is counted nevertheless: only borg reads such patterns"
        ));
    }
    let parts = files.paths.iter().zip(&measured.sizes_bytes).map(|(path, bytes)| {
        let there = Path::new(path).symlink_metadata().is_ok();
        PartProbe { kind: "path".into(), name: path.clone(), size_bytes: there.then_some(*bytes) }
    });
    let size_bytes = measured.sizes_bytes.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
    Ok(Counted { parts: parts.collect(), size_bytes, cut: measured.cut })
}

/// Why a path cannot be read.
fn unread(path: &String) -> Option<Finding> {
    let message = format!("cannot be read: {}", look(Path::new(path)).err()?);
    Some(Finding { severity: Severity::Incomplete, path: Some(path.clone()), message })
}

fn look(path: &Path) -> std::io::Result<()> {
    let there = path.symlink_metadata()?;
    if there.is_dir() {
        std::fs::read_dir(path)?;
    } else if there.is_file() {
        std::fs::File::open(path)?;
    }
    Ok(())
}

/// Tries a destination.
pub async fn destination(bench: &Bench<'_>, place: &Location) -> Result<Finished, NoOutcome> {
    bench.step("try");
    let streams = bench.streams()?;
    if let Location::Local(local) = place
        && !Path::new(&local.path).is_dir()
    {
        // A backup would make it, and may so fill the disk on which something else was to be mounted.
        let message = format!("there is no folder {} on the node", local.path);
        return Err(Failure::new(FailureCode::DestinationMissing, message).into());
    }
    let trying = async {
        let store = bench.store(&briefly_locked(place), &place.below(FOLDER), &streams).await?;
        let folder = bench.job.to_string();
        let tried = try_out(store.as_ref(), &folder).await;
        let cleared =
            store.clear(&folder).await.map_err(|failure| during("removing what was written", failure));
        if let Location::Local(_) = place {
            // Another test may be at work in it.
            let _ = std::fs::remove_dir(place.below(FOLDER));
        }
        let (write_ms, read_ms) = tried?;
        cleared?;
        let space = store.space().await?;
        Ok::<_, Failure>(DestinationProbe {
            place: place.place(),
            size_bytes: TRIED_BYTES as u64,
            write_ms,
            read_ms,
            space,
        })
    };
    let probe = bench.control.clone().unless_stopped(trying).await??;
    Ok(finished(JobResult::TestDestination { probe }, Findings::default(), Vec::new()))
}

/// The same place, where what is tried out is locked as archives would be, and for a minute only.
fn briefly_locked(place: &Location) -> Location {
    let mut place = place.clone();
    if let Location::S3(s3) = &mut place
        && let Some(lock) = &mut s3.object_lock
    {
        lock.days = 0;
    }
    place
}

/// Writes, reads back, lists and removes; how long writing and reading took, in milliseconds.
async fn try_out(store: &dyn Store, folder: &str) -> Result<(u64, u64), Failure> {
    let wrong = |what: &str| Failure::new(FailureCode::DestinationError, what.to_owned());
    let bytes: Vec<u8> = (0..TRIED_BYTES).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    let (large, small) = (format!("{folder}/large"), format!("{folder}/small"));
    let began = Instant::now();
    let mut upload =
        store.upload(&large, Some(TRIED_BYTES as u64)).await.map_err(|f| during("writing", f))?;
    let written = upload.write(bytes.clone().into()).await;
    if let Err(failure) = written {
        upload.abort().await;
        return Err(during("writing", failure));
    }
    upload.finish().await.map_err(|f| during("writing", f))?;
    let write_ms = elapsed_ms(began);
    let made = store.create(&small, b"1".to_vec()).await.map_err(|f| during("writing", f))?;
    let again = store.create(&small, b"2".to_vec()).await.map_err(|f| during("writing twice", f))?;
    if !made || again {
        return Err(wrong(
            "it does not keep two writers of one object apart, by which archives are kept whole",
        ));
    }
    let began = Instant::now();
    let (give, mut come) = mpsc::channel::<bytes::Bytes>(4);
    let reading = async {
        let mut sum = sum::Sum::default();
        while let Some(piece) = come.recv().await {
            sum.add(&piece);
        }
        sum.finish()
    };
    let (fetched, read) = tokio::join!(store.fetch(&large, give), reading);
    if !fetched.map_err(|f| during("reading", f))? || read != sum::of(&bytes) {
        return Err(wrong("what was read back is not what was written"));
    }
    let read_ms = elapsed_ms(began);
    let listed = store.list(folder).await.map_err(|f| during("listing", f))?;
    if listed.iter().map(|o| (&o.name, o.size_bytes)).ne([(&large, TRIED_BYTES as u64), (&small, 1)]) {
        return Err(wrong("what was written is not listed"));
    }
    store.delete(&small).await.map_err(|f| during("removing", f))?;
    if store.read(&small, 9).await.map_err(|f| during("reading", f))?.is_some() {
        return Err(wrong("what was removed is still there"));
    }
    Ok((write_ms, read_ms))
}

fn elapsed_ms(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn during(what: &str, failure: Failure) -> Failure {
    Failure { message: format!("{what}: {}", failure.message), ..failure }
}

//! Databases, dumped straight into an archive.
//!
//! The accident that this file prevents is P1 in its worst form: a dump that breaks off, and an archive that looks whole.
//! Borg gets no end of a pipe whose program has not ended well, the list of what was dumped with its digests is the last
//! file of the archive, and an archive without it is none. And its quiet sister: borg that passes over a dump which it could
//! not store, and waits for ever for the next one.

use super::backup::told_of_files;
use super::{Bench, unreadable};
use crate::borg::{Call, NotDone};
use crate::control::{self, NoOutcome, Stop};
use crate::core::census::{self, Lists};
use crate::core::dump::{self as dump_words, bounded};
use crate::core::findings::Findings;
use crate::core::manifest::{self, About, Manifest};
use crate::core::messages::let_go;
use crate::core::{archive, command};
use crate::parts::{Fed, From, NotFed, Part};
use crate::sources::{self, Prepared};
use crate::specials;
use crate::streams::{Streams, feed};
use std::io;
use std::time::Duration;
use strongroom_domain::archive::{Artefact, Dump, Facts};
use strongroom_domain::chain::Physical;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::BackupSpec;
use strongroom_domain::repository::Access;
use strongroom_domain::source::Files;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::clock;
use tokio::time::Instant;

/// How long borg, which has let go of a pipe, may take to end by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// An archive that borg says it has made.
pub struct Dumped {
    /// What it says of it, and what was dumped.
    pub facts: Facts,
    /// What was found on the way.
    pub findings: Findings,
    /// The last lines.
    pub tail: Vec<String>,
}

/// Dumps into a new archive.
pub async fn run(bench: &Bench<'_>, spec: &BackupSpec, server: &str) -> Result<Dumped, NotDone> {
    let failed = |failure: Failure| NotDone::Failed(failure, Box::default());
    let no = |e: NoOutcome| match e {
        NoOutcome::Failed(failure) => failed(failure),
        NoOutcome::Stopped(why) => NotDone::Stopped(why),
    };
    bench.step("connect");
    let streams = bench.streams().map_err(failed)?;
    let Prepared { server_version, tool, parts, findings, properties, physical } =
        sources::prepare_for(bench, spec, &streams, None).await.map_err(no)?;
    let (files, mut findings) = (spec.source.files(), findings);
    let specials = match files {
        Some(files) => left_out(files, &mut findings).await.map_err(failed)?,
        None => Vec::new(),
    };
    let mut paths: Vec<String> = parts.iter().map(|part| part.path.clone()).collect();
    paths.push(manifest::PATH.to_owned());
    for path in &paths {
        streams.pipe(path).map_err(|e| failed(unknown(path, &e)))?;
    }
    bench.step("dump");
    let (stopper, control) = control::pair();
    let arguments = command::create_of_streams(
        spec,
        bench.job,
        server,
        &paths,
        files.map(|files| (files, specials.as_slice())),
    );
    let call = Call { folder: Some(streams.path()), control, ..bench.call(arguments) };
    let empty = Dump {
        source: spec.source.kind().to_owned(),
        server_version,
        tool,
        artefacts: Vec::new(),
        artefacts_total: 0,
        paths: files.map(|files| files.paths.clone()).unwrap_or_default(),
        physical: None,
    };
    let about = files.map(|_| About {
        name: spec.archive_name(bench.job),
        started_at: clock::now(),
        comment: manifest::comment(spec, bench.job, server),
        hostname: crate::heartbeat::hostname(),
        repository_bytes: None,
    });
    let concluding =
        async |said: &[String]| sources::conclude(bench, &spec.source, &streams, physical, said).await;
    let feeding = feed_all(&streams, parts, empty, about, &properties, concluding);
    let (mut fed, mut broken, mut stopped) = (None, None, None);
    let mut feeding = std::pin::pin!(feeding);
    // The last to be made is the first to be dropped: whatever ends this, borg is killed before a pipe is closed.
    let mut borg = std::pin::pin!(bench.borg.run(call));
    let mut outer = bench.control.clone();
    let mut ends_by: Option<Instant> = None;
    let mut was_told_to_let_go = false;
    let done = loop {
        tokio::select! {
            done = &mut borg => break done,
            result = &mut feeding, if fed.is_none() && broken.is_none() => match result {
                Ok(all) => fed = Some(all),
                Err(why) => {
                    match why.0 {
                        NotFed::Failed(_) => stopper.stop(Stop::SourceFailed),
                        // It is about to end; or it goes on to the next pipe, to which nobody will come any more.
                        NotFed::ReaderGone => ends_by = Some(Instant::now() + ENDS_WITHIN),
                    }
                    // Its pipe is in it, and stays open as long as borg lives.
                    broken = Some(why);
                }
            },
            () = until(ends_by), if ends_by.is_some() => {
                ends_by = None;
                was_told_to_let_go = true;
                stopper.stop(Stop::LetGo);
            }
            why = outer.stopped(), if stopped.is_none() => {
                stopper.stop(why);
                stopped = Some(why);
            }
        }
    };
    if let Some(why) = stopped {
        // What was made at the same moment is found by the next attempt.
        return Err(NotDone::Stopped(why));
    }
    if let Some((NotFed::Failed(failure), _)) = broken {
        return Err(failed(failure));
    }
    let done = match done {
        Err(NotDone::Failed(failure, _)) if was_told_to_let_go => {
            // It may have come to its end all the same, without what it has let go of.
            let failed = removed(bench, spec, failure.log_tail).await;
            give_back(bench, spec).await;
            return Err(failed);
        }
        Err(NotDone::Failed(failure, said)) if failure.code == FailureCode::NoSpace => {
            give_back(bench, spec).await;
            return Err(NotDone::Failed(failure, said));
        }
        done => done?,
    };
    let Some((dump, mut tail, gone)) = fed else {
        return Err(removed(bench, spec, done.tail).await);
    };
    let is_ours = |path: &str| paths.iter().any(|ours| ours == path);
    let lost = |f: &&Finding| f.severity == Severity::Incomplete && f.path.as_deref().is_some_and(is_ours);
    if done.findings.kept.iter().any(|finding| lost(&finding)) {
        return Err(removed(bench, spec, done.tail).await);
    }
    let mut facts =
        archive::created(&done.stdout, &spec.access.repository).map_err(|e| failed(unreadable(e)))?;
    facts.dump = Some(dump);
    let mut all = findings;
    let mut of_borg = done.findings;
    if let Some(files) = files {
        told_of_files(&mut of_borg, files);
    }
    all.merge(of_borg);
    all.merge(gone);
    tail.extend(done.tail);
    Ok(Dumped { facts, findings: all, tail })
}

async fn until(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// Gives back the room that a dump has taken which did not fit. Borg does so itself when it next writes, but reserves a nonce
/// before that, for which there is no room: nothing could be stored any more, however small (borg 1.2, `NonceManager`).
/// What `compact` writes needs none.
async fn give_back(bench: &Bench<'_>, spec: &BackupSpec) {
    if let Err(NotDone::Failed(failure, _)) = bench.borg_past_cancel(command::compact(&spec.access)).await {
        tracing::warn!(job = %bench.job, problem = failure.message, "the room that a dump has taken was not given back");
    }
}

/// Removes an archive that borg has made without all of the dump: it would look whole to who finds it.
async fn removed(bench: &Bench<'_>, spec: &BackupSpec, tail: Vec<String>) -> NotDone {
    let name = spec.archive_name(bench.job);
    if let Err(NotDone::Failed(failure, _)) =
        bench.borg_past_cancel(command::delete(&spec.access, &name)).await
    {
        tracing::warn!(job = %bench.job, problem = failure.message, "an archive without all of its dump was not removed");
    }
    NotDone::Failed(let_go(tail), Box::default())
}

/// What borg would open among files, and must not: told, because it is not in the archive.
async fn left_out(files: &Files, findings: &mut Findings) -> Result<Vec<String>, Failure> {
    let looked_at = files.clone();
    let looking = tokio::task::spawn_blocking(move || specials::find(&looked_at)).await;
    let found = looking.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))??;
    for path in &found {
        let message =
            "a pipe or a device, or a link to one, was left out: it has no content of its own".into();
        findings.add(Finding { severity: Severity::Benign, path: Some(path.clone()), message });
    }
    Ok(found)
}

/// Feeds part after part, and the list of them at the end.
async fn feed_all(
    streams: &Streams,
    parts: Vec<Part>,
    empty: Dump,
    about: Option<About>,
    properties: &serde_json::Value,
    conclude: impl AsyncFnOnce(&[String]) -> Result<Option<Box<Physical>>, NoOutcome>,
) -> Result<(Dump, Vec<String>, Findings), (NotFed, Option<tokio::net::unix::pipe::Sender>)> {
    let mut artefacts: Vec<Artefact> = Vec::new();
    let (mut words, mut gone, mut lists) = (Vec::new(), Findings::default(), Lists::new());
    for part in parts {
        let (kind, name) = (part.kind, part.database.clone().unwrap_or_default());
        let Fed { artefact, tail, contents, findings } = feed(streams, part).await?;
        words.extend(tail);
        gone.merge(findings);
        if let Some(artefact) = &artefact {
            census::list(&mut lists, &artefact.path, contents);
        }
        match artefact {
            Some(artefact) => artefacts.push(artefact),
            None => {
                dump_words::gone(kind, &name, &artefacts).into_iter().for_each(|finding| gone.add(finding))
            }
        }
    }
    let physical = conclude(&words).await.map_err(|e| match e {
        NoOutcome::Failed(failure) => (NotFed::Failed(failure), None),
        // Who waits for all of it hears of that as well.
        NoOutcome::Stopped(_) => (NotFed::ReaderGone, None),
    })?;
    let artefacts_total = artefacts.len() as u64;
    let dump = Dump { artefacts, artefacts_total, physical, ..empty };
    let text = manifest::write(&dump, properties, lists, about, clock::now())
        .map_err(|e| (NotFed::Failed(Failure::new(FailureCode::Unknown, e.to_string())), None))?;
    let (path, kind) = (manifest::PATH.to_owned(), "manifest");
    let last = Part {
        path,
        kind,
        database: None,
        format: None,
        expected_bytes: None,
        may_vanish: false,
        from: From::Bytes(text),
    };
    feed(streams, last).await?;
    let dump = bounded(dump);
    let words = words.split_off(words.len().saturating_sub(50));
    Ok((dump, words, gone))
}

/// The list of what was dumped, out of an archive.
pub async fn manifest_of(bench: &Bench<'_>, access: &Access, name: &str) -> Result<Manifest, NoOutcome> {
    let done = bench.borg(command::extract_to_stdout(access, name, manifest::PATH)).await?;
    let whole = done.never_matched.is_empty() && done.findings.incomplete_total == 0;
    let manifest = if whole { manifest::read(&done.stdout) } else { manifest::read(b"") };
    manifest.map_err(|e| {
        let message = format!("{name} holds no whole dump: {e}");
        Failure::new(FailureCode::PathNotInArchive, message).into()
    })
}

fn unknown(what: &str, error: &io::Error) -> Failure {
    Failure::new(FailureCode::Unknown, format!("{what}: {error}"))
}

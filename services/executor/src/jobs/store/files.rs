//! The parts of an archive in a dump store, as files.

use super::members::{self, Lonely};
use super::stoppable;
use crate::child::{Input, Plan};
use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::core::{paths, tar};
use crate::dump_store::Opened;
use crate::jobs::placing::Placing;
use crate::jobs::restore::{Part, scratch_of};
use crate::jobs::{Bench, file_failure};
use crate::program;
use crate::scratch::Scratch;
use crate::sources;
use crate::streams::Streams;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use strongroom_domain::archive::Artefact;
use strongroom_domain::job::RestoreSpec;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::file;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// Pieces that wait to be written.
const PIECES: usize = 4;

/// Writes each part into a scratch folder of its own. Its digests were compared when this ends well.
pub async fn extract(
    bench: &Bench<'_>,
    spec: &RestoreSpec,
    opened: &Opened<'_>,
    parts: &[Part],
    roots: &[PathBuf],
    extracted: &mut Vec<(Placing, Scratch)>,
) -> Result<(Findings, Vec<String>), NoOutcome> {
    let archive = opened.target(&spec.archive).await?;
    for (n, part) in parts.iter().enumerate() {
        let Chosen { whole, inside } = chosen(&archive.manifest.dump.artefacts, &part.paths)?;
        let folder = scratch_of(bench, spec, part, n, roots, extracted).await?;
        for artefact in &whole {
            stoppable(bench, async { Ok(write(opened, artefact, &folder).await?) }).await?;
        }
        if let Some((artefact, members)) = inside {
            let unpacking = async {
                let lonely = lonely_in(opened, &artefact, &members).await?;
                let targets = lonely.iter().map(|lonely| lonely.target.display().to_string());
                let with_targets: Vec<String> = members.iter().cloned().chain(targets).collect();
                unpack(bench, opened, &artefact, &with_targets, &folder).await?;
                Ok(leave_out(&lonely, &members, &folder)?)
            };
            stoppable(bench, Box::pin(unpacking)).await?;
        }
    }
    Ok((Findings::default(), Vec::new()))
}

/// What of an archive is wanted.
#[derive(Debug)]
pub struct Chosen {
    /// Parts, as files.
    pub whole: Vec<Artefact>,
    /// What is in the part with files: these, or all of it when none is named.
    pub inside: Option<(Artefact, Vec<String>)>,
}

/// Those at and below these paths, and what is looked for among the files; all of them, when there is none. The part with
/// files comes as the files that are in it, unless it is asked for by its own name.
pub fn chosen(all: &[Artefact], paths: &[String]) -> Result<Chosen, Failure> {
    let below = |artefact: &Artefact, path: &str| Path::new(&artefact.path).starts_with(path);
    let files = all.iter().find(|artefact| artefact.kind == tar::KIND);
    let (of_parts, inside): (Vec<&String>, Vec<&String>) =
        paths.iter().partition(|path| all.iter().any(|artefact| below(artefact, path)));
    if let (Some(path), None) = (inside.first(), files) {
        return Err(not_there(path));
    }
    let is_chosen = |artefact: &&Artefact| {
        let named = of_parts.iter().any(|path| below(artefact, path));
        named || (paths.is_empty() && artefact.kind != tar::KIND)
    };
    let whole = all.iter().filter(is_chosen).cloned().collect();
    let wanted = paths.is_empty() || !inside.is_empty();
    let inside = files.filter(|_| wanted).map(|files| (files.clone(), inside.into_iter().cloned().collect()));
    Ok(Chosen { whole, inside })
}

fn not_there(path: &str) -> Failure {
    let message = format!("'{path}' is not in the archive; nothing was taken out of it");
    Failure::new(FailureCode::PathNotInArchive, message)
}

/// The wanted members that are other names of files which are not wanted themselves.
pub async fn lonely_in(
    opened: &Opened<'_>,
    artefact: &Artefact,
    members: &[String],
) -> Result<Vec<Lonely>, Failure> {
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let (give, come) = mpsc::channel(PIECES);
    let (read, found) = tokio::join!(opened.read(artefact, give), members::lonely(come, members));
    read?;
    found
}

/// Takes away the names that were unpacked for the sake of others, and the folders that they were in.
fn leave_out(lonely: &[Lonely], members: &[String], folder: &Path) -> Result<(), Failure> {
    for Lonely { target, .. } in lonely {
        let failed = |e: std::io::Error| file_failure(&target.display().to_string(), &e);
        std::fs::remove_file(folder.join(target)).map_err(failed)?;
        for parent in target.ancestors().skip(1).filter(|parent| *parent != Path::new("")) {
            let is_wanted = members.iter().any(|member| parent.starts_with(member));
            // One that holds something else stays.
            if is_wanted || std::fs::remove_dir(folder.join(parent)).is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Unpacks these of the files, or all. `tar` itself leads nothing out of the folder: it takes neither `..` nor the first slash,
/// and makes links last.
async fn unpack(
    bench: &Bench<'_>,
    opened: &Opened<'_>,
    artefact: &Artefact,
    members: &[String],
    folder: &Path,
) -> Result<(), NoOutcome> {
    let (program, _) = sources::files::find(bench).await?;
    let private = Streams::make(&bench.state.streams(), bench.job, bench.epoch)
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("the private folder of the job: {e}")))?;
    let list = private.path().join("files");
    file::write_private(&list, &tar::list(members))
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("the list of paths: {e}")))?;
    let list = (!members.is_empty()).then(|| list.display().to_string());
    let plan = Plan {
        program,
        arguments: tar::extract(list.as_deref()),
        environment: program::environment(),
        folder: Some(folder.to_owned()),
        input: Input::Stream,
        user: None,
        notes: bench.state.children(),
        inside: None,
    };
    let mut running = program::start(plan).await?;
    let mut stdin = running.stdin.take();
    let (stdout, stderr, mut handle) = running.into_parts();
    let (give, mut come) = mpsc::channel::<Vec<u8>>(PIECES);
    let writing = async {
        while let Some(piece) = come.recv().await {
            let Some(to) = stdin.as_mut() else { continue };
            if to.write_all(&piece).await.is_err() {
                // It has ended, and says why; the rest is read for its digest.
                stdin = None;
            }
        }
        drop(stdin.take());
        handle.ended().await
    };
    let (read, status, tail, _) =
        tokio::join!(opened.read(artefact, give), writing, program::tail(stderr), program::tail(stdout));
    // What was stored is not what is there: whatever tar says of it follows from that.
    read?;
    let status = status.map_err(|e| Failure::new(FailureCode::Unknown, format!("tar: {e}")))?;
    if status.success() {
        return Ok(());
    }
    let gone = tail.iter().find_map(|line| line.split_once(": ")?.1.strip_suffix(": Not found in archive"));
    let failure = match gone {
        Some(path) => not_there(path),
        None => {
            let words =
                tail.iter().find(|line| !line.contains("previous errors")).cloned().unwrap_or_default();
            Failure::new(FailureCode::RestoreFailed, format!("tar ended with {status}: {words}"))
        }
    };
    Err(failure.with_log(tail).into())
}

async fn write(opened: &Opened<'_>, artefact: &Artefact, folder: &Path) -> Result<(), Failure> {
    let path = paths::in_archive(&artefact.path).ok_or_else(|| {
        let message = format!("'{}' is no path of an archive", artefact.path);
        Failure::new(FailureCode::ArchiveDamaged, message)
    })?;
    let path = folder.join(path);
    let failed = |e: &std::io::Error| file_failure(&path.display().to_string(), e);
    let (give, come) = mpsc::channel::<Vec<u8>>(PIECES);
    // It drops its end when it cannot go on: whoever reads would wait for ever.
    let writing = async {
        let mut come = come;
        tokio::fs::create_dir_all(path.parent().unwrap_or(folder)).await?;
        let mut file =
            tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).await?;
        while let Some(piece) = come.recv().await {
            file.write_all(&piece).await?;
        }
        file.flush().await
    };
    let (read, written) = tokio::join!(opened.read(artefact, give), writing);
    match written {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            let message = format!("'{}' is twice in the archive", artefact.path);
            Err(Failure::new(FailureCode::ArchiveDamaged, message))
        }
        Err(e) => Err(failed(&e)),
        Ok(()) => read,
    }
}

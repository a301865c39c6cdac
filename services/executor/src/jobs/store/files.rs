//! The parts of an archive in a dump store, as files.

use super::stoppable;
use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::core::paths;
use crate::dump_store::Opened;
use crate::jobs::placing::Placing;
use crate::jobs::restore::{Part, scratch_of};
use crate::jobs::{Bench, file_failure};
use crate::scratch::Scratch;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use strongroom_domain::archive::Artefact;
use strongroom_domain::job::RestoreSpec;
use strongroom_domain::{Failure, FailureCode};
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
        let chosen = chosen(&archive.manifest.dump.artefacts, &part.paths)?;
        let folder = scratch_of(bench, spec, part, n, roots, extracted).await?;
        for artefact in chosen {
            stoppable(bench, async { Ok(write(opened, artefact, &folder).await?) }).await?;
        }
    }
    Ok((Findings::default(), Vec::new()))
}

/// Those at and below these paths; all of them, when there is none.
fn chosen<'a>(all: &'a [Artefact], paths: &[String]) -> Result<Vec<&'a Artefact>, Failure> {
    let below = |artefact: &Artefact, path: &str| Path::new(&artefact.path).starts_with(path);
    if let Some(path) = paths.iter().find(|path| !all.iter().any(|artefact| below(artefact, path))) {
        let message = format!("'{path}' is not in the archive; nothing was restored");
        return Err(Failure::new(FailureCode::PathNotInArchive, message));
    }
    let is_chosen = |artefact: &&Artefact| paths.is_empty() || paths.iter().any(|path| below(artefact, path));
    Ok(all.iter().filter(is_chosen).collect())
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

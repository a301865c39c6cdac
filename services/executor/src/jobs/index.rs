//! The file index of an archive.

use super::{Bench, Finished, finished};
use crate::borg::Call;
use crate::control::{Control, NoOutcome};
use crate::core::command;
use crate::core::findings::Findings;
use crate::core::index::{IndexError, Indexer, entry};
use crate::core::sample::Draw;
use crate::sample;
use bytes::Bytes;
use std::time::Duration;
use strongroom_domain::archive::{Facts, IndexFacts, Target};
use strongroom_domain::job::JobResult;
use strongroom_domain::repository::Access;
use strongroom_domain::{ArchiveId, Failure, FailureCode};
use tokio::sync::mpsc;

/// How many lines of borg may wait to be taken in.
const LINES: usize = 256;
/// How often a part is tried to be stored.
const TRIES: u32 = 20;

/// An index that is stored beside the log.
pub struct Made {
    /// What it holds.
    pub facts: IndexFacts,
    /// How many entries are no folders.
    pub others_than_folders: u64,
    /// What was drawn, when something was to be.
    pub draw: Option<Draw>,
}

/// Makes the index of an archive that has none.
pub async fn run(
    bench: &Bench<'_>,
    access: &Access,
    target: &Target,
    is_fresh: bool,
) -> Result<Finished, NoOutcome> {
    bench.step("index");
    let found = found(bench, access, target).await?;
    // What lies here is not what another machine has put there, or an earlier life of this one.
    let draw = is_fresh.then(|| Draw::of(target.id));
    let control = bench.control.clone();
    let Made { facts, draw, .. } = make(bench, access, &found.name, target.id, draw, control).await?;
    let sample = match draw {
        Some(draw) => sample::take(draw, found.started_at).await,
        None => Vec::new(),
    };
    let index = IndexFacts { sample, ..facts };
    Ok(finished(JobResult::IndexArchive { index }, Findings::default(), Vec::new()))
}

/// The name that an archive has now: names can be given twice over time, ids cannot.
pub async fn name_of(bench: &Bench<'_>, access: &Access, target: &Target) -> Result<String, NoOutcome> {
    Ok(found(bench, access, target).await?.name)
}

async fn found(bench: &Bench<'_>, access: &Access, target: &Target) -> Result<Facts, NoOutcome> {
    let archives = bench.archives(access).await?;
    match archives.into_iter().find(|a| a.borg_id == target.borg_id) {
        Some(found) => Ok(found),
        None => {
            let message = format!("the archive {} is not in the repository", target.name);
            Err(Failure::new(FailureCode::ArchiveMissing, message).into())
        }
    }
}

/// Reads the entries of an archive, and stores each part as it comes: those of a large archive have no room in memory.
pub async fn make(
    bench: &Bench<'_>,
    access: &Access,
    name: &str,
    archive: ArchiveId,
    mut draw: Option<Draw>,
    control: Control,
) -> Result<Made, NoOutcome> {
    let (give, mut come) = mpsc::channel::<String>(LINES);
    let call = Call { control, ..bench.call(command::list_entries(access, name, &[])) };
    // With a problem it drops its end: what borg has left to say is read then, and passed over.
    let taking = async move {
        let mut indexer = Indexer::default();
        let mut n = 0;
        while let Some(line) = come.recv().await {
            let entry = entry(&line).map_err(unusable)?;
            if let Some(draw) = &mut draw {
                draw.see(&entry);
            }
            for part in indexer.add(entry).map_err(unusable)? {
                store(bench, archive, n, part).await?;
                n += 1;
            }
        }
        let others_than_folders = indexer.others_than_folders();
        let (rest, facts) = indexer.finish().map_err(unusable)?;
        for part in rest {
            store(bench, archive, n, part).await?;
            n += 1;
        }
        Ok::<_, Failure>(Made { facts, others_than_folders, draw })
    };
    let (listed, made) = tokio::join!(bench.borg.run_lines(call, give), taking);
    listed?;
    Ok(made?)
}

pub fn unusable(error: IndexError) -> Failure {
    Failure::new(FailureCode::BorgError, error.to_string())
}

/// Stores a part beside the log.
pub async fn store(bench: &Bench<'_>, archive: ArchiveId, n: u32, part: Vec<u8>) -> Result<(), Failure> {
    let part = Bytes::from(part);
    let mut tries = 0;
    while let Err(fault) = bench.bus.put_index(&archive.to_string(), n, part.clone()).await {
        tries += 1;
        if !fault.is_transient() || tries > TRIES {
            let message = format!("the index could not be stored: {fault}");
            return Err(Failure::new(FailureCode::Unknown, message));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

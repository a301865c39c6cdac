//! The file index of an archive.

use super::{Bench, Finished, finished};
use crate::borg::Call;
use crate::control::NoOutcome;
use crate::core::command;
use crate::core::index::Indexer;
use crate::core::messages::Findings;
use bytes::Bytes;
use strongroom_bus::Fault;
use strongroom_domain::archive::{IndexFacts, Target};
use strongroom_domain::job::JobResult;
use strongroom_domain::repository::Access;
use strongroom_domain::{ArchiveId, Failure, FailureCode};

/// An index that was made and is not stored yet.
pub struct Made {
    parts: Vec<Vec<u8>>,
    facts: IndexFacts,
    /// How many entries are no folders.
    pub others_than_folders: u64,
}

/// Makes the index of an archive that has none.
pub async fn run(bench: &Bench<'_>, access: &Access, target: &Target) -> Result<Finished, NoOutcome> {
    bench.step("index");
    let name = name_of(bench, access, target).await?;
    let made = make(bench, access, &name, Some(())).await?;
    let stored = made.store(bench, target.id).await;
    let index =
        stored.map_err(|e| Failure::new(FailureCode::Unknown, format!("it could not be stored: {e}")))?;
    Ok(finished(JobResult::IndexArchive { index }, Findings::default(), Vec::new()))
}

/// The name that an archive has now: names can be given twice over time, ids cannot.
pub async fn name_of(bench: &Bench<'_>, access: &Access, target: &Target) -> Result<String, NoOutcome> {
    let archives = bench.archives(access).await?;
    match archives.into_iter().find(|a| a.borg_id == target.borg_id) {
        Some(found) => Ok(found.name),
        None => {
            let message = format!("the archive {} is not in the repository", target.name);
            Err(Failure::new(FailureCode::ArchiveMissing, message).into())
        }
    }
}

/// Reads the entries of an archive. `stoppable`: whether a cancel counts.
pub async fn make(
    bench: &Bench<'_>,
    access: &Access,
    name: &str,
    stoppable: Option<()>,
) -> Result<Made, NoOutcome> {
    let mut indexer = Indexer::default();
    let mut parts = Vec::new();
    let control = if stoppable.is_some() { bench.control.clone() } else { bench.control.past_cancel() };
    let call = Call { control, ..bench.call(command::list_entries(access, name)) };
    let mut take = |line: String| {
        let more = indexer.take(&line).map_err(|e| Failure::new(FailureCode::BorgError, e.to_string()))?;
        parts.extend(more);
        Ok(())
    };
    bench.borg.run_lines(call, &mut take).await?;
    let others_than_folders = indexer.others_than_folders();
    let (rest, facts) = indexer.finish().map_err(|e| Failure::new(FailureCode::BorgError, e.to_string()))?;
    parts.extend(rest);
    Ok(Made { parts, facts, others_than_folders })
}

impl Made {
    /// Stores it beside the log.
    pub async fn store(self, bench: &Bench<'_>, archive: ArchiveId) -> Result<IndexFacts, Fault> {
        for (n, part) in (0..).zip(self.parts) {
            let part = Bytes::from(part);
            let mut tries = 0;
            while let Err(fault) = bench.bus.put_index(&archive.to_string(), n, part.clone()).await {
                tries += 1;
                if !fault.is_transient() || tries > 20 {
                    return Err(fault);
                }
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
        }
        Ok(self.facts)
    }
}

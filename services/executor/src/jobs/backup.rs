//! `borg create`, and the proof that the archive is there.
//!
//! The accidents that this file prevents are P1 (phantom success) and P2 (incomplete shown as complete): success is an
//! exit code that is known to be good, the archive read back from the repository by name and id, and something in it.

use super::{Bench, Finished, finished, index, unreadable};
use crate::borg::NotDone;
use crate::control::{NoOutcome, Stop};
use crate::core::messages::Findings;
use crate::core::{archive, command};
use crate::found;
use std::path::Path;
use std::time::Duration;
use strongroom_domain::archive::Facts;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::{BackupSpec, JobResult};
use strongroom_domain::plan::Source;
use strongroom_domain::{Failure, FailureCode};

/// How often an archive is looked for that borg said it had made.
const LOOKS: u32 = 3;

/// Backs up.
pub async fn run(bench: &Bench<'_>, spec: &BackupSpec) -> Result<Finished, NoOutcome> {
    let Source::Files(files) = &spec.source;
    let name = spec.archive_name(bench.job);
    let missing = files.paths.iter().find_map(|path| source_is_there(path).err());
    let created = match missing {
        // What an earlier attempt has made is there, whatever became of its source since.
        Some(_) if bench.attempt > 1 && is_made(bench, spec, &name).await? => Created::Before,
        Some(failure) => return Err(failure.into()),
        None => create(bench, spec, &name, &files.paths).await?,
    };
    let (recovered, expected, findings, tail) = match created {
        Created::Now { id, findings, tail } => (false, Some(id), findings, tail),
        Created::Before => (true, None, recalled(bench), Vec::new()),
    };
    bench.step("read-back");
    let mut facts = read_back(bench, spec, &name, expected.as_deref()).await?;
    // One after the other: two borgs at once wait for each other's lock on the cache, for seconds.
    let indexed = index::make(bench, &spec.access, &name, None).await;
    let mut findings = findings;
    let something = match indexed {
        Ok(made) => {
            bench.step("index");
            let something = made.others_than_folders > 0;
            facts.index = made.store(bench, facts.id).await.map_or_else(
                |problem| {
                    add_benign(&mut findings, problem.to_string());
                    None
                },
                Some,
            );
            something
        }
        Err(NoOutcome::Stopped(why)) => return Err(NoOutcome::Stopped(why)),
        Err(NoOutcome::Failed(failure)) => {
            if facts.stats.is_none_or(|s| s.files == 0) {
                // It may be empty, or hold nothing but links: what is not known is neither praised nor removed.
                let message =
                    format!("whether the archive holds anything could not be read: {}", failure.message);
                return Err(Failure::new(FailureCode::NotReadBack, message).with_log(tail).into());
            }
            add_benign(&mut findings, format!("the file index could not be made: {}", failure.message));
            true
        }
    };
    if !something {
        bench.borg_past_cancel(command::delete(&spec.access, &name)).await?;
        let message = "nothing was left to back up: the archive held no file, and was removed";
        return Err(Failure::new(FailureCode::ArchiveEmpty, message).with_log(tail).into());
    }
    if bench.attempt > 1 {
        remove_checkpoints(bench, spec, &name).await;
    }
    Ok(finished(JobResult::Backup { archive: facts, recovered }, findings, tail))
}

/// What came of `borg create`.
enum Created {
    /// The archive was made.
    Now { id: String, findings: Findings, tail: Vec<String> },
    /// An earlier attempt made it, and its word was lost.
    Before,
}

async fn create(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    name: &str,
    named: &[String],
) -> Result<Created, NoOutcome> {
    bench.step("create");
    match bench.borg(command::create(spec, bench.job, server_of(spec))).await {
        Ok(done) => {
            let mut findings = done.findings;
            findings.named_paths_are_missing(named);
            found::keep(&bench.state.findings(), bench.job, &findings);
            let id = archive::created_id(&done.stdout).map_err(unreadable)?;
            Ok(Created::Now { id, findings, tail: done.tail })
        }
        Err(e) if e.says("Archive.AlreadyExists") => Ok(Created::Before),
        Err(NotDone::Stopped(why)) => {
            if why == Stop::Cancel {
                // Nobody goes on from them: the next job has another name.
                remove_checkpoints(bench, spec, name).await;
            }
            Err(NoOutcome::Stopped(why))
        }
        Err(e) => Err(e.into()),
    }
}

/// Whether the repository holds the archive of this job.
async fn is_made(bench: &Bench<'_>, spec: &BackupSpec, name: &str) -> Result<bool, NoOutcome> {
    match bench.borg(command::info(&spec.access, Some(name))).await {
        Ok(_) => Ok(true),
        Err(NotDone::Stopped(why)) => Err(NoOutcome::Stopped(why)),
        Err(NotDone::Failed(..)) => Ok(false),
    }
}

/// What the earlier attempt found. When that is not known, nobody can say that the archive is complete.
fn recalled(bench: &Bench<'_>) -> Findings {
    found::recall(&bench.state.findings(), bench.job).unwrap_or_else(|| {
        let message =
            "made by an earlier attempt whose report was lost: whether all could be read is not known";
        let finding = Finding { severity: Severity::Incomplete, path: None, message: message.into() };
        Findings { kept: vec![finding], incomplete_total: 1, benign_total: 0 }
    })
}

/// The server, as the repository's place says it: `<destination>/<server>/<repository>`.
fn server_of(spec: &BackupSpec) -> &str {
    spec.access.location.rsplit('/').nth(1).unwrap_or_default()
}

fn source_is_there(path: &str) -> Result<(), Failure> {
    match Path::new(path).symlink_metadata() {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Failure::new(FailureCode::PermissionDenied, format!("{path} cannot be looked at: {e}")))
        }
        Err(e) => Err(Failure::new(FailureCode::SourceMissing, format!("{path} is not there: {e}"))),
    }
}

/// What the repository itself says of the archive.
async fn read_back(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    name: &str,
    expected: Option<&str>,
) -> Result<Facts, NoOutcome> {
    let mut problem = String::new();
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(Duration::from_secs(u64::from(look))).await;
        }
        match bench.borg_past_cancel(command::info(&spec.access, Some(name))).await {
            Ok(done) => {
                let facts = archive::facts(&done.stdout, &spec.access.repository).map_err(unreadable)?;
                if expected.is_some_and(|id| id != facts.borg_id) {
                    problem = format!("the archive {name} has another id than the one that was made");
                    break;
                }
                return Ok(facts);
            }
            Err(NotDone::Stopped(why)) => return Err(NoOutcome::Stopped(why)),
            Err(NotDone::Failed(failure, _)) => problem = failure.message,
        }
    }
    let message = format!("borg said that it was done, but the archive could not be read back: {problem}");
    Err(Failure::new(FailureCode::NotReadBack, message).into())
}

async fn remove_checkpoints(bench: &Bench<'_>, spec: &BackupSpec, name: &str) {
    // Left behind, they cost space and nothing else; a later prune or a person removes them.
    if let Err(NotDone::Failed(failure, _)) =
        bench.borg_past_cancel(command::delete_checkpoints(&spec.access, name)).await
    {
        tracing::warn!(job = %bench.job, problem = failure.message, "checkpoints were not removed");
    }
}

fn add_benign(findings: &mut Findings, message: String) {
    findings.benign_total += 1;
    findings.kept.push(Finding { severity: Severity::Benign, path: None, message });
}

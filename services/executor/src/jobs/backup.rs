//! `borg create`, and the proof that the archive is there.
//!
//! The accidents that this file prevents are P1 (phantom success) and P2 (incomplete shown as complete): success is an
//! exit code that is known to be good, the archive read back from the repository by name and id, and something in it.

use super::dump::manifest_of;
use super::{Bench, Finished, dump, finished, index, quiesce, unreadable};
use crate::borg::NotDone;
use crate::control::{NoOutcome, Stop};
use crate::core::dump::bounded;
use crate::core::findings::Findings;
use crate::core::{archive, command};
use crate::found;
use crate::stores;
use crate::unfinished::{self, Unfinished};
use std::path::Path;
use std::time::Duration;
use strongroom_domain::archive::{Dump, Facts, IndexFacts};
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::{BackupSpec, JobResult};
use strongroom_domain::source::{Files, Source};
use strongroom_domain::{Failure, FailureCode};

/// How often an archive is looked for that borg said it had made.
const LOOKS: u32 = 3;

/// Backs up.
pub async fn run(bench: &Bench<'_>, spec: &BackupSpec) -> Result<Finished, NoOutcome> {
    let name = spec.archive_name(bench.job);
    let created = match &spec.source {
        Source::Files(files) => of_files(bench, spec, &name, files).await?,
        _ => of_dump(bench, spec, &name).await?,
    };
    bench.step("read-back");
    let (recovered, mut facts, findings, tail) = match created {
        Created::Now { facts, findings, tail } => {
            (false, confirmed(bench, spec, &name, facts).await?, findings, tail)
        }
        Created::Before { dump } => {
            let described = described(bench, spec, &name).await?;
            (true, Facts { dump, ..described }, recalled(bench), Vec::new())
        }
    };
    // Where borg counted files, something is there, and the index of it is a job of its own: it costs a look at every
    // entry, for which nobody should wait. Where it counted none, there may be links.
    if facts.stats.is_none_or(|s| s.files == 0) {
        facts.index = Some(index_of_few(bench, spec, &name, &facts, &tail).await?);
    }
    if bench.attempt > 1 {
        remove_checkpoints(bench, spec, &name).await;
    }
    for (note, earlier) in unfinished::of(&bench.state.unfinished(), &spec.access.repository) {
        if remove_checkpoints(bench, spec, &earlier.archive).await {
            let _ = std::fs::remove_file(note);
        }
    }
    let space = stores::room_of(Path::new(&spec.access.location));
    Ok(finished(JobResult::Backup { archive: facts, recovered, space }, findings, tail))
}

/// The index of an archive without files, which are its links; an archive without anything is removed.
async fn index_of_few(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    name: &str,
    facts: &Facts,
    tail: &[String],
) -> Result<IndexFacts, NoOutcome> {
    let not_known = |why: &dyn std::fmt::Display| {
        // It may be empty: what is not known is neither praised nor removed.
        let message = format!("whether the archive holds anything could not be read: {why}");
        NoOutcome::from(Failure::new(FailureCode::NotReadBack, message).with_log(tail.to_vec()))
    };
    let made = match index::make(bench, &spec.access, name, facts.id, None, bench.control.past_cancel()).await
    {
        Ok(made) => made,
        Err(NoOutcome::Failed(failure)) => return Err(not_known(&failure.message)),
        Err(stopped) => return Err(stopped),
    };
    if made.others_than_folders > 0 {
        return Ok(made.facts);
    }
    bench.borg_past_cancel(command::delete(&spec.access, name)).await?;
    let message = "nothing was left to back up: the archive held no file, and was removed";
    Err(Failure::new(FailureCode::ArchiveEmpty, message).with_log(tail.to_vec()).into())
}

/// What came of `borg create`.
enum Created {
    /// The archive was made, borg says.
    Now { facts: Box<Facts>, findings: Findings, tail: Vec<String> },
    /// An earlier attempt made it, and its word was lost.
    Before { dump: Option<Dump> },
}

async fn of_files(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    name: &str,
    files: &Files,
) -> Result<Created, NoOutcome> {
    match files.paths.iter().find_map(|path| source_is_there(path).err()) {
        // What an earlier attempt has made is there, whatever became of its source since.
        Some(_) if bench.attempt > 1 && is_made(bench, spec, name).await? => {
            Ok(Created::Before { dump: None })
        }
        Some(failure) => Err(failure.into()),
        None => create(bench, spec, name, files).await,
    }
}

/// What is made on an archive that is gone can never be restored.
async fn base_is_there(bench: &Bench<'_>, spec: &BackupSpec) -> Result<(), NoOutcome> {
    let Some(base) = &spec.base else { return Ok(()) };
    match index::name_of(bench, &spec.access, &base.archive).await {
        Err(NoOutcome::Failed(failure)) if failure.code == FailureCode::ArchiveMissing => {
            let message = format!("{}, which the next archive would need", failure.message);
            Err(Failure::new(FailureCode::ChainBroken, message).into())
        }
        found => found.map(|_| ()),
    }
}

async fn of_dump(bench: &Bench<'_>, spec: &BackupSpec, name: &str) -> Result<Created, NoOutcome> {
    if bench.attempt > 1 && is_made(bench, spec, name).await? {
        match manifest_of(bench, &spec.access, name).await {
            Ok(manifest) => return Ok(Created::Before { dump: Some(bounded(manifest.dump)) }),
            Err(NoOutcome::Stopped(why)) => return Err(NoOutcome::Stopped(why)),
            Err(NoOutcome::Failed(failure)) => {
                // Only a kill at the worst moment leaves such a one.
                tracing::warn!(job = %bench.job, problem = failure.message, "what an earlier attempt has dumped is not whole, and is removed");
                bench.borg_past_cancel(command::delete(&spec.access, name)).await?;
            }
        }
    }
    // Before anything is stopped.
    sources_are_there(spec)?;
    base_is_there(bench, spec).await?;
    match quiesce::around(bench, spec, Box::pin(dump::run(bench, spec, server_of(spec)))).await {
        Ok(dump::Dumped { facts, findings, tail }) => {
            found::keep(&bench.state.findings(), bench.job, &findings);
            Ok(Created::Now { facts: Box::new(facts), findings, tail })
        }
        Err(e) if e.says("Archive.AlreadyExists") => {
            let manifest = manifest_of(bench, &spec.access, name).await?;
            Ok(Created::Before { dump: Some(bounded(manifest.dump)) })
        }
        Err(e) => Err(not_created(bench, spec, name, e).await),
    }
}

async fn create(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    name: &str,
    files: &Files,
) -> Result<Created, NoOutcome> {
    bench.step("create");
    let creating = Box::pin(bench.borg(command::create(spec, files, bench.job, server_of(spec))));
    match quiesce::around(bench, spec, creating).await {
        Ok(done) => {
            let mut findings = done.findings;
            told_of_files(&mut findings, files);
            found::keep(&bench.state.findings(), bench.job, &findings);
            let facts = archive::created(&done.stdout, &spec.access.repository).map_err(unreadable)?;
            Ok(Created::Now { facts: Box::new(facts), findings, tail: done.tail })
        }
        Err(e) if e.says("Archive.AlreadyExists") => Ok(Created::Before { dump: None }),
        Err(e) => Err(not_created(bench, spec, name, e).await),
    }
}

/// What borg does not tell, or tells as less than it is, of the paths that are named.
pub fn told_of_files(findings: &mut Findings, files: &Files) {
    findings.named_paths_are_missing(&files.paths, |path| Path::new(path).symlink_metadata().is_ok());
    links_to_elsewhere(&files.paths).into_iter().for_each(|finding| findings.add(finding));
}

/// Why there is no archive, after what is left of it was seen to.
async fn not_created(bench: &Bench<'_>, spec: &BackupSpec, name: &str, why: NotDone) -> NoOutcome {
    match &why {
        // Nobody wants what it has stored.
        NotDone::Stopped(Stop::Cancel) => {
            remove_checkpoints(bench, spec, name).await;
        }
        // The next attempt has the same name, and removes them.
        NotDone::Stopped(Stop::Shutdown | Stop::Stale) => {}
        NotDone::Stopped(Stop::TimeUp | Stop::SourceFailed | Stop::LetGo) | NotDone::Failed(..) => {
            keep_unfinished(bench, spec, name);
        }
    }
    why.into()
}

/// The next job goes on from what was stored, but under another name, and must know this one to remove it.
fn keep_unfinished(bench: &Bench<'_>, spec: &BackupSpec, name: &str) {
    let unfinished = Unfinished { repository: spec.access.repository.clone(), archive: name.to_owned() };
    unfinished::keep(&bench.state.unfinished(), bench.job, &unfinished);
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
pub fn recalled(bench: &Bench<'_>) -> Findings {
    found::recall(&bench.state.findings(), bench.job).unwrap_or_else(|| {
        let message =
            "made by an earlier attempt whose report was lost: whether all could be read is not known";
        let finding = Finding { severity: Severity::Incomplete, path: None, message: message.into() };
        Findings { kept: vec![finding], incomplete_total: 1, benign_total: 0 }
    })
}

/// The server, as the repository's place says it: `<destination>/<server>/<repository>`.
pub fn server_of(spec: &BackupSpec) -> &str {
    spec.access.location.rsplit('/').nth(1).unwrap_or_default()
}

/// Whether all paths of a plan are there.
pub fn sources_are_there(spec: &BackupSpec) -> Result<(), Failure> {
    let paths = spec.source.files().map(|files| files.paths.as_slice()).unwrap_or_default();
    paths.iter().try_for_each(|path| source_is_there(path))
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

/// Borg stores a link as a link. A plan that names one to a folder, as `current` is one to a release, means the folder; when
/// no other path of it holds that, what people believe to be safe is not.
fn links_to_elsewhere(named: &[String]) -> Vec<Finding> {
    let real: Vec<_> = named
        .iter()
        .filter(|path| !Path::new(path).is_symlink())
        .filter_map(|path| Path::new(path).canonicalize().ok())
        .collect();
    let not_followed = named.iter().filter(|path| Path::new(path).is_symlink()).filter_map(|path| {
        let folder = Path::new(path).canonicalize().ok().filter(|to| to.is_dir())?;
        if real.iter().any(|path| folder.starts_with(path)) {
            return None;
        }
        let message =
            format!("is a link, and {}, to which it leads, was not backed up: name that", folder.display());
        Some(Finding { severity: Severity::Incomplete, path: Some(path.clone()), message })
    });
    not_followed.collect()
}

/// The archive as borg said that it made it, once the repository shows it under that name and id. Its numbers are those
/// of its making: `borg info` counts them anew over every entry, which takes half as long as the backup of an unchanged
/// tree.
async fn confirmed(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    name: &str,
    made: Box<Facts>,
) -> Result<Facts, NoOutcome> {
    let listed = read_back(bench, command::describe_archive(&spec.access, name), |json| {
        let all = archive::all(json, &spec.access.repository).map_err(unreadable)?;
        Ok(all.into_iter().find(|a| a.name == name))
    });
    let listed = listed.await?;
    if listed.borg_id != made.borg_id {
        let problem = format!("the archive {name} has another id than the one that was made");
        return Err(not_read_back(&problem));
    }
    Ok(Facts { stats: made.stats, dump: made.dump, ..listed })
}

/// The archive of an earlier attempt, as the repository has it.
async fn described(bench: &Bench<'_>, spec: &BackupSpec, name: &str) -> Result<Facts, NoOutcome> {
    let line = command::info(&spec.access, Some(name));
    read_back(bench, line, |json| archive::facts(json, &spec.access.repository).map(Some).map_err(unreadable))
        .await
}

/// Looks for the archive a few times: one that borg said it had made is looked for with patience.
async fn read_back(
    bench: &Bench<'_>,
    line: Vec<String>,
    find: impl Fn(&[u8]) -> Result<Option<Facts>, Failure>,
) -> Result<Facts, NoOutcome> {
    let mut problem = String::new();
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(Duration::from_secs(u64::from(look))).await;
        }
        match bench.borg_past_cancel(line.clone()).await {
            Ok(done) => match find(&done.stdout)? {
                Some(facts) => return Ok(facts),
                None => problem = "it is not in the repository".into(),
            },
            Err(NotDone::Stopped(why)) => return Err(NoOutcome::Stopped(why)),
            Err(NotDone::Failed(failure, _)) => problem = failure.message,
        }
    }
    Err(not_read_back(&problem))
}

fn not_read_back(problem: &str) -> NoOutcome {
    let message = format!("borg said that it was done, but the archive could not be read back: {problem}");
    Failure::new(FailureCode::NotReadBack, message).into()
}

/// Says whether they are gone.
async fn remove_checkpoints(bench: &Bench<'_>, spec: &BackupSpec, name: &str) -> bool {
    // Left behind, they cost space and nothing else; a later prune or a person removes them.
    match bench.borg_past_cancel(command::delete_checkpoints(&spec.access, name)).await {
        Ok(_) => true,
        Err(NotDone::Stopped(_)) => false,
        Err(NotDone::Failed(failure, _)) => {
            tracing::warn!(job = %bench.job, problem = failure.message, "checkpoints were not removed");
            false
        }
    }
}

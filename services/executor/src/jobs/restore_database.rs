//! A dump out of an archive, back into a database server: one file for each system, and what they share.
//!
//! The accident that these files prevent: a restore that breaks off in the middle and has by then destroyed the database
//! that people still had.

mod check;
mod landing;
pub mod leftover;
mod mongodb;
mod mysql;
pub mod origin;
mod postgresql;
mod preview;

use super::{Bench, Finished, finished};
use crate::child::Plan;
use crate::control::{self, NoOutcome, Stop};
use crate::core::census::{self, Counted};
use crate::core::findings::Findings;
use crate::core::foreign_sql::Ending;
use crate::core::recognise::Form;
use crate::core::sum::{Sum, Summed};
use crate::dump_store::Opened;
use crate::foreign;
use crate::program;
use origin::Origin;
use serde_json::Value;
use strongroom_domain::archive::{Artefact, Dump};
use strongroom_domain::census::{CheckQuery, RestoreCheck};
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::{Conflict, DatabaseTarget, JobResult, RestoreDatabaseSpec, RestoreDumpSpec};
use strongroom_domain::{Failure, FailureCode};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// Pieces of the dump that wait to be restored.
const PIECES: usize = 16;

/// What is restored.
struct Dumped<'a> {
    /// Where it is.
    origin: Origin<'a>,
    /// The dump in it.
    part: Artefact,
    /// The dump of its events, where these are apart.
    events: Option<Artefact>,
    /// What the database was made with.
    properties: Value,
    /// What was in it.
    recorded: Option<Counted>,
    /// What was dumped with it, and from where.
    dump: Dump,
}

/// How it is restored.
#[derive(Clone, Copy)]
struct Manner<'a> {
    /// What becomes of what stands there.
    on_conflict: Conflict,
    /// Everything belongs to who restores.
    no_owner: bool,
    /// What the restored database is asked.
    check: Option<&'a CheckQuery>,
    /// Over how many connections at once.
    parallel_jobs: u32,
}

/// What came of it.
struct Restored {
    /// How many tables there are.
    tables: u64,
    /// What the one is called that stood there.
    kept: Option<String>,
    /// What was found on the way.
    findings: Findings,
    /// How it compares with what was dumped.
    check: RestoreCheck,
}

impl Restored {
    /// With what came of looking at it.
    fn checked(mut self, checked: check::Checked) -> Self {
        self.findings.merge(checked.findings);
        self.check = checked.check;
        self
    }
}

/// Restores.
pub async fn run(
    bench: &Bench<'_>,
    spec: &RestoreDatabaseSpec,
    store: Option<&Opened<'_>>,
) -> Result<Finished, NoOutcome> {
    bench.step("look");
    let (origin, manifest) = Origin::find(bench, spec, store).await?;
    let part = manifest.dump.artefacts.iter().find(|a| a.path == spec.path && a.kind == "database");
    let part = part.ok_or_else(|| {
        let message = format!("'{}' is no database that was dumped into this archive", spec.path);
        Failure::new(FailureCode::PathNotInArchive, message)
    })?;
    let system = manifest.dump.system_of(part);
    // In an archive of an application each system has its own.
    let all = if manifest.dump.source == system {
        Some(&manifest.properties)
    } else {
        manifest.properties.get(system)
    };
    let properties = part.database.as_ref().and_then(|d| all?.get(d)).cloned();
    let events = manifest.dump.artefacts.iter().find(|a| a.kind == "events" && a.database == part.database);
    let dumped = Dumped {
        origin,
        part: part.clone(),
        events: events.cloned(),
        properties: properties.unwrap_or_default(),
        recorded: census::recorded(part, &manifest.tables),
        dump: manifest.dump.clone(),
    };
    let into = |wanted: &str| {
        if system == wanted {
            return Ok(());
        }
        let message = format!("a dump of {system} cannot be restored into {wanted}");
        Err(Failure::new(FailureCode::RestoreFailed, message))
    };
    into(spec.into.system())?;
    let RestoreDatabaseSpec { on_conflict, no_owner, parallel_jobs, .. } = *spec;
    let is_custom = system == "postgresql" && dumped.part.format.as_deref() == Some("custom");
    landing::may_be_parallel(parallel_jobs, is_custom)?;
    let manner = Manner { on_conflict, no_owner, check: spec.check.as_ref(), parallel_jobs };
    if spec.dry_run {
        if let Some(opened) = store {
            let parts: Vec<Artefact> = std::iter::once(&dumped.part).chain(&dumped.events).cloned().collect();
            opened.are_there(&spec.archive.name, &parts).await?;
        }
        return preview(bench, manner, &spec.into, &dumped).await;
    }
    let restored = restore(bench, manner, &spec.into, &dumped).await?;
    let result = JobResult::RestoreDatabase {
        database: spec.into.database().to_owned(),
        size_bytes: dumped.part.size_bytes,
        sha256: dumped.part.sha256,
        tables: restored.tables,
        kept: restored.kept,
        recognised: None,
        check: Some(restored.check),
    };
    Ok(finished(result, restored.findings, Vec::new()))
}

/// Restores out of a file that somebody has named.
pub async fn run_file(bench: &Bench<'_>, spec: &RestoreDumpSpec) -> Result<Finished, NoOutcome> {
    bench.step("look");
    let system = spec.into.system();
    let foreign = foreign::open(bench, spec, system).await?;
    let form = foreign.dump.form;
    if spec.no_owner && form == Form::PostgresqlPlain {
        let message =
            "no_owner is for dumps in the custom or tar format: a plain one names its owners in its text";
        return Err(Failure::new(FailureCode::RestoreFailed, message).into());
    }
    landing::may_be_parallel(spec.parallel_jobs, form == Form::PostgresqlCustom)?;
    let recognised = foreign.dump.words();
    let format = if form.is_sql() { "plain" } else { "custom" };
    let part = Artefact {
        path: spec.path.clone(),
        kind: "database".into(),
        database: None,
        format: Some(format.into()),
        size_bytes: 0,
        sha256: String::new(),
        stored: None,
        census: None,
    };
    let dump = Dump {
        source: system.into(),
        server_version: String::new(),
        tool: String::new(),
        artefacts: Vec::new(),
        artefacts_total: 0,
        paths: Vec::new(),
        physical: None,
    };
    let origin = Origin::File(&foreign);
    let dumped = Dumped { origin, part, events: None, properties: Value::Null, recorded: None, dump };
    let RestoreDumpSpec { on_conflict, no_owner, parallel_jobs, .. } = *spec;
    let manner = Manner { on_conflict, no_owner, check: spec.check.as_ref(), parallel_jobs };
    if spec.dry_run {
        let mut finished = preview(bench, manner, &spec.into, &dumped).await?;
        if let JobResult::PreviewRestoreDatabase { preview } = &mut finished.outcome.result {
            preview.dumped_from = recognised;
        }
        return Ok(finished);
    }
    let mut restored = restore(bench, manner, &spec.into, &dumped).await?;
    let ended = foreign.ended();
    if ended.as_ref().is_some_and(|ended| ended.ending == Some(Ending::CutOff)) {
        let message = foreign::CUT_OFF.to_owned();
        restored.findings.add(Finding { severity: Severity::Incomplete, path: None, message });
    }
    let Summed { bytes, sha256 } = ended.map(|ended| ended.sum).unwrap_or_else(|| Sum::default().finish());
    let result = JobResult::RestoreDatabase {
        database: spec.into.database().to_owned(),
        size_bytes: bytes,
        sha256,
        tables: restored.tables,
        kept: restored.kept,
        recognised: Some(recognised),
        check: Some(restored.check),
    };
    Ok(finished(result, restored.findings, Vec::new()))
}

async fn restore(
    bench: &Bench<'_>,
    manner: Manner<'_>,
    into: &DatabaseTarget,
    dumped: &Dumped<'_>,
) -> Result<Restored, NoOutcome> {
    match into {
        DatabaseTarget::Postgresql { connection, database } => {
            postgresql::run(bench, manner, connection, database, dumped).await
        }
        DatabaseTarget::Mysql { connection, database } => {
            mysql::run(bench, manner, connection, database, dumped).await
        }
        DatabaseTarget::Mongodb { connection, database, from } => {
            let wanted = mongodb::Wanted { database, from };
            Box::pin(mongodb::run(bench, manner, connection, wanted, dumped)).await
        }
    }
}

/// Says what it would do.
async fn preview(
    bench: &Bench<'_>,
    manner: Manner<'_>,
    into: &DatabaseTarget,
    dumped: &Dumped<'_>,
) -> Result<Finished, NoOutcome> {
    let preview = match into {
        DatabaseTarget::Postgresql { connection, database } => {
            preview::postgresql(bench, &preview::Wanted { database, manner }, connection, dumped).await?
        }
        DatabaseTarget::Mysql { connection, database } => {
            preview::mysql(bench, &preview::Wanted { database, manner }, connection, dumped).await?
        }
        DatabaseTarget::Mongodb { connection, database, from } => {
            let wanted = preview::Wanted { database, manner };
            Box::pin(preview::mongodb(bench, &wanted, from, connection, dumped)).await?
        }
    };
    Ok(finished(JobResult::PreviewRestoreDatabase { preview }, Findings::default(), Vec::new()))
}

/// The dump flows into the program that restores it, and is summed up on the way.
async fn pour(
    bench: &Bench<'_>,
    dumped: &Dumped<'_>,
    into: Plan,
    failed: impl Fn(&[String]) -> Failure,
) -> Result<(), NoOutcome> {
    pour_heard(bench, dumped, into, failed).await.map(|_| ())
}

/// The same; the last lines of the program.
async fn pour_heard(
    bench: &Bench<'_>,
    Dumped { origin, part, .. }: &Dumped<'_>,
    into: Plan,
    failed: impl Fn(&[String]) -> Failure,
) -> Result<Vec<String>, NoOutcome> {
    pour_part(bench, origin, part, into, failed).await
}

/// The same for any part: whoever reads it is killed when its digest is another one than was taken.
pub async fn pour_part(
    bench: &Bench<'_>,
    origin: &Origin<'_>,
    part: &Artefact,
    into: Plan,
    failed: impl Fn(&[String]) -> Failure,
) -> Result<Vec<String>, NoOutcome> {
    let (by, image) = (into.program.clone(), program::image(&into));
    let mut running = program::start(into).await?;
    let mut stdin = running.stdin.take();
    let (stdout, stderr, mut handle) = running.into_parts();
    let (give, mut come) = mpsc::channel::<Vec<u8>>(PIECES);
    let (stopper, control) = control::pair();
    let reading = origin.pieces(bench, part, control, give);
    let writing = async {
        let (mut sum, mut broken) = (Sum::default(), false);
        while let Some(piece) = come.recv().await {
            sum.add(&piece);
            let Some(to) = stdin.as_mut().filter(|_| !broken) else { continue };
            if to.write_all(&piece).await.is_err() {
                // It has ended, and says why; the rest is not to be read for nobody.
                broken = true;
                stopper.stop(Stop::SourceFailed);
            }
        }
        let whole = origin.is_whole(part, &sum.finish());
        if !broken && !whole {
            // It must not take this for the end.
            handle.signal(rustix::process::Signal::KILL);
        }
        drop(stdin.take());
        (whole, broken, handle.ended().await)
    };
    let listening = program::tail(stderr);
    let quiet = program::tail(stdout);
    let all = async { tokio::join!(reading, writing, listening, quiet) };
    // Both are killed when this is dropped.
    let (read, (whole, broken, status), tail, _) = bench.control.clone().unless_stopped(all).await?;
    let status =
        status.map_err(|e| Failure::new(FailureCode::Unknown, format!("the restore program: {e}")))?;
    if let Some(failure) = program::not_run(&by, image.as_deref(), &status, &tail) {
        return Err(failure.into());
    }
    if broken || (whole && !status.success()) {
        return Err(of_restore(failed(&tail)).with_log(tail).into());
    }
    match read {
        Ok(of_origin) if !whole => Err(origin.other(part).with_log(of_origin).into()),
        Ok(_) => Ok(tail),
        Err(not_done) => Err(not_done.into()),
    }
}

/// What a program says that restores, told as what it is.
fn of_restore(failure: Failure) -> Failure {
    match failure.code {
        FailureCode::DumpFailed => {
            Failure::new(FailureCode::RestoreFailed, failure.message).with_log(failure.log_tail)
        }
        _ => failure,
    }
}

fn restore_failed(why: NoOutcome, what: &str) -> NoOutcome {
    match why {
        NoOutcome::Failed(failure) if failure.code == FailureCode::DumpFailed => {
            let message = format!("{what}: {}", failure.message);
            Failure::new(FailureCode::RestoreFailed, message).with_log(failure.log_tail).into()
        }
        other => other,
    }
}

//! A dump out of an archive, back into a database server: one file for each system, and what they share.
//!
//! The accident that these files prevent: a restore that breaks off in the middle and has by then destroyed the database
//! that people still had.

mod check;
mod mysql;
mod origin;
mod postgresql;
mod preview;

use super::{Bench, Finished, finished};
use crate::child::Plan;
use crate::control::{self, NoOutcome, Stop};
use crate::core::census::{self, Counted};
use crate::core::findings::Findings;
use crate::core::sum::{Sum, Summed};
use crate::dump_store::Opened;
use crate::program;
use origin::Origin;
use serde_json::Value;
use strongroom_domain::archive::{Artefact, Dump};
use strongroom_domain::census::RestoreCheck;
use strongroom_domain::job::{DatabaseTarget, JobResult, RestoreDatabaseSpec};
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
    if spec.dry_run {
        return preview(bench, spec, &dumped, into).await;
    }
    let (restored, database) = match &spec.into {
        DatabaseTarget::Postgresql { connection, database } => {
            into("postgresql")?;
            (postgresql::run(bench, spec, connection, database, &dumped).await?, database)
        }
        DatabaseTarget::Mysql { connection, database } => {
            into("mysql")?;
            (mysql::run(bench, spec, connection, database, &dumped).await?, database)
        }
    };
    let result = JobResult::RestoreDatabase {
        database: database.clone(),
        size_bytes: dumped.part.size_bytes,
        sha256: dumped.part.sha256,
        tables: restored.tables,
        kept: restored.kept,
        check: Some(restored.check),
    };
    Ok(finished(result, restored.findings, Vec::new()))
}

/// Says what it would do.
async fn preview(
    bench: &Bench<'_>,
    spec: &RestoreDatabaseSpec,
    dumped: &Dumped<'_>,
    into: impl Fn(&str) -> Result<(), Failure>,
) -> Result<Finished, NoOutcome> {
    let RestoreDatabaseSpec { on_conflict, no_owner, .. } = *spec;
    let wanted = |database| preview::Wanted { database, on_conflict, no_owner };
    let preview = match &spec.into {
        DatabaseTarget::Postgresql { connection, database } => {
            into("postgresql")?;
            preview::postgresql(bench, &wanted(database), connection, dumped).await?
        }
        DatabaseTarget::Mysql { connection, database } => {
            into("mysql")?;
            preview::mysql(bench, &wanted(database), connection, dumped).await?
        }
    };
    Ok(finished(JobResult::PreviewRestoreDatabase { preview }, Findings::default(), Vec::new()))
}

/// The dump flows into the program that restores it, and is summed up on the way.
async fn pour(
    bench: &Bench<'_>,
    Dumped { origin, part, .. }: &Dumped<'_>,
    into: Plan,
    failed: impl Fn(&[String]) -> Failure,
) -> Result<(), NoOutcome> {
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
        let Summed { bytes, sha256 } = sum.finish();
        let whole = bytes == part.size_bytes && sha256 == part.sha256;
        if !broken && !whole {
            // It must not take this for the end.
            handle.signal(rustix::process::Signal::KILL);
        }
        drop(stdin.take());
        (whole, broken, handle.ended().await)
    };
    let mut outer = bench.control.clone();
    let listening = program::tail(stderr);
    let quiet = program::tail(stdout);
    let all = async { tokio::join!(reading, writing, listening, quiet) };
    let (read, (whole, broken, status), tail, _) = tokio::select! {
        all = all => all,
        // Both are killed when this is dropped.
        why = outer.stopped() => return Err(NoOutcome::Stopped(why)),
    };
    let status =
        status.map_err(|e| Failure::new(FailureCode::Unknown, format!("the restore program: {e}")))?;
    if broken || (whole && !status.success()) {
        let failure = failed(&tail);
        let code = match failure.code {
            FailureCode::DumpFailed => FailureCode::RestoreFailed,
            other => other,
        };
        return Err(Failure::new(code, failure.message).with_log(tail).into());
    }
    match read {
        Ok(tail) if !whole => Err(origin.other(part).with_log(tail).into()),
        Ok(_) => Ok(()),
        Err(not_done) => Err(not_done.into()),
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

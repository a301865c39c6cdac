//! A dump out of an archive, back into a database server.
//!
//! The accident that this file prevents: a restore that breaks off in the middle and has by then destroyed the database
//! that people still had. The dump goes into a database of its own; only when all of it is there and its digest is the
//! one that was taken when it was dumped, the two change names, in one transaction.

use super::dump::manifest_of;
use super::{Bench, Finished, finished, index};
use crate::borg::NotDone;
use crate::child::Input;
use crate::control::{self, NoOutcome, Stop};
use crate::core::command;
use crate::core::findings::Findings;
use crate::core::hex::hex;
use crate::core::postgresql::{connection_string, identifier};
use crate::core::restoring::{self, Standing};
use crate::postgresql::Client;
use crate::streams::Streams;
use crate::{core, program};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;
use strongroom_domain::archive::Artefact;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::{Conflict, DatabaseTarget, JobResult, RestoreDatabaseSpec};
use strongroom_domain::source::postgresql::Connection;
use strongroom_domain::{Failure, FailureCode};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// Pieces of the dump that wait to be restored.
const PIECES: usize = 16;

/// How often it is tried to change the names of two databases, of which one is in use.
const SWAPS: u32 = 10;
/// How long it is waited in between.
const BETWEEN_SWAPS: Duration = Duration::from_millis(200);

/// Restores.
pub async fn run(bench: &Bench<'_>, spec: &RestoreDatabaseSpec) -> Result<Finished, NoOutcome> {
    bench.step("look");
    let name = index::name_of(bench, &spec.access, &spec.archive).await?;
    let manifest = manifest_of(bench, &spec.access, &name).await?;
    let part = manifest.dump.artefacts.iter().find(|a| a.path == spec.path && a.kind == "database");
    let part = part.ok_or_else(|| {
        let message = format!("'{}' is no database that was dumped into this archive", spec.path);
        Failure::new(FailureCode::PathNotInArchive, message)
    })?;
    let DatabaseTarget::Postgresql { connection, database } = &spec.into;
    if manifest.dump.source != "postgresql" {
        let message = format!("a dump of {} cannot be restored into PostgreSQL", manifest.dump.source);
        return Err(Failure::new(FailureCode::RestoreFailed, message).into());
    }
    let properties = part.database.as_ref().and_then(|d| manifest.properties.get(d)).cloned();
    let streams = Streams::make(&bench.state.streams(), bench.job, bench.epoch)
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("the folder of pipes: {e}")))?;
    let client = Client::new(bench, connection, &streams).await?;
    let restore = Restore {
        bench,
        spec,
        client: &client,
        asked: asked(connection, database),
        database,
        scratch: restoring::scratch_name(bench.job),
        part,
        properties: properties.unwrap_or_default(),
    };
    restore.run(&name).await
}

/// Where what is about other databases is asked: nobody can be in the one that changes its name.
fn asked<'a>(connection: &'a Connection, database: &str) -> &'a str {
    let asked = connection.database.as_deref().unwrap_or("postgres");
    if asked == database { "template1" } else { asked }
}

struct Restore<'a> {
    bench: &'a Bench<'a>,
    spec: &'a RestoreDatabaseSpec,
    client: &'a Client<'a>,
    /// The database in which what is about others is asked.
    asked: &'a str,
    /// What it is to be called.
    database: &'a str,
    /// What it is called until it is whole.
    scratch: String,
    part: &'a Artefact,
    properties: Value,
}

impl Restore<'_> {
    async fn run(&self, archive: &str) -> Result<Finished, NoOutcome> {
        let survey = self.client.survey().await?;
        if self.bench.attempt > 1 && self.is_placed().await? {
            return self.finish_earlier().await;
        }
        let standing = self.standing().await?;
        restoring::may_replace(self.database, &standing, self.spec.on_conflict)?;
        let tool = if self.part.format.as_deref() == Some("plain") { "psql" } else { "pg_restore" };
        let tool = self.client.tool(tool, survey.major()).await?;
        self.bench.step("restore");
        // What an earlier attempt has left under this name is nobody's.
        self.drop_scratch().await?;
        let mark = restoring::comment(&self.scratch, Some(&restoring::mark(self.bench.job)));
        let create = format!("{}\n{mark}", restoring::create(&self.scratch, &self.properties));
        self.client
            .ask(self.asked, &create)
            .await
            .map_err(|e| restore_failed(e, "the database cannot be made"))?;
        let restored = match self.fill(archive, &tool.path).await {
            Ok(()) => self.take_place(&standing).await,
            Err(e) => Err(e),
        };
        match restored {
            Ok((tables, kept, findings)) => Ok(self.finished(tables, kept, findings)),
            Err(why) => Err(self.without_scratch(why).await),
        }
    }

    fn finished(&self, tables: u64, kept: Option<String>, findings: Findings) -> Finished {
        let result = JobResult::RestoreDatabase {
            database: self.database.to_owned(),
            size_bytes: self.part.size_bytes,
            sha256: self.part.sha256.clone(),
            tables,
            kept,
        };
        finished(result, findings, Vec::new())
    }

    /// Whether an earlier attempt at this restore got as far as changing the names.
    async fn is_placed(&self) -> Result<bool, NoOutcome> {
        let marked = self.client.ask(self.asked, &restoring::read_comment(self.database)).await?;
        Ok(marked == restoring::mark(self.bench.job))
    }

    /// What was left to do when it was killed. What stood there is not dropped: nobody knows any more what it held.
    async fn finish_earlier(&self) -> Result<Finished, NoOutcome> {
        let tables = self.client.ask(self.database, restoring::COUNT_TABLES).await?.parse().unwrap_or(0);
        let aside = restoring::aside_name(self.database, self.bench.job);
        let is_there = !self.client.ask(self.asked, &restoring::look(&aside)).await?.is_empty();
        let mut findings = Findings::default();
        if is_there && self.spec.on_conflict != Conflict::KeepBoth {
            let message = format!(
                "what stood there is kept as '{aside}': an earlier attempt was cut off before it could be dropped"
            );
            findings.add(Finding { severity: Severity::Benign, path: None, message });
        }
        self.unmark().await;
        Ok(self.finished(tables, is_there.then_some(aside), findings))
    }

    /// The comment that it was dumped with takes the place of ours. That is the last step: the data is there.
    async fn unmark(&self) {
        let sql = restoring::comment(self.database, restoring::comment_of(&self.properties));
        if let Err(why) = self.client.ask_anyway(self.asked, &sql).await {
            tracing::warn!(job = %self.bench.job, ?why, "the comment of a restored database was not set");
        }
    }

    /// Why it failed or was stopped, after what was made of it is removed.
    async fn without_scratch(&self, why: NoOutcome) -> NoOutcome {
        let Err(left) = self.drop_scratch().await else { return why };
        tracing::warn!(job = %self.bench.job, database = self.scratch, problem = ?left, "a half restored database was not removed");
        match why {
            NoOutcome::Failed(failure) => {
                let message = format!(
                    "{}; the half restored database '{}' could not be dropped",
                    failure.message, self.scratch
                );
                Failure { message, ..failure }.into()
            }
            stopped => stopped,
        }
    }

    /// What stands at the name already.
    async fn standing(&self) -> Result<Standing, NoOutcome> {
        match self.client.ask(self.asked, &restoring::look(self.database)).await?.as_str() {
            "" => return Ok(Standing::Nothing),
            "t" => {
                let message =
                    format!("database '{}' is a template, from which others are made", self.database);
                return Err(Failure::new(FailureCode::TargetRefused, message).into());
            }
            _ => {}
        }
        let objects = self.client.ask(self.database, restoring::COUNT_OBJECTS).await?;
        Ok(if objects == "0" { Standing::Empty } else { Standing::Full })
    }

    /// The dump flows from borg into the program that restores it, and is summed up on the way.
    async fn fill(&self, archive: &str, tool: &std::path::Path) -> Result<(), NoOutcome> {
        let at = connection_string(&self.scratch);
        let dbname = format!("--dbname={at}");
        let plain =
            ["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", "-", dbname.as_str()];
        let mut custom = vec!["--exit-on-error", "--no-password", dbname.as_str()];
        if self.spec.no_owner {
            custom.extend(["--no-owner", "--no-privileges"]);
        }
        let is_plain = self.part.format.as_deref() == Some("plain");
        let arguments = if is_plain { plain.as_slice() } else { custom.as_slice() };
        let plan = self.client.plan(tool, arguments, None, Input::Stream);
        let mut running = program::start(plan).await?;
        let mut stdin = running.stdin.take();
        let (stdout, stderr, mut handle) = running.into_parts();
        let (give, mut come) = mpsc::channel::<Vec<u8>>(PIECES);
        let (stopper, control) = control::pair();
        let arguments = command::extract_to_stdout(&self.spec.access, archive, &self.part.path);
        let call = crate::borg::Call { control, ..self.bench.call(arguments) };
        let reading = self.bench.borg.run_pieces(call, give);
        let writing = async {
            let (mut digest, mut bytes, mut broken) = (Sha256::new(), 0_u64, false);
            while let Some(piece) = come.recv().await {
                digest.update(&piece);
                bytes += piece.len() as u64;
                let Some(to) = stdin.as_mut().filter(|_| !broken) else { continue };
                if to.write_all(&piece).await.is_err() {
                    // It has ended, and says why; borg is not to read the rest for nobody.
                    broken = true;
                    stopper.stop(Stop::SourceFailed);
                }
            }
            let whole = bytes == self.part.size_bytes && hex(&digest.finalize()) == self.part.sha256;
            if !broken && !whole {
                // It must not take this for the end.
                handle.signal(rustix::process::Signal::KILL);
            }
            drop(stdin.take());
            (whole, broken, handle.ended().await)
        };
        let mut outer = self.bench.control.clone();
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
            let failure = self.client.failure("the restore", &tail);
            let code = match core::postgresql::cause(&tail) {
                FailureCode::DumpFailed => FailureCode::RestoreFailed,
                other => other,
            };
            let hint = restoring::hint(&tail);
            return Err(Failure::new(code, format!("{}{hint}", failure.message)).with_log(tail).into());
        }
        match read {
            Ok(done) if !done.never_matched.is_empty() || done.findings.incomplete_total > 0 || !whole => {
                let message = format!("{} is not what was dumped: its digest is another one", self.part.path);
                Err(Failure::new(FailureCode::RepositoryDamaged, message).with_log(done.tail).into())
            }
            Ok(_) => Ok(()),
            Err(NotDone::Failed(failure, _)) => Err(failure.into()),
            Err(NotDone::Stopped(why)) => Err(NoOutcome::Stopped(why)),
        }
    }

    /// The restored database takes the place of what stood there.
    async fn take_place(&self, standing: &Standing) -> Result<(u64, Option<String>, Findings), NoOutcome> {
        self.bench.step("check");
        let tables = self.client.ask(&self.scratch, restoring::COUNT_TABLES).await?.parse().unwrap_or(0);
        let settle = restoring::settle(&self.scratch, &self.properties, self.spec.no_owner);
        if !settle.is_empty() {
            self.client
                .ask(self.asked, &settle)
                .await
                .map_err(|e| restore_failed(e, "its properties cannot be set"))?;
        }
        self.bench.step("place");
        let aside = restoring::aside_name(self.database, self.bench.job);
        let swap = restoring::swap(&self.scratch, self.database, &aside, standing);
        let mut tries = 1;
        while let Err(e) = self.client.ask(self.asked, &swap).await {
            // Applications connect again at once: it is tried a few times to be faster than they.
            if matches!(e, NoOutcome::Stopped(_)) || tries == SWAPS {
                return Err(restore_failed(e, "it cannot take its place"));
            }
            tries += 1;
            tokio::time::sleep(BETWEEN_SWAPS).await;
        }
        let (kept, findings) = self.give_way(aside, standing).await;
        self.unmark().await;
        Ok((tables, kept, findings))
    }

    /// What becomes of what stood there, and what it is called when it stays.
    async fn give_way(&self, aside: String, standing: &Standing) -> (Option<String>, Findings) {
        let mut findings = Findings::default();
        if *standing == Standing::Nothing {
            return (None, findings);
        }
        if restoring::keeps(standing, self.spec.on_conflict) {
            return (Some(aside), findings);
        }
        let Err(why) = self.drop_aside(&aside, standing).await else { return (None, findings) };
        // It is there, under a name that says what it is.
        let message = format!("what stood there is kept as '{aside}': {why}");
        findings.add(Finding { severity: Severity::Benign, path: None, message });
        (Some(aside), findings)
    }

    /// Drops what gave way, unless something came to be in what was empty: nobody asked for that to go.
    async fn drop_aside(&self, aside: &str, standing: &Standing) -> Result<(), String> {
        let told = |why: NoOutcome| match why {
            NoOutcome::Failed(failure) => failure.message,
            NoOutcome::Stopped(_) => "the restore was stopped".to_owned(),
        };
        if *standing == Standing::Empty && self.spec.on_conflict != Conflict::Overwrite {
            let objects = self.client.ask_anyway(aside, restoring::COUNT_OBJECTS).await.map_err(told)?;
            if objects != "0" {
                return Err("it was empty when the restore began, and is not any more".to_owned());
            }
        }
        let gone = format!("drop database if exists {};", identifier(aside));
        self.client.ask_anyway(self.asked, &gone).await.map(|_| ()).map_err(told)
    }

    /// Also when the restore was cancelled: its programs were killed, and their sessions may not have noticed.
    async fn drop_scratch(&self) -> Result<(), NoOutcome> {
        let away = restoring::send_away(&self.scratch);
        let sql = format!("{away}\ndrop database if exists {};", identifier(&self.scratch));
        let mut tries = 1;
        while let Err(e) = self.client.ask_anyway(self.asked, &sql).await {
            if tries == SWAPS {
                return Err(e);
            }
            tries += 1;
            tokio::time::sleep(BETWEEN_SWAPS).await;
        }
        Ok(())
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

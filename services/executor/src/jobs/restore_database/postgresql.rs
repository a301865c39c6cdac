//! A dump back into PostgreSQL.
//!
//! The dump goes into a database of its own; only when all of it is there and its digest is the one that was taken when
//! it was dumped, the two change names, in one transaction.

use super::check::{self, Checked};
use super::landing::{self, Landed};
use super::{Dumped, Manner, Restored, of_restore, pour, restore_failed};
use crate::child::Input;
use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::core::postgresql::{Survey, connection_string, identifier};
use crate::core::restoring::{self, Standing};
use crate::jobs::Bench;
use crate::postgresql::Client;
use crate::program::{self, Place};
use crate::streams::Streams;
use std::time::Duration;
use strongroom_domain::archive::Artefact;
use strongroom_domain::census::RestoreCheck;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::Conflict;
use strongroom_domain::source::postgresql::Connection;
use strongroom_domain::{Failure, FailureCode};

/// How often it is tried to change the names of two databases, of which one is in use.
const SWAPS: u32 = 10;
/// How long it is waited in between.
const BETWEEN_SWAPS: Duration = Duration::from_millis(200);
/// The file that a program has as its input. Each of its processes opens it anew, and reads it at a place of its own.
const ITS_INPUT: &str = "/proc/self/fd/0";

/// Restores.
pub async fn run(
    bench: &Bench<'_>,
    manner: Manner<'_>,
    connection: &Connection,
    database: &str,
    dumped: &Dumped<'_>,
) -> Result<Restored, NoOutcome> {
    let streams = bench.streams()?;
    let client = Client::new(bench, connection, &streams).await?;
    let restore = Restore {
        bench,
        manner,
        client: &client,
        streams: &streams,
        asked: asked(connection, database),
        database,
        scratch: restoring::scratch_name(bench.job),
        dumped,
    };
    restore.run().await
}

/// The program that restores a dump.
pub fn tool(part: &Artefact) -> &'static str {
    if part.format.as_deref() == Some("plain") { "psql" } else { "pg_restore" }
}

/// What stands at a name already.
pub async fn standing(client: &Client<'_>, asked: &str, database: &str) -> Result<Standing, NoOutcome> {
    match client.ask(asked, &restoring::look(database)).await?.as_str() {
        "" => return Ok(Standing::Nothing),
        "t" => {
            let message = format!("database '{database}' is a template, from which others are made");
            return Err(Failure::new(FailureCode::TargetRefused, message).into());
        }
        _ => {}
    }
    let objects = client.ask(database, restoring::COUNT_OBJECTS).await?;
    Ok(if objects == "0" { Standing::Empty } else { Standing::Full })
}

/// Where what is about other databases is asked: nobody can be in the one that changes its name.
pub fn asked<'a>(connection: &'a Connection, database: &str) -> &'a str {
    let asked = connection.database.as_deref().unwrap_or("postgres");
    if asked == database { "template1" } else { asked }
}

struct Restore<'a> {
    bench: &'a Bench<'a>,
    manner: Manner<'a>,
    client: &'a Client<'a>,
    /// The private folder of the job.
    streams: &'a Streams,
    /// The database in which what is about others is asked.
    asked: &'a str,
    /// What it is to be called.
    database: &'a str,
    /// What it is called until it is whole.
    scratch: String,
    dumped: &'a Dumped<'a>,
}

impl Restore<'_> {
    async fn run(&self) -> Result<Restored, NoOutcome> {
        let survey = self.client.survey_of_node().await?;
        if self.bench.attempt > 1 && self.is_placed().await? {
            return self.finish_earlier(&survey).await;
        }
        let standing = standing(self.client, self.asked, self.database).await?;
        restoring::may_replace(self.database, &standing, self.manner.on_conflict)?;
        let tool = self.client.tool(tool(&self.dumped.part), survey.major()).await?;
        let landed = self.land(&tool.place).await?;
        self.bench.step("restore");
        // What an earlier attempt has left under this name is nobody's.
        self.drop_scratch().await?;
        let mark = restoring::comment(&self.scratch, Some(&restoring::mark(self.bench.job)));
        let create = format!("{}\n{mark}", restoring::create(&self.scratch, &self.dumped.properties));
        self.client
            .ask(self.asked, &create)
            .await
            .map_err(|e| restore_failed(e, "the database cannot be made"))?;
        let restored = match self.fill(&tool.place, landed).await {
            Ok(()) => self.take_place(&standing, &survey).await,
            Err(e) => Err(e),
        };
        match restored {
            Ok(restored) => Ok(restored),
            Err(why) => Err(self.without_scratch(why).await),
        }
    }

    /// Whether an earlier attempt at this restore got as far as changing the names.
    async fn is_placed(&self) -> Result<bool, NoOutcome> {
        let marked = self.client.ask(self.asked, &restoring::read_comment(self.database)).await?;
        Ok(marked == restoring::mark(self.bench.job))
    }

    /// What was left to do when it was killed. What stood there is not dropped: nobody knows any more what it held.
    async fn finish_earlier(&self, survey: &Survey) -> Result<Restored, NoOutcome> {
        let tables = self.client.ask(self.database, restoring::COUNT_TABLES).await?.parse().unwrap_or(0);
        let aside = restoring::aside_name(self.database, self.bench.job);
        let is_there = !self.client.ask(self.asked, &restoring::look(&aside)).await?.is_empty();
        let mut findings = Findings::default();
        if is_there && self.manner.on_conflict != Conflict::KeepBoth {
            let message = format!(
                "what stood there is kept as '{aside}': an earlier attempt was cut off before it could be dropped"
            );
            findings.add(Finding { severity: Severity::Benign, path: None, message });
        }
        let checked = self.ask_query(self.database, survey, Checked::too_late()).await?;
        self.unmark().await;
        let kept = is_there.then_some(aside);
        Ok(Restored { tables, kept, findings, check: RestoreCheck::default() }.checked(checked))
    }

    /// The comment that it was dumped with takes the place of ours. That is the last step: the data is there.
    async fn unmark(&self) {
        let sql = restoring::comment(self.database, restoring::comment_of(&self.dumped.properties));
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

    /// The dump as a file, when it is to be restored over several connections: nothing has begun on the server before its
    /// digest was compared.
    async fn land(&self, tool: &Place) -> Result<Option<Landed>, NoOutcome> {
        if self.manner.parallel_jobs <= 1 {
            return Ok(None);
        }
        self.bench.step("fetch");
        landing::land(self.bench, self.dumped, self.streams, tool, self.client.user()).await.map(Some)
    }

    /// The dump flows from borg into the program that restores it, and is summed up on the way; or it lies in a file, and
    /// was.
    async fn fill(&self, tool: &Place, landed: Option<Landed>) -> Result<(), NoOutcome> {
        let at = connection_string(&self.scratch);
        let dbname = format!("--dbname={at}");
        let failure = |tail: &[String]| {
            let failure = self.client.failure("the restore", tail);
            Failure { message: format!("{}{}", failure.message, restoring::hint(tail)), ..failure }
        };
        let mut custom = vec!["--exit-on-error", "--no-password", dbname.as_str()];
        if self.manner.no_owner {
            custom.extend(["--no-owner", "--no-privileges"]);
        }
        if let Some(landed) = landed {
            let jobs = format!("--jobs={}", self.manner.parallel_jobs);
            custom.push(&jobs);
            let mut plan = self.client.plan(tool, &custom, None, Input::Nothing);
            if let Some(path) = &landed.path {
                plan.arguments.push(path.to_string_lossy().into_owned());
                plan.inside = plan.inside.map(|inside| Box::new(inside.and_seeing(path.clone())));
            } else {
                plan.arguments.push(ITS_INPUT.to_owned());
                plan.input = Input::File(landed.file.clone());
            }
            let said = program::ask(plan, self.bench.control.clone()).await?;
            if said.status.success() {
                return Ok(());
            }
            return Err(of_restore(failure(&said.tail)).into());
        }
        let plain =
            ["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", "-", dbname.as_str()];
        let is_plain = self.dumped.part.format.as_deref() == Some("plain");
        let arguments = if is_plain { plain.as_slice() } else { custom.as_slice() };
        let plan = self.client.plan(tool, arguments, None, Input::Stream);
        pour(self.bench, self.dumped, plan, failure).await
    }

    /// The restored database takes the place of what stood there.
    async fn take_place(&self, standing: &Standing, survey: &Survey) -> Result<Restored, NoOutcome> {
        let counting = self.client.counting(self.client.psql().await?, &self.scratch);
        let checked = check::run(self.bench, self.dumped, counting, &survey.version).await?;
        let checked = self.ask_query(&self.scratch, survey, checked).await?;
        let tables = self.client.ask(&self.scratch, restoring::COUNT_TABLES).await?.parse().unwrap_or(0);
        let settle = restoring::settle(&self.scratch, &self.dumped.properties, self.manner.no_owner);
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
        Ok(Restored { tables, kept, findings, check: RestoreCheck::default() }.checked(checked))
    }

    /// Asks what people want to be asked.
    async fn ask_query(
        &self,
        database: &str,
        survey: &Survey,
        mut checked: Checked,
    ) -> Result<Checked, NoOutcome> {
        if let Some(query) = self.manner.check {
            let said = self.client.query(database, query.statement(), survey).await;
            checked.take(query, said)?;
        }
        Ok(checked)
    }

    /// What becomes of what stood there, and what it is called when it stays.
    async fn give_way(&self, aside: String, standing: &Standing) -> (Option<String>, Findings) {
        let mut findings = Findings::default();
        if *standing == Standing::Nothing {
            return (None, findings);
        }
        if restoring::keeps(standing, self.manner.on_conflict) {
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
        if *standing == Standing::Empty && self.manner.on_conflict != Conflict::Overwrite {
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
        let sql = restoring::drop_database(&self.scratch);
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

//! A dump back into MySQL or MariaDB.
//!
//! MySQL cannot rename a database. One that is full gives way only after all of the dump has been restored into a scratch
//! database, with the digest that was taken when it was dumped; from there the tables are moved to its name at one blow,
//! and what cannot be moved is made anew. Events come last: they begin to run as soon as they are there.

mod replace;

use super::check::{self, Checked};
use super::{Dumped, Manner, Restored, pour, restore_failed};
use crate::child::Input;
use crate::control::{NoOutcome, Stop};
use crate::core::census::System;
use crate::core::findings::Findings;
use crate::core::mysql::Survey;
use crate::core::mysql::placing::{self, Standing};
use crate::core::mysql::program::{What, dump};
use crate::core::restoring::scratch_name;
use crate::jobs::Bench;
use crate::jobs::restore_database::origin::Origin;
use crate::mysql::{CLIENT, Client, DUMP, Tool};
use replace::Replacement;
use serde_json::{Value, json};
use strongroom_domain::census::RestoreCheck;
use strongroom_domain::job::Conflict;
use strongroom_domain::source::mysql::Connection;
use strongroom_domain::{Failure, FailureCode};

/// What a statement of people's own may take, in seconds.
const QUERY_WITHIN_S: u64 = 300;

/// Restores.
pub async fn run(
    bench: &Bench<'_>,
    manner: Manner<'_>,
    connection: &Connection,
    database: &str,
    dumped: &Dumped<'_>,
) -> Result<Restored, NoOutcome> {
    let streams = bench.streams()?;
    let client = Client::new(bench, connection, &streams)?;
    let survey = client.survey().await?;
    let tool = client.tool(CLIENT, survey.flavour()).await?;
    let dump = client.tool(DUMP, survey.flavour()).await?;
    let scratch = scratch_name(bench.job);
    let events = events(bench, dumped).await?;
    Restore { bench, manner, client: &client, survey, tool, dump, database, scratch, dumped, events }
        .run()
        .await
}

/// The events of the database, which are a part of their own.
async fn events(bench: &Bench<'_>, dumped: &Dumped<'_>) -> Result<Vec<u8>, NoOutcome> {
    match &dumped.events {
        Some(part) => dumped.origin.whole(bench, part).await,
        None => Ok(Vec::new()),
    }
}

/// A restore.
pub struct Restore<'a> {
    /// With what.
    pub bench: &'a Bench<'a>,
    manner: Manner<'a>,
    /// Into which server.
    pub client: &'a Client<'a>,
    survey: Survey,
    /// The program that asks.
    pub tool: Tool,
    dump: Tool,
    /// What it is to be called.
    pub database: &'a str,
    /// Where all of it is restored first, when something else stands at its name.
    pub scratch: String,
    /// What is restored.
    pub dumped: &'a Dumped<'a>,
    /// Its events, as SQL.
    pub events: Vec<u8>,
}

impl Restore<'_> {
    async fn run(&self) -> Result<Restored, NoOutcome> {
        // An earlier attempt may have come as far as this; what stands at the name is then no more than what it made.
        if let Some(code) = self.whole_in_scratch().await? {
            return Replacement { of: self, code, untouched: false }.run().await;
        }
        match self.standing().await? {
            Standing::Nothing => self.place(None).await,
            Standing::Ours => {
                self.ask(None, &placing::remove(self.database)).await?;
                self.place(None).await
            }
            Standing::Empty(properties) => {
                self.ask(None, &placing::remove(self.database)).await?;
                self.place(Some(properties)).await
            }
            Standing::Full if self.manner.on_conflict == Conflict::Overwrite => {
                let (code, checked) = self.prove().await?;
                let restored = Replacement { of: self, code, untouched: true }.run().await?;
                Ok(restored.checked(checked))
            }
            Standing::Full => {
                let message =
                    format!("database '{}' is there and not empty; nothing was restored", self.database);
                Err(Failure::new(FailureCode::TargetExists, message).into())
            }
        }
    }

    /// What stands at the name already.
    async fn standing(&self) -> Result<Standing, NoOutcome> {
        let at = Some(self.database);
        match self.ask(at, placing::COUNT_OBJECTS).await {
            Err(NoOutcome::Failed(failure)) if failure.code == FailureCode::DatabaseMissing => {
                Ok(Standing::Nothing)
            }
            Err(why) => Err(why),
            Ok(count) if count == "0" => {
                let said = self.ask(at, placing::PROPERTIES).await?;
                let (character_set, collation) = said.split_once('\t').unwrap_or_default();
                Ok(Standing::Empty(json!({ "character_set": character_set, "collation": collation })))
            }
            Ok(_) => {
                let ours = placing::has_table(&placing::filling(self.bench.job));
                Ok(if self.ask(at, &ours).await? == "0" { Standing::Full } else { Standing::Ours })
            }
        }
    }

    /// The words that are kept in a scratch database when all of the dump is in it.
    async fn whole_in_scratch(&self) -> Result<Option<Vec<u8>>, NoOutcome> {
        let table = placing::whole(self.bench.job);
        match self.ask(Some(&self.scratch), &placing::has_table(&table)).await {
            Ok(count) if count == "0" => Ok(None),
            Ok(_) => {
                let said = self.ask(Some(&self.scratch), &placing::kept(&table)).await?;
                Ok(Some(placing::code(&said).ok_or_else(|| unreadable(&self.scratch))?))
            }
            Err(NoOutcome::Failed(failure)) => match failure.code {
                // Who may not see it has not made it.
                FailureCode::DatabaseMissing | FailureCode::AccessDenied => Ok(None),
                _ => Err(failure.into()),
            },
            Err(why) => Err(why),
        }
    }

    /// Makes the database at its name, where nothing stands. When that fails, what stood there is there again: nothing,
    /// or an empty one with these properties.
    async fn place(&self, before: Option<Value>) -> Result<Restored, NoOutcome> {
        let placing = async {
            self.fill(self.database).await?;
            let checked = self.check(self.database).await?;
            Ok(self.finish().await?.checked(checked))
        };
        let placed: Result<_, NoOutcome> = placing.await;
        match placed {
            Ok(restored) => {
                if self.bench.attempt > 1 {
                    self.tidy(&placing::remove(&self.scratch)).await;
                }
                Ok(restored)
            }
            Err(why) if is_resumed(&why) => Err(why),
            Err(why) => {
                self.tidy(&placing::remove(self.database)).await;
                if let Some(properties) = before {
                    self.tidy(&placing::create(self.database, &properties)).await;
                }
                Err(why)
            }
        }
    }

    /// Looks at what was restored, before its events begin to run.
    async fn check(&self, database: &str) -> Result<Checked, NoOutcome> {
        let flavour = self.survey.flavour();
        let counting = self.client.counting(&self.tool, flavour, database);
        let mut checked = check::run(self.bench, self.dumped, counting, &self.survey.version).await?;
        if let Some(query) = self.manner.check {
            let within = System::Mysql(flavour).within(QUERY_WITHIN_S);
            let sql = format!("{within}set session transaction read only;\n{}\n;", query.statement());
            checked.take(query, self.ask(Some(database), &sql).await)?;
        }
        Ok(checked)
    }

    /// Shows that all of the dump but its events can be restored here; gives the words for what cannot be moved.
    async fn prove(&self) -> Result<(Vec<u8>, Checked), NoOutcome> {
        // What an earlier attempt has left under this name is nobody's.
        self.ask(None, &placing::remove(&self.scratch)).await?;
        let proving = async {
            self.fill(&self.scratch).await?;
            let mut checked = self.check(&self.scratch).await?;
            if let Origin::File(_) = self.dumped.origin {
                // In a dump of ours they are apart; in one of others they are in it, and cannot be moved.
                let at = Some(self.scratch.as_str());
                let events = placing::names(&self.ask(at, placing::EVENTS).await?);
                let events = events.ok_or_else(|| unreadable(&self.scratch))?;
                if !events.is_empty() {
                    self.ask(at, &placing::without_events(&events)).await?;
                    checked.lacks(format!(
                        "{} events of the dump are not restored where another database is replaced; restore it under another name to have them",
                        events.len()
                    ));
                }
            }
            Ok((self.keep_code().await?, checked))
        };
        let proven: Result<_, NoOutcome> = proving.await;
        if let Err(why) = &proven
            && !is_resumed(why)
        {
            self.tidy(&placing::remove(&self.scratch)).await;
        }
        proven
    }

    /// The words by which the triggers, routines and views in the scratch database can be made again. They are kept in it,
    /// too: whoever finds them there knows that all is there.
    async fn keep_code(&self) -> Result<Vec<u8>, NoOutcome> {
        let at = Some(self.scratch.as_str());
        let unmark = placing::unmark(&placing::filling(self.bench.job));
        self.ask(at, &unmark).await?;
        let made = placing::names(&self.ask(at, placing::MADE).await?);
        let made = made.ok_or_else(|| unreadable(&self.scratch))?;
        let mut code = self.say(What::Code).await?;
        if !made.is_empty() {
            code.extend(self.say(What::Made(&made)).await?);
        }
        if code.len() > placing::CODE_BYTES {
            let message = "its views, triggers and procedures are too large to be moved; remove the database that stands there, and restore again";
            return Err(Failure::new(FailureCode::RestoreFailed, message).into());
        }
        self.ask(at, &placing::keep(&placing::whole(self.bench.job), &code)).await?;
        Ok(code)
    }

    async fn say(&self, what: What<'_>) -> Result<Vec<u8>, NoOutcome> {
        let arguments = dump(self.dump.flavour, self.dump.version, what, &self.scratch);
        let said = self.client.say(&self.dump, arguments).await?;
        if said.status.success() {
            return Ok(said.stdout);
        }
        let failure = self.client.failure("reading what was restored", &said.tail);
        Err(restore_failed(failure.into(), "it cannot be moved"))
    }

    /// Makes a database and fills it with all but the events.
    async fn fill(&self, database: &str) -> Result<(), NoOutcome> {
        self.bench.step("restore");
        let filling = placing::filling(self.bench.job);
        self.ask(None, &placing::create(database, &self.dumped.properties))
            .await
            .map_err(|e| restore_failed(e, "the database cannot be made"))?;
        self.ask(Some(database), &placing::mark(&filling)).await?;
        let arguments = ["--binary-mode", "--default-character-set=utf8mb4"];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        arguments.push(format!("--database={database}"));
        let plan = self.client.plan(&self.tool, arguments, Input::Stream);
        let failed = |tail: &[String]| self.client.failure("the restore", tail);
        pour(self.bench, self.dumped, plan, failed).await
    }

    /// The events, and the end of what says that this is not done.
    pub async fn finish(&self) -> Result<Restored, NoOutcome> {
        self.bench.step("check");
        let at = Some(self.database);
        if !self.events.is_empty() {
            self.ask_past_cancel(at, &self.events)
                .await
                .map_err(|e| restore_failed(e, "its events cannot be made"))?;
        }
        let unmark = placing::unmark(&placing::filling(self.bench.job));
        self.ask_past_cancel(at, unmark.as_bytes()).await?;
        let tables = self.ask_past_cancel(at, placing::COUNT_TABLES.as_bytes()).await?;
        let tables = tables.parse().unwrap_or_default();
        let restored =
            Restored { tables, kept: None, findings: Findings::default(), check: RestoreCheck::default() };
        Ok(restored.checked(Checked::too_late()))
    }

    /// Removes what is nobody's, as far as that can be done, and also when the restore was cancelled.
    pub async fn tidy(&self, sql: &str) {
        if let Err(NoOutcome::Failed(failure)) = self.client.ask_anyway(&self.tool, None, sql).await {
            tracing::warn!(job = %self.bench.job, problem = failure.message, "a half restored database was not removed");
        }
    }

    async fn ask(&self, database: Option<&str>, sql: &str) -> Result<String, NoOutcome> {
        self.client.ask_by(&self.tool, database, sql).await
    }

    /// The same, past the point where a cancel counts.
    pub async fn ask_past_cancel(&self, database: Option<&str>, sql: &[u8]) -> Result<String, NoOutcome> {
        self.client.ask_past_cancel(&self.tool, database, sql).await
    }
}

/// Whether another attempt goes on from what is there: by then it may be at work already.
fn is_resumed(why: &NoOutcome) -> bool {
    matches!(why, NoOutcome::Stopped(Stop::Shutdown | Stop::Stale))
}

/// What the server says of a database is not what it was asked.
pub fn unreadable(database: &str) -> Failure {
    Failure::new(FailureCode::Unknown, format!("what the server says of '{database}' cannot be read"))
}

//! A dump back into MySQL or MariaDB.
//!
//! MySQL cannot rename a database. One that is full gives way only after all of the dump has been restored into a scratch
//! database, with the digest that was taken when it was dumped; that one stays until the second filling is done as well.

use super::{Dumped, Restored, pour, restore_failed};
use crate::child::Input;
use crate::control::{NoOutcome, Stop};
use crate::core::findings::Findings;
use crate::core::mysql::placing::{self, Standing};
use crate::core::restoring::scratch_name;
use crate::jobs::Bench;
use crate::mysql::{CLIENT, Client, Tool};
use serde_json::{Value, json};
use strongroom_domain::job::{Conflict, RestoreDatabaseSpec};
use strongroom_domain::source::mysql::Connection;
use strongroom_domain::{Failure, FailureCode};

/// Restores.
pub async fn run(
    bench: &Bench<'_>,
    spec: &RestoreDatabaseSpec,
    connection: &Connection,
    database: &str,
    dumped: &Dumped,
) -> Result<Restored, NoOutcome> {
    let streams = super::streams(bench)?;
    let client = Client::new(bench, connection, &streams)?;
    let survey = client.survey().await?;
    let tool = client.tool(CLIENT, survey.flavour()).await?;
    let scratch = scratch_name(bench.job);
    Restore { bench, spec, client: &client, tool, database, scratch, dumped }.run().await
}

struct Restore<'a> {
    bench: &'a Bench<'a>,
    spec: &'a RestoreDatabaseSpec,
    client: &'a Client<'a>,
    tool: Tool,
    /// What it is to be called.
    database: &'a str,
    /// Where it is shown first that all of it can be restored.
    scratch: String,
    dumped: &'a Dumped,
}

impl Restore<'_> {
    async fn run(&self) -> Result<Restored, NoOutcome> {
        // An earlier attempt may have come as far as this; what stands at the name is then half of what it made.
        if self.is_whole_in_scratch().await? {
            return self.replace(false).await;
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
            Standing::Full if self.spec.on_conflict == Conflict::Overwrite => {
                self.prove().await?;
                self.replace(true).await
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

    async fn is_whole_in_scratch(&self) -> Result<bool, NoOutcome> {
        let whole = placing::has_table(&placing::whole(self.bench.job));
        match self.ask(Some(&self.scratch), &whole).await {
            Ok(count) => Ok(count != "0"),
            Err(NoOutcome::Failed(failure)) => match failure.code {
                // Who may not see it has not made it.
                FailureCode::DatabaseMissing | FailureCode::AccessDenied => Ok(false),
                _ => Err(failure.into()),
            },
            Err(why) => Err(why),
        }
    }

    /// Makes the database at its name, where nothing stands. When that fails, what stood there is there again: nothing,
    /// or an empty one with these properties.
    async fn place(&self, before: Option<Value>) -> Result<Restored, NoOutcome> {
        match self.make(self.database).await {
            Ok(tables) => Ok(Restored { tables, kept: None, findings: Findings::default() }),
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

    /// Shows that all of the dump can be restored here.
    async fn prove(&self) -> Result<(), NoOutcome> {
        // What an earlier attempt has left under this name is nobody's.
        self.ask(None, &placing::remove(&self.scratch)).await?;
        let proven = match self.make(&self.scratch).await {
            Ok(_) => self.ask(Some(&self.scratch), &placing::mark(&placing::whole(self.bench.job))).await,
            Err(why) => Err(why),
        };
        if let Err(why) = proven {
            if is_resumed(&why) {
                return Err(why);
            }
            self.tidy(&placing::remove(&self.scratch)).await;
            return Err(why);
        }
        Ok(())
    }

    /// What stands there gives way to what is whole beside it. `untouched`: it is what people had so far, and not what an
    /// earlier attempt has begun.
    async fn replace(&self, untouched: bool) -> Result<Restored, NoOutcome> {
        self.bench.step("place");
        if let Err(why) = self.ask(None, &placing::remove(self.database)).await {
            let NoOutcome::Failed(failure) = why else { return Err(why) };
            // These are found out before the first table is dropped.
            let refused = matches!(failure.code, FailureCode::AccessDenied | FailureCode::SourceLocked);
            if !(untouched && refused) {
                return Err(self.all_is_beside(failure).await);
            }
            self.tidy(&placing::remove(&self.scratch)).await;
            return Err(restore_failed(failure.into(), "what stands there cannot be removed"));
        }
        match self.make(self.database).await {
            Ok(tables) => {
                self.tidy(&placing::remove(&self.scratch)).await;
                Ok(Restored { tables, kept: None, findings: Findings::default() })
            }
            Err(NoOutcome::Failed(failure)) => {
                self.tidy(&placing::remove(self.database)).await;
                Err(self.all_is_beside(failure).await)
            }
            // The next attempt finds what is whole.
            Err(why) if is_resumed(&why) => Err(why),
            // Nobody must take a half for a whole; the whole is beside.
            Err(why) => {
                self.tidy(&placing::remove(self.database)).await;
                Err(why)
            }
        }
    }

    /// The failure that tells where all of the dump is now.
    async fn all_is_beside(&self, failure: Failure) -> NoOutcome {
        let unmark = placing::unmark(&placing::whole(self.bench.job));
        // It is whole with that table in it as well.
        let _ = self.ask(Some(&self.scratch), &unmark).await;
        let message = format!(
            "database '{}' had to give way and was not filled again, but all of the dump is in database '{}': {}",
            self.database, self.scratch, failure.message
        );
        let advice =
            "Use the database that the message names, or remove the cause and restore again; then drop it.";
        Failure { advice: advice.to_owned(), message, ..failure }.into()
    }

    /// Makes a database and fills it; how many tables it has then.
    async fn make(&self, database: &str) -> Result<u64, NoOutcome> {
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
        let Dumped { archive, part, .. } = self.dumped;
        pour(self.bench, &self.spec.access, archive, part, plan, failed).await?;
        self.bench.step("check");
        self.ask(Some(database), &placing::unmark(&filling)).await?;
        Ok(self.ask(Some(database), placing::COUNT_TABLES).await?.parse().unwrap_or_default())
    }

    /// Removes what is nobody's, as far as that can be done, and also when the restore was cancelled.
    async fn tidy(&self, sql: &str) {
        if let Err(NoOutcome::Failed(failure)) = self.client.ask_anyway(&self.tool, sql).await {
            tracing::warn!(job = %self.bench.job, problem = failure.message, "a half restored database was not removed");
        }
    }

    async fn ask(&self, database: Option<&str>, sql: &str) -> Result<String, NoOutcome> {
        self.client.ask_by(&self.tool, database, sql).await
    }
}

/// Whether another attempt goes on from what is there: by then it may be at work already.
fn is_resumed(why: &NoOutcome) -> bool {
    matches!(why, NoOutcome::Stopped(Stop::Shutdown | Stop::Stale))
}

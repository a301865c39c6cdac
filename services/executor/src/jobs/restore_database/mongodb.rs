//! A dump back into MongoDB.
//!
//! MongoDB can neither rename a database nor restore one beside another and change them at one blow. So a database that
//! is there and not empty is refused, or its collections are dropped and made anew one by one; that is not begun before all
//! of the dump was read once and has the digest that was taken when it was dumped.

use super::check::Checked;
use super::{Dumped, Manner, Restored, pour_heard};
use crate::child::Input;
use crate::control::{NoOutcome, Stop, pair};
use crate::core::census::{self, Contents, Counted};
use crate::core::findings::Findings;
use crate::core::mongodb::shell::{self, Collection, Survey};
use crate::core::mongodb::told::{self, What};
use crate::core::mongodb::{self};
use crate::core::sum::{Sum, Summed};
use crate::jobs::Bench;
use crate::mongodb::{Client, RESTORE, Tool};
use crate::program::Place;
use crate::sources::WITH_OPLOG;
use strongroom_domain::JobId;
use strongroom_domain::census::{TableCount, Taken};
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::Conflict;
use strongroom_domain::source::mongodb::Connection;
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;

/// Pieces of the dump that wait to be summed up.
const PIECES: usize = 16;

/// What is to come from where to where: one database, or all of them.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What it is to be called; empty for all.
    pub database: &'a str,
    /// What it is called in the dump; empty for all.
    pub from: &'a str,
}

impl Wanted<'_> {
    /// The name of each database that is restored, with the one that it had.
    pub fn names(&self, dumped: &Dumped<'_>) -> Vec<(String, String)> {
        if !self.from.is_empty() {
            return vec![(self.database.to_owned(), self.from.to_owned())];
        }
        let mut names: Vec<String> =
            contents(dumped).iter().filter_map(|table| table.schema.clone()).collect();
        names.sort();
        names.dedup();
        names.retain(|name| !strongroom_domain::source::mongodb::is_system(name));
        names.into_iter().map(|name| (name.clone(), name)).collect()
    }
}

/// What was counted in the dump.
fn contents<'a>(dumped: &'a Dumped<'_>) -> &'a [TableCount] {
    dumped.recorded.as_ref().map_or(&[], |recorded| recorded.contents.tables.as_slice())
}

/// Fails when the dump is none of this database.
pub fn is_in(dumped: &Dumped<'_>, wanted: &Wanted<'_>) -> Result<(), Failure> {
    let known = contents(dumped);
    let holds = |name: &str| known.iter().any(|table| table.schema.as_deref() == Some(name));
    if wanted.from.is_empty() || known.is_empty() || holds(wanted.from) {
        return Ok(());
    }
    let message = format!("there is no database '{}' in this dump", wanted.from);
    Err(Failure::new(FailureCode::PathNotInArchive, message))
}

/// Restores.
pub async fn run(
    bench: &Bench<'_>,
    manner: Manner<'_>,
    connection: &Connection,
    wanted: Wanted<'_>,
    dumped: &Dumped<'_>,
) -> Result<Restored, NoOutcome> {
    is_in(dumped, &wanted)?;
    let streams = bench.streams()?;
    let client = Client::new(bench, connection, &streams)?;
    let tool = client.tool(RESTORE).await?;
    let shell = client.shell().await?;
    Restore { bench, manner, client: &client, tool, shell, wanted, dumped }.run().await
}

struct Restore<'a> {
    bench: &'a Bench<'a>,
    manner: Manner<'a>,
    client: &'a Client<'a>,
    tool: Tool,
    shell: Option<Place>,
    wanted: Wanted<'a>,
    dumped: &'a Dumped<'a>,
}

impl Restore<'_> {
    async fn run(&self) -> Result<Restored, NoOutcome> {
        let overwrites = self.manner.on_conflict == Conflict::Overwrite;
        let mut findings = Findings::default();
        // What this attempt makes, and takes back when it fails.
        let mut made = Vec::new();
        match &self.shell {
            Some(shell) => {
                let survey = self.client.survey(shell).await?;
                for (name, _) in self.wanted.names(self.dumped) {
                    if self.is_full(shell, &survey, &name).await? {
                        if overwrites {
                            continue;
                        }
                        let message =
                            format!("database '{name}' is there and not empty; nothing was restored");
                        return Err(Failure::new(FailureCode::TargetExists, message).into());
                    }
                    made.push(name);
                }
                if overwrites {
                    self.read_once().await?;
                }
                for name in &made {
                    self.client.ask::<bool>(shell, &shell::make(name, &mark(self.bench.job))).await?;
                }
            }
            None if overwrites => self.read_once().await?,
            None => {
                let message =
                    "whether the database is there and not empty cannot be seen; nothing was restored";
                return Err(self.client.no_shell(message).await.into());
            }
        }
        if self.has_oplog() && !self.wanted.from.is_empty() {
            let message = "each collection is as it was when its turn came to be dumped: mongorestore brings only all databases together \
                           to one moment";
            findings.add(Finding { severity: Severity::Benign, path: None, message: message.into() });
        }
        match self.fill(overwrites).await {
            Ok(documents) => self.conclude(&made, documents, findings).await,
            Err(why) => Err(self.take_back(&made, why).await),
        }
    }

    fn has_oplog(&self) -> bool {
        self.dumped.part.format.as_deref() == Some(WITH_OPLOG)
    }

    /// Whether something of people's own is in a database. What an earlier attempt of this job has made is nobody's, and is
    /// removed.
    async fn is_full(&self, shell: &Place, survey: &Survey, name: &str) -> Result<bool, NoOutcome> {
        if !survey.databases.iter().any(|d| d.name == name) {
            return Ok(false);
        }
        let there: Vec<Collection> = self.client.ask(shell, &shell::collections(name)).await?;
        if there.iter().any(|collection| collection.name == mark(self.bench.job)) {
            self.client.ask::<bool>(shell, &shell::remove(name)).await?;
            return Ok(false);
        }
        Ok(!there.is_empty())
    }

    /// Reads all of the dump, and says whether it is what was dumped, before anything gives way to it.
    async fn read_once(&self) -> Result<(), NoOutcome> {
        self.bench.step("read");
        let Dumped { origin, part, .. } = self.dumped;
        let (give, mut come) = mpsc::channel::<Vec<u8>>(PIECES);
        // Nobody stops this one: it is dropped when the attempt is to stop.
        let (_stopper, control) = pair();
        let summing = async {
            let mut sum = Sum::default();
            while let Some(piece) = come.recv().await {
                sum.add(&piece);
            }
            sum.finish()
        };
        let both = async { tokio::join!(origin.pieces(self.bench, part, control, give), summing) };
        let (read, Summed { bytes, sha256 }) = self.bench.control.clone().unless_stopped(both).await?;
        let tail = read?;
        if bytes == part.size_bytes && sha256 == part.sha256 {
            return Ok(());
        }
        Err(origin.other(part).with_log(tail).into())
    }

    /// Restores; how many documents.
    async fn fill(&self, drop: bool) -> Result<u64, NoOutcome> {
        self.bench.step("restore");
        let what = if self.wanted.from.is_empty() {
            What::All { oplog: self.has_oplog() }
        } else {
            What::One { from: self.wanted.from, to: self.wanted.database }
        };
        let plan = self.client.plan(&self.tool, told::restore(what, drop), Input::Stream);
        let failed = |tail: &[String]| self.client.failure("the restore", tail);
        let tail = pour_heard(self.bench, self.dumped, plan, failed).await?;
        match mongodb::restored(&tail) {
            Some((documents, 0)) => Ok(documents),
            Some((_, lost)) => {
                let message =
                    format!("mongorestore ended well, but says that {lost} documents failed to restore");
                Err(Failure::new(FailureCode::RestoreFailed, message).with_log(tail).into())
            }
            None => {
                let message = "mongorestore ended well, but does not say what it has restored";
                Err(Failure::new(FailureCode::RestoreFailed, message).with_log(tail).into())
            }
        }
    }

    async fn conclude(
        &self,
        made: &[String],
        documents: u64,
        mut findings: Findings,
    ) -> Result<Restored, NoOutcome> {
        self.bench.step("check");
        let mut tables = 0;
        let mut checked = Checked::skipped("there is no mongosh on this node to count with");
        if let Some(shell) = &self.shell {
            for name in made {
                self.client.ask_anyway::<bool>(shell, &shell::unmake(name, &mark(self.bench.job))).await?;
            }
            let now = self.count(shell).await?;
            tables = now.census.tables_total;
            checked = self.compare(&now);
        } else if let Some(then) = &self.dumped.recorded
            && self.wanted.from.is_empty()
            && !self.has_oplog()
            && then.census.rows_total != documents
        {
            let message =
                format!("{documents} documents were restored, and {} were dumped", then.census.rows_total);
            findings.add(Finding { severity: Severity::Incomplete, path: None, message });
        }
        let restored = Restored { tables, kept: None, findings, check: Default::default() };
        Ok(restored.checked(checked))
    }

    /// What is there now, by the names of the dump.
    async fn count(&self, shell: &Place) -> Result<Counted, NoOutcome> {
        let mut tables = Vec::new();
        for (name, from) in self.wanted.names(self.dumped) {
            let there: Vec<Collection> = self.client.ask(shell, &shell::collections(&name)).await?;
            tables.extend(there.into_iter().filter_map(|collection| {
                let rows = Some(collection.documents?);
                Some(TableCount {
                    schema: Some(from.clone()),
                    table: collection.name,
                    rows,
                    estimated: false,
                })
            }));
        }
        let total = tables.len() as u64;
        let contents = Contents { tables, roles: Vec::new() };
        Ok(census::sum_up(contents, total, None, Taken::InSnapshot))
    }

    fn compare(&self, now: &Counted) -> Checked {
        let Some(recorded) = &self.dumped.recorded else {
            return Checked::skipped("nothing was counted when it was dumped");
        };
        if self.has_oplog() && self.wanted.from.is_empty() {
            return Checked::skipped(
                "what was written while it was dumped is in it, too, and was not counted",
            );
        }
        let of_these = self.wanted.names(self.dumped);
        let is_of_these = |table: &&TableCount| {
            of_these.iter().any(|(_, from)| table.schema.as_deref() == Some(from))
                && !table.table.starts_with("system.")
        };
        let tables: Vec<TableCount> = recorded.contents.tables.iter().filter(is_of_these).cloned().collect();
        let total = tables.len() as u64;
        let then = census::sum_up(Contents { tables, roles: Vec::new() }, total, None, Taken::InSnapshot);
        let (check, found) = census::comparing::compare(&then, now, true);
        let mut findings = Findings::default();
        found.into_iter().for_each(|finding| findings.add(finding));
        Checked { check, findings }
    }

    /// Removes what was made, and says what has become of what stood there.
    async fn take_back(&self, made: &[String], why: NoOutcome) -> NoOutcome {
        // Another attempt goes on from what is there: by then it may be at work already.
        if matches!(why, NoOutcome::Stopped(Stop::Shutdown | Stop::Stale)) {
            return why;
        }
        if let Some(shell) = &self.shell {
            for name in made {
                if let Err(NoOutcome::Failed(failure)) =
                    self.client.ask_anyway::<bool>(shell, &shell::remove(name)).await
                {
                    tracing::warn!(job = %self.bench.job, problem = failure.message, "a half restored database was not removed");
                }
            }
        }
        match why {
            NoOutcome::Failed(mut failure) if self.manner.on_conflict == Conflict::Overwrite => {
                failure.message.push_str(
                    "; collections that stood there may be gone, or half restored: restore again when the cause is gone",
                );
                if failure.code == FailureCode::RestoreFailed {
                    failure.advice =
                        "Read the log of the job, which ends with the words of the program, and restore again.".into();
                }
                failure.into()
            }
            other => other,
        }
    }
}

/// The collection by which a database that is being restored is known.
fn mark(job: JobId) -> String {
    format!("strongroom_filling_{job}")
}

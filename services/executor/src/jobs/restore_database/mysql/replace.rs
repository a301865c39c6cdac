//! What stands at a name gives way to what is whole in a scratch database.
//!
//! The accident that this file prevents: what people had is dropped, and then the new cannot take its place. So nothing is
//! dropped before all of the new is there; it is moved and not filled a second time; whatever fails then, the failure says
//! in which database the tables are; and after a kill, the next attempt goes on from there.

use super::{Restore, is_resumed, unreadable};
use crate::control::NoOutcome;
use crate::core::mysql::placing;
use crate::jobs::restore_database::{Restored, restore_failed};
use strongroom_domain::{Failure, FailureCode};

/// What to do when it is not done.
const ADVICE: &str =
    "Use the database that the message names, or remove the cause and restore again; then drop what is left.";

/// A replacement.
pub struct Replacement<'a> {
    /// Of which restore.
    pub of: &'a Restore<'a>,
    /// How triggers, routines and views are made.
    pub code: Vec<u8>,
    /// Whether what stands at the name is what people had so far, and not what an earlier attempt has begun.
    pub untouched: bool,
}

impl Replacement<'_> {
    /// Does it, or what is left of it to be done. From here on a cancel comes too late.
    pub async fn run(&self) -> Result<Restored, NoOutcome> {
        if let Some(why) = self.of.bench.control.why().filter(|_| self.untouched) {
            let why = NoOutcome::Stopped(why);
            // What is whole is of use to the next attempt.
            return Err(if is_resumed(&why) { why } else { self.not_begun(why).await });
        }
        self.of.bench.step("place");
        if self.untouched || !self.is_marked().await? {
            match self.ask(None, &placing::remove(self.of.database)).await {
                Ok(_) => {}
                Err(NoOutcome::Failed(failure)) if self.untouched && is_refused(&failure) => {
                    let why = restore_failed(failure.into(), "what stands there cannot be removed");
                    return Err(self.not_begun(why).await);
                }
                Err(why) => return Err(self.told(why).await),
            }
        }
        match self.take_place().await {
            Ok(restored) => {
                self.of.tidy(&placing::remove(&self.of.scratch)).await;
                Ok(restored)
            }
            Err(why) => Err(self.told(why).await),
        }
    }

    async fn take_place(&self) -> Result<Restored, NoOutcome> {
        let Restore { database, scratch, dumped, bench, .. } = self.of;
        if !self.is_marked().await? {
            self.ask(None, &placing::create(database, &dumped.properties)).await?;
            self.ask(Some(database), &placing::mark(&placing::filling(bench.job))).await?;
        }
        let tables = self.movable(scratch, &placing::whole(bench.job)).await?;
        let triggers = placing::names(&self.ask(Some(scratch), placing::TRIGGERS).await?);
        let triggers = triggers.ok_or_else(|| unreadable(scratch))?;
        self.ask(Some(scratch), &placing::move_all(&triggers, &tables, scratch, database)).await?;
        self.of.ask_past_cancel(Some(database), &self.code).await?;
        if self.made(database).await? < self.made(scratch).await? {
            let message = "there are fewer of them than were in the dump";
            return Err(Failure::new(FailureCode::RestoreFailed, message).into());
        }
        self.of.finish().await
    }

    /// How much there is in a database that cannot be moved, triggers aside.
    async fn made(&self, database: &str) -> Result<u64, NoOutcome> {
        let all = self.ask(Some(database), placing::COUNT_OBJECTS).await?;
        let all: u64 = all.parse().map_err(|_| unreadable(database))?;
        // In both there is one table that says how far this has come.
        Ok(all.saturating_sub(self.movable(database, "").await?.len() as u64))
    }

    /// Whether the database at the name is one that this job has made.
    async fn is_marked(&self) -> Result<bool, NoOutcome> {
        let ours = placing::has_table(&placing::filling(self.of.bench.job));
        match self.ask(Some(self.of.database), &ours).await {
            Ok(count) => Ok(count != "0"),
            Err(NoOutcome::Failed(failure)) if failure.code == FailureCode::DatabaseMissing => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// What can be moved out of a database, but for this table.
    async fn movable(&self, database: &str, but: &str) -> Result<Vec<String>, NoOutcome> {
        let names = placing::names(&self.ask(Some(database), placing::MOVABLE).await?);
        let mut names = names.ok_or_else(|| unreadable(database))?;
        names.retain(|name| name != but);
        Ok(names)
    }

    /// Nothing was changed at the name.
    async fn not_begun(&self, why: NoOutcome) -> NoOutcome {
        self.of.tidy(&placing::remove(&self.of.scratch)).await;
        why
    }

    /// The failure, and where all of the dump is now. When it was stopped, the next attempt goes on.
    async fn told(&self, why: NoOutcome) -> NoOutcome {
        let NoOutcome::Failed(failure) = why else { return why };
        let (database, scratch) = (self.of.database, &self.of.scratch);
        let told = self.where_all_is().await.unwrap_or_else(|_| {
            format!(
                "database '{database}' gives way; the tables of the dump are in database '{scratch}' or, when they were \
                 moved already, in '{database}', which cannot be said before the server answers again"
            )
        });
        Failure { message: format!("{told}: {}", failure.message), advice: ADVICE.to_owned(), ..failure }
            .into()
    }

    /// Says where it is, and puts away what is of no use to anybody.
    async fn where_all_is(&self) -> Result<String, NoOutcome> {
        let Restore { database, scratch, bench, .. } = self.of;
        let (filling, whole) = (placing::filling(bench.job), placing::whole(bench.job));
        let beside = self.movable(scratch, &whole).await?.len();
        if !self.is_marked().await? {
            self.ask(Some(scratch), &placing::unmark(&whole)).await?;
            return Ok(format!(
                "database '{database}' was to give way and may not be whole any more, but all of the dump, without its \
                 events, is in database '{scratch}'"
            ));
        }
        let moved = self.movable(database, &filling).await?.len();
        if beside > 0 && moved == 0 {
            self.of.tidy(&placing::remove(database)).await;
            // It had to do without its triggers to be moved.
            let made = self.of.ask_past_cancel(Some(scratch), &self.code).await;
            if made.is_ok() {
                self.ask(Some(scratch), &placing::unmark(&whole)).await?;
            }
            let all =
                if made.is_ok() { "all of the dump, without its events," } else { "all tables of the dump" };
            return Ok(format!(
                "database '{database}' had to give way and was not made again, but {all} {} in database '{scratch}'",
                if made.is_ok() { "is" } else { "are" }
            ));
        }
        if beside > 0 {
            return Ok(format!(
                "database '{database}' had to give way; {moved} tables of the dump are in it, and {beside} in database '{scratch}'"
            ));
        }
        self.ask(Some(database), &placing::unmark(&filling)).await?;
        self.of.tidy(&placing::remove(scratch)).await;
        Ok(format!(
            "all tables of the dump are in database '{database}' now, but not all of its views, triggers, procedures and \
             events could be made"
        ))
    }

    async fn ask(&self, database: Option<&str>, sql: &str) -> Result<String, NoOutcome> {
        self.of.ask_past_cancel(database, sql.as_bytes()).await
    }
}

/// These are found out before the first table is dropped.
fn is_refused(failure: &Failure) -> bool {
    matches!(failure.code, FailureCode::AccessDenied | FailureCode::SourceLocked)
}

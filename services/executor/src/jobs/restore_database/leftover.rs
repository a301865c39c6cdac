//! What an earlier attempt at a restore has left, when the next one comes to nothing before it could put it away.
//!
//! The accident that this file prevents: half a database under a name that nobody knows, which takes room on a server until
//! somebody wonders what it is.

use crate::control::{NoOutcome, Stop};
use crate::core::mysql::placing;
use crate::core::restoring::{self, scratch_name};
use crate::jobs::Bench;
use crate::mysql::{self, CLIENT};
use crate::postgresql;
use strongroom_domain::Failure;
use strongroom_domain::job::{DatabaseTarget, JobSpec};
use strongroom_domain::source;

/// Why a job came to nothing, after what it may have left was put away, or with where that is.
pub async fn told(bench: &Bench<'_>, spec: &JobSpec, why: NoOutcome) -> NoOutcome {
    let into = match spec {
        JobSpec::RestoreDatabase(spec) if !spec.dry_run => &spec.into,
        JobSpec::RestoreDump(spec) if !spec.dry_run => &spec.into,
        _ => return why,
    };
    // A first attempt has put away its own. Of one that goes on elsewhere the next one does.
    if bench.attempt < 2 || matches!(why, NoOutcome::Stopped(Stop::Shutdown | Stop::Stale)) {
        return why;
    }
    let scratch = scratch_name(bench.job);
    let (server, left) = match into {
        DatabaseTarget::Postgresql { connection, database } => {
            (connection.shown(), of_postgresql(bench, connection, database, &scratch).await)
        }
        DatabaseTarget::Mysql { connection, database } => {
            (connection.shown(), of_mysql(bench, connection, database, &scratch).await)
        }
        // It has its name from the beginning.
        DatabaseTarget::Mongodb { .. } => return why,
    };
    let words = match left {
        Ok(None) => return why,
        Ok(Some(words)) => words,
        Err(_) => {
            format!("an earlier attempt may have left the half restored database '{scratch}': drop it")
        }
    };
    tracing::warn!(job = %bench.job, server, words, "a restore has left something");
    match why {
        NoOutcome::Failed(failure) if !failure.message.contains(&scratch) => {
            let message = format!("{}; on {server}, {words}", failure.message);
            Failure { message, ..failure }.into()
        }
        other => other,
    }
}

/// Drops it: there it is whole nowhere.
async fn of_postgresql(
    bench: &Bench<'_>,
    connection: &source::postgresql::Connection,
    database: &str,
    scratch: &str,
) -> Result<Option<String>, NoOutcome> {
    let streams = bench.streams()?;
    let client = postgresql::Client::new(bench, connection, &streams).await?;
    let asked = super::postgresql::asked(connection, database);
    if client.ask_anyway(asked, &restoring::look(scratch)).await?.is_empty() {
        return Ok(None);
    }
    Ok(match client.ask_anyway(asked, &restoring::drop_database(scratch)).await {
        Ok(_) => None,
        Err(_) => Some(format!(
            "an earlier attempt has left the half restored database '{scratch}', which could not be dropped: drop it"
        )),
    })
}

/// Says of it: there it may be the only place in which all of the dump is.
async fn of_mysql(
    bench: &Bench<'_>,
    connection: &source::mysql::Connection,
    database: &str,
    scratch: &str,
) -> Result<Option<String>, NoOutcome> {
    let streams = bench.streams()?;
    let client = mysql::Client::new(bench, connection, &streams)?;
    let survey = client.survey().await?;
    let tool = client.tool(CLIENT, survey.flavour()).await?;
    let is_there = async |name: &str, table: &str| {
        let asked = client.ask_anyway(&tool, Some(name), &placing::has_table(table)).await;
        asked.ok().map(|count| count.trim() != "0")
    };
    if let Some(whole) = is_there(scratch, &placing::whole(bench.job)).await {
        let how = if whole { "all of the dump, without its events" } else { "a part of the dump" };
        return Ok(Some(format!(
            "an earlier attempt has left the database '{scratch}' with {how}: drop it when you have looked at it"
        )));
    }
    let half = is_there(database, &placing::filling(bench.job)).await;
    Ok((half == Some(true))
        .then(|| format!("an earlier attempt has left the database '{database}' half restored: drop it")))
}

//! What a role may not read of the databases that it is to dump, asked before a backup fails of it.

use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::core::postgresql::rights::{RIGHTS, Rights};
use crate::jobs::Bench;
use crate::postgresql::Client;
use crate::streams::Streams;
use strongroom_domain::source::postgresql::Postgresql;
use strongroom_domain::{Failure, FailureCode};

/// Looks into each database that would be dumped.
pub async fn look(bench: &Bench<'_>, source: &Postgresql, streams: &Streams) -> Result<Findings, NoOutcome> {
    let client = Client::new(bench, &source.connection, streams).await?;
    let survey = client.survey().await?;
    let mut findings = Findings::default();
    if survey.superuser {
        return Ok(findings);
    }
    for database in survey.chosen(&source.databases, &source.excludes)? {
        let said = client.ask(&database.name, RIGHTS).await?;
        let rights: Rights = serde_json::from_str(&said).map_err(|e| {
            let message = format!("the rights in database '{}' cannot be read: {e}", database.name);
            Failure::new(FailureCode::Unknown, message)
        })?;
        let found = rights.findings(&survey.role, &database.name, survey.major());
        found.into_iter().for_each(|finding| findings.add(finding));
    }
    Ok(findings)
}

//! Sources that are dumped: one file each, and one line in [`prepare`].

mod mysql;
mod postgresql;
mod sqlite;

use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::jobs::Bench;
use crate::parts::Part;
use crate::streams::Streams;
use serde_json::Value;
use strongroom_domain::source::Source;
use strongroom_domain::{Failure, FailureCode};

/// A source that was looked at and can be dumped.
pub struct Prepared {
    /// What the server calls its version.
    pub server_version: String,
    /// The program that dumps.
    pub tool: String,
    /// Of what the dump consists, in order.
    pub parts: Vec<Part>,
    /// What was found on the way.
    pub findings: Findings,
    /// What a restore needs to know besides.
    pub properties: Value,
}

/// Looks at a source.
pub async fn prepare(bench: &Bench<'_>, source: &Source, streams: &Streams) -> Result<Prepared, NoOutcome> {
    match source {
        Source::Postgresql(source) => postgresql::prepare(bench, source, streams).await,
        Source::Mysql(source) => mysql::prepare(bench, source, streams).await,
        Source::Sqlite(source) => {
            let source = source.clone();
            let looking = tokio::task::spawn_blocking(move || sqlite::prepare(&source)).await;
            looking.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?
        }
        Source::Files(_) => Err(Failure::new(FailureCode::Unknown, "files are read and not dumped").into()),
    }
}

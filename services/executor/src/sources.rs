//! Sources that are dumped: one file each, and one line in [`prepare`].

pub mod files;
mod mongodb;
mod mysql;
mod postgresql;
mod sqlite;

use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::dump_store::Opened;
use crate::jobs::Bench;
use crate::parts::Part;
use crate::streams::Streams;
pub use mongodb::WITH_OPLOG;
pub use mysql::physical::tool as backup_tool;
pub use postgresql::physical::Pending;
use serde_json::{Map, Value};
use strongroom_domain::chain::{Physical, Variant};
use strongroom_domain::job::BackupSpec;
use strongroom_domain::source::{Application, Source, Sqlite};
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
    /// What it is, when it holds a whole server.
    pub physical: Option<Pending>,
}

/// Looks at the source of a backup, and makes ready what it needs; `store` is the repository, when it is a dump store.
pub async fn prepare_for(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    streams: &Streams,
    store: Option<&Opened<'_>>,
) -> Result<Prepared, NoOutcome> {
    match &spec.source {
        Source::Postgresql(source) if spec.source.is_physical() => {
            Box::pin(postgresql::physical::prepare(bench, spec, source, streams, store)).await
        }
        Source::Mysql(source) if spec.source.is_physical() => {
            let looking = mysql::physical::prepare(bench, source, streams, spec.base.as_ref(), spec.variant);
            Box::pin(looking).await
        }
        source => prepare(bench, source, spec.variant, streams).await,
    }
}

/// What an archive of a whole server is, once its parts are made; `said` is what its programs have said.
pub async fn conclude(
    bench: &Bench<'_>,
    source: &Source,
    streams: &Streams,
    pending: Option<Pending>,
    said: &[String],
) -> Result<Option<Box<Physical>>, NoOutcome> {
    match (source, pending) {
        (Source::Postgresql(source), Some(pending)) => {
            let concluding = postgresql::physical::conclude(bench, source, streams, pending, said);
            Ok(Some(Box::new(Box::pin(concluding).await?)))
        }
        (Source::Mysql(source), Some(pending)) => {
            let concluding = mysql::physical::conclude(bench, source, streams, pending);
            Ok(Some(Box::new(Box::pin(concluding).await?)))
        }
        _ => Ok(None),
    }
}

impl Prepared {
    /// Of files alone nothing is dumped.
    pub fn nothing() -> Self {
        Self {
            server_version: String::new(),
            tool: String::new(),
            parts: Vec::new(),
            findings: Findings::default(),
            properties: Value::Null,
            physical: None,
        }
    }
}

/// Looks at a source, of which archives of this variant are to be made.
pub async fn prepare(
    bench: &Bench<'_>,
    source: &Source,
    variant: Variant,
    streams: &Streams,
) -> Result<Prepared, NoOutcome> {
    match source {
        Source::Postgresql(physical) if source.is_physical() => {
            Box::pin(postgresql::physical::look(bench, physical, variant, streams)).await
        }
        Source::Postgresql(source) => postgresql::prepare(bench, source, streams).await,
        Source::Mysql(physical) if source.is_physical() => {
            let looking = mysql::physical::prepare(bench, physical, streams, None, variant);
            Box::pin(looking).await
        }
        Source::Mysql(source) => mysql::prepare(bench, source, streams).await,
        Source::Mongodb(source) => Box::pin(mongodb::prepare(bench, source, streams)).await,
        Source::Sqlite(source) => of_sqlite(source).await,
        Source::Application(set) => application(bench, set, streams).await,
        Source::Files(_) => Err(Failure::new(FailureCode::Unknown, "files are read and not dumped").into()),
    }
}

/// What whoever reads a source lacks the right to, as far as that can be asked without reading it.
pub async fn rights(bench: &Bench<'_>, source: &Source, streams: &Streams) -> Result<Findings, NoOutcome> {
    let postgresql = match source {
        Source::Postgresql(server) if !source.is_physical() => Some(server),
        Source::Application(set) => set.postgresql.as_ref(),
        // A user of MySQL sees by itself what it may, and a backup says what it does not see.
        _ => None,
    };
    match postgresql {
        Some(server) => Box::pin(postgresql::rights::look(bench, server, streams)).await,
        None => Ok(Findings::default()),
    }
}

async fn of_sqlite(source: &Sqlite) -> Result<Prepared, NoOutcome> {
    let source = source.clone();
    let looking = tokio::task::spawn_blocking(move || sqlite::prepare(&source)).await;
    looking.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?
}

/// All databases of an application, one after the other; its files go another way.
async fn application(bench: &Bench<'_>, set: &Application, streams: &Streams) -> Result<Prepared, NoOutcome> {
    let mut members = Vec::new();
    if let Some(source) = &set.postgresql {
        members.push(("postgresql", Box::pin(postgresql::prepare(bench, source, streams)).await?));
    }
    if let Some(source) = &set.mysql {
        members.push(("mysql", Box::pin(mysql::prepare(bench, source, streams)).await?));
    }
    if let Some(source) = &set.sqlite {
        members.push(("sqlite", of_sqlite(source).await?));
    }
    let (mut versions, mut tools) = (Vec::new(), Vec::new());
    let (mut parts, mut findings, mut properties) = (Vec::new(), Findings::default(), Map::new());
    for (system, member) in members {
        versions.push(format!("{system} {}", member.server_version));
        tools.push(member.tool);
        parts.extend(member.parts);
        findings.merge(member.findings);
        properties.insert(system.to_owned(), member.properties);
    }
    let (server_version, tool) = (versions.join("; "), tools.join("; "));
    let properties = properties.into();
    Ok(Prepared { server_version, tool, parts, findings, properties, physical: None })
}

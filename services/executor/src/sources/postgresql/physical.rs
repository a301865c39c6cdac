//! PostgreSQL as a whole: its files as `pg_basebackup` gives them, and what has changed since, as its [log](log) says it or
//! as [blocks](blocks) of its files.

mod blocks;
mod log;

use super::{Survey, settings_if_allowed};
use crate::child::{Input, Plan};
use crate::control::NoOutcome;
use crate::core::blocks as forms;
use crate::core::findings::Findings;
use crate::core::postgresql::{cause, literal, words};
use crate::core::wal::{self, State};
use crate::dump_store::Opened;
use crate::jobs::Bench;
use crate::manifests::Manifests;
use crate::parts::{From, Part, Program};
use crate::postgresql::Client;
use crate::sources::Prepared;
use crate::spool::Spool;
use crate::streams::Streams;
use serde_json::Value;
use strongroom_domain::chain::{Increments, Physical, Position, Variant, WalPosition};
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::BackupSpec;
use strongroom_domain::source::Postgresql;
use strongroom_domain::{Failure, FailureCode};

/// What is known of an archive before it is made; the rest is known after its parts were.
pub enum Pending {
    /// Where it ends is told by the program that makes it.
    Full {
        /// Which cluster.
        system_identifier: String,
        /// Bytes of a segment.
        segment_bytes: u64,
        /// What keeps the log from now on.
        slot: Option<String>,
    },
    /// All of it.
    Known(Physical),
    /// Of changed blocks.
    Blocks(blocks::Pending),
    /// Of MariaDB.
    Mysql(super::super::mysql::physical::Pending),
}

/// A server that was looked at.
struct Server<'a> {
    bench: &'a Bench<'a>,
    client: Client<'a>,
    survey: Survey,
    state: State,
    /// Where its questions are asked.
    asked: &'a str,
}

impl<'a> Server<'a> {
    async fn look(
        bench: &'a Bench<'a>,
        source: &'a Postgresql,
        streams: &Streams,
        slot: &str,
    ) -> Result<Self, NoOutcome> {
        let client = Client::new(bench, &source.connection, streams).await?;
        let survey = client.survey().await?;
        if survey.major() < wal::OLDEST {
            let message = format!(
                "the server has version {}, and the method 'physical' needs at least {}; choose 'dump'",
                survey.version,
                wal::OLDEST
            );
            return Err(Failure::new(FailureCode::SourceUnfit, message).into());
        }
        let asked = source.connection.database.as_deref().unwrap_or("postgres");
        let said = client.ask(asked, &wal::STATE.replace("$slot", &literal(slot))).await?;
        let state: State = serde_json::from_str(&said)
            .map_err(|e| Failure::new(FailureCode::Unknown, format!("the state of the server's log: {e}")))?;
        state.unfit(&survey.role)?;
        // What pg_hba.conf says of it is a matter of its own.
        client.replicates().await?;
        Ok(Self { bench, client, survey, state, asked })
    }

    /// The server's files.
    async fn base(&self, label: &str) -> Result<(Part, String), NoOutcome> {
        let (plan, version) = self.files(label, &[]).await?;
        let from = From::Program(Box::new(Program { plan, cause, words, counting: None, told: None }));
        Ok((self.base_part(from), version))
    }

    /// All files as one part.
    fn base_part(&self, from: From) -> Part {
        Part {
            path: "postgresql/base.tar".into(),
            kind: "base",
            database: None,
            format: Some("tar".into()),
            expected_bytes: self.state.size_bytes,
            may_vanish: false,
            from,
        }
    }

    /// How its files are asked for, with these words besides; and the program, in its own words.
    async fn files(&self, label: &str, more: &[&str]) -> Result<(Plan, String), NoOutcome> {
        let tool = self.client.tool_on_node("pg_basebackup", self.survey.major()).await?;
        let label = format!("--label={label}");
        let arguments = [
            "--pgdata=-",
            "--format=tar",
            "--wal-method=fetch",
            "--checkpoint=fast",
            "--no-password",
            "--verbose",
            &label,
        ];
        let plan = self.client.plan(&tool.place, &[&arguments, more].concat(), None, Input::Nothing);
        Ok((plan, tool.version))
    }

    fn prepared(self, tool: String, parts: Vec<Part>, findings: Findings, physical: Pending) -> Prepared {
        let physical = Some(physical);
        Prepared {
            server_version: self.survey.version,
            tool,
            parts,
            findings,
            properties: Value::Null,
            physical,
        }
    }
}

/// Looks at a server as a backup would, and goes no further.
pub async fn look(
    bench: &Bench<'_>,
    source: &Postgresql,
    variant: Variant,
    streams: &Streams,
) -> Result<Prepared, NoOutcome> {
    let server = Server::look(bench, source, streams, "").await?;
    let mut findings = Findings::default();
    let by_blocks = source.increments == Increments::Blocks;
    let followed = if by_blocks {
        forms::cannot_be_followed(&server.state, server.survey.major(), &server.survey.version)
    } else {
        server.state.cannot_be_followed(&server.survey.role)
    };
    if let Err(failure) = followed {
        if !variant.is_full() {
            return Err(failure.into());
        }
        let message = format!("only the variant 'full' is possible: {}", failure.message);
        findings.add(Finding { severity: Severity::Benign, path: None, message });
    }
    let (base, tool) = server.base("strongroom").await?;
    if !by_blocks {
        server.client.tool_on_node("pg_receivewal", server.survey.major()).await?;
    }
    let mut parts = vec![base];
    parts.extend(settings_if_allowed(&server.client, source, &server.survey, &mut findings).await?);
    let physical = Pending::Full {
        system_identifier: server.state.system_identifier.clone(),
        segment_bytes: server.state.segment_bytes,
        slot: None,
    };
    Ok(server.prepared(tool, parts, findings, physical))
}

/// Looks at a server, and makes ready what an archive needs.
pub async fn prepare(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    source: &Postgresql,
    streams: &Streams,
    store: Option<&Opened<'_>>,
) -> Result<Prepared, NoOutcome> {
    let slot = wal::slot_name(&spec.plan, &bench.state.host_id);
    let spool = Spool::of(&bench.state.spools(), &spec.plan);
    let server = Server::look(bench, source, streams, &slot).await?;
    let mut findings = Findings::default();
    let settings = settings_if_allowed(&server.client, source, &server.survey, &mut findings).await?;
    let manifests = Manifests::of(&bench.state.manifests(), &spec.plan, server.client.user());
    if source.increments == Increments::Blocks && !spec.variant.is_full() {
        log::forget(&server, &spool, &slot).await?;
        let (parts, tool, pending) = blocks::prepare(&server, spec, streams, store, manifests).await?;
        let parts = parts.into_iter().chain(settings).collect();
        return Ok(server.prepared(tool, parts, findings, Pending::Blocks(pending)));
    }
    manifests.retire().map_err(|e| not_written(&manifests.path().display().to_string(), &e))?;
    if let Some(base) = &spec.base {
        let (wal, tool, physical) = log::changes(&server, spec, base, &spool, &slot, streams).await?;
        let parts = std::iter::once(wal).chain(settings).collect();
        return Ok(server.prepared(tool, parts, findings, Pending::Known(physical)));
    }
    let kept = if spec.variant.is_full() {
        // The plan may have been another one.
        log::forget(&server, &spool, &slot).await?;
        None
    } else {
        let timeline = server.state.cannot_be_followed(&server.survey.role)?;
        log::begin(&server, &spool, &slot, timeline).await?;
        Some(slot)
    };
    let (base, tool) = server.base(&spec.archive_name(bench.job)).await?;
    let parts = std::iter::once(base).chain(settings).collect();
    let physical = Pending::Full {
        system_identifier: server.state.system_identifier.clone(),
        segment_bytes: server.state.segment_bytes,
        slot: kept,
    };
    Ok(server.prepared(tool, parts, findings, physical))
}

/// What an archive is, once its parts are made.
pub async fn conclude(
    bench: &Bench<'_>,
    source: &Postgresql,
    streams: &Streams,
    pending: Pending,
    said: &[String],
) -> Result<Physical, NoOutcome> {
    if let Pending::Known(physical) = pending {
        return Ok(physical);
    }
    let (start_lsn, timeline, stop_lsn) = wal::points(said).ok_or_else(|| {
        let message = "pg_basebackup does not say from where to where its backup goes";
        Failure::new(FailureCode::DumpFailed, message).with_log(said.to_vec())
    })?;
    let client = Client::new(bench, &source.connection, streams).await?;
    let asked = source.connection.database.as_deref().unwrap_or("postgres");
    let time = client.ask(asked, wal::TIME).await?;
    let stopped_at = time
        .parse()
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("the server's time, '{time}': {e}")))?;
    let at = |system_identifier, segment_bytes, slot| WalPosition {
        system_identifier,
        timeline,
        segment_bytes,
        start_lsn,
        stop_lsn,
        stopped_at,
        slot,
        blocks: None,
    };
    match pending {
        Pending::Full { system_identifier, segment_bytes, slot } => {
            let position = Position::Postgresql(at(system_identifier, segment_bytes, slot));
            Ok(Physical { variant: Variant::Full, base: None, position })
        }
        Pending::Blocks(pending) => {
            let position = at(pending.system_identifier.clone(), pending.segment_bytes, None);
            Ok(pending.conclude(position).await?)
        }
        Pending::Known(physical) => Ok(physical),
        Pending::Mysql(_) => {
            Err(Failure::new(FailureCode::Unknown, "it is of another database system").into())
        }
    }
}

/// What could not be kept on this node.
fn not_written(what: &str, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull => FailureCode::NoSpace,
        std::io::ErrorKind::PermissionDenied => FailureCode::PermissionDenied,
        _ => FailureCode::Unknown,
    };
    Failure::new(code, format!("{what}: {error}"))
}

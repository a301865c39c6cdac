//! PostgreSQL as a whole: its files as `pg_basebackup` gives them, and its log of changes since.
//!
//! The accident that this file prevents: a chain with a hole in it. The server keeps its log for a replication slot of the
//! plan's own from before the full archive is begun; what is received of it lies in a spool until an archive that holds it
//! is known of, and every segment from the base on must be there before an archive is made.

use super::{Survey, settings_if_allowed};
use crate::child::Input;
use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::core::postgresql::{cause, literal, words};
use crate::core::wal::{self, State};
use crate::jobs::Bench;
use crate::parts::{From, Part, Program};
use crate::postgresql::Client;
use crate::program::{self, Said};
use crate::sources::Prepared;
use crate::spool::Spool;
use crate::streams::Streams;
use serde_json::Value;
use std::time::Duration;
use strongroom_domain::archive::Target;
use strongroom_domain::chain::{Base, Lsn, Physical, Position, Variant, WalPosition};
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::BackupSpec;
use strongroom_domain::source::Postgresql;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::file;

/// How often it is looked whether a slot is free.
const LOOKS: u32 = 60;
/// How long it is waited in between.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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
        let plan = self.client.plan(&tool.place, &arguments, None, Input::Nothing);
        let part = Part {
            path: "postgresql/base.tar".into(),
            kind: "base",
            database: None,
            format: Some("tar".into()),
            expected_bytes: self.state.size_bytes,
            may_vanish: false,
            from: From::Program(Box::new(Program { plan, cause, words, counting: None, told: None })),
        };
        Ok((part, tool.version))
    }

    /// Makes sure that the server keeps its log from now on; says whether it did so before.
    async fn keep_log(&self, slot: &str) -> Result<bool, NoOutcome> {
        match &self.state.slot {
            Some(there) if there.keeps() => return Ok(true),
            Some(_) => self.drop_slot(slot).await?,
            None => {}
        }
        self.make_slot(slot).await?;
        Ok(false)
    }

    async fn make_slot(&self, slot: &str) -> Result<(), NoOutcome> {
        let sql = format!("select 1 from pg_create_physical_replication_slot({}, true);", literal(slot));
        self.client.ask(self.asked, &sql).await?;
        Ok(())
    }

    async fn drop_slot(&self, slot: &str) -> Result<(), NoOutcome> {
        let sql = format!(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = {};",
            literal(slot)
        );
        self.client.ask(self.asked, &sql).await?;
        Ok(())
    }

    /// Ends the present segment: the server's time, the place that can be restored to, and the end of the segment.
    async fn switch(&self) -> Result<(jiff::Timestamp, Lsn, Lsn), NoOutcome> {
        let said = self.client.ask(self.asked, wal::SWITCH).await?;
        let (at, place, end) = wal::switched(&said).ok_or_else(|| {
            Failure::new(FailureCode::Unknown, format!("the end of a segment of the log: {said}"))
        })?;
        Ok((at, place, wal::boundary(end, self.state.segment_bytes)))
    }

    /// Receives the log into a spool, up to the end of a segment.
    async fn receive(&self, spool: &Spool, slot: &str, end: Lsn) -> Result<String, NoOutcome> {
        let tool = self.client.tool_on_node("pg_receivewal", self.survey.major()).await?;
        self.wait_for(slot).await?;
        // It has what it was to have when it has more: so the last segment is whole.
        let (slot, end) = (format!("--slot={slot}"), format!("--endpos={}", Lsn(end.0.saturating_sub(1))));
        let arguments = ["--directory=.", &slot, &end, "--no-loop", "--no-password", "--verbose"];
        let mut plan = self.client.plan(&tool.place, &arguments, None, Input::Nothing);
        // It works in the folder and needs no way to it, which is not open to other users.
        plan.folder = Some(spool.path().to_owned());
        let Said { status, tail, .. } = program::ask(plan, self.bench.control.clone()).await?;
        if status.success() {
            return Ok(tool.version);
        }
        let message = format!("pg_receivewal ended with {status}: {}", words(&tail));
        Err(Failure::new(wal::cause(&tail), message).with_log(tail).into())
    }

    /// An attempt that was killed leaves a connection behind, which the server notices a moment later.
    async fn wait_for(&self, slot: &str) -> Result<(), NoOutcome> {
        let sql = format!(
            "select count(*) from pg_replication_slots where slot_name = {} and active;",
            literal(slot)
        );
        for _ in 0..LOOKS {
            if self.client.ask(self.asked, &sql).await? == "0" {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let message = format!("somebody else reads through the replication slot '{slot}' of this plan");
        Err(Failure::new(FailureCode::SourceLocked, message).into())
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
    if let Err(failure) = server.state.cannot_be_followed(&server.survey.role) {
        if !variant.is_full() {
            return Err(failure.into());
        }
        let message = format!("only the variant 'full' is possible: {}", failure.message);
        findings.add(Finding { severity: Severity::Benign, path: None, message });
    }
    let (base, tool) = server.base("strongroom").await?;
    server.client.tool_on_node("pg_receivewal", server.survey.major()).await?;
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
) -> Result<Prepared, NoOutcome> {
    let slot = wal::slot_name(&spec.plan, &bench.state.host_id);
    let spool = Spool::of(&bench.state.spools(), &spec.plan);
    let server = Server::look(bench, source, streams, &slot).await?;
    let mut findings = Findings::default();
    let settings = settings_if_allowed(&server.client, source, &server.survey, &mut findings).await?;
    if let Some(base) = &spec.base {
        let (wal, tool, physical) = changes(&server, spec, base, &spool, &slot, streams).await?;
        let parts = std::iter::once(wal).chain(settings).collect();
        return Ok(server.prepared(tool, parts, findings, Pending::Known(physical)));
    }
    let kept = if spec.variant.is_full() {
        if spool.exists() {
            // The plan was another one, and nobody will come for what the server keeps.
            server.drop_slot(&slot).await?;
            spool.retire().map_err(|e| unkept(&spool, &e))?;
        }
        None
    } else {
        let timeline = server.state.cannot_be_followed(&server.survey.role)?;
        begin(&server, &spool, &slot, timeline).await?;
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

/// From before the full archive on, nothing of the log is lost. What an earlier chain needs stays as it is: it is gone on
/// with when this archive comes to nothing.
async fn begin(server: &Server<'_>, spool: &Spool, slot: &str, timeline: u32) -> Result<(), NoOutcome> {
    let failed = |e: std::io::Error| unkept(spool, &e);
    let kept = server.keep_log(slot).await?;
    spool.make(server.client.user()).map_err(failed)?;
    if !kept || wal::is_of_another(&spool.files().map_err(failed)?, timeline) {
        spool.clear().map_err(failed)?;
    }
    // By this the next one knows where to go on, whatever the version of the programs; and whether it works is known now.
    let (_, _, end) = server.switch().await?;
    match server.receive(spool, slot, end).await {
        // What was kept is of no use any more, and must not stand in the way of what mends it.
        Err(NoOutcome::Failed(failure)) if failure.code == FailureCode::ChainBroken => {
            tracing::warn!(slot, problem = failure.message, "the log is kept anew");
            server.drop_slot(slot).await?;
            server.make_slot(slot).await?;
            spool.clear().map_err(failed)?;
            let (_, _, end) = server.switch().await?;
            server.receive(spool, slot, end).await?;
        }
        received => {
            received?;
        }
    }
    Ok(())
}

/// What has changed since an archive, as one part.
async fn changes(
    server: &Server<'_>,
    spec: &BackupSpec,
    base: &Base,
    spool: &Spool,
    slot: &str,
    streams: &Streams,
) -> Result<(Part, String, Physical), NoOutcome> {
    let failed = |e: std::io::Error| unkept(spool, &e);
    let state = &server.state;
    let timeline = state.cannot_be_followed(&server.survey.role)?;
    let before = state.goes_on_from(base, timeline)?;
    if !spool.exists() {
        let message = format!(
            "nothing can be added to {}: the spool of this plan, {}, is not there any more",
            base.archive.name,
            spool.path().display()
        );
        return Err(Failure::new(FailureCode::ChainBroken, message).into());
    }
    let from = wal::needed_from(&base.physical, before);
    // The log of Strongroom names the archive that holds these.
    let outdated = wal::outdated(&spool.files().map_err(failed)?, from, state.segment_bytes);
    spool.remove(&outdated).map_err(failed)?;
    server.bench.step("receive");
    let (stopped_at, stop_lsn, end) = server.switch().await?;
    let tool = server.receive(spool, slot, end).await?;
    let names = wal::stretch(&spool.files().map_err(failed)?, timeline, from, end, state.segment_bytes)?;
    spool.keep(&names).map_err(failed)?;
    let position = WalPosition {
        system_identifier: state.system_identifier.clone(),
        timeline,
        segment_bytes: state.segment_bytes,
        start_lsn: before.stop_lsn,
        stop_lsn,
        stopped_at,
        slot: Some(slot.to_owned()),
    };
    let variant = match spec.variant {
        Variant::Differential => Variant::Differential,
        Variant::Full | Variant::Incremental => Variant::Incremental,
    };
    let Target { id, name, borg_id } = base.archive.clone();
    let physical = Physical {
        variant,
        base: Some(Target { id, name, borg_id }),
        position: Position::Postgresql(position),
    };
    Ok((packed(server.bench, spool, &names, state.segment_bytes, streams)?, tool, physical))
}

/// Segments as one part, by the system's `tar`.
fn packed(
    bench: &Bench<'_>,
    spool: &Spool,
    names: &[String],
    segment_bytes: u64,
    streams: &Streams,
) -> Result<Part, Failure> {
    let list = streams.path().join("segments");
    let text: Vec<u8> = names.iter().flat_map(|name| name.bytes().chain([0])).collect();
    file::write_private(&list, &text)
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("{}: {e}", list.display())))?;
    let arguments = ["--create", "--file=-", "--format=posix", "--null", "--verbatim-files-from"];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    arguments.push(format!("--files-from={}", list.display()));
    let plan = crate::child::Plan {
        program: "tar".into(),
        arguments,
        environment: program::environment(),
        folder: Some(spool.path().to_owned()),
        input: Input::Nothing,
        user: None,
        notes: bench.state.children(),
        inside: None,
    };
    let cause = |_: &[String]| FailureCode::DumpFailed;
    let words = |tail: &[String]| tail.last().cloned().unwrap_or_default();
    Ok(Part {
        path: "postgresql/wal.tar".into(),
        kind: "wal",
        database: None,
        format: Some("tar".into()),
        expected_bytes: Some(names.len() as u64 * segment_bytes),
        may_vanish: false,
        from: From::Program(Box::new(Program { plan, cause, words, counting: None, told: None })),
    })
}

/// What an archive is, once its parts are made.
pub async fn conclude(
    bench: &Bench<'_>,
    source: &Postgresql,
    streams: &Streams,
    pending: Pending,
    said: &[String],
) -> Result<Physical, NoOutcome> {
    let (system_identifier, segment_bytes, slot) = match pending {
        Pending::Known(physical) => return Ok(physical),
        Pending::Mysql(_) => {
            return Err(Failure::new(FailureCode::Unknown, "it is of another database system").into());
        }
        Pending::Full { system_identifier, segment_bytes, slot } => (system_identifier, segment_bytes, slot),
    };
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
    let position =
        WalPosition { system_identifier, timeline, segment_bytes, start_lsn, stop_lsn, stopped_at, slot };
    Ok(Physical { variant: Variant::Full, base: None, position: Position::Postgresql(position) })
}

fn unkept(spool: &Spool, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull => FailureCode::NoSpace,
        std::io::ErrorKind::PermissionDenied => FailureCode::PermissionDenied,
        _ => FailureCode::Unknown,
    };
    Failure::new(code, format!("the spool {}: {error}", spool.path().display()))
}

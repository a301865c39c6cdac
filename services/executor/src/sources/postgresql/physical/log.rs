//! The log of a PostgreSQL server, from one archive to the next.
//!
//! The accident that this file prevents: a chain with a hole in it. The server keeps its log for a replication slot of the
//! plan's own from before the full archive is begun; what is received of it lies in a spool until an archive that holds it
//! is known of, and every segment from the base on must be there before an archive is made.

use super::{Server, not_written};
use crate::child::Input;
use crate::control::NoOutcome;
use crate::core::postgresql::{literal, words};
use crate::core::wal;
use crate::jobs::Bench;
use crate::parts::{From, Part, Program};
use crate::program::{self, Said};
use crate::spool::Spool;
use crate::streams::Streams;
use std::time::Duration;
use strongroom_domain::archive::Target;
use strongroom_domain::chain::{Base, Lsn, Physical, Position, Variant, WalPosition};
use strongroom_domain::job::BackupSpec;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::file;

/// How often it is looked whether a slot is free.
const LOOKS: u32 = 60;
/// How long it is waited in between.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Server<'_> {
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
}

/// From before the full archive on, nothing of the log is lost. What an earlier chain needs stays as it is: it is gone on
/// with when this archive comes to nothing.
pub async fn begin(server: &Server<'_>, spool: &Spool, slot: &str, timeline: u32) -> Result<(), NoOutcome> {
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
pub async fn changes(
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
        blocks: None,
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

/// What was kept for a plan that has no need of it any more: nobody would come for what the server keeps.
pub async fn forget(server: &Server<'_>, spool: &Spool, slot: &str) -> Result<(), NoOutcome> {
    if spool.exists() {
        server.drop_slot(slot).await?;
        spool.retire().map_err(|e| unkept(spool, &e))?;
    }
    Ok(())
}

fn unkept(spool: &Spool, error: &std::io::Error) -> Failure {
    not_written(&format!("the spool {}", spool.path().display()), error)
}

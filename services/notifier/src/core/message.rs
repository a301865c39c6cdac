//! What a message says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_domain::archive::Facts;
use strongroom_domain::job::{Completeness, JobResult, JobSpec, Phase, Requested, Trigger};
use strongroom_domain::{ArchiveId, ChannelId, Event, Failure, JobId, PlanId, RepositoryId, ServerId};

/// The type of the message about a job that ended.
pub const JOB_FINISHED: &str = "job.finished";
/// The type of the message that a test sends.
pub const CHANNEL_TEST: &str = "channel.test";

/// Texts from outside are cut here: a message is to be read, and other sides limit its size.
const TEXT_MAX_CHARS: usize = 2000;

/// A message as it is sent.
#[derive(Debug, Serialize)]
struct Body<'a, T> {
    r#type: &'a str,
    timestamp: Timestamp,
    data: T,
}

/// What is remembered of a job until it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenJob {
    kind: String,
    plan: Option<PlanId>,
    server: ServerId,
    /// None for a job that works on none.
    repository: Option<RepositoryId>,
    /// Who asked for it waits for its answer, and nobody else needs to hear of it.
    #[serde(default)]
    answered: bool,
    /// Nobody asked for it and nobody waits for it: it is told only when it did not do its work.
    #[serde(default)]
    quiet: bool,
}

impl OpenJob {
    /// The part of a request that people are told.
    pub fn of(requested: &Requested) -> Self {
        Self {
            kind: requested.spec.kind().to_owned(),
            plan: requested.spec.plan().cloned(),
            server: requested.server.clone(),
            repository: requested.spec.repository().cloned(),
            answered: requested.spec.is_awaited(),
            // It belongs to a backup, which was told; or to a retention, which is told where it can do nothing.
            quiet: requested.trigger == Trigger::System
                && matches!(requested.spec, JobSpec::IndexArchive { .. } | JobSpec::Prune(_)),
        }
    }
}

/// What is told of a job that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobFinished {
    /// Which job.
    pub job: JobId,
    /// The kind of work.
    pub kind: String,
    /// How it ended.
    pub phase: Phase,
    /// The plan, for backups.
    pub plan: Option<PlanId>,
    /// For which server.
    pub server: ServerId,
    /// On which repository; null for a job that works on none.
    pub repository: Option<RepositoryId>,
    /// Why it did not do its work, when it did not.
    pub failure: Option<Cause>,
    /// The archive that it made, when it made one.
    pub archive: Option<Archive>,
    /// What was found on the way.
    pub findings: Findings,
}

/// Why a job did not do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The stable code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

/// The numbers of a new archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Its id.
    pub id: ArchiveId,
    /// Its name in the repository.
    pub name: String,
    /// Regular files.
    pub files: Option<u64>,
    /// Bytes before compression and deduplication.
    pub original_size_bytes: Option<u64>,
    /// Bytes after compression.
    pub compressed_size_bytes: Option<u64>,
    /// Bytes that it added to the repository.
    pub deduplicated_size_bytes: Option<u64>,
    /// How long borg worked.
    pub duration_ms: Option<u64>,
}

/// How much was found on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Findings that mean that data is missing.
    pub incomplete: u64,
    /// Findings that belong to life.
    pub benign: u64,
}

impl JobFinished {
    /// What is told of this job when this event ends it; `None` when it does not, or nobody needs to hear of it.
    pub fn of(job: JobId, open: OpenJob, event: &Event) -> Option<Self> {
        let (mut archive, mut findings) = (None, Findings::default());
        let (phase, failure) = match event {
            Event::JobSucceeded(e) => {
                findings =
                    Findings { incomplete: e.outcome.incomplete_total, benign: e.outcome.benign_total };
                if let JobResult::Backup { archive: facts, .. } = &e.outcome.result {
                    archive = Some(Archive::of(facts));
                }
                let phase = match e.outcome.completeness {
                    Completeness::Complete => Phase::Complete,
                    Completeness::Incomplete => Phase::Incomplete,
                };
                (phase, None)
            }
            Event::JobFailed(e) => (Phase::Failed, Some(Cause::of(&e.failure))),
            Event::JobCancelled(_) => (Phase::Cancelled, None),
            Event::JobAbandoned(e) => (Phase::Abandoned, Some(Cause::abandoned(&e.reason))),
            _ => return None,
        };
        if open.answered || (open.quiet && phase == Phase::Complete) {
            return None;
        }
        let OpenJob { kind, plan, server, repository, .. } = open;
        Some(Self { job, kind, phase, plan, server, repository, failure, archive, findings })
    }
}

/// The bytes of a test message.
pub fn test_body(channel: &ChannelId, at: Timestamp) -> Vec<u8> {
    let words = "This is a test of the channel. Nothing has happened.";
    body(CHANNEL_TEST, at, serde_json::json!({ "channel": channel, "message": words }))
}

/// A message as it is sent.
pub fn body(r#type: &str, timestamp: Timestamp, data: impl Serialize) -> Vec<u8> {
    // Writing these types as JSON cannot fail: they have no maps with keys that are no text.
    serde_json::to_vec(&Body { r#type, timestamp, data }).unwrap_or_default()
}

impl Cause {
    fn of(failure: &Failure) -> Self {
        Self { code: failure.code.to_string(), message: cut(&failure.message), advice: cut(&failure.advice) }
    }

    fn abandoned(reason: &str) -> Self {
        let advice = "See that the node runs and reaches Strongroom, then retry the job.";
        Self { code: "abandoned".into(), message: cut(reason), advice: advice.into() }
    }
}

impl Archive {
    fn of(facts: &Facts) -> Self {
        let stats = facts.stats.as_ref();
        Self {
            id: facts.id,
            name: facts.name.clone(),
            files: stats.map(|s| s.files),
            original_size_bytes: stats.map(|s| s.original_size_bytes),
            compressed_size_bytes: stats.map(|s| s.compressed_size_bytes),
            deduplicated_size_bytes: stats.map(|s| s.deduplicated_size_bytes),
            duration_ms: stats.map(|s| s.duration_ms),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX_CHARS).collect()
}

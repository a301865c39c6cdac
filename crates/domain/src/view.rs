//! What the catalog answers: the words of questions and of their answers, shared by the catalog and the gateway.

use crate::admission::Waiting;
use crate::archive::Facts;
use crate::failure::{Failure, Finding};
use crate::job::{JobResult, Phase, Requested};
use crate::retention::Hold;
use crate::{ArchiveId, JobId, NodeId, PlanId, RepositoryId, ServerId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One definition, as a page shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition<T> {
    /// Its id.
    pub id: String,
    /// The version of the aggregate, which is the ETag.
    pub version: u64,
    /// Why it is paused, when it is.
    #[serde(default)]
    pub paused: Option<String>,
    /// When it was first defined.
    pub defined_at: Timestamp,
    /// When it was last changed.
    pub changed_at: Timestamp,
    /// The spec.
    pub spec: T,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The kind of work.
    pub kind: String,
    /// Where it stands.
    pub phase: Phase,
    /// The request.
    pub requested: Requested,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When the newest attempt began.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// How many attempts there were.
    pub attempts: u32,
    /// Whether a cancel was asked for.
    pub cancel_requested: bool,
    /// What came of it.
    #[serde(default)]
    pub result: Option<JobResult>,
    /// What was found on the way.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// How many findings mean that data is missing.
    #[serde(default)]
    pub incomplete_total: u64,
    /// How many findings are benign.
    #[serde(default)]
    pub benign_total: u64,
    /// Why it failed.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Why attempts were interrupted, or the job given up.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The last lines of the log, once it has ended.
    #[serde(default)]
    pub log_tail: Vec<String>,
    /// The trace that it belongs to (W3C trace context).
    #[serde(default)]
    pub traceparent: Option<String>,
    /// Why it waits; filled in by the gateway from the scheduler's answer.
    #[serde(default)]
    pub waiting: Option<Waiting>,
}

/// One archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    /// Its id.
    pub id: ArchiveId,
    /// Where it lies.
    pub repository: RepositoryId,
    /// Whose data it is.
    pub server: ServerId,
    /// Which node made its index.
    pub node: NodeId,
    /// The plan, when it is known.
    #[serde(default)]
    pub plan: Option<PlanId>,
    /// The job that made it; absent when it was adopted.
    #[serde(default)]
    pub job: Option<JobId>,
    /// What the repository says.
    pub facts: Facts,
    /// Whether data is missing from it.
    pub incomplete: bool,
    /// Whether a scan found it gone.
    pub missing: bool,
    /// Who says that it must not go; also holds that have ended, for whoever folds has no clock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Hold>,
}

/// One entry of an archive's file index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the archive, without a leading slash.
    pub path: String,
    /// `d` folder, `-` file, `l` link, and borg's other letters.
    pub kind: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Permission bits and type, as `ls` writes them.
    pub mode: String,
    /// Owner.
    pub user: String,
    /// Group.
    pub group: String,
    /// When it was last changed.
    pub modified_at: String,
    /// Where a link leads.
    #[serde(default)]
    pub link_target: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last.
    #[serde(default)]
    pub next: Option<String>,
}

/// A question for a list: all filters are optional and are joined by "and".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListQuestion {
    /// Jobs and archives of this plan.
    #[serde(default)]
    pub plan: Option<PlanId>,
    /// Jobs and archives of this server.
    #[serde(default)]
    pub server: Option<ServerId>,
    /// Jobs and archives of this repository.
    #[serde(default)]
    pub repository: Option<RepositoryId>,
    /// Jobs in this phase.
    #[serde(default)]
    pub phase: Option<Phase>,
    /// Where the page begins.
    #[serde(default)]
    pub after: Option<String>,
    /// How many at most; 50 when absent, 500 at the most.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A question for a folder of an archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrowseQuestion {
    /// Which archive.
    pub archive: ArchiveId,
    /// Which folder; the top when empty.
    #[serde(default)]
    pub path: String,
    /// Where the page begins.
    #[serde(default)]
    pub after: Option<String>,
    /// How many at most; 200 when absent, 1000 at the most.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A folder of an archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "index", rename_all = "snake_case")]
pub enum Browse {
    /// Here it is.
    Ready {
        /// The entries directly below the folder.
        page: Page<Entry>,
    },
    /// The archive has no index; an `index-archive` job makes one.
    None,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// How it last came up.
    pub joined: crate::node::Joined,
    /// When.
    pub joined_at: Timestamp,
    /// When its last heartbeat came; filled in by the gateway, which hears status.
    #[serde(default)]
    pub last_heartbeat_at: Option<Timestamp>,
}

/// How a service is, as it answers itself to the question `health`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it does its work: connected, and its views have caught up with the log.
    pub ready: bool,
    /// What is wrong or limited, in sentences.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Numbers for metrics, by Prometheus name without the prefix `strongroom_`.
    #[serde(default)]
    pub numbers: std::collections::BTreeMap<String, f64>,
}

/// What became of a test message to a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelTest {
    /// Whether the other side confirmed it.
    pub delivered: bool,
    /// Its HTTP status, when there was an answer.
    #[serde(default)]
    pub status: Option<u16>,
    /// Why it was not delivered.
    #[serde(default)]
    pub problem: Option<String>,
}

/// What instant recovery could use on its machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Docker's engine.
    pub docker: Usable,
    /// The kernel's FUSE.
    pub fuse: Usable,
    /// Borg, with what `borg mount` needs.
    pub borg: Usable,
}

/// Whether something can be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usable {
    /// Whether it can.
    pub usable: bool,
    /// Its version, when it said one.
    #[serde(default)]
    pub version: Option<String>,
    /// Why not and what to do, when it cannot.
    #[serde(default)]
    pub problem: Option<String>,
}

/// A message of the log that could not be taken in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// `<consumer>.<kind>.<id>`, which names it for a redrive.
    pub id: String,
    /// Who could not take it in.
    pub consumer: String,
    /// Which aggregate halted.
    pub aggregate: String,
    /// Where it stands in the log.
    pub sequence: u64,
    /// Why.
    pub reason: String,
    /// When it was set aside.
    pub at: Timestamp,
}

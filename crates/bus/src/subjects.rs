//! Names of streams and subjects. Nothing outside of this file spells one.

use strongroom_domain::Aggregate;

/// The log.
pub const LOG: &str = "STRONGROOM";
/// Wake-ups for nodes.
pub const WORK: &str = "STRONGROOM_WORK";
/// What nodes report.
pub const REPORTS: &str = "STRONGROOM_REPORTS";
/// Progress and heartbeats.
pub const STATUS: &str = "STRONGROOM_STATUS";
/// Ciphertext by reference and version.
pub const SECRETS: &str = "STRONGROOM_SECRETS";
/// File indexes of archives.
pub const INDEXES: &str = "STRONGROOM_INDEXES";
/// What could not be taken in.
pub const QUARANTINE: &str = "STRONGROOM_QUARANTINE";

/// All facts.
pub const EVENTS: &str = "strongroom.evt.>";

/// Where the store tells of each event that it has stored: its headers without its payload.
pub const STORED_EVENTS: &str = "strongroom.stored.evt.>";
/// All status that nodes send.
pub const STATUSES: &str = "strongroom.status.>";
/// Where the store passes on each status.
pub const STORED_STATUSES: &str = "strongroom.stored.status.>";

/// The one concrete subject of an aggregate.
pub fn event(aggregate: &Aggregate) -> String {
    format!("strongroom.evt.{aggregate}")
}

/// The aggregate of a subject of the log.
pub fn aggregate_of(subject: &str) -> Option<Aggregate> {
    subject.strip_prefix("strongroom.evt.").and_then(Aggregate::parse)
}

/// Where a node's wake-ups go.
pub fn work(node: &str) -> String {
    format!("strongroom.work.{node}")
}

/// Where a node reports.
pub fn report(node: &str) -> String {
    format!("strongroom.report.{node}")
}

/// Where a node asks whether its attempt still stands.
pub fn lease(node: &str) -> String {
    format!("strongroom.lease.{node}")
}

/// Where a node sends the pieces of a download.
pub fn piece(node: &str, job: &str) -> String {
    format!("strongroom.piece.{node}.{job}")
}

/// Where a node says how it is: `what` is `heartbeat` or a job's id.
pub fn status(node: &str, what: &str) -> String {
    format!("strongroom.status.{node}.{what}")
}

/// Where a version of a secret stands.
pub fn secret(reference: &str, version: u32) -> String {
    format!("strongroom.secret.{reference}.{version}")
}

/// Where a part of an archive's index stands.
pub fn index(node: &str, archive: &str, chunk: u32) -> String {
    format!("strongroom.index.{node}.{archive}.{chunk}")
}

/// Where a question goes.
pub fn query(service: &str, view: &str) -> String {
    format!("strongroom.query.{service}.{view}")
}

/// Where a consumer sets aside what it cannot take in.
pub fn quarantine(consumer: &str, key: &str) -> String {
    format!("strongroom.quarantine.{consumer}.{key}")
}

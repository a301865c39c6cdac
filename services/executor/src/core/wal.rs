//! PostgreSQL's log of changes: its segments, what is needed of them, and what its programs say of it.
//!
//! The accident that this file prevents: a gap in the log that nobody sees before it is to be replayed. A chain goes on only
//! when every segment is there, of the same history, in its full length.

use super::sum;
use serde::Deserialize;
use strongroom_domain::chain::{Base, Lsn, Physical, Position, Until, WalPosition};
use strongroom_domain::{Failure, FailureCode, PlanId};

/// The oldest server whose files are taken: from 13 on a backup says what is in it.
pub const OLDEST: u32 = 13;
/// Where the log lies in a server that was restored, until that has replayed it.
pub const FOLDER: &str = "strongroom_wal";
/// Characters of a slot's name that are taken from the plan's.
const PLAN_CHARACTERS: usize = 40;

/// What is asked of a server whose files are to be taken. `$slot` is a text in SQL.
pub const STATE: &str = "select json_build_object(
  'system_identifier', (select system_identifier::text from pg_control_system()),
  'segment_bytes', (select bytes_per_wal_segment from pg_control_init()),
  'in_recovery', pg_is_in_recovery(),
  'timeline', case when not pg_is_in_recovery() then ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int end,
  'may_replicate', (select rolreplication or rolsuper from pg_roles where rolname = current_user),
  'may_switch', has_function_privilege('pg_switch_wal()', 'execute'),
  'tablespaces', (select count(*) from pg_tablespace where spcname not in ('pg_default', 'pg_global')),
  'wal_level', current_setting('wal_level'),
  'summarize_wal', current_setting('summarize_wal', true),
  'max_wal_senders', current_setting('max_wal_senders')::int,
  'max_replication_slots', current_setting('max_replication_slots')::int,
  'size_bytes', (select sum(case when has_database_privilege(oid, 'CONNECT') then pg_database_size(oid) end)::bigint from pg_database),
  'slot', (select json_build_object('restart_lsn', restart_lsn::text, 'wal_status', wal_status)
     from pg_replication_slots where slot_name = $slot));";

/// Ends the present segment, behind two transactions: by the first a restore knows that it has come to the time that is
/// told, by the second that it has come to the place.
pub const SWITCH: &str =
    "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"');
select txid_current() is null;
select pg_current_wal_insert_lsn();
select txid_current() is null;
select pg_switch_wal();";

/// The server's time.
pub const TIME: &str =
    "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"');";

/// The answer to [`STATE`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct State {
    /// Which cluster it is.
    pub system_identifier: String,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Whether it follows another server.
    pub in_recovery: bool,
    /// Its history; unknown of one that follows another.
    pub timeline: Option<u32>,
    /// Whether the role may read files and log.
    pub may_replicate: bool,
    /// Whether the role may end a segment.
    pub may_switch: bool,
    /// Tablespaces besides its own two.
    pub tablespaces: u64,
    /// How much is written into the log.
    pub wal_level: String,
    /// Whether it takes note of the blocks that change; unknown to old ones.
    #[serde(default)]
    pub summarize_wal: Option<String>,
    /// How many may read the log at once.
    pub max_wal_senders: u32,
    /// How many slots there may be.
    pub max_replication_slots: u32,
    /// Bytes of all databases that may be looked at.
    pub size_bytes: Option<u64>,
    /// The slot that was asked for.
    pub slot: Option<Slot>,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Slot {
    /// From where on the server keeps its log.
    pub restart_lsn: Option<String>,
    /// Whether it does: `lost` when it could not.
    pub wal_status: Option<String>,
}

impl Slot {
    /// Whether what it was to keep is there.
    pub fn keeps(&self) -> bool {
        self.restart_lsn.is_some() && self.wal_status.as_deref() != Some("lost")
    }
}

impl State {
    /// Why its files cannot be taken.
    pub fn unfit(&self, role: &str) -> Result<(), Failure> {
        let unfit = |message: String| Err(Failure::new(FailureCode::SourceUnfit, message));
        if !self.may_replicate {
            let message =
                format!("role '{role}' may not read the server's files: ALTER ROLE \"{role}\" REPLICATION");
            return Err(Failure::new(FailureCode::AccessDenied, message));
        }
        if self.wal_level == "minimal" || self.max_wal_senders == 0 {
            return unfit(format!(
                "the server gives nobody its files: wal_level is '{}' and max_wal_senders {}; set them to 'replica' and at least 2, and start it again",
                self.wal_level, self.max_wal_senders
            ));
        }
        if self.tablespaces > 0 {
            return unfit(format!(
                "the server has {} tablespaces of its own, whose files go beside the others, which is not done so far; move what is in them to pg_default, or choose the method 'dump'",
                self.tablespaces
            ));
        }
        Ok(())
    }

    /// Why changes in it cannot be followed.
    pub fn cannot_be_followed(&self, role: &str) -> Result<u32, Failure> {
        let unfit = |message: String| Failure::new(FailureCode::SourceUnfit, message);
        let Some(timeline) = self.timeline.filter(|_| !self.in_recovery) else {
            return Err(unfit(
                "the server follows another one, and cannot end a segment of its log; take the one that it follows, or the variant 'full'".into(),
            ));
        };
        if !self.may_switch {
            let message = format!(
                "role '{role}' may not end a segment of the log: GRANT EXECUTE ON FUNCTION pg_switch_wal() TO \"{role}\""
            );
            return Err(Failure::new(FailureCode::AccessDenied, message));
        }
        if self.max_replication_slots == 0 {
            return Err(unfit(
                "the server has no room for a replication slot: raise max_replication_slots, and start it again".into(),
            ));
        }
        Ok(timeline)
    }

    /// Whether an archive is of its present history, and where it ends.
    pub fn is_the_server_of<'a>(&self, base: &'a Base, timeline: u32) -> Result<&'a WalPosition, Failure> {
        let broken = |why: String| broken(base, &why);
        let Position::Postgresql(position) = &base.physical.position else {
            return Err(broken("it is of another database system".into()));
        };
        if position.system_identifier != self.system_identifier {
            return Err(broken(format!(
                "it is of another cluster, {}, and this one is {}",
                position.system_identifier, self.system_identifier
            )));
        }
        if position.timeline != timeline {
            return Err(broken(format!(
                "the server was promoted or restored since: its timeline was {}, and is {timeline}",
                position.timeline
            )));
        }
        if position.segment_bytes != self.segment_bytes {
            return Err(broken("the segments of its log have another size".into()));
        }
        Ok(position)
    }

    /// Whether its log goes on from the end of an archive, and where that was.
    pub fn goes_on_from<'a>(&self, base: &'a Base, timeline: u32) -> Result<&'a WalPosition, Failure> {
        let position = self.is_the_server_of(base, timeline)?;
        match &self.slot {
            None => Err(broken(base, "the replication slot that was to keep the log is not there any more")),
            Some(slot) if !slot.keeps() => Err(broken(
                base,
                "the server has given up what its replication slot was to keep (max_slot_wal_keep_size)",
            )),
            Some(_) => Ok(position),
        }
    }
}

fn broken(base: &Base, why: &str) -> Failure {
    let message = format!("nothing can be added to {}: {why}", base.archive.name);
    Failure::new(FailureCode::ChainBroken, message)
}

/// The name of a plan's replication slot: its own on this node, of the characters and the length that a slot may have.
pub fn slot_name(plan: &PlanId, host_id: &str) -> String {
    let plan = plan.as_str();
    let readable: String =
        plan.chars().take(PLAN_CHARACTERS).map(|c| if c == '-' { '_' } else { c }).collect();
    let digest = sum::of(format!("{host_id}\n{plan}").as_bytes()).sha256;
    format!("strongroom_{readable}_{}", digest.get(..8).unwrap_or_default())
}

/// A segment: of which history, and which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The timeline.
    pub timeline: u32,
    /// Counted from the beginning of the log.
    pub number: u64,
}

impl Segment {
    /// How its file is called.
    pub fn name(self, segment_bytes: u64) -> String {
        let in_log = (1u64 << 32) / segment_bytes.max(1);
        format!("{:08X}{:08X}{:08X}", self.timeline, self.number / in_log.max(1), self.number % in_log.max(1))
    }

    /// The segment of a file; nothing, when it is none, or not whole.
    pub fn of(name: &str, segment_bytes: u64) -> Option<Self> {
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        if name.len() != 24 || !name.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)) {
            return None;
        }
        let (timeline, log, rest) = (hex(name.get(..8)?)?, hex(name.get(8..16)?)?, hex(name.get(16..)?)?);
        let in_log = (1u64 << 32) / segment_bytes.max(1);
        (rest < in_log)
            .then_some(Self { timeline: u32::try_from(timeline).ok()?, number: log * in_log + rest })
    }
}

/// The first segment that is needed after this archive. What a full one ends in is taken once more: it is its own only as far
/// as it ends there.
pub fn needed_from(physical: &Physical, position: &WalPosition) -> u64 {
    let last = position.stop_lsn.0.saturating_sub(1) / position.segment_bytes.max(1);
    if physical.variant.is_full() { last } else { last + 1 }
}

/// The first place behind the segment in which this one is.
pub fn boundary(lsn: Lsn, segment_bytes: u64) -> Lsn {
    let segment_bytes = segment_bytes.max(1);
    Lsn(lsn.0.saturating_sub(1) / segment_bytes * segment_bytes + segment_bytes)
}

/// A file of a spool.
pub type File = (String, u64);

/// What is not needed any more: before this segment, but for the last of these, from which the next one is received.
pub fn outdated(files: &[File], needed_from: u64, segment_bytes: u64) -> Vec<String> {
    let known = files.iter().filter_map(|(name, _)| Some((name, Segment::of(name, segment_bytes)?)));
    let before = known.filter(|(_, segment)| segment.number + 1 < needed_from);
    before.map(|(name, _)| name.clone()).collect()
}

/// Whether anything in a spool is of another history than this one.
pub fn is_of_another(files: &[File], timeline: u32) -> bool {
    let of = |name: &str| name.get(..8).and_then(|text| u32::from_str_radix(text, 16).ok());
    files.iter().any(|(name, _)| name.len() >= 24 && of(name) != Some(timeline))
}

/// All segments from one up to a place, which is the end of one. Each must be there, whole.
pub fn stretch(
    files: &[File],
    timeline: u32,
    from: u64,
    to: Lsn,
    segment_bytes: u64,
) -> Result<Vec<String>, Failure> {
    let end = to.0 / segment_bytes.max(1);
    let names = (from..end).map(|number| Segment { timeline, number }.name(segment_bytes));
    names
        .map(|name| match files.iter().find(|(there, _)| *there == name) {
            Some((_, bytes)) if *bytes == segment_bytes => Ok(name),
            Some((_, bytes)) => {
                let message =
                    format!("segment {name} of the server's log has {bytes} bytes, and not {segment_bytes}");
                Err(Failure::new(FailureCode::ChainBroken, message))
            }
            None => {
                let message = format!("segment {name} of the server's log is not there any more");
                Err(Failure::new(FailureCode::ChainBroken, message))
            }
        })
        .collect()
}

/// What `pg_basebackup --verbose` says of where a backup begins, on which timeline, and where it ends.
pub fn points(words: &[String]) -> Option<(Lsn, u32, Lsn)> {
    let after = |what: &str| words.iter().find_map(|line| line.split_once(what).map(|(_, rest)| rest.trim()));
    let (start, timeline) = after("write-ahead log start point: ")?.split_once(" on timeline ")?;
    let end = after("write-ahead log end point: ")?;
    Some((start.parse().ok()?, timeline.parse().ok()?, end.parse().ok()?))
}

/// What the server answers to [`SWITCH`]: its time, the place behind the first transaction, the end of the segment's content.
pub fn switched(said: &str) -> Option<(jiff::Timestamp, Lsn, Lsn)> {
    let mut lines = said.lines().map(str::trim).filter(|line| *line != "f");
    let (time, place, end) = (lines.next()?, lines.next()?, lines.next()?);
    Some((time.parse().ok()?, place.parse().ok()?, end.parse().ok()?))
}

/// The cause of an end of `pg_receivewal` with an error.
pub fn cause(tail: &[String]) -> FailureCode {
    let said = |words: &str| tail.iter().any(|line| line.contains(words));
    let gone = said("has already been removed")
        || (said("replication slot")
            && (said("does not exist") || said("invalidated") || said("can no longer")));
    if gone { FailureCode::ChainBroken } else { super::postgresql::cause(tail) }
}

/// What a server must be told to replay the log: names of settings, with their values.
pub fn recovery(until: Option<Until>) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        // Run in the server's own folder.
        ("restore_command", format!("cp {FOLDER}/%f %p")),
        ("recovery_target_timeline", "current".to_owned()),
        ("recovery_target_action", "promote".to_owned()),
    ];
    settings.extend(until.map(|until| match until {
        // The zone as a number: names of zones are not known where this is read.
        Until::Time(at) => ("recovery_target_time", at.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string()),
        Until::Lsn(lsn) => ("recovery_target_lsn", lsn.to_string()),
    }));
    settings
}

/// Settings as lines of a configuration file.
pub fn lines(settings: &[(&'static str, String)]) -> String {
    settings.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))).collect()
}

/// What a server must have room for to replay the log of another, as `pg_controldata` says it.
pub fn room(controldata: &str) -> Vec<(&'static str, String)> {
    let known = [
        ("max_connections setting:", "max_connections"),
        ("max_worker_processes setting:", "max_worker_processes"),
        ("max_wal_senders setting:", "max_wal_senders"),
        ("max_prepared_xacts setting:", "max_prepared_transactions"),
        ("max_locks_per_xact setting:", "max_locks_per_transaction"),
    ];
    let value = |what: &str| controldata.lines().find_map(|line| line.strip_prefix(what).map(str::trim));
    let values = known.into_iter().filter_map(|(what, setting)| Some((setting, value(what)?.to_owned())));
    values.filter(|(_, value)| value.bytes().all(|b| b.is_ascii_digit())).collect()
}

/// What is asked of a server that has replayed the log.
pub const REACHED: &str = "select json_build_object('lsn', pg_last_wal_replay_lsn()::text, 'at', to_char(pg_last_xact_replay_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'databases', (select coalesce(json_agg(datname order by datname), '[]') from pg_database where datallowconn and not datistemplate))::text as strongroom";

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reached {
    /// Up to where it has come.
    pub lsn: Option<Lsn>,
    /// When the last transaction was committed that it has replayed.
    pub at: Option<jiff::Timestamp>,
    /// Its databases.
    pub databases: Vec<String>,
}

/// Reads it out of what `postgres --single` prints.
pub fn reached(printed: &str) -> Option<Reached> {
    let line = printed.lines().find(|line| line.contains("strongroom = \"{"))?;
    let (_, rest) = line.split_once("strongroom = \"")?;
    let (json, _) = rest.rsplit_once("\"\t(typeid")?;
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests;

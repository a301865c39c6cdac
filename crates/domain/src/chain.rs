//! Chains: archives that need one another, and on which of them the next one is made.
//!
//! The accident that this prevents: an archive of changes whose base is gone, damaged, or of another server. Nobody notices
//! until it is restored, and then there is nothing to restore.

use crate::archive::{Facts, Target};
use crate::{ArchiveId, FieldError, RepositoryId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How old a full archive may become when a plan does not say.
const FULL_EVERY_DAYS: u32 = 7;
/// Nobody restores a longer chain.
const MOST_ARCHIVES: u32 = 1000;

/// How much an archive holds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Variant {
    /// All of it.
    #[default]
    Full,
    /// What has changed since the last archive.
    Incremental,
    /// What has changed since the last full archive.
    Differential,
}

impl Variant {
    /// Whether it stands by itself.
    pub fn is_full(&self) -> bool {
        *self == Self::Full
    }
}

/// By which means archives are made that hold what has changed in a PostgreSQL server.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Increments {
    /// Its log of changes, which can be restored to any moment that is in it.
    #[default]
    Wal,
    /// The blocks of its files that have changed, which hold one moment each (17 and newer).
    Blocks,
}

/// When a full archive is made again; after seven days, when nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullEvery {
    /// After so many archives on top of a full one.
    #[serde(default)]
    pub archives: Option<u32>,
    /// When the last full one is so many days old.
    #[serde(default)]
    pub days: Option<u32>,
}

impl FullEvery {
    /// Whether nothing is said.
    pub fn is_absent(&self) -> bool {
        *self == Self::default()
    }

    /// All that is wrong with it; `at` is where it stands.
    pub fn problems(&self, at: &str) -> Vec<FieldError> {
        let mut problems = Vec::new();
        if self.archives.is_some_and(|n| n == 0 || n > MOST_ARCHIVES) {
            let message = format!("must be 1 to {MOST_ARCHIVES}");
            problems.push(FieldError::new(format!("{at}.archives"), message));
        }
        if self.days.is_some_and(|n| n == 0 || n > 366) {
            problems.push(FieldError::new(format!("{at}.days"), "must be 1 to 366"));
        }
        problems
    }
}

/// A place in PostgreSQL's log of changes, written as the server writes it: `16/B374D848`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let half = |text: &str| {
            let digits = (1..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
        };
        let halves = text.split_once('/').and_then(|(high, low)| Some((half(high)?, half(low)?)));
        let (high, low) =
            halves.ok_or_else(|| format!("'{text}' is no place in the log, like 16/B374D848"))?;
        Ok(Self(high << 32 | low))
    }
}

impl TryFrom<String> for Lsn {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> String {
        lsn.to_string()
    }
}

/// A moment up to which changes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// What was committed by then.
    Time(Timestamp),
    /// Up to this place in the log of changes.
    Lsn(Lsn),
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(at) => at.fmt(f),
            Self::Lsn(lsn) => lsn.fmt(f),
        }
    }
}

/// What an archive of a whole server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Physical {
    /// How much it holds.
    pub variant: Variant,
    /// The archive without which it is nothing; absent from a full one.
    #[serde(default)]
    pub base: Option<Target>,
    /// From where to where.
    pub position: Position,
}

/// From where to where an archive goes, in the words of its system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "system", rename_all = "snake_case")]
pub enum Position {
    /// In PostgreSQL's log of changes.
    Postgresql(WalPosition),
    /// In InnoDB's log of changes.
    Mysql(RedoPosition),
}

impl Position {
    /// The server's time at its end.
    pub fn stopped_at(&self) -> Timestamp {
        match self {
            Self::Postgresql(position) => position.stopped_at,
            Self::Mysql(position) => position.stopped_at,
        }
    }
}

/// A stretch of PostgreSQL's log of changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalPosition {
    /// Which cluster: drawn when it was made.
    pub system_identifier: String,
    /// Which of its histories: counted up with each promotion.
    pub timeline: u32,
    /// Bytes of a segment of its log.
    pub segment_bytes: u64,
    /// Where it begins.
    pub start_lsn: Lsn,
    /// Where it ends. From there on it can be restored, and up to there when it is no full one.
    pub stop_lsn: Lsn,
    /// The server's time at that end.
    pub stopped_at: Timestamp,
    /// The replication slot that keeps what the next archive needs.
    #[serde(default)]
    pub slot: Option<String>,
    /// What ties it to the next one, where these hold changed blocks; absent where they hold the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Blocks>,
}

/// What ties archives of changed blocks to one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    /// Where the base begins: what has changed from there on is in this one. Absent from a full one.
    #[serde(default)]
    pub since_lsn: Option<Lsn>,
    /// SHA-256 of the server's own list of the files (`backup_manifest`), on which the next archive is made.
    pub manifest_sha256: String,
}

/// A stretch of InnoDB's log of changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedoPosition {
    /// Where it begins; 0 for a full one.
    pub from_lsn: u64,
    /// Where it ends.
    pub to_lsn: u64,
    /// Which data folder it is of: one that was made or put back since has another history.
    pub data_id: String,
    /// The series of the server, as `10.11`: archives of two are not put together.
    pub series: String,
    /// The server's time at that end.
    pub stopped_at: Timestamp,
}

/// The archive that another is made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Which archive.
    pub archive: Target,
    /// What it is.
    pub physical: Physical,
}

/// An archive in a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Which one, and what it is.
    pub base: Base,
    /// Where it lies.
    pub repository: RepositoryId,
    /// The kind of source that it is of.
    pub source: String,
    /// When it was begun.
    pub made_at: Timestamp,
    /// Whether data is missing from it.
    pub incomplete: bool,
    /// Whether it was deleted, or missed by a scan.
    pub gone: bool,
}

impl Link {
    /// What follows from an archive that was made; nothing, when it is none of a whole server.
    pub fn of(facts: &Facts, repository: &RepositoryId, incomplete: bool) -> Option<Self> {
        let dump = facts.dump.as_ref()?;
        let archive = Target { id: facts.id, name: facts.name.clone(), borg_id: facts.borg_id.clone() };
        Some(Self {
            base: Base { archive, physical: dump.physical.as_deref()?.clone() },
            repository: repository.clone(),
            source: dump.source.clone(),
            made_at: facts.started_at,
            incomplete,
            gone: false,
        })
    }

    fn id(&self) -> ArchiveId {
        self.base.archive.id
    }

    /// By which means archives are made on it.
    fn increments(&self) -> Increments {
        match &self.base.physical.position {
            Position::Postgresql(WalPosition { blocks: Some(_), .. }) => Increments::Blocks,
            Position::Postgresql(_) | Position::Mysql(_) => Increments::Wal,
        }
    }
}

/// The newest full archive of a plan, and what was made on it, in the order of its making.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chain {
    links: Vec<Link>,
    broken: bool,
}

/// What is wanted of the next archive.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What the plan says.
    pub variant: Variant,
    /// When a full one is due.
    pub full_every: FullEvery,
    /// Whether a full one was asked for.
    pub full: bool,
    /// Where it will lie.
    pub repository: &'a RepositoryId,
    /// The kind of source.
    pub source: &'a str,
    /// By which means it is made.
    pub increments: Increments,
}

/// What the next archive is.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice<'a> {
    /// A full one, for this reason.
    Full(Why),
    /// One on top of this.
    On(&'a Base),
}

/// Why a full archive is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The plan knows no others, or it was asked for.
    Asked,
    /// There is none.
    First,
    /// The last one is old enough, or has enough on top of it.
    Due,
    /// One that would be needed is gone, or is not whole.
    Gone,
    /// It lies in another repository, or is of another kind of source.
    Elsewhere,
    /// What is made on it is made by other means.
    OtherMeans,
    /// A node could not go on from it.
    Broken,
}

impl Chain {
    /// An archive was made.
    pub fn made(&mut self, link: Link) {
        if link.base.physical.variant.is_full() {
            *self = Self::default();
        }
        self.links.push(link);
    }

    /// A node has found that it cannot go on from it.
    pub fn broke(&mut self) {
        self.broken = true;
    }

    /// An archive is gone, or there again.
    pub fn set_gone(&mut self, archive: ArchiveId, gone: bool) {
        for link in self.links.iter_mut().filter(|link| link.id() == archive) {
            link.gone = gone;
        }
    }

    /// What the next archive is.
    pub fn choose(&self, wanted: Wanted<'_>, now: Timestamp) -> Choice<'_> {
        if wanted.full || wanted.variant.is_full() {
            return Choice::Full(Why::Asked);
        }
        if self.broken {
            return Choice::Full(Why::Broken);
        }
        let full = self.links.first().filter(|link| link.base.physical.variant.is_full());
        let (Some(full), Some(last)) = (full, self.links.last()) else { return Choice::Full(Why::First) };
        let on = if wanted.variant == Variant::Differential { full } else { last };
        // From the one that it would be made on to the full one.
        let mut needed = Some(on);
        while let Some(link) = needed {
            if link.gone || link.incomplete {
                return Choice::Full(Why::Gone);
            }
            if link.repository != *wanted.repository || link.source != wanted.source {
                return Choice::Full(Why::Elsewhere);
            }
            if link.increments() != wanted.increments {
                return Choice::Full(Why::OtherMeans);
            }
            needed = match &link.base.physical.base {
                None => None,
                Some(base) => match self.links.iter().find(|link| link.id() == base.id) {
                    Some(below) if below.made_at <= link.made_at && below.id() != link.id() => Some(below),
                    _ => return Choice::Full(Why::Gone),
                },
            };
        }
        let FullEvery { archives, days } = wanted.full_every;
        let days = days.or_else(|| archives.is_none().then_some(FULL_EVERY_DAYS));
        let enough = archives.is_some_and(|n| self.links.len() > n as usize);
        let age = now.duration_since(full.made_at);
        // A run each week is no second late for being as early as the last.
        let slack = SignedDuration::from_mins(10);
        let old = days.is_some_and(|d| age + slack >= SignedDuration::from_hours(24 * i64::from(d)));
        if enough || old { Choice::Full(Why::Due) } else { Choice::On(&on.base) }
    }
}

#[cfg(test)]
mod tests;

//! Plan: the standing instruction. What is protected, where to, and when.

use crate::archive::Compressed;
pub use crate::chain::{FullEvery, Variant};
use crate::cron::ScheduleSpec;
use crate::definition::{Validate, check_text, within};
pub use crate::hook::Hooks;
use crate::lateness::Objective;
pub use crate::quiesce::Quiesce;
use crate::retention::Policy;
pub use crate::source::{Files, Source};
use crate::{FieldError, RepositoryId, ServerId, quiesce, repository};
use serde::{Deserialize, Serialize};

/// How a plan is defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Whose data.
    pub server: ServerId,
    /// Into which repository.
    pub repository: RepositoryId,
    /// Into which others each archive is copied once it is made (3-2-1: three copies, two sorts of places, one elsewhere).
    #[serde(default)]
    pub copies: Vec<RepositoryId>,
    /// What is protected.
    pub source: Source,
    /// How much each archive holds. What cannot be said of the source is refused.
    #[serde(default)]
    pub variant: Variant,
    /// When a full archive is made again, for the other variants.
    #[serde(default)]
    pub full_every: FullEvery,
    /// How it is compressed.
    #[serde(default)]
    pub compression: Compression,
    /// When it runs by itself; never, when absent.
    #[serde(default)]
    pub schedule: Option<ScheduleSpec>,
    /// How old its newest good archive may become; by its schedule, when nothing is said.
    #[serde(default)]
    pub objective: Objective,
    /// Which archives are kept; all of them, when absent.
    #[serde(default)]
    pub retention: Option<Policy>,
    /// When it is looked at which are kept no longer; after each backup, when absent.
    #[serde(default)]
    pub retention_schedule: Option<ScheduleSpec>,
    /// What a run may use.
    #[serde(default)]
    pub limits: Limits,
    /// What runs before and after.
    #[serde(default)]
    pub hooks: Hooks,
    /// What is stopped while data is read, in this order, and started again in the other.
    #[serde(default)]
    pub quiesce: Vec<Quiesce>,
    /// Words for people.
    #[serde(default)]
    pub description: String,
}

/// Borg's `--compression`; dump stores know `none`, `gzip`, `zstd` and `zip`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Compression(String);

impl Default for Compression {
    fn default() -> Self {
        Self("zstd,3".to_owned())
    }
}

impl Compression {
    /// As borg wants it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is wrong with it in a repository of this kind, which may be deduplicated.
    pub fn problem_in(&self, kind: repository::Kind, deduplicate: bool) -> Option<&'static str> {
        match (kind, self.for_store()) {
            (repository::Kind::DumpStore, Some((Compressed::Zip, _))) if deduplicate => {
                Some("must be another one: what is kept in chunks cannot be a zip")
            }
            (repository::Kind::DumpStore, None) => {
                Some("must be none, gzip[,1-9], zstd[,1-22] or zip for a dump store")
            }
            (repository::Kind::Borg, Some((Compressed::Gzip, _))) => {
                Some("is not known to borg, which has zlib[,0-9] for it")
            }
            (repository::Kind::Borg, Some((Compressed::Zip, _))) => {
                Some("is not known to borg; a download of an archive can be a zip")
            }
            _ => None,
        }
    }

    /// How a dump store compresses, and the level; nothing when it cannot.
    pub fn for_store(&self) -> Option<(Compressed, Option<u8>)> {
        let (algorithm, level) =
            self.0.split_once(',').map_or((&*self.0, None), |(a, l)| (a, l.parse().ok()));
        let compressed = match algorithm {
            "none" => Compressed::None,
            "gzip" => Compressed::Gzip,
            "zstd" => Compressed::Zstd,
            "zip" => Compressed::Zip,
            _ => return None,
        };
        Some((compressed, level))
    }
}

impl TryFrom<String> for Compression {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let plain = text.strip_prefix("auto,").unwrap_or(&text);
        let (algorithm, level) = plain.split_once(',').map_or((plain, None), |(a, l)| (a, Some(l)));
        let range = match algorithm {
            "none" | "lz4" => None,
            "zstd" => Some(1..=22),
            "zlib" => Some(0..=9),
            "lzma" => Some(0..=6),
            // Of dump stores alone, which have no 'auto'.
            "zip" if plain == text => None,
            "gzip" if plain == text => Some(1..=9),
            "tar.gz" | "tgz" => {
                return Err(
                    "is called 'gzip' in a dump store: files come as files.tar.gz, and each dump as one file in gzip"
                        .into(),
                );
            }
            _ => {
                return Err(
                    "must be, for a dump store, none, gzip[,1-9], zstd[,1-22] or zip; for a borg repository, none, lz4, zstd[,1-22], zlib[,0-9] or lzma[,0-6], optionally after 'auto,'"
                        .into(),
                );
            }
        };
        let fits = match (level, range) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(level), Some(range)) => level.parse::<u8>().is_ok_and(|l| range.contains(&l)),
        };
        if fits { Ok(Self(text)) } else { Err(format!("has a level that {algorithm} does not know")) }
    }
}

impl From<Compression> for String {
    fn from(compression: Compression) -> String {
        compression.0
    }
}

/// What a run may use. There is no cap on time unless one is given here: a first backup may take days.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Upload rate in KiB/s, to a repository that is elsewhere or a dump store (`borg create --upload-ratelimit`).
    #[serde(default)]
    pub upload_rate_kib_per_s: Option<u32>,
    /// End the run as failed after this many seconds.
    #[serde(default)]
    pub max_duration_s: Option<u64>,
    /// How long to wait for the repository's lock, in seconds (`--lock-wait`, 60 when absent).
    #[serde(default)]
    pub lock_wait_s: Option<u32>,
}

/// A plan was paused: its schedule is silent until it is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Why, in the words of the person.
    pub reason: String,
}

/// A plan was resumed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {}

impl Spec {
    fn problems_of_variant(&self) -> Vec<FieldError> {
        let mut problems: Vec<_> =
            within("source", self.source.problem_with(self.variant).into_iter().collect()).collect();
        if self.variant.is_full() {
            if !self.full_every.is_absent() {
                let message = "is for the variants 'incremental' and 'differential': all archives are full";
                problems.push(FieldError::new("full_every", message));
            }
            return problems;
        }
        problems.extend(self.full_every.problems("full_every"));
        if let Some(why) = self.source.only_full() {
            problems.push(FieldError::new("variant", format!("must be 'full': {why}")));
        }
        if !self.copies.is_empty() {
            let message = "must be empty: an archive that needs another one is not copied, for the copy would lack that";
            problems.push(FieldError::new("copies", message));
        }
        problems
    }
}

impl Validate for Spec {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        check_text(&mut problems, "description", &self.description, 500);
        problems.extend(within("source", self.source.problems()));
        for (n, copy) in self.copies.iter().enumerate() {
            if *copy == self.repository || self.copies.iter().take(n).any(|earlier| earlier == copy) {
                problems.push(FieldError::new(format!("copies[{n}]"), "is named twice"));
            }
        }
        problems.extend(self.problems_of_variant());
        problems.extend(within("hooks", self.hooks.problems()));
        problems.extend(quiesce::problems(&self.quiesce));
        if let Some(schedule) = &self.schedule {
            problems.extend(within("schedule", schedule.problems()));
        }
        problems.extend(within("objective", self.objective.problems()));
        if let Some(policy) = &self.retention {
            problems.extend(within("retention", policy.problems()));
        }
        if let Some(schedule) = &self.retention_schedule {
            problems.extend(within("retention_schedule", schedule.problems()));
            if self.retention.is_none() {
                let message = "is for a plan with a retention: say which archives are kept";
                problems.push(FieldError::new("retention_schedule", message));
            }
        }
        if self.limits.upload_rate_kib_per_s == Some(0) {
            problems.push(FieldError::new(
                "limits.upload_rate_kib_per_s",
                "must be at least 1, or absent for no limit",
            ));
        }
        if self.limits.max_duration_s == Some(0) {
            problems
                .push(FieldError::new("limits.max_duration_s", "must be at least 1, or absent for no limit"));
        }
        problems
    }
}

//! Plan: the standing instruction. What is protected, where to, and when.

use crate::cron::ScheduleSpec;
use crate::definition::{Validate, check_absolute_path, check_text};
use crate::{FieldError, RepositoryId, ServerId};
use serde::{Deserialize, Serialize};

/// How a plan is defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Whose data.
    pub server: ServerId,
    /// Into which repository.
    pub repository: RepositoryId,
    /// What is protected.
    pub source: Source,
    /// How borg compresses.
    #[serde(default)]
    pub compression: Compression,
    /// When it runs by itself; never, when absent.
    #[serde(default)]
    pub schedule: Option<ScheduleSpec>,
    /// What a run may use.
    #[serde(default)]
    pub limits: Limits,
    /// Words for people.
    #[serde(default)]
    pub description: String,
}

/// What is protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    /// Files and folders, by borg.
    Files(Files),
}

/// The files source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Absolute paths, at least one.
    pub paths: Vec<String>,
    /// Borg exclude patterns (`borg help patterns`), e.g. `*/node_modules`, `sh:/home/*/.cache`.
    #[serde(default)]
    pub excludes: Vec<String>,
    /// Stay on the file system of each path.
    #[serde(default)]
    pub one_file_system: bool,
    /// Leave out folders that are tagged as caches (`CACHEDIR.TAG`).
    #[serde(default)]
    pub exclude_caches: bool,
}

/// Borg's `--compression`.
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
            _ => {
                return Err(
                    "must be none, lz4, zstd[,1-22], zlib[,0-9] or lzma[,0-6], optionally after 'auto,'"
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
    /// Upload rate in KiB/s (`borg create --upload-ratelimit`).
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

impl Validate for Spec {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        check_text(&mut problems, "description", &self.description, 500);
        let Source::Files(files) = &self.source;
        if files.paths.is_empty() {
            problems.push(FieldError::new("source.paths", "must name at least one path"));
        }
        for (i, path) in files.paths.iter().enumerate() {
            check_absolute_path(&mut problems, &format!("source.paths[{i}]"), path);
        }
        for (i, pattern) in files.excludes.iter().enumerate() {
            let field = format!("source.excludes[{i}]");
            check_text(&mut problems, &field, pattern, 4096);
            if pattern.is_empty() {
                problems.push(FieldError::new(field, "must not be empty"));
            }
        }
        if let Some(schedule) = &self.schedule {
            problems.extend(schedule.problems().into_iter().map(|mut p| {
                p.field = format!("schedule.{}", p.field);
                p
            }));
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

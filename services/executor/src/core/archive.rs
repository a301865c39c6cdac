//! What borg's JSON says about repositories and archives.

use super::surrogates::without_lone;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use strongroom_domain::archive::{Facts, Stats};
use strongroom_domain::{ArchiveId, RepositoryId};

/// How much of a comment is told.
const COMMENT_CHARS: usize = 1000;

/// Why borg's JSON is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("borg's answer cannot be read: {0}")]
pub struct Unreadable(String);

#[derive(Debug, Deserialize)]
struct Info {
    #[serde(default)]
    archives: Vec<Archive>,
    repository: Repository,
    #[serde(default)]
    encryption: Option<Encrypted>,
    #[serde(default)]
    cache: Option<Cache>,
}

#[derive(Debug, Deserialize)]
struct Encrypted {
    mode: String,
}

#[derive(Debug, Deserialize)]
struct Created {
    archive: Archive,
    #[serde(default)]
    cache: Option<Cache>,
}

#[derive(Debug, Deserialize)]
struct Repository {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Cache {
    stats: CacheStats,
}

#[derive(Debug, Deserialize)]
struct CacheStats {
    unique_csize: u64,
}

#[derive(Debug, Deserialize)]
struct Archive {
    id: String,
    name: String,
    start: String,
    #[serde(default)]
    end: Option<String>,
    #[serde(default)]
    duration: f64,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    stats: Option<ArchiveStats>,
}

#[derive(Debug, Deserialize)]
struct ArchiveStats {
    nfiles: u64,
    original_size: u64,
    compressed_size: u64,
    deduplicated_size: u64,
}

fn read<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, Unreadable> {
    let json = String::from_utf8_lossy(json);
    serde_json::from_str(&without_lone(&json)).map_err(|e| Unreadable(e.to_string()))
}

/// The archive that `borg create --json` made.
pub fn created(json: &[u8], repository: &RepositoryId) -> Result<Facts, Unreadable> {
    let Created { archive, cache } = read(json)?;
    archive.facts(repository, cache.map(|c| c.stats.unique_csize))
}

/// The repository's id in `borg info --json`, and how it is encrypted, in the words of `borg init --encryption`.
pub fn repository(json: &[u8]) -> Result<(String, String), Unreadable> {
    let info: Info = read(json)?;
    let encrypted =
        info.encryption.ok_or_else(|| Unreadable("it does not say how it is encrypted".into()))?;
    Ok((info.repository.id, encrypted.mode))
}

/// The one archive of `borg info --json <repository>::<archive>`.
pub fn facts(json: &[u8], repository: &RepositoryId) -> Result<Facts, Unreadable> {
    let info: Info = read(json)?;
    let repository_size_bytes = info.cache.map(|c| c.stats.unique_csize);
    let archive = info.archives.into_iter().next().ok_or_else(|| Unreadable("it names no archive".into()))?;
    archive.facts(repository, repository_size_bytes)
}

/// All archives of `borg list --json`, checkpoints left out.
pub fn all(json: &[u8], repository: &RepositoryId) -> Result<Vec<Facts>, Unreadable> {
    let info: Info = read(json)?;
    let archives = info.archives.into_iter().filter(|a| !is_checkpoint(&a.name));
    archives.map(|a| a.facts(repository, None)).collect()
}

/// Borg names checkpoints `<archive>.checkpoint` and `<archive>.checkpoint.1`.
fn is_checkpoint(name: &str) -> bool {
    name.rsplit_once(".checkpoint").is_some_and(|(_, rest)| {
        rest.is_empty() || rest.strip_prefix('.').is_some_and(|n| n.parse::<u32>().is_ok())
    })
}

impl Archive {
    fn facts(
        self,
        repository: &RepositoryId,
        repository_size_bytes: Option<u64>,
    ) -> Result<Facts, Unreadable> {
        let ms = (self.duration.max(0.0) * 1000.0) as u64;
        Ok(Facts {
            id: ArchiveId::of(repository, &self.id),
            name: self.name,
            borg_id: self.id,
            started_at: time(&self.start)?,
            ended_at: self.end.as_deref().map(time).transpose()?,
            stats: self.stats.map(|s| Stats {
                files: s.nfiles,
                original_size_bytes: s.original_size,
                compressed_size_bytes: s.compressed_size,
                deduplicated_size_bytes: s.deduplicated_size,
                duration_ms: ms,
                average_rate_bytes_per_s: s.original_size.saturating_mul(1000).checked_div(ms).unwrap_or(0),
                repository_size_bytes,
            }),
            // Ours is short; one of any length, made by others, would not fit into a report.
            comment: self.comment.chars().take(COMMENT_CHARS).collect(),
            hostname: self.hostname,
            index: None,
            dump: None,
        })
    }
}

/// Borg writes times of its own zone, without naming it; it is run with `TZ=UTC`.
fn time(text: &str) -> Result<Timestamp, Unreadable> {
    let civil: DateTime = text.parse().map_err(|_| Unreadable(format!("'{text}' is no time")))?;
    let zoned = civil.to_zoned(TimeZone::UTC).map_err(|e| Unreadable(e.to_string()))?;
    Ok(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn checkpoints_are_no_archives() {
        assert!(is_checkpoint("web-1.checkpoint") && is_checkpoint("web-1.checkpoint.2"));
        assert!(
            !is_checkpoint("web-1") && !is_checkpoint("my.checkpoints") && !is_checkpoint("a.checkpoint.x")
        );
    }

    #[test]
    fn numbers_and_times_are_borgs_own() {
        let json = br#"{"archives": [{"id": "ab", "name": "n", "start": "2026-11-21T02:28:46.500000",
            "end": "2026-11-21T02:28:48.000000", "duration": 1.5, "comment": "c", "hostname": "h",
            "stats": {"nfiles": 4, "original_size": 3000, "compressed_size": 2, "deduplicated_size": 1}}],
            "cache": {"stats": {"unique_csize": 9}}, "repository": {"id": "rr"},
            "encryption": {"mode": "repokey-blake2"}}"#;
        let facts = facts(json, &"r".parse().unwrap()).unwrap();
        assert_eq!(facts.started_at, "2026-11-21T02:28:46.5Z".parse().unwrap());
        let stats = facts.stats.unwrap();
        assert_eq!(
            (stats.duration_ms, stats.average_rate_bytes_per_s, stats.repository_size_bytes),
            (1500, 2000, Some(9))
        );
        assert_eq!(repository(json).unwrap(), ("rr".into(), "repokey-blake2".into()));
        assert!(repository(br#"{"repository": {"id": "rr"}}"#).is_err(), "nothing is no encryption");
    }
}

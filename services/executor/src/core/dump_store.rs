//! What a dump store consists of: the names of its objects, and what the small ones say.
//!
//! ```text
//! strongroom-store.json                          what it is
//! key.age                                        its key, encrypted with the passphrase
//! archives/<archive>/<epoch>/0001-shop.dump.zst.age
//! archives/<archive>/strongroom.json             what the archive consists of: without it there is none
//! chunks/<..>/<id>-<bytes>.zst.age               in a store that is deduplicated: see core/chunks.rs
//! ```
//! All of it can be read with `age`, `zstd` or `gzip`, and `sha256sum` alone (docs/decisions/011 and 018).

use super::manifest::{self, Manifest, Unreadable};
use super::sum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strongroom_domain::archive::{Facts, Stats, Stored};
use strongroom_domain::repository::Encryption;
use strongroom_domain::{ArchiveId, RepositoryId};

/// The object that says what it is.
pub const DESCRIPTION: &str = "strongroom-store.json";
/// The object with its key.
pub const KEY: &str = "key.age";
/// What all archives are below.
pub const ARCHIVES: &str = "archives";
/// The largest manifest that is read: one of some hundred thousand parts.
pub const MANIFEST_BYTES: u64 = 64 << 20;
/// How much of a part's name is in that of its object.
const NAME_CHARS: usize = 80;

/// The version of the form.
const VERSION: u32 = 1;
/// That of a store which is deduplicated: nodes that know nothing of chunks refuse it.
const VERSION_OF_CHUNKS: u32 = 2;

/// What a store says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The version of this form.
    pub strongroom_store: u32,
    /// By which it is known from others, hex.
    pub id: String,
    /// How what is in it is encrypted.
    pub encryption: Encryption,
    /// Whether what its archives have in common is in it once.
    #[serde(default)]
    pub deduplicate: bool,
    /// When it was made.
    pub made_at: Timestamp,
}

impl Description {
    /// Of a new one.
    pub fn new(id: String, encryption: Encryption, deduplicate: bool, now: Timestamp) -> Self {
        let version = if deduplicate { VERSION_OF_CHUNKS } else { VERSION };
        Self { strongroom_store: version, id, encryption, deduplicate, made_at: now }
    }

    /// Reads it.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let description: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if description.strongroom_store > VERSION_OF_CHUNKS {
            return Err(format!(
                "it has version {}, which is newer than this node",
                description.strongroom_store
            ));
        }
        Ok(description)
    }
}

/// What all of an archive is below.
pub fn folder(archive: &str) -> String {
    format!("{ARCHIVES}/{archive}")
}

/// What all objects are below that one attempt has made.
pub fn attempt(archive: &str, epoch: u64) -> String {
    format!("{ARCHIVES}/{archive}/{epoch}")
}

/// The object of a part: known by its number, and for people by what is plain in its name.
pub fn object(archive: &str, epoch: u64, n: usize, path: &str, suffix: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let name: String = last.chars().map(plain).collect();
    // The end says what it is.
    let name = name.get(name.len().saturating_sub(NAME_CHARS)..).unwrap_or_default();
    format!("{}/{n:04}-{name}{suffix}", attempt(archive, epoch))
}

/// The object that says what an archive consists of.
pub fn manifest_of(archive: &str) -> String {
    format!("{ARCHIVES}/{archive}/{}", manifest::PATH)
}

/// The archive of such an object.
pub fn archive_of(object: &str) -> Option<&str> {
    let rest = object.strip_prefix(ARCHIVES)?.strip_prefix('/')?;
    let archive = rest.strip_suffix(manifest::PATH)?.strip_suffix('/')?;
    (!archive.is_empty() && !archive.contains('/')).then_some(archive)
}

/// What a manifest of an archive says of it. Its digest is the archive's id: whoever changes a part must change the
/// digest of it there, and has made another archive.
pub fn facts(bytes: &[u8], name: &str, repository: &RepositoryId) -> Result<(Facts, Manifest), Unreadable> {
    let manifest = manifest::read(bytes)?;
    let about = manifest.archive.clone().ok_or_else(|| Unreadable::because("it is of no dump store"))?;
    if about.name != name {
        return Err(Unreadable::because(&format!("it is that of {}", about.name)));
    }
    let artefacts = &manifest.dump.artefacts;
    let stored = artefacts.iter().map(|a| a.stored.as_ref()).collect::<Option<Vec<&Stored>>>();
    let stored = stored.ok_or_else(|| Unreadable::because("a part of it has no object"))?;
    let inside = format!("{}/", folder(name));
    if stored.iter().any(|s| !s.object.starts_with(&inside) || s.object.split('/').any(|p| p == "..")) {
        return Err(Unreadable::because("a part of it lies elsewhere"));
    }
    let borg_id = sum::of(bytes).sha256;
    let original_size_bytes = artefacts.iter().map(|a| a.size_bytes).sum::<u64>();
    let added = stored.iter().map(|s| s.added_bytes()).sum();
    let ms = manifest.dumped_at.duration_since(about.started_at).as_millis();
    let duration_ms = u64::try_from(ms).unwrap_or(0);
    let facts = Facts {
        id: ArchiveId::of(repository, &borg_id),
        name: about.name,
        borg_id,
        started_at: about.started_at,
        ended_at: Some(manifest.dumped_at),
        stats: Some(Stats {
            files: artefacts.len() as u64,
            original_size_bytes,
            compressed_size_bytes: stored.iter().map(|s| s.packed_bytes()).sum(),
            deduplicated_size_bytes: added,
            duration_ms,
            average_rate_bytes_per_s: original_size_bytes
                .saturating_mul(1000)
                .checked_div(duration_ms)
                .unwrap_or(0),
            repository_size_bytes: about.repository_bytes,
        }),
        comment: about.comment,
        hostname: about.hostname,
        index: None,
        dump: Some(super::dump::bounded(manifest.dump.clone())),
    };
    Ok((facts, manifest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn names_of_objects_are_plain_whatever_is_dumped() {
        assert_eq!(object("p-1", 7, 2, "a/b/shop.dump", ".zst.age"), "archives/p-1/7/0002-shop.dump.zst.age");
        assert_eq!(object("p-1", 7, 2, "a/../é\n x.sql", ""), "archives/p-1/7/0002-___x.sql");
        let long = object("p-1", 7, 12345, &"é".repeat(500), ".gz");
        assert!(long.len() < 120 && long.starts_with("archives/p-1/7/12345-___"), "{long}");
        assert_eq!(archive_of(&manifest_of("p-1")), Some("p-1"));
        for other in ["archives/strongroom.json", "archives/a/b/strongroom.json", "x", "archives/a/x.json"] {
            assert_eq!(archive_of(other), None, "{other}");
        }
    }

    #[test]
    fn nodes_that_know_no_chunks_refuse_a_store_that_has_them() {
        let describe = |deduplicate| {
            let description =
                Description::new("i".into(), Encryption::None, deduplicate, Timestamp::UNIX_EPOCH);
            serde_json::to_vec(&description).unwrap()
        };
        let (whole, chunks) = (Description::read(&describe(false)), Description::read(&describe(true)));
        assert_eq!(whole.map(|d| (d.strongroom_store, d.deduplicate)), Ok((1, false)));
        assert_eq!(chunks.map(|d| (d.strongroom_store, d.deduplicate)), Ok((2, true)));
        let first = r#"{"strongroom_store":1,"id":"i","encryption":"none","made_at":"2026-01-01T00:00:00Z"}"#;
        assert!(!Description::read(first.as_bytes()).unwrap().deduplicate, "as the first release wrote it");
        let newer = first.replace("store\":1", "store\":3");
        assert!(Description::read(newer.as_bytes()).unwrap_err().contains("version 3"));
    }

    #[test]
    fn a_manifest_speaks_for_its_own_archive_alone() {
        let stored = |object: &str| json!({ "object": object, "size_bytes": 4, "sha256": "s", "compression": "zstd", "encryption": "age" });
        let manifest = |object: &str| {
            json!({
                "strongroom": 1, "dumped_at": "2026-01-01T00:00:02Z",
                "archive": { "name": "p-1", "started_at": "2026-01-01T00:00:00Z", "comment": "c", "hostname": "h" },
                "dump": { "source": "sqlite", "server_version": "3", "tool": "t", "artefacts_total": 1, "artefacts": [
                    { "path": "x", "kind": "database", "size_bytes": 10, "sha256": "p", "stored": stored(object) }] },
            })
            .to_string()
        };
        let repository: RepositoryId = "r".parse().unwrap();
        let text = manifest("archives/p-1/7/0001-x");
        let (facts_, _) = facts(text.as_bytes(), "p-1", &repository).unwrap();
        let stats = facts_.stats.unwrap();
        assert_eq!(
            (stats.original_size_bytes, stats.deduplicated_size_bytes, stats.duration_ms),
            (10, 4, 2000)
        );
        assert_eq!((stats.compressed_size_bytes, stats.repository_size_bytes), (4, None));
        assert_eq!(facts_.borg_id, sum::of(text.as_bytes()).sha256);
        // One that is cut into chunks takes what they take, and adds what of them is new.
        let chunked = r#""stored":{"chunked":{"chunks":3,"stored_bytes":90,"new_bytes":30},"#;
        let text = manifest("archives/p-1/7/0001-x").replace(r#""stored":{"#, chunked);
        let text = text.replace(r#""hostname":"h""#, r#""hostname":"h","repository_bytes":500"#);
        let (facts_, _) = facts(text.as_bytes(), "p-1", &repository).unwrap();
        let stats = facts_.stats.unwrap();
        assert_eq!((stats.compressed_size_bytes, stats.deduplicated_size_bytes), (94, 34));
        assert_eq!((stats.repository_size_bytes, facts_.added_bytes()), (Some(500), Some(34)));
        assert!(facts(text.as_bytes(), "p-2", &repository).is_err());
        for elsewhere in ["archives/p-2/7/0001-x", "archives/p-1/../p-2/0001-x", "key.age"] {
            assert!(facts(manifest(elsewhere).as_bytes(), "p-1", &repository).is_err(), "{elsewhere}");
        }
    }
}

//! Which files of an archive are summed up, so that it can be proved later that they come back as they were.
//!
//! Each archive draws others, by a digest of its own id and of the path: over time, all of a tree come up.

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use strongroom_domain::ArchiveId;
use strongroom_domain::view::Entry;

/// How many are recorded.
pub const RECORDED: usize = 8;
/// How many are drawn: some will have changed by the time they are read.
const DRAWN: usize = 8 * RECORDED;
/// The largest file: a sample is not to cost more than the index beside it.
const LARGEST_BYTES: u64 = 4 << 20;
/// The longest path: what is recorded goes into an event.
const PATH_BYTES: usize = 512;

/// A file that was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// Where it is in the archive.
    pub path: String,
    /// Its bytes.
    pub size_bytes: u64,
    /// When it was changed last, to a microsecond.
    pub modified_at: Timestamp,
}

/// A draw among the entries of an archive, which are seen one by one.
#[derive(Debug)]
pub struct Draw {
    archive: String,
    drawn: BTreeMap<[u8; 32], Drawn>,
}

impl Draw {
    /// Of this archive.
    pub fn of(archive: ArchiveId) -> Self {
        Self { archive: archive.to_string(), drawn: BTreeMap::new() }
    }

    /// Takes an entry into account.
    pub fn see(&mut self, entry: &Entry) {
        let fits = (1..=LARGEST_BYTES).contains(&entry.size_bytes) && entry.path.len() <= PATH_BYTES;
        if entry.kind != "-" || !fits {
            return;
        }
        let Ok(modified_at) = entry.modified_at.parse() else { return };
        let key = Sha256::new().chain_update(&self.archive).chain_update(&entry.path).finalize().into();
        if self.drawn.len() >= DRAWN && self.drawn.last_key_value().is_some_and(|(last, _)| *last < key) {
            return;
        }
        let (path, size_bytes) = (entry.path.clone(), entry.size_bytes);
        self.drawn.insert(key, Drawn { path, size_bytes, modified_at });
        if self.drawn.len() > DRAWN {
            self.drawn.pop_last();
        }
    }

    /// What was drawn, in the order in which it is to be tried.
    pub fn drawn(self) -> impl Iterator<Item = Drawn> {
        self.drawn.into_values()
    }
}

/// Whether a file is still the one that the archive holds: nobody has touched it since before that was begun, which borg
/// tells to the second.
pub fn is_unchanged(
    drawn: &Drawn,
    size_bytes: u64,
    modified: Timestamp,
    changed: Timestamp,
    begun: Timestamp,
) -> bool {
    // Borg tells times by way of a floating point number, which may be off by the last microsecond.
    let apart = modified.as_microsecond().abs_diff(drawn.modified_at.as_microsecond());
    drawn.size_bytes == size_bytes && apart <= 1 && changed < begun
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use strongroom_domain::RepositoryId;

    fn entry(path: String, kind: &str, size_bytes: u64) -> Entry {
        Entry {
            path,
            kind: kind.into(),
            size_bytes,
            mode: "-rw-r--r--".into(),
            user: "u".into(),
            group: "g".into(),
            modified_at: "2026-01-01T00:00:00.000001Z".into(),
            link_target: None,
        }
    }

    fn drawn(archive: &str, entries: &[Entry]) -> Vec<String> {
        let repository: RepositoryId = "r".parse().unwrap();
        let mut draw = Draw::of(ArchiveId::of(&repository, archive));
        entries.iter().for_each(|entry| draw.see(entry));
        draw.drawn().map(|drawn| drawn.path).collect()
    }

    #[test]
    fn each_archive_draws_others_and_the_same_each_time() {
        let entries: Vec<Entry> = (0..1000).map(|n| entry(format!("f{n}"), "-", 1)).collect();
        let (one, other) = (drawn("a", &entries), drawn("b", &entries));
        assert_eq!(one.len(), DRAWN);
        assert_ne!(one, other);
        let turned: Vec<Entry> = entries.iter().rev().cloned().collect();
        assert_eq!(one, drawn("a", &turned), "whatever the order is in which they are seen");
    }

    #[test]
    fn what_has_no_content_or_too_much_is_not_drawn() {
        let entries = [
            entry("folder".into(), "d", 1),
            entry("link".into(), "l", 1),
            entry("empty".into(), "-", 0),
            entry("large".into(), "-", LARGEST_BYTES + 1),
            entry("long".repeat(PATH_BYTES), "-", 1),
            entry("file".into(), "-", LARGEST_BYTES),
        ];
        assert_eq!(drawn("a", &entries), ["file"]);
    }

    #[test]
    fn a_file_that_somebody_has_touched_is_not_the_one_in_the_archive() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let drawn = Drawn { path: "f".into(), size_bytes: 3, modified_at: at(5) };
        assert!(is_unchanged(&drawn, 3, at(5), at(9), at(10)));
        assert!(!is_unchanged(&drawn, 4, at(5), at(9), at(10)), "another size");
        assert!(!is_unchanged(&drawn, 3, at(6), at(9), at(10)), "another time");
        assert!(!is_unchanged(&drawn, 3, at(5), at(10), at(10)), "its time was set back");
    }
}

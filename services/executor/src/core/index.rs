//! The index of an archive's files: made once after the backup, browsed without borg.
//!
//! A part is one zstd frame of a MessagePack list of [`Entry`] with field names, in borg's order; parts are at most
//! [`CHUNK_BYTES`] long. The catalog reads exactly this.

use super::hex::hex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use strongroom_bus::CHUNK_BYTES;
use strongroom_domain::archive::IndexFacts;
use strongroom_domain::view::Entry;

/// How well parts are compressed: entries are alike, and speed matters more than the last byte.
const LEVEL: i32 = 3;
/// How many entries a part is tried with first.
const ENTRIES: usize = 8_000;

/// A line of `borg list --json-lines`.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    mode: String,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    group: Option<String>,
    path: String,
    #[serde(default)]
    linktarget: Option<String>,
    mtime: String,
    size: u64,
}

/// The entry in a line of `borg list --json-lines`.
pub fn entry(line: &str) -> Result<Entry, IndexError> {
    let line: Line = serde_json::from_str(line).map_err(|e| IndexError(e.to_string()))?;
    Ok(Entry {
        path: line.path,
        kind: line.kind,
        size_bytes: line.size,
        mode: line.mode,
        user: line.user.unwrap_or_default(),
        group: line.group.unwrap_or_default(),
        // Borg writes the time of its own zone, which is set to UTC for it.
        modified_at: format!("{}Z", line.mtime),
        link_target: line.linktarget.filter(|t| !t.is_empty()),
    })
}

/// Collects entries into parts.
#[derive(Debug, Default)]
pub struct Indexer {
    entries: Vec<Entry>,
    total: u64,
    others_than_folders: u64,
    chunks: u32,
    hash: Sha256,
}

/// Why an index cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the file index could not be made: {0}")]
pub struct IndexError(String);

impl Indexer {
    /// Takes an entry in; gives a part when enough has come together.
    pub fn add(&mut self, entry: Entry) -> Result<Vec<Vec<u8>>, IndexError> {
        self.total += 1;
        self.others_than_folders += u64::from(entry.kind != "d");
        self.entries.push(entry);
        if self.entries.len() < ENTRIES { Ok(Vec::new()) } else { self.flush() }
    }

    /// The last part, and what is to be said of all.
    pub fn finish(mut self) -> Result<(Vec<Vec<u8>>, IndexFacts), IndexError> {
        let parts = self.flush()?;
        let sha256 = hex(&self.hash.finalize());
        Ok((parts, IndexFacts { chunks: self.chunks, entries: self.total, sha256, sample: Vec::new() }))
    }

    /// How many entries are no folders.
    pub fn others_than_folders(&self) -> u64 {
        self.others_than_folders
    }

    fn flush(&mut self) -> Result<Vec<Vec<u8>>, IndexError> {
        let entries = std::mem::take(&mut self.entries);
        let mut parts = Vec::new();
        pack(&entries, &mut parts)?;
        for part in &parts {
            self.hash.update(part);
            self.chunks += 1;
        }
        Ok(parts)
    }
}

/// Packs entries into one part, or into two halves when it would be too large.
fn pack(entries: &[Entry], parts: &mut Vec<Vec<u8>>) -> Result<(), IndexError> {
    if entries.is_empty() {
        return Ok(());
    }
    let bytes = rmp_serde::to_vec_named(entries).map_err(|e| IndexError(e.to_string()))?;
    let part = zstd::encode_all(bytes.as_slice(), LEVEL).map_err(|e| IndexError(e.to_string()))?;
    if part.len() <= CHUNK_BYTES {
        parts.push(part);
        return Ok(());
    }
    if entries.len() == 1 {
        return Err(IndexError("one entry alone is too large".into()));
    }
    let (first, second) = entries.split_at(entries.len() / 2);
    pack(first, parts)?;
    pack(second, parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn line(path: &str, kind: &str) -> String {
        serde_json::json!({
            "type": kind, "mode": "-rw-r--r--", "user": "u", "group": "g", "path": path, "linktarget": "",
            "mtime": "2026-01-01T00:00:00.000000", "size": 3, "healthy": true,
        })
        .to_string()
    }

    fn unpack(parts: &[Vec<u8>]) -> Vec<Entry> {
        let read = |part: &Vec<u8>| -> Vec<Entry> {
            rmp_serde::from_slice(&zstd::decode_all(part.as_slice()).unwrap()).unwrap()
        };
        parts.iter().flat_map(read).collect()
    }

    #[test]
    fn many_entries_become_parts_that_fit_and_come_back_in_order() {
        let mut indexer = Indexer::default();
        let mut parts = Vec::new();
        let names: Vec<String> = (0..20_000).map(|n| format!("d/{:x}", md(n))).collect();
        for name in &names {
            parts.extend(indexer.add(entry(&line(name, "-")).unwrap()).unwrap());
        }
        let (rest, facts) = indexer.finish().unwrap();
        parts.extend(rest);
        assert!(parts.iter().all(|p| p.len() <= CHUNK_BYTES));
        assert_eq!((facts.chunks as usize, facts.entries), (parts.len(), 20_000));
        let back: Vec<String> = unpack(&parts).into_iter().map(|e| e.path).collect();
        assert_eq!(back, names);
    }

    /// Something that does not compress.
    fn md(n: u64) -> u128 {
        let mut x = u128::from(n) + 1;
        for _ in 0..8 {
            x = x.wrapping_mul(0x5851_f42d_4c95_7f2d_1405_7b7e_f767_814f).rotate_left(29) ^ 0x9e37_79b9;
        }
        x
    }

    proptest! {
        #[test]
        fn whatever_the_names_are_they_come_back(names in proptest::collection::vec(".{1,60}", 0..50)) {
            let mut indexer = Indexer::default();
            for name in &names {
                prop_assert!(indexer.add(entry(&line(name, "d")).unwrap()).unwrap().is_empty());
            }
            prop_assert_eq!(indexer.others_than_folders(), 0);
            let (parts, _) = indexer.finish().unwrap();
            let back: Vec<String> = unpack(&parts).into_iter().map(|e| e.path).collect();
            prop_assert_eq!(back, names);
        }
    }
}

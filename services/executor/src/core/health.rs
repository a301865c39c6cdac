//! Which files of an archive the repository has lost a part of, in `borg list --json-lines`.
//!
//! The accident that this file prevents: borg says that a file is damaged when it extracts it, but not when it extracts
//! another name of the same file alone: it writes zeros, and ends as if all were well.

use super::surrogates::without_lone;
use serde::Deserialize;
use std::collections::HashSet;

/// Bytes of all names that are kept.
const BYTES: usize = 16 << 20;

/// Collects their names.
#[derive(Debug, Default)]
pub struct Damaged {
    names: HashSet<String>,
    bytes: usize,
    has_links: bool,
}

/// Why they cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("which files are damaged cannot be told: {0}")]
pub struct Unclear(String);

#[derive(Debug, Deserialize)]
struct Line {
    path: String,
    mode: String,
    #[serde(default = "healthy")]
    healthy: bool,
    #[serde(default)]
    source: String,
}

fn healthy() -> bool {
    true
}

impl Damaged {
    /// Takes a line in. Borg lists the name that holds the content before those that link to it.
    pub fn take(&mut self, line: &str) -> Result<(), Unclear> {
        let line: Line = serde_json::from_str(&without_lone(line)).map_err(|e| Unclear(e.to_string()))?;
        self.has_links |= line.mode.starts_with('h');
        // Borg says a byte that is no UTF-8 as a question mark in a path, and as a lone surrogate in a source.
        let is_link_to_one =
            || line.mode.starts_with('h') && self.names.contains(&line.source.replace('\u{fffd}', "?"));
        if !line.healthy || is_link_to_one() {
            self.bytes += line.path.len();
            if self.bytes > BYTES {
                return Err(Unclear("there are too many".into()));
            }
            self.names.insert(line.path);
        }
        Ok(())
    }

    /// Whether there are names that borg has listed as links to others.
    pub fn has_links(&self) -> bool {
        self.has_links
    }

    /// Those that are at or below one of these paths.
    pub fn below(&self, paths: &[String]) -> Vec<&str> {
        let is_below = |name: &str| {
            paths
                .iter()
                .any(|p| name.strip_prefix(p.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/')))
        };
        self.names.iter().map(String::as_str).filter(|name| is_below(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_damaged_file_is_known_under_each_of_its_names() {
        let mut damaged = Damaged::default();
        for (path, mode, healthy, source) in [
            ("d/whole", "-rw-r--r--", true, ""),
            ("d/los?", "-rw-r--r--", false, ""),
            ("d/other", "hrw-r--r--", true, r"d/los\udce9"),
            ("e/third", "hrw-r--r--", true, r"d/los\udce9"),
            ("e/a link to its name", "lrwxrwxrwx", true, "d/los?"),
            ("e/whole", "hrw-r--r--", true, "d/whole"),
        ] {
            let line = format!(
                r#"{{"path": "{path}", "mode": "{mode}", "healthy": {healthy}, "source": "{source}"}}"#
            );
            damaged.take(&line).unwrap();
        }
        assert!(damaged.has_links());
        let below = |paths: &[&str]| {
            let mut names = damaged.below(&paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
            names.sort_unstable();
            names.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(below(&["d"]), ["d/los?", "d/other"]);
        assert_eq!(below(&["e/third", "d/oth"]), ["e/third"]);
    }
}

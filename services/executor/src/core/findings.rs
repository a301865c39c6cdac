//! What was found on the way: counted in full, kept in part; and what it means for what was made.

use serde::{Deserialize, Serialize};
use std::path::Path;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::FINDINGS_KEPT;

/// What is said of a file that was there when its folder was read.
pub const VANISHED: &str = "vanished while it was read";
/// What is said of a file of which a part was written; its cause comes after it.
pub const NOT_WRITTEN: &str = "could not be written";
/// What is said of a file that is not what was backed up: `borg check --repair` put zeros where chunks were lost.
pub const DAMAGED: &str = "is damaged in the repository";

/// Bytes of all findings that are kept: they become part of an event, whose size has a limit.
const FINDINGS_BYTES: usize = 100_000;

/// Findings, counted in full and kept in part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Those that are kept.
    pub kept: Vec<Finding>,
    /// How many mean missing data.
    pub incomplete_total: u64,
    /// How many are benign.
    pub benign_total: u64,
}

impl Findings {
    /// A path that the plan names and that is not there is no file that came and went: all below it is missing. Of those
    /// that were not kept, `is_there` tells.
    pub fn named_paths_are_missing(&mut self, named: &[String], is_there: impl Fn(&str) -> bool) {
        let vanished = |f: &Finding| f.severity == Severity::Benign && f.message == VANISHED;
        let kept = self.kept.iter().filter(|f| f.severity == Severity::Benign).count() as u64;
        let mut not_kept = self.benign_total.saturating_sub(kept);
        for path in named {
            let is_named = |f: &Finding| f.path.as_deref().is_some_and(|p| Path::new(p) == Path::new(path));
            if let Some(finding) = self.kept.iter_mut().find(|f| vanished(f) && is_named(f)) {
                finding.severity = Severity::Incomplete;
            } else if not_kept > 0 && !self.kept.iter().any(is_named) && !is_there(path) {
                not_kept -= 1;
                let (path, message) = (Some(path.clone()), VANISHED.to_owned());
                self.kept.insert(0, Finding { severity: Severity::Incomplete, path, message });
            } else {
                continue;
            }
            self.benign_total = self.benign_total.saturating_sub(1);
            self.incomplete_total += 1;
        }
    }

    /// Takes one in.
    pub fn add(&mut self, finding: Finding) {
        let (incomplete_total, benign_total) = match finding.severity {
            Severity::Incomplete => (1, 0),
            Severity::Benign => (0, 1),
        };
        self.merge(Self { kept: vec![finding], incomplete_total, benign_total });
    }

    /// Takes those of another call in.
    pub fn merge(&mut self, other: Self) {
        self.incomplete_total += other.incomplete_total;
        self.benign_total += other.benign_total;
        let mut bytes: usize = self.kept.iter().map(bytes_of).sum();
        for finding in other.kept {
            bytes += bytes_of(&finding);
            let alike = self.kept.iter().filter(|f| f.severity == finding.severity).count();
            if alike < FINDINGS_KEPT && bytes <= room_of(finding.severity) {
                self.kept.push(finding);
            }
        }
    }
}

/// What one takes of the room that there is.
pub fn bytes_of(finding: &Finding) -> usize {
    finding.message.len() + finding.path.as_ref().map_or(0, String::len)
}

/// The room that there is. What is benign leaves some for what is not.
pub fn room_of(severity: Severity) -> usize {
    match severity {
        Severity::Incomplete => FINDINGS_BYTES,
        Severity::Benign => FINDINGS_BYTES / 2,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use crate::core::messages::{Exit, Message, Messages};

    #[test]
    fn a_named_path_that_is_gone_is_missing_however_many_files_came_and_went() {
        let mut messages = Messages::default();
        for n in 0..5000 {
            let message = format!("/t/{n}: open: [Errno 2] No such file or directory: 'x'");
            messages.take(Message { levelname: "WARNING".into(), message, ..Message::default() });
        }
        let message = "/data: stat: [Errno 2] No such file or directory: '/data'".to_owned();
        messages.take(Message { levelname: "WARNING".into(), message, ..Message::default() });
        let mut found = messages.conclude(Exit::Code(1)).unwrap();
        found.named_paths_are_missing(&["/data/".into(), "/t".into()], |path| path == "/t");
        assert_eq!((found.incomplete_total, found.benign_total), (1, 5000));
        assert_eq!(found.kept.first().unwrap().path.as_deref(), Some("/data/"));
        // Once more changes nothing.
        found.named_paths_are_missing(&["/data/".into()], |_| false);
        assert_eq!((found.incomplete_total, found.benign_total), (1, 5000));
    }
}

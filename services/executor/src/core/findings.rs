//! What was found on the way: counted in full, kept in part; and what it means for what was made.

use serde::{Deserialize, Serialize};
use std::path::Path;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::{Failure, FailureCode};

/// What is said of a file that was there when its folder was read.
pub const VANISHED: &str = "vanished while it was read";
/// What is said of a file of which a part was written; its cause comes after it.
pub const NOT_WRITTEN: &str = "could not be written";
/// What is said of a file that is not what was backed up: `borg check --repair` put zeros where chunks were lost.
pub const DAMAGED: &str = "is damaged in the repository";

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

/// What an extract that was not whole means for what it has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extracted {
    /// What is there is whole, but for these files, of which only a part was written.
    But(Vec<String>),
    /// Nobody can tell what is whole.
    Unknown(Failure),
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

    /// Of an extract: a file that is in the archive and could not be made is missing, and did not come and go.
    pub fn nothing_vanishes(&mut self) {
        for finding in self.kept.iter_mut().filter(|f| f.message == VANISHED) {
            finding.severity = Severity::Incomplete;
            finding.message = "could not be made: no such file or directory".into();
        }
        self.incomplete_total += std::mem::take(&mut self.benign_total);
    }

    /// What of an extract may be put in place. A file that is not whole must never replace a whole one; where nothing is
    /// replaced, a damaged one is better than none.
    pub fn extracted(&self, replaces: bool) -> Extracted {
        let is_incomplete = |f: &&Finding| f.severity == Severity::Incomplete;
        let of = |f: &Finding| f.path.clone().unwrap_or_default();
        for full in ["No space left on device", "Disk quota exceeded"] {
            if let Some(found) = self.kept.iter().filter(is_incomplete).find(|f| f.message.contains(full)) {
                let message = format!("'{}' {}; nothing was put in place", of(found), found.message);
                return Extracted::Unknown(Failure::new(FailureCode::NoSpace, message));
            }
        }
        let unknown = |message: String| {
            Extracted::Unknown(Failure::new(
                FailureCode::BorgError,
                format!("{message}; nothing was put in place"),
            ))
        };
        if let Some(unclear) = self.kept.iter().filter(is_incomplete).find(|f| replaces && f.path.is_none()) {
            return unknown(format!("borg said '{}' and not of which file", unclear.message));
        }
        let half =
            |f: &&Finding| f.message.starts_with(NOT_WRITTEN) || (replaces && f.message.starts_with(DAMAGED));
        let halves: Vec<String> = self.kept.iter().filter(half).map(of).collect();
        let told = self.kept.iter().filter(is_incomplete).count() as u64;
        if self.incomplete_total > told && (replaces || !halves.is_empty()) {
            return unknown("more files than can be told could not be written".to_owned());
        }
        Extracted::But(halves)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::core::messages::tests::said;
    use crate::core::messages::{Exit, Message, Messages};

    #[test]
    fn half_a_file_is_not_put_in_place() {
        let found = |text: &str| said("WARNING", "", text).conclude(Exit::Code(1)).unwrap();
        let extracted = |text: &str| found(text).extracted(true);
        let half = extracted("d/f: write: [Errno 5] Input/output error");
        assert_eq!(half, Extracted::But(vec!["d/f".into()]));
        assert_eq!(extracted("d/f: attrs: [Errno 1] Operation not permitted"), Extracted::But(Vec::new()));
        match extracted("d/f: write: [Errno 28] No space left on device") {
            Extracted::Unknown(failure) => assert_eq!(failure.code, FailureCode::NoSpace),
            other => panic!("{other:?}"),
        }
        let many = Findings {
            incomplete_total: 2,
            ..said("WARNING", "", "f: write: [Errno 5] x").conclude(Exit::Code(1)).unwrap()
        };
        assert!(
            matches!(many.extracted(false), Extracted::Unknown(_)),
            "what is not told could be half as well"
        );
        let lost = "d/f: truncate_and_attrs: [Errno 5] Input/output error";
        assert_eq!(extracted(lost), Extracted::But(vec!["d/f".into()]));
        // A damaged file is better than none, and worse than one that stands there.
        for damaged in [
            "d/f: File has damaged (all-zero) chunks. Try running borg check --repair.",
            "d/f: Size inconsistency detected: size 4, chunks size 3",
        ] {
            assert_eq!(extracted(damaged), Extracted::But(vec!["d/f".into()]));
            assert_eq!(found(damaged).extracted(false), Extracted::But(Vec::new()));
            assert_eq!(found(damaged).incomplete_total, 1);
        }
        assert!(matches!(extracted("something odd"), Extracted::Unknown(_)));
        assert_eq!(found("something odd").extracted(false), Extracted::But(Vec::new()));
    }

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

    #[test]
    fn what_an_extract_could_not_make_did_not_come_and_go() {
        let gone = said("WARNING", "", "d/f: open: [Errno 2] No such file or directory: 'd/f'");
        let mut found = gone.conclude(Exit::Code(1)).unwrap();
        found.nothing_vanishes();
        assert_eq!((found.incomplete_total, found.benign_total), (1, 0));
        assert!(found.kept.iter().all(|f| f.severity == Severity::Incomplete), "{found:?}");
    }
}

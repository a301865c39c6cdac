//! What borg's log lines mean: findings, and the cause of a failure.
//!
//! The accidents that this file prevents are P1 and P2: a killed borg that was stored as success, and 1,252 unreadable
//! files that were "completed with warnings". Exit 0 is done; exit 1 is done with findings, each of which is either
//! known to be benign or counts as missing data; everything else is a failure.

use serde::{Deserialize, Serialize};
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::FINDINGS_KEPT;
use strongroom_domain::{Failure, FailureCode};

/// Lines of the tail that is kept.
const TAIL_LINES: usize = 50;
/// Bytes of the tail that is kept.
const TAIL_BYTES: usize = 8192;

/// One line of borg's `--log-json` (docs/internals/frontends.rst of borg), or text that it printed besides.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// `WARNING`, `ERROR`, ...
    #[serde(default)]
    pub levelname: String,
    /// Borg's own id of it.
    #[serde(default)]
    pub msgid: String,
    /// The words.
    #[serde(default)]
    pub message: String,
}

/// What was said during one call of borg. Memory is bounded whatever borg says.
#[derive(Debug, Clone, Default)]
pub struct Messages {
    errors: Vec<Message>,
    findings: Vec<Finding>,
    incomplete_total: u64,
    benign_total: u64,
    unexplained: Vec<String>,
    never_matched: Vec<String>,
    tail: Tail,
}

/// How one call of borg ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

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

impl Messages {
    /// Takes a message in.
    pub fn take(&mut self, message: Message) {
        self.tail.push(&message.message);
        if let Some(pattern) = never_matched(&message.message) {
            self.never_matched.push(pattern.to_owned());
        } else if message.levelname == "WARNING" {
            match finding(&message.message) {
                Some(finding) => self.add(finding),
                None if self.unexplained.len() < FINDINGS_KEPT => self.unexplained.push(message.message),
                None => {}
            }
        } else if matches!(message.levelname.as_str(), "ERROR" | "CRITICAL") && self.errors.len() < 50 {
            self.errors.push(message);
        }
    }

    fn add(&mut self, finding: Finding) {
        let total = match finding.severity {
            Severity::Incomplete => &mut self.incomplete_total,
            Severity::Benign => &mut self.benign_total,
        };
        *total += 1;
        if *total <= FINDINGS_KEPT as u64 {
            self.findings.push(finding);
        }
    }

    /// Patterns of an extract that nothing in the archive matched.
    pub fn never_matched(&self) -> &[String] {
        &self.never_matched
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        self.tail.lines.iter().cloned().collect()
    }

    /// What the call means: findings when borg did its work, a failure when it did not.
    pub fn conclude(mut self, exit: Exit) -> Result<Findings, Failure> {
        match exit {
            Exit::Code(0) => {}
            Exit::Code(1) => {
                // Borg says that something was wrong and nothing says what: that is not shown as harmless.
                if self.findings.is_empty() && self.never_matched.is_empty() {
                    for message in std::mem::take(&mut self.unexplained) {
                        self.add(Finding { severity: Severity::Incomplete, path: None, message });
                    }
                }
            }
            other => return Err(self.failure(other)),
        }
        Ok(Findings {
            kept: self.findings,
            incomplete_total: self.incomplete_total,
            benign_total: self.benign_total,
        })
    }

    fn failure(&self, exit: Exit) -> Failure {
        let said = self.errors.iter().map(|e| first_line(&e.message)).find(|line| !line.is_empty());
        let said = said.or_else(|| self.tail.lines.back().cloned());
        let (code, message) = match exit {
            Exit::Signal(signal) => (FailureCode::Killed, format!("borg was ended by signal {signal}")),
            // 128 + n is how a wrapper or borg itself tells that a signal ended it.
            Exit::Code(code) if code > 128 => {
                (FailureCode::Killed, format!("borg was ended by signal {}", code - 128))
            }
            Exit::Code(code) => {
                let said = said.unwrap_or_else(|| "it said nothing".to_owned());
                (self.code(), format!("borg ended with {code}: {said}"))
            }
        };
        Failure::new(code, message).with_log(self.tail())
    }

    /// Borg's own id of an error, when it gave one.
    pub fn has(&self, msgid: &str) -> bool {
        self.errors.iter().any(|e| e.msgid == msgid)
    }

    fn code(&self) -> FailureCode {
        let said =
            |text: &str| self.errors.iter().any(|e| e.message.contains(text)) || self.tail.contains(text);
        if said("No space left on device") || said("[Errno 28]") || said("Disk quota exceeded") {
            return FailureCode::NoSpace;
        }
        self.errors.iter().find_map(|e| code_of(&e.msgid)).unwrap_or_else(|| {
            if said("[Errno 13]") || said("Permission denied") {
                FailureCode::PermissionDenied
            } else {
                FailureCode::BorgError
            }
        })
    }
}

/// The ids are borg's (docs/internals/frontends.rst, "Message IDs").
fn code_of(msgid: &str) -> Option<FailureCode> {
    Some(match msgid {
        "PassphraseWrong" | "NoPassphraseFailure" | "PasscommandFailure" => FailureCode::WrongPassphrase,
        "LockTimeout" | "LockFailed" | "LockError" | "LockErrorT" => FailureCode::RepositoryLocked,
        "Repository.DoesNotExist" | "Repository.ParentPathDoesNotExist" => FailureCode::RepositoryMissing,
        "Repository.AlreadyExists" | "Repository.PathAlreadyExists" => FailureCode::RepositoryExists,
        "Repository.InsufficientFreeSpaceError" | "Repository.StorageQuotaExceeded" => FailureCode::NoSpace,
        "Repository.InvalidRepository"
        | "Repository.CheckNeeded"
        | "Repository.ObjectNotFound"
        | "IntegrityError"
        | "IntegrityErrorBase"
        | "FileIntegrityError"
        | "DecompressionError"
        | "RepoKeyNotFoundError"
        | "NoManifestError" => FailureCode::RepositoryDamaged,
        "Archive.DoesNotExist" => FailureCode::ArchiveMissing,
        _ => return None,
    })
}

/// What a warning says about one path: `<path>: open: [Errno 13] Permission denied: 'x'`.
fn finding(text: &str) -> Option<Finding> {
    if let Some(path) = text.strip_suffix(": file changed while we backed it up") {
        let message = "changed while it was read".to_owned();
        return Some(Finding { severity: Severity::Benign, path: Some(path.to_owned()), message });
    }
    let (before, after) = text.split_once(": [Errno ")?;
    let (number, words) = after.split_once("] ")?;
    let path = [
        "open",
        "read",
        "stat",
        "lstat",
        "fstat",
        "scandir",
        "listdir",
        "readlink",
        "flistxattr",
        "dir_open",
    ]
    .iter()
    .find_map(|operation| before.strip_suffix(operation)?.strip_suffix(": "))
    .unwrap_or(before);
    // ENOENT: it was there when the folder was read, and is gone.
    let severity = if number == "2" { Severity::Benign } else { Severity::Incomplete };
    let message = if number == "2" { "vanished while it was read" } else { words };
    Some(Finding { severity, path: Some(path.to_owned()), message: message.to_owned() })
}

fn never_matched(text: &str) -> Option<&str> {
    text.strip_prefix("Include pattern '")?.strip_suffix("' never matched.")
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default().chars().take(500).collect()
}

/// The last lines of what was said, within bounds.
#[derive(Debug, Clone, Default)]
struct Tail {
    lines: std::collections::VecDeque<String>,
    bytes: usize,
}

impl Tail {
    fn push(&mut self, text: &str) {
        for line in text.lines().filter(|l| !l.trim().is_empty()) {
            let line: String = line.chars().take(500).collect();
            self.bytes += line.len();
            self.lines.push_back(line);
        }
        while self.lines.len() > TAIL_LINES || self.bytes > TAIL_BYTES {
            let Some(gone) = self.lines.pop_front() else { break };
            self.bytes -= gone.len();
        }
    }

    fn contains(&self, text: &str) -> bool {
        self.lines.iter().any(|l| l.contains(text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn said(level: &str, msgid: &str, text: &str) -> Messages {
        let mut messages = Messages::default();
        messages.take(Message { levelname: level.into(), msgid: msgid.into(), message: text.into() });
        messages
    }

    #[test]
    fn an_unreadable_file_is_missing_data_and_a_vanished_one_is_life() {
        let unreadable = said("WARNING", "", "/a/b: c: open: [Errno 13] Permission denied: 'c'");
        let found = unreadable.conclude(Exit::Code(1)).unwrap();
        assert_eq!((found.incomplete_total, found.benign_total), (1, 0));
        assert_eq!(found.kept.first().unwrap().path.as_deref(), Some("/a/b: c"));
        let vanished = said("WARNING", "", "/a/b: stat: [Errno 2] No such file or directory: 'b'");
        assert_eq!(vanished.conclude(Exit::Code(1)).unwrap().benign_total, 1);
        let changed = said("WARNING", "", "/a/b: file changed while we backed it up");
        assert_eq!(changed.conclude(Exit::Code(1)).unwrap().benign_total, 1);
    }

    #[test]
    fn a_warning_that_nobody_understands_is_not_shown_as_harmless() {
        let odd = said("WARNING", "", "something odd");
        assert_eq!(odd.clone().conclude(Exit::Code(1)).unwrap().incomplete_total, 1);
        assert_eq!(
            odd.conclude(Exit::Code(0)).unwrap().incomplete_total,
            0,
            "with exit 0 it was only a word"
        );
    }

    #[test]
    fn a_signal_is_never_success() {
        for exit in [Exit::Signal(9), Exit::Signal(15), Exit::Code(137), Exit::Code(143)] {
            assert_eq!(Messages::default().conclude(exit).unwrap_err().code, FailureCode::Killed);
        }
    }

    #[test]
    fn causes_are_told_apart() {
        for (msgid, text, code) in [
            ("PassphraseWrong", "passphrase supplied is incorrect.", FailureCode::WrongPassphrase),
            ("LockTimeout", "Failed to create/acquire the lock", FailureCode::RepositoryLocked),
            ("LockFailed", "... [Errno 28] No space left on device", FailureCode::NoSpace),
            ("Repository.DoesNotExist", "Repository /x does not exist.", FailureCode::RepositoryMissing),
            ("", "Local Exception\nOSError: [Errno 28] No space left on device", FailureCode::NoSpace),
            ("", "PermissionError: [Errno 13] Permission denied", FailureCode::PermissionDenied),
            ("", "whatever", FailureCode::BorgError),
        ] {
            let failure = said("ERROR", msgid, text).conclude(Exit::Code(2)).unwrap_err();
            assert_eq!(failure.code, code, "{msgid} {text}");
            assert!(!failure.advice.is_empty());
        }
    }

    proptest! {
        #[test]
        fn whatever_borg_says_is_kept_within_bounds(lines in proptest::collection::vec(".{0,900}", 0..200)) {
            let mut messages = Messages::default();
            for (n, message) in lines.into_iter().enumerate() {
                let levelname = ["WARNING", "ERROR", "INFO"][n % 3].to_owned();
                messages.take(Message { levelname, msgid: String::new(), message });
            }
            let tail = messages.tail();
            prop_assert!(tail.len() <= TAIL_LINES);
            prop_assert!(tail.iter().map(String::len).sum::<usize>() <= TAIL_BYTES);
        }
    }
}

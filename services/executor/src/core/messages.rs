//! What borg's log lines mean: findings, and the cause of a failure.
//!
//! The accidents that this file prevents are P1 and P2: a killed borg that was stored as success, and 1,252 unreadable
//! files that were "completed with warnings". Exit 0 is done; exit 1 is done with findings, each of which is either
//! known to be benign or counts as missing data; everything else is a failure.

use super::findings::{DAMAGED, Findings, NOT_WRITTEN, VANISHED};
use serde::Deserialize;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::FINDINGS_KEPT;
use strongroom_domain::{Failure, FailureCode};

/// Lines of the tail that is kept.
const TAIL_LINES: usize = 50;
/// Bytes of the tail that is kept.
const TAIL_BYTES: usize = 8192;
/// Bytes of all findings that are kept: they become part of an event, whose size has a limit.
const FINDINGS_BYTES: usize = 100_000;
/// Bytes of the words of one.
const MESSAGE_BYTES: usize = 2000;
/// What Python begins with when a program falls.
const CRASH: &str = "Traceback (most recent call last)";
/// The part of borg whose warnings each stand for something that was passed over. Those of its other parts (a cache that
/// is made anew) change nothing about the work.
const PASSES_OVER: &str = "borg.archiver";
/// One line of borg's `--log-json` (docs/internals/frontends.rst of borg), or text that it printed besides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// Which part of borg says it.
    #[serde(default)]
    pub name: String,
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
    findings_bytes: usize,
    passed_over: Vec<String>,
    passed_over_total: u64,
    unexplained: Vec<String>,
    /// Python gave up on borg: what it exits with then is 1, which is borg's own word for a warning.
    crashed: bool,
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

impl Messages {
    /// Takes a message in.
    pub fn take(&mut self, message: Message) {
        self.crashed |= message.name.is_empty() && message.message.starts_with(CRASH);
        self.tail.push(&message.message);
        if let Some(pattern) = never_matched(&message.message) {
            self.never_matched.push(pattern.to_owned());
        } else if message.levelname == "WARNING" {
            match finding(&message.message) {
                Some(finding) => self.add(finding),
                None if message.name == PASSES_OVER => {
                    self.passed_over_total += 1;
                    if self.passed_over.len() < FINDINGS_KEPT {
                        self.passed_over.push(message.message);
                    }
                }
                None if self.unexplained.len() < FINDINGS_KEPT => self.unexplained.push(message.message),
                None => {}
            }
        } else if matches!(message.levelname.as_str(), "ERROR" | "CRITICAL") && self.errors.len() < 50 {
            self.errors.push(message);
        }
    }

    fn add(&mut self, mut finding: Finding) {
        if finding.message.len() > MESSAGE_BYTES {
            finding.message = finding.message.chars().take(MESSAGE_BYTES / 4).collect();
        }
        let bytes = finding.message.len() + finding.path.as_ref().map_or(0, String::len);
        let total = match finding.severity {
            Severity::Incomplete => &mut self.incomplete_total,
            Severity::Benign => &mut self.benign_total,
        };
        *total += 1;
        if *total <= FINDINGS_KEPT as u64 && self.findings_bytes + bytes <= FINDINGS_BYTES {
            self.findings_bytes += bytes;
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
            // What falls in the middle of the work is told by borg itself, with 2: this fell before it.
            Exit::Code(1) if self.crashed && !self.warned() => return Err(self.failure(exit)),
            Exit::Code(1) => {
                // Each stands for something that was passed over, whatever else was found.
                let passed_over = std::mem::take(&mut self.passed_over);
                let untold = self.passed_over_total.saturating_sub(passed_over.len() as u64);
                self.add_unexplained(passed_over);
                self.incomplete_total += untold;
                // Borg says that something was wrong and nothing says what: that is not shown as harmless.
                if self.incomplete_total + self.benign_total == 0 && self.never_matched.is_empty() {
                    let mut words = std::mem::take(&mut self.unexplained);
                    words.extend(self.errors.iter().map(|e| first_line(&e.message)));
                    if words.is_empty() {
                        words.push("borg ended with a warning, and did not say which".to_owned());
                    }
                    self.add_unexplained(words);
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

    fn warned(&self) -> bool {
        self.incomplete_total + self.benign_total + self.passed_over_total > 0
            || !self.unexplained.is_empty()
            || !self.never_matched.is_empty()
    }

    fn add_unexplained(&mut self, words: Vec<String>) {
        for message in words {
            self.add(Finding { severity: Severity::Incomplete, path: None, message });
        }
    }

    fn failure(&self, exit: Exit) -> Failure {
        let said = self.errors.iter().map(|e| first_line(&e.message)).find(|line| !line.is_empty());
        // The last line of a traceback says what it was about.
        let said = said.filter(|_| !self.crashed).or_else(|| self.tail.lines.back().cloned());
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
    // Borg writes such a file out all the same (`extract_item` in its archive.py).
    for (words, why) in [
        (": File has damaged (all-zero) chunks", "zeros stand for parts that were lost"),
        (": Size inconsistency detected", "it has not the size that it should have"),
    ] {
        if let Some((path, _)) = text.split_once(words) {
            let (path, message) = (Some(path.to_owned()), format!("{DAMAGED}: {why}"));
            return Some(Finding { severity: Severity::Incomplete, path, message });
        }
    }
    let (before, after) = text.split_once(": [Errno ")?;
    let (number, words) = after.split_once("] ")?;
    let (operation, path) = OPERATIONS
        .iter()
        .find_map(|operation| Some((*operation, before.strip_suffix(operation)?.strip_suffix(": ")?)))
        .unwrap_or(("", before));
    // ENOENT: it was there when the folder was read, and is gone.
    let severity = if number == "2" { Severity::Benign } else { Severity::Incomplete };
    let message = match (number, operation) {
        ("2", _) => VANISHED.to_owned(),
        (_, "write") => format!("{NOT_WRITTEN}: {words}"),
        // EIO, EFBIG, ENOSPC, EDQUOT: what was written before did not reach the disk.
        ("5" | "27" | "28" | "122", "truncate_and_attrs") => format!("{NOT_WRITTEN}: {words}"),
        _ => words.to_owned(),
    };
    Some(Finding { severity, path: Some(path.to_owned()), message })
}

/// What borg may have been at (`backup_io` in its archive.py).
const OPERATIONS: [&str; 18] = [
    "open",
    "read",
    "write",
    "stat",
    "lstat",
    "fstat",
    "fstat2",
    "scandir",
    "listdir",
    "readlink",
    "flistxattr",
    "dir_open",
    "link",
    "makedirs",
    "attrs",
    "truncate_and_attrs",
    "extended stat (flags)",
    "extended stat (xattrs)",
];

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
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    /// What was said in one line.
    pub fn said(level: &str, msgid: &str, text: &str) -> Messages {
        let mut messages = Messages::default();
        let (levelname, msgid, message) = (level.into(), msgid.into(), text.into());
        messages.take(Message { levelname, msgid, message, ..Message::default() });
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
    fn a_benign_finding_speaks_for_no_other() {
        let archiver = |message: &str| Message {
            name: PASSES_OVER.into(),
            levelname: "WARNING".into(),
            message: message.into(),
            ..Message::default()
        };
        let mut messages = Messages::default();
        messages.take(archiver("/a: file changed while we backed it up"));
        messages.take(archiver("/b: file inode changed (race condition), skipping file"));
        messages.take(Message { name: "borg.cache".into(), ..archiver("the cache is made anew") });
        let found = messages.conclude(Exit::Code(1)).unwrap();
        assert_eq!((found.incomplete_total, found.benign_total), (1, 1), "{found:?}");
        assert_eq!(
            Messages::default().conclude(Exit::Code(1)).unwrap().incomplete_total,
            1,
            "no word at all"
        );
    }

    #[test]
    fn findings_fit_into_an_event_and_are_counted_all() {
        let mut messages = Messages::default();
        for n in 0..1000 {
            let message = format!("/{}{n}: open: [Errno 13] Permission denied: 'x'", "d/".repeat(2000));
            messages.take(Message { levelname: "WARNING".into(), message, ..Message::default() });
        }
        let found = messages.conclude(Exit::Code(1)).unwrap();
        assert_eq!(found.incomplete_total, 1000);
        assert!(!found.kept.is_empty() && serde_json::to_vec(&found).unwrap().len() < 200_000);
    }

    #[test]
    fn a_signal_is_never_success() {
        for exit in [Exit::Signal(9), Exit::Signal(15), Exit::Code(137), Exit::Code(143)] {
            assert_eq!(Messages::default().conclude(exit).unwrap_err().code, FailureCode::Killed);
        }
    }

    #[test]
    fn a_borg_that_fell_did_not_end_with_a_warning() {
        let mut messages = Messages::default();
        for line in [
            "Traceback (most recent call last):",
            "  File \"/usr/lib/python3/dist-packages/borg/patterns.py\", line 1, in x",
            "re.error: missing ), unterminated subpattern at position 0",
        ] {
            let (levelname, message) = ("ERROR".into(), line.into());
            messages.take(Message { levelname, message, ..Message::default() });
        }
        let failure = messages.conclude(Exit::Code(1)).unwrap_err();
        assert_eq!(failure.code, FailureCode::BorgError);
        assert!(failure.message.contains("re.error: missing )"), "{}", failure.message);
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
                messages.take(Message { levelname, message, ..Message::default() });
            }
            let tail = messages.tail();
            prop_assert!(tail.len() <= TAIL_LINES);
            prop_assert!(tail.iter().map(String::len).sum::<usize>() <= TAIL_BYTES);
        }
    }
}

//! What borg's log lines mean: findings, and the cause of a failure.
//!
//! The accidents that this file prevents are P1 and P2: a killed borg that was stored as success, and 1,252 unreadable
//! files that were "completed with warnings". Exit 0 is done; exit 1 is done with findings, each of which is either
//! known to be benign or counts as missing data; everything else is a failure.

use super::finding::{Harm, Said, Work, understand};
use super::findings::{Findings, bytes_of, room_of};
use super::tail::Tail;
use serde::Deserialize;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::FINDINGS_KEPT;
use strongroom_domain::{Failure, FailureCode};

/// Bytes of all names that are kept of files that were not extracted whole.
const NOT_WHOLE_BYTES: usize = 4 << 20;
/// Bytes of the words of one.
const MESSAGE_BYTES: usize = 2000;
/// What Python begins with when a program falls.
const CRASH: &str = "Traceback (most recent call last)";
/// Borg's id of an error that it knows nothing about; what Python says of it follows.
const FELL: &str = "Exception";
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
    work: Work,
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
    extracted: Extracted,
    not_whole_bytes: usize,
    not_whole_untold: bool,
    no_room: Option<String>,
    tail: Tail,
}

/// What of an extract may be put in place. Names are as borg says them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Files of which a part was written: they are never put in place.
    pub not_whole: Vec<String>,
    /// Files that are damaged in the repository: better than none, and worse than one that stands there.
    pub damaged: Vec<String>,
    /// Whether something was passed over of which borg does not say what it is.
    pub unexplained: bool,
}

/// How one call of borg ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What it means that borg has let go of a part of a dump: that it could not be read, or written, is no more than a warning
/// to borg, which goes on with the next one (borg 1.2 and 1.4, `Archiver._process_any`).
pub fn let_go(tail: Vec<String>) -> Failure {
    let full = |line: &&String| is_full(line);
    let (code, said) = match tail.iter().rev().find(full) {
        Some(line) => (FailureCode::NoSpace, line),
        None => (FailureCode::DumpFailed, tail.last().unwrap_or(&NOTHING)),
    };
    let message = format!("borg has not stored all of the dump: {}", first_line(said));
    Failure::new(code, message).with_log(tail)
}

static NOTHING: String = String::new();

/// Whether a line says that there is no room.
fn is_full(line: &str) -> bool {
    ["No space left on device", "[Errno 28]", "Disk quota exceeded"].iter().any(|words| line.contains(words))
}

impl Messages {
    /// Nothing was said yet.
    pub fn of(work: Work) -> Self {
        Self { work, ..Self::default() }
    }

    /// Takes a message in.
    pub fn take(&mut self, message: Message) {
        self.crashed |= message.name.is_empty() && message.message.starts_with(CRASH);
        self.tail.push(&message.message);
        if let Some(pattern) = never_matched(&message.message) {
            self.never_matched.push(pattern.to_owned());
        } else if message.levelname == "WARNING" {
            match understand(&message.message, self.work) {
                Some(said) => self.heard(said),
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

    fn heard(&mut self, said: Said) {
        let path = said.finding.path.clone().unwrap_or_default();
        if said.harm == Harm::NoRoom {
            self.no_room.get_or_insert_with(|| format!("'{path}' {}", said.finding.message));
        } else if said.harm != Harm::None {
            self.not_whole_bytes += path.len();
            self.not_whole_untold |= self.not_whole_bytes > NOT_WHOLE_BYTES;
            if !self.not_whole_untold {
                let damaged = said.harm == Harm::Damaged;
                let of = if damaged { &mut self.extracted.damaged } else { &mut self.extracted.not_whole };
                of.push(path);
            }
        }
        self.add(said.finding);
    }

    fn add(&mut self, mut finding: Finding) {
        if finding.message.len() > MESSAGE_BYTES {
            finding.message = finding.message.chars().take(MESSAGE_BYTES / 4).collect();
        }
        let bytes = bytes_of(&finding);
        let total = match finding.severity {
            Severity::Incomplete => &mut self.incomplete_total,
            Severity::Benign => &mut self.benign_total,
        };
        *total += 1;
        if *total <= FINDINGS_KEPT as u64 && self.findings_bytes + bytes <= room_of(finding.severity) {
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

    /// What an extract that ended in this way has left; a failure when nobody can tell what is whole.
    pub fn extracted(&self, exit: Exit) -> Result<Extracted, Failure> {
        if let Some(full) = &self.no_room {
            let message = format!("{full}; nothing was put in place");
            return Err(Failure::new(FailureCode::NoSpace, message));
        }
        if self.not_whole_untold {
            let message = "more files are not whole than can be told; nothing was put in place";
            return Err(Failure::new(FailureCode::BorgError, message));
        }
        let said_nothing = self.incomplete_total + self.benign_total == 0 && self.never_matched.is_empty();
        let unexplained = self.passed_over_total > 0 || (exit == Exit::Code(1) && said_nothing);
        Ok(Extracted { unexplained, ..self.extracted.clone() })
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
        // The last line of a traceback says what it was about, and that of the help that comes with a wrong word as well.
        let speaks = |said: &String| !self.crashed && !said.starts_with("usage: ");
        let said = said.filter(speaks).or_else(|| self.tail.lines.back().cloned());
        let said = if self.has(FELL) { self.tail.cause_of_a_fall().or(said) } else { said };
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
        if self.errors.iter().any(|e| is_full(&e.message)) || self.tail.lines.iter().any(|line| is_full(line))
        {
            return FailureCode::NoSpace;
        }
        // Where nothing can be written, borg finds it out at its lock, and says that it could not take it.
        let refused = ["[Errno 1]", "[Errno 13]", "[Errno 30]", "Permission denied"];
        let is_refused = |e: &Message| refused.iter().any(|text| e.message.contains(text));
        if self.errors.iter().any(|e| e.msgid == "LockFailed" && is_refused(e)) {
            return FailureCode::PermissionDenied;
        }
        self.errors.iter().find_map(|e| code_of(&e.msgid)).unwrap_or_else(|| {
            if refused.iter().any(|text| said(text)) {
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

fn never_matched(text: &str) -> Option<&str> {
    text.strip_prefix("Include pattern '")?.strip_suffix("' never matched.")
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default().chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::tail::{TAIL_BYTES, TAIL_LINES};
    use super::*;
    use proptest::prelude::*;

    fn said(level: &str, msgid: &str, text: &str) -> Messages {
        let mut messages = Messages::default();
        let (levelname, msgid, message) = (level.into(), msgid.into(), text.into());
        messages.take(Message { levelname, msgid, message, ..Message::default() });
        messages
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

    fn extracting(messages: &[(&str, &str)]) -> Messages {
        let mut all = Messages::of(Work::Extracting);
        for (name, message) in messages {
            let (name, levelname, message) = ((*name).into(), "WARNING".into(), (*message).into());
            all.take(Message { name, levelname, message, ..Message::default() });
        }
        all
    }

    #[test]
    fn half_a_file_is_not_put_in_place() {
        let extracted = |text: &str| extracting(&[("", text)]).extracted(Exit::Code(1));
        let half = extracted("d/f: write: [Errno 5] Input/output error").unwrap();
        assert_eq!(half, Extracted { not_whole: vec!["d/f".into()], ..Extracted::default() });
        assert_eq!(extracted("d/f: attrs: [Errno 1] Operation not permitted").unwrap(), Extracted::default());
        let full = extracted("d/f: write: [Errno 28] No space left on device").unwrap_err();
        assert_eq!(full.code, FailureCode::NoSpace);
        // However many there are, they are known, or nothing is put in place.
        let many: Vec<String> = (0..2000).map(|n| format!("f{n}: write: [Errno 5] x")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|text| ("", text.as_str())).collect();
        assert_eq!(extracting(&many).extracted(Exit::Code(1)).unwrap().not_whole.len(), 2000);
        let long: Vec<String> =
            (0..2000).map(|n| format!("{}{n}: write: [Errno 5] x", "d/".repeat(2000))).collect();
        let long: Vec<(&str, &str)> = long.iter().map(|text| ("", text.as_str())).collect();
        assert_eq!(extracting(&long).extracted(Exit::Code(1)).unwrap_err().code, FailureCode::BorgError);
    }

    #[test]
    fn what_was_passed_over_without_a_name_is_known_to_be_unexplained() {
        let unexplained =
            |messages: &[(&str, &str)]| extracting(messages).extracted(Exit::Code(1)).unwrap().unexplained;
        let attribute =
            "when setting extended attribute user.x: [Errno 95] Operation not supported: '<FD 7>'";
        assert!(unexplained(&[]) && unexplained(&[("borg.cache", "something odd")]));
        assert!(unexplained(&[("borg.xattr", attribute), (PASSES_OVER, "something odd")]));
        assert!(!unexplained(&[("borg.xattr", attribute)]));
        assert_eq!(Messages::default().extracted(Exit::Code(0)).unwrap(), Extracted::default());
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
    fn what_borg_fell_over_is_told_and_not_that_it_fell() {
        let mut messages = said("ERROR", "Exception", "Local Exception");
        let message = "Traceback (most recent call last):\n  File \"x\", line 1\nOSError: [Errno 30] Read-only file system: '/r'\n\nPlatform: Linux x\nPID: 1";
        let levelname = "ERROR".into();
        messages.take(Message { levelname, message: message.into(), ..Message::default() });
        let failure = messages.conclude(Exit::Code(2)).unwrap_err();
        assert_eq!(failure.message, "borg ended with 2: OSError: [Errno 30] Read-only file system: '/r'");
        assert_eq!(failure.code, FailureCode::PermissionDenied);
        let mut usage = said("ERROR", "", "usage: borg create [-h]");
        let message = "borg create: error: argument -e/--exclude: Invalid pattern".to_owned();
        usage.take(Message { levelname: "ERROR".into(), message: message.clone(), ..Message::default() });
        let failure = usage.conclude(Exit::Code(2)).unwrap_err();
        assert_eq!(failure.message, format!("borg ended with 2: {message}"));
    }

    #[test]
    fn causes_are_told_apart() {
        for (msgid, text, code) in [
            ("PassphraseWrong", "passphrase supplied is incorrect.", FailureCode::WrongPassphrase),
            ("LockTimeout", "Failed to create/acquire the lock", FailureCode::RepositoryLocked),
            ("LockFailed", "... [Errno 28] No space left on device", FailureCode::NoSpace),
            (
                "LockFailed",
                "... ([Errno 30] Read-only file system: '/r/lock.exclusive.x.tmp').",
                FailureCode::PermissionDenied,
            ),
            (
                "LockFailed",
                "... ([Errno 1] Operation not permitted: '/r/lock.exclusive.x.tmp').",
                FailureCode::PermissionDenied,
            ),
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

//! How far borg is, from its progress lines.

use jiff::Timestamp;
use serde::Deserialize;
use std::collections::VecDeque;
use strongroom_domain::JobId;
use strongroom_domain::wire::Progress;

/// Over how many milliseconds the rate is taken.
const RATE_WINDOW_MS: i64 = 5_000;

/// A progress line of borg's `--log-json --progress`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "type")]
pub enum ProgressLine {
    /// Of `create`.
    #[serde(rename = "archive_progress")]
    Archive {
        /// Files so far.
        #[serde(default)]
        nfiles: u64,
        /// Bytes read.
        #[serde(default)]
        original_size: u64,
        /// Bytes after compression.
        #[serde(default)]
        compressed_size: u64,
        /// New bytes.
        #[serde(default)]
        deduplicated_size: u64,
        /// The file at hand.
        #[serde(default)]
        path: String,
    },
    /// Of `extract` and others.
    #[serde(rename = "progress_percent")]
    Percent {
        /// Bytes so far.
        #[serde(default)]
        current: u64,
        /// The file at hand.
        #[serde(default)]
        info: Option<Vec<String>>,
    },
    /// Anything else.
    #[default]
    #[serde(other)]
    Other,
}

/// How far an attempt is.
#[derive(Debug, Clone)]
pub struct Meter {
    progress: Progress,
    seen: VecDeque<(Timestamp, u64)>,
    /// Since when the present step goes on, and from where.
    step: Option<(Timestamp, u64)>,
}

impl Meter {
    /// Nothing was done yet. `expected_bytes` is what there was the last time.
    pub fn new(job: JobId, epoch: u64, expected_bytes: Option<u64>, at: Timestamp) -> Self {
        let progress = Progress {
            job,
            epoch,
            step: "starting".into(),
            files: 0,
            original_size_bytes: 0,
            compressed_size_bytes: 0,
            deduplicated_size_bytes: 0,
            path: String::new(),
            rate_bytes_per_s: 0,
            expected_bytes: expected_bytes.filter(|bytes| *bytes > 0),
            remaining_s: None,
            log_tail: Vec::new(),
            at,
        };
        Self { progress, seen: VecDeque::new(), step: None }
    }

    /// Another step begins.
    pub fn step(&mut self, step: &str, at: Timestamp) {
        step.clone_into(&mut self.progress.step);
        self.progress.at = at;
        self.seen.clear();
        self.step = None;
        self.progress.remaining_s = None;
    }

    /// A line came.
    pub fn take(&mut self, line: ProgressLine, at: Timestamp) {
        match line {
            ProgressLine::Archive { nfiles, original_size, compressed_size, deduplicated_size, path } => {
                // The last line of a run has no path and no numbers.
                if nfiles == 0 && original_size == 0 {
                    return;
                }
                self.progress.files = nfiles;
                self.progress.compressed_size_bytes = compressed_size;
                self.progress.deduplicated_size_bytes = deduplicated_size;
                self.progress.path = path;
                self.bytes(original_size, at);
            }
            ProgressLine::Percent { current, info } => {
                if let Some(path) = info.and_then(|i| i.into_iter().next()) {
                    self.progress.path = path;
                    self.progress.files += 1;
                    self.bytes(current, at);
                }
            }
            ProgressLine::Other => {}
        }
    }

    /// The last lines of the log.
    pub fn log_tail(&mut self, tail: Vec<String>) {
        self.progress.log_tail = tail;
    }

    /// How far it is.
    pub fn read(&self) -> Progress {
        self.progress.clone()
    }

    fn bytes(&mut self, bytes: u64, at: Timestamp) {
        self.progress.original_size_bytes = bytes;
        self.progress.at = at;
        self.seen.push_back((at, bytes));
        let age = |then: Timestamp| at.as_millisecond().saturating_sub(then.as_millisecond());
        while self.seen.len() > 2 && self.seen.front().is_some_and(|(then, _)| age(*then) > RATE_WINDOW_MS) {
            self.seen.pop_front();
        }
        if let Some((then, before)) = self.seen.front() {
            let ms = u64::try_from(age(*then)).unwrap_or(0);
            let moved = bytes.saturating_sub(*before);
            self.progress.rate_bytes_per_s = moved.saturating_mul(1000).checked_div(ms).unwrap_or(0);
        }
        let (since, from) = *self.step.get_or_insert((at, bytes));
        let ms = u64::try_from(age(since)).unwrap_or(0);
        let moved = bytes.saturating_sub(from);
        self.progress.remaining_s =
            self.progress.expected_bytes.and_then(|expected| remaining_s(expected, bytes, moved, ms));
    }
}

/// For how long nothing is said of the end: the first moments tell little.
const TOO_EARLY_MS: u64 = 3_000;

/// How many seconds it will take until there are as many bytes as the last time, when so many have moved within so many
/// milliseconds. Nobody can say in the first moments, while nothing moves, and when there are more than the last time.
pub fn remaining_s(expected: u64, bytes: u64, moved: u64, ms: u64) -> Option<u64> {
    if ms < TOO_EARLY_MS || moved == 0 || bytes > expected {
        return None;
    }
    let left_ms = u128::from(expected - bytes) * u128::from(ms) / u128::from(moved);
    u64::try_from(left_ms.div_ceil(1000)).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let mut meter = Meter::new(JobId(Uuid::from_u128(1)), 7, None, at(0));
        meter.step("create", at(0));
        for s in 1..=20 {
            let line = format!(
                r#"{{"type":"archive_progress","nfiles":{s},"original_size":{},"compressed_size":1,
                "deduplicated_size":1,"path":"a/b"}}"#,
                s * 1000 + if s > 10 { (s - 10) * 9000 } else { 0 }
            );
            meter.take(serde_json::from_str(&line).unwrap(), at(s));
        }
        let progress = meter.read();
        assert_eq!((progress.rate_bytes_per_s, progress.files, progress.path.as_str()), (10_000, 20, "a/b"));
        let end = r#"{"type":"archive_progress","finished":true}"#;
        meter.take(serde_json::from_str(end).unwrap(), at(21));
        assert_eq!(meter.read().files, 20);
    }

    #[test]
    fn the_end_is_estimated_by_how_much_there_was_the_last_time() {
        assert_eq!(remaining_s(1000, 250, 250, 10_000), Some(30));
        assert_eq!(remaining_s(1000, 999, 999, 10_000), Some(1));
        assert_eq!(remaining_s(1000, 1000, 1000, 10_000), Some(0));
        assert_eq!(remaining_s(1000, 1001, 1001, 10_000), None, "there is more than the last time");
        assert_eq!(remaining_s(1000, 10, 10, 100), None, "it is too early");
        assert_eq!(remaining_s(1000, 10, 0, 60_000), None, "nothing moves");
        assert_eq!(remaining_s(u64::MAX, 1, 1, u64::MAX), None, "nobody lives as long");
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let mut meter = Meter::new(JobId(Uuid::from_u128(1)), 7, Some(1_000_000), at(0));
        meter.step("dump", at(0));
        for s in 0..=10 {
            let original_size = 1 + u64::try_from(s).unwrap() * 10_000;
            let line = ProgressLine::Archive {
                nfiles: 1,
                original_size,
                compressed_size: 1,
                deduplicated_size: 1,
                path: "a".into(),
            };
            meter.take(line, at(s));
        }
        let read = meter.read();
        assert_eq!((read.expected_bytes, read.remaining_s), (Some(1_000_000), Some(90)));
        meter.step("read-back", at(11));
        assert_eq!(meter.read().remaining_s, None);
        let none = Meter::new(JobId(Uuid::from_u128(1)), 7, Some(0), at(0));
        assert_eq!(none.read().expected_bytes, None);
    }
}

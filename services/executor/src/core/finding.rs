//! What one warning of borg says about one path.
//!
//! The accidents that this file prevents: data that is missing and called benign (P2), and a file of which borg wrote a
//! part, or zeros in place of what the repository has lost, put where a whole one stands.

use super::findings::{DAMAGED, NOT_WRITTEN, VANISHED};
use strongroom_domain::failure::{Finding, Severity};

/// What borg is at: the same words mean different things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Work {
    /// Anything else.
    #[default]
    Other,
    /// It writes files that are in an archive.
    Extracting,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// For people.
    pub finding: Finding,
    /// For what was extracted.
    pub harm: Harm,
}

/// What it means for a file that was extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// What there is of it is whole.
    None,
    /// A part of it was written.
    NotWhole,
    /// It is not what was backed up, but all that is left of it.
    Damaged,
    /// There was no room: borg goes on with the next, and nobody knows what had none.
    NoRoom,
}

/// Understands a warning; `None` when it is about no path that can be told.
pub fn understand(text: &str, work: Work) -> Option<Said> {
    if let Some(path) = text.strip_suffix(": file changed while we backed it up") {
        return Some(said(Severity::Benign, Some(path), "changed while it was read".to_owned(), Harm::None));
    }
    // `xattr.set_all`, which does not know of which file. Its content was written before.
    if text.starts_with("when setting extended attribute ")
        || text.starts_with("when getting extended attribute ")
    {
        return Some(said(Severity::Incomplete, None, text.to_owned(), Harm::None));
    }
    // Borg writes such a file out all the same (`extract_item` in its archive.py).
    if let Some(path) =
        text.strip_suffix(": File has damaged (all-zero) chunks. Try running borg check --repair.")
    {
        return Some(Said { finding: damaged(path), harm: Harm::Damaged });
    }
    if let Some((path, sizes)) = text.rsplit_once(": Size inconsistency detected: size ") {
        let message = format!("{DAMAGED}: it has not the size that it should have: {sizes}");
        return Some(said(Severity::Incomplete, Some(path), message, Harm::Damaged));
    }
    system_error(text, work)
}

/// `<path>: open: [Errno 13] Permission denied: 'x'`
fn system_error(text: &str, work: Work) -> Option<Said> {
    let errors: Vec<SystemError<'_>> =
        text.match_indices(": [Errno ").filter_map(|(at, _)| SystemError::at(text, at)).collect();
    // A name may hold such words itself: the first of them behind a known operation counts, and none of it is benign.
    let one = errors.len() == 1;
    let error = errors.iter().find(|e| e.operation.is_some()).or(errors.first())?;
    let SystemError { path, operation, number, words } = *error;
    // ENOENT while files are read: it was there when the folder was read, and is gone.
    if number == "2" && one && work != Work::Extracting {
        return Some(said(Severity::Benign, Some(path), VANISHED.to_owned(), Harm::None));
    }
    let wrote = matches!(operation, Some("write" | "truncate_and_attrs"));
    // ENOSPC, EDQUOT
    let no_room = work == Work::Extracting && matches!(number, "28" | "122");
    let message = match work {
        Work::Extracting if wrote => format!("{NOT_WRITTEN}: {words}"),
        Work::Extracting => format!("could not be restored: {}: {words}", operation.unwrap_or("unknown")),
        _ => words.to_owned(),
    };
    let harm = match (no_room, wrote) {
        (true, _) => Harm::NoRoom,
        (false, true) => Harm::NotWhole,
        (false, false) => Harm::None,
    };
    Some(said(Severity::Incomplete, Some(path), message, harm))
}

#[derive(Debug, Clone, Copy)]
struct SystemError<'a> {
    path: &'a str,
    operation: Option<&'static str>,
    number: &'a str,
    words: &'a str,
}

impl<'a> SystemError<'a> {
    fn at(text: &'a str, at: usize) -> Option<Self> {
        let (before, after) = text.split_at_checked(at)?;
        let (number, words) = after.strip_prefix(": [Errno ")?.split_once("] ")?;
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let known = OPERATIONS
            .iter()
            .find_map(|operation| Some((*operation, before.strip_suffix(operation)?.strip_suffix(": ")?)));
        Some(match known {
            Some((operation, path)) => Self { path, operation: Some(operation), number, words },
            None => Self { path: before, operation: None, number, words },
        })
    }
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

fn said(severity: Severity, path: Option<&str>, message: String, harm: Harm) -> Said {
    Said { finding: Finding { severity, path: path.map(str::to_owned), message }, harm }
}

/// Of a file with zeros in place of what the repository has lost.
pub fn damaged(path: &str) -> Finding {
    let message = format!("{DAMAGED}: zeros stand for parts that were lost");
    Finding { severity: Severity::Incomplete, path: Some(path.to_owned()), message }
}

/// A name as borg says it: a question mark for each byte that is no UTF-8 (`remove_surrogates`).
pub fn spoken(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| '?'));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn heard(text: &str, work: Work) -> (Severity, Option<String>, Harm) {
        let said = understand(text, work).unwrap();
        (said.finding.severity, said.finding.path, said.harm)
    }

    #[test]
    fn an_unreadable_file_is_missing_data_and_a_vanished_one_is_life() {
        let path = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            (
                "/a/b: c: open: [Errno 13] Permission denied: 'c'",
                (Severity::Incomplete, path("/a/b: c"), Harm::None),
            ),
            (
                "/a/b: stat: [Errno 2] No such file or directory: 'b'",
                (Severity::Benign, path("/a/b"), Harm::None),
            ),
            ("/a/b: file changed while we backed it up", (Severity::Benign, path("/a/b"), Harm::None)),
        ] {
            assert_eq!(heard(text, Work::Other), expected, "{text}");
        }
        // Nobody makes missing data benign by how he calls a file.
        let odd = "/a: stat: [Errno 2] b: open: [Errno 13] Permission denied: 'x'";
        assert_eq!(heard(odd, Work::Other).0, Severity::Incomplete);
    }

    #[test]
    fn what_is_not_whole_is_known_in_all_the_ways_that_borg_says_it() {
        for (text, path, harm) in [
            ("d/f: write: [Errno 5] Input/output error", "d/f", Harm::NotWhole),
            ("d/f: truncate_and_attrs: [Errno 5] Input/output error", "d/f", Harm::NotWhole),
            ("d/f: truncate_and_attrs: [Errno 27] File too large", "d/f", Harm::NotWhole),
            ("d/f: attrs: [Errno 1] Operation not permitted", "d/f", Harm::None),
            ("d/f: truncate_and_attrs: [Errno 28] No space left on device", "d/f", Harm::NoRoom),
            ("d/f: makedirs: [Errno 122] Disk quota exceeded", "d/f", Harm::NoRoom),
            ("d/f: link: [Errno 2] No such file or directory: 'a' -> 'b'", "d/f", Harm::None),
            (
                "d: f: File has damaged (all-zero) chunks. Try running borg check --repair.",
                "d: f",
                Harm::Damaged,
            ),
            ("d: f: Size inconsistency detected: size 3, chunks size 2", "d: f", Harm::Damaged),
        ] {
            let expected = (Severity::Incomplete, Some(path.to_owned()), harm);
            assert_eq!(heard(text, Work::Extracting), expected, "{text}");
        }
    }

    #[test]
    fn an_attribute_that_cannot_be_set_is_told_and_harms_no_content() {
        for words in [
            "[Errno 95] Operation not supported: '<FD 7>'",
            "fs full or xattr too big? ([Errno 28] No space)",
        ] {
            let text = format!("when setting extended attribute user.x: {words}");
            assert_eq!(heard(&text, Work::Extracting), (Severity::Incomplete, None, Harm::None));
        }
    }

    #[test]
    fn a_name_is_known_by_what_borg_calls_it() {
        assert_eq!(spoken(b"caf\xe9/\xe2\x82x\xc3\xa9"), "caf?/??x\u{e9}");
    }

    proptest! {
        #[test]
        fn no_name_makes_half_a_file_whole(path in ".{1,40}", number in 1..130_u32) {
            let text = format!("{path}: write: [Errno {number}] whatever");
            let said = understand(&text, Work::Extracting).unwrap();
            prop_assert_eq!(said.finding.severity, Severity::Incomplete);
        }
    }
}

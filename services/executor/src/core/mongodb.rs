//! What MongoDB's programs say, and how they are told things.

pub mod archive;
pub mod shell;
pub mod told;

use strongroom_domain::FailureCode;

/// What says that a server does not let us in, or not so far. It comes first: a server that refuses is also one that no
/// connection came about with.
const DENIED: [&str; 8] = [
    "AuthenticationFailed",
    "Authentication failed",
    "auth error",
    "SASL authentication step",
    "(Unauthorized)",
    "Unauthorized:",
    "not authorized on",
    "requires authentication",
];
/// What says that there was no connection, or none any more.
const UNREACHABLE: [&str; 17] = [
    "server selection error",
    "no reachable servers",
    "could not connect to server",
    "couldn't connect to server",
    "connection refused",
    "ECONNREFUSED",
    "ECONNRESET",
    "ENOTFOUND",
    "EAI_AGAIN",
    "no such host",
    "connection reset",
    "incomplete read of message header",
    "connection closed",
    "socket was unexpectedly closed",
    "i/o timeout",
    "MongoServerSelectionError",
    "can't load CA file",
];

/// A line without the time before it: `2026-11-21T14:54:55.646+0000<tab>Failed: ...`.
fn bare(line: &str) -> &str {
    match line.split_once('\t') {
        Some((time, words)) if time.starts_with(|c: char| c.is_ascii_digit()) && time.contains('T') => words,
        _ => line,
    }
    .trim()
}

/// The line that says why a program ended with an error.
fn reason(tail: &[String]) -> Option<&str> {
    let said = |words: &str| tail.iter().rev().map(|line| bare(line)).find(|line| line.contains(words));
    let begins = |words: &str| tail.iter().rev().map(|line| bare(line)).find(|line| line.starts_with(words));
    begins("Failed:")
        .or_else(|| begins("Mongo"))
        .or_else(|| said("error connecting to host"))
        .or_else(|| said("error parsing"))
        .or_else(|| said("rror"))
        .or_else(|| said("received; "))
        .or_else(|| tail.last().map(|line| bare(line)))
}

/// What people read of the last lines: the error itself, and not what comes before or after it.
pub fn words(tail: &[String]) -> String {
    reason(tail).map_or_else(|| "it said nothing".to_owned(), str::to_owned)
}

/// The cause of an end with an error, out of the last lines.
pub fn cause(tail: &[String]) -> FailureCode {
    let Some(reason) = reason(tail) else { return FailureCode::DumpFailed };
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&DENIED) {
        FailureCode::AccessDenied
    } else if says(&["No space left on device", "no space left on device", "OutOfDiskSpace"]) {
        FailureCode::NoSpace
    } else if says(&UNREACHABLE) {
        FailureCode::ServerUnreachable
    } else {
        FailureCode::DumpFailed
    }
}

/// How many documents mongorestore says that it has restored, and how many not. With the latter it ends well all the same.
pub fn restored(tail: &[String]) -> Option<(u64, u64)> {
    let line = tail.iter().rev().find(|line| line.contains("document(s) restored successfully."))?;
    let mut numbers = bare(line).split_whitespace().filter_map(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// The version that a program tells, or nothing, where it was built by somebody who did not say.
pub fn version(said: &str) -> Option<(u32, u32, u32)> {
    let word = said.lines().next()?.rsplit(' ').next()?.trim_start_matches(['r', 'v']);
    let mut numbers = word.split(['.', '-', '+']).map_while(|n| n.parse().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next().unwrap_or_default()))
}

/// Whether a program in this version takes its password out of a file (since 100.3; before 100 they were counted as the
/// server is). What says nothing of its version is believed to be of today.
pub fn takes_config(version: Option<(u32, u32, u32)>) -> bool {
    version.is_none_or(|version| version >= (100, 3, 0))
}

#[cfg(test)]
mod tests;

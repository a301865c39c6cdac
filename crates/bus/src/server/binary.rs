//! Finding a nats-server that is new enough.
//!
//! The accident that this file prevents: below 2.15.1 there are bugs in exactly what the log is built on (acknowledged
//! events that no disk has, work that vanishes from a queue), so an older server is never started.

use std::path::{Path, PathBuf};

/// A version, to be compared as numbers.
pub type Version = (u64, u64, u64);

/// The oldest version that will do.
pub const MINIMUM: Version = (2, 15, 1);

/// Why there is no nats-server to start.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// None was found.
    #[error(
        "no nats-server was found; set NATS_SERVER to one of at least 2.15.1, or let 'cargo xtask demo' install it"
    )]
    NotFound,
    /// It is too old.
    #[error(
        "{path} is nats-server {found}, but at least 2.15.1 is needed; set NATS_SERVER to a newer one, or let 'cargo xtask demo' install it"
    )]
    TooOld {
        /// Which file.
        path: String,
        /// Its version.
        found: String,
    },
    /// It does not run.
    #[error(
        "{path} does not say its version: {problem}; set NATS_SERVER to a nats-server of at least 2.15.1"
    )]
    Broken {
        /// Which file.
        path: String,
        /// What went wrong.
        problem: String,
    },
}

/// Finds a nats-server: `$NATS_SERVER` (which must then be right), the `PATH` when new enough, or `.tools/nats-server`
/// in the current folder or one above it.
pub fn find() -> Result<PathBuf, BinaryError> {
    find_or_in(None)
}

/// The same, and at last `nats-server` in this folder.
pub fn find_or_in(tools: Option<&Path>) -> Result<PathBuf, BinaryError> {
    let chosen = std::env::var_os("NATS_SERVER").filter(|p| !p.is_empty()).map(PathBuf::from);
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> =
        std::env::split_paths(&on_path).map(|folder| folder.join("nats-server")).collect();
    if let Ok(here) = std::env::current_dir() {
        candidates.extend(here.ancestors().map(|folder| folder.join(".tools/nats-server")));
    }
    candidates.extend(tools.map(|folder| folder.join("nats-server")));
    choose(chosen, candidates)
}

/// The chosen one, or the first candidate that will do; the error is about the last one that will not.
fn choose(chosen: Option<PathBuf>, candidates: Vec<PathBuf>) -> Result<PathBuf, BinaryError> {
    if let Some(chosen) = chosen {
        // Somebody chose this one, so a wrong one is an error and not a reason to take another.
        return check(&chosen).map(|()| chosen);
    }
    let mut why = BinaryError::NotFound;
    for candidate in candidates.into_iter().filter(|c| c.is_file()) {
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(e) => why = e,
        }
    }
    Err(why)
}

/// Checks that this file is a nats-server that is new enough.
pub fn check(path: &Path) -> Result<(), BinaryError> {
    let shown = path.display().to_string();
    let output = std::process::Command::new(path)
        .arg("--version")
        .output()
        .map_err(|e| BinaryError::Broken { path: shown.clone(), problem: e.to_string() })?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim().strip_prefix("nats-server: v").and_then(parse_version) {
        Some(version) if version >= MINIMUM => Ok(()),
        Some((a, b, c)) => Err(BinaryError::TooOld { path: shown, found: format!("{a}.{b}.{c}") }),
        None => Err(BinaryError::Broken { path: shown, problem: format!("it printed {:?}", text.trim()) }),
    }
}

/// Reads `2.15.1`, and what may stand behind it.
pub(super) fn parse_version(text: &str) -> Option<Version> {
    let mut parts = text.split(['.', '-', '+']).map(|p| p.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("2.15.1"), Some((2, 15, 1)));
        assert_eq!(parse_version("2.16.0-RC.1"), Some((2, 16, 0)));
        assert!(parse_version("2.9.10") < Some(MINIMUM), "nine is less than fifteen");
        assert_eq!(parse_version("no"), None);
    }

    /// A program that prints this. Another program writes it, because a file that this process has had open for writing
    /// may be busy still in a child that another test starts at the same moment.
    fn printing(folder: &Path, text: &str) -> PathBuf {
        let file = folder.join("nats-server");
        std::fs::create_dir_all(folder).unwrap();
        let mut install = std::process::Command::new("install")
            .args(["-m", "755", "/dev/stdin"])
            .arg(&file)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let script = format!("#!/bin/sh\necho '{text}'\n");
        install.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
        file
    }

    #[test]
    fn an_old_server_is_refused_by_a_sentence_that_helps() {
        let folder = tempfile::tempdir().unwrap();
        let old = printing(&folder.path().join("old"), "nats-server: v2.9.22");
        let refused = choose(None, vec![folder.path().join("absent"), old.clone()]).unwrap_err();
        let text = refused.to_string();
        for part in ["2.9.22", "2.15.1", "NATS_SERVER", &old.display().to_string()] {
            assert!(text.contains(part), "{text}");
        }
        let other = printing(&folder.path().join("other"), "something else v9.9.9");
        assert!(matches!(check(&other), Err(BinaryError::Broken { .. })));
        assert!(matches!(choose(None, vec![]), Err(BinaryError::NotFound)));
    }

    #[test]
    fn a_new_one_further_on_is_taken_unless_somebody_chose() {
        let folder = tempfile::tempdir().unwrap();
        let old = printing(&folder.path().join("old"), "nats-server: v2.14.9");
        let new = printing(&folder.path().join("new"), "nats-server: v2.15.1");
        assert_eq!(choose(None, vec![old.clone(), new.clone()]).unwrap(), new);
        assert!(matches!(choose(Some(old), vec![new]), Err(BinaryError::TooOld { .. })));
    }
}

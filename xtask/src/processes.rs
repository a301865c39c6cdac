//! The processes that a step has started, found by a mark in their environment.
//!
//! Tests start children in process groups of their own, and some of these lose their parent: neither the group nor the tree
//! finds them all, while the environment is inherited by every one.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The variable that holds the mark.
pub const MARK: &str = "STRONGROOM_XTASK_STEP";

/// How many looks in a row must find nothing.
const LOOKS: u32 = 3;

/// A process that still runs.
#[derive(Debug, Clone)]
pub struct Process {
    id: u32,
    name: String,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.id)
    }
}

/// All processes with this mark, except those that have ended and wait to be collected.
pub fn marked(mark: &str) -> Vec<Process> {
    let wanted = format!("{MARK}={mark}").into_bytes();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process that has ended has an empty environment here, so zombies do not count.
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        if id != std::process::id() && environment.split(|b| *b == 0).any(|variable| variable == wanted) {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(Process { id, name: name.trim().to_owned() });
        }
    }
    found
}

/// Those with this mark that have not ended by themselves after `grace`.
pub fn left_behind(mark: &str, grace: Duration) -> Vec<Process> {
    let deadline = Instant::now() + grace;
    let mut empty_looks = 0;
    loop {
        let found = marked(mark);
        // A process shows no environment while it becomes another program, so one empty look is not enough.
        empty_looks = if found.is_empty() { empty_looks + 1 } else { 0 };
        if empty_looks == LOOKS || (!found.is_empty() && Instant::now() >= deadline) {
            return found;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Ends all processes with this mark, by their ids.
pub fn end(mark: &str) {
    // More than one round, because a process can start another one between the look and the signal.
    for _ in 0..20 {
        let found = left_behind(mark, Duration::ZERO);
        if found.is_empty() {
            return;
        }
        // Sending a signal needs unsafe code or a program. Its complaints are about those that have ended meanwhile.
        let ids = found.iter().map(|p| p.id.to_string());
        if let Err(e) = Command::new("kill").arg("-KILL").args(ids).stderr(Stdio::null()).status() {
            eprintln!("xtask: kill does not start, so these processes go on: {found:?} ({e})");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_grandchild_in_a_group_of_its_own_is_found_and_ended() {
        let mark = format!("test-{}", std::process::id());
        let mut child =
            Command::new("setsid").args(["--fork", "sleep", "300"]).env(MARK, &mark).spawn().unwrap();
        assert!(child.wait().unwrap().success(), "setsid starts the grandchild and leaves it alone");
        let found = left_behind(&mark, Duration::ZERO);
        assert_eq!(found.len(), 1, "{found:?}");
        end(&mark);
        assert!(left_behind(&mark, Duration::from_secs(5)).is_empty());
    }
}

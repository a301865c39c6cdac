//! What the things on the machine said, and what that means for people. Pure.

use std::collections::BTreeMap;
use strongroom_domain::view::{Capabilities, Health, Usable};

/// The oldest borg that is used, as (major, minor).
const OLDEST_BORG: (u32, u32) = (1, 2);

/// It can be used.
pub fn usable(version: Option<String>) -> Usable {
    Usable { usable: true, version, problem: None }
}

/// It cannot be used, for this reason.
pub fn unusable(problem: impl Into<String>) -> Usable {
    Usable { usable: false, version: None, problem: Some(problem.into()) }
}

/// The version in what a program prints about itself: the first word that begins with a digit.
pub fn version_in(text: &str) -> Option<String> {
    text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(ToOwned::to_owned)
}

/// What borg's version and its refusal to mount onto something that is no folder say. Borg looks for FUSE before it looks
/// at anything else, so the refusal tells whether `borg mount` would work without mounting anything.
pub fn borg(version: &str, mount: &str) -> Usable {
    let Some(version) = version_in(version) else {
        return unusable(
            "The borg on this machine does not say its version; install borg 1.2 or newer (package 'borgbackup').",
        );
    };
    if !is_new_enough(&version) {
        let problem = format!("Borg {version} is too old; install borg 1.2 or newer (package 'borgbackup').");
        return Usable { version: Some(version), ..unusable(problem) };
    }
    if mount.contains("no FUSE support") {
        let problem = "This borg cannot mount: install its FUSE part (package 'python3-pyfuse3' or 'python3-llfuse', or the Python extra 'borgbackup[pyfuse3]').";
        return Usable { version: Some(version), ..unusable(problem) };
    }
    if !mount.contains("Mountpoint must be") {
        let problem = format!("'borg mount' fails in an unknown way: {}", first_line(mount));
        return Usable { version: Some(version), ..unusable(problem) };
    }
    usable(Some(version))
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= OLDEST_BORG,
        _ => false,
    }
}

/// The first line, cut: it goes into a sentence.
pub fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or("it says nothing").chars().take(200).collect()
}

/// How recovery is: what is not usable limits it and does not stop it.
pub fn health(connected: bool, sequence: Option<u64>, capabilities: Option<&Capabilities>) -> Health {
    let mut problems = Vec::new();
    let mut numbers = BTreeMap::new();
    if !connected {
        problems.push("Recovery has no connection to the log.".to_owned());
    } else if sequence.is_none() {
        problems.push("Recovery has not caught up with the log yet.".to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
    numbers.insert("recovery_position".to_owned(), sequence.unwrap_or_default() as f64);
    if let Some(Capabilities { docker, fuse, borg }) = capabilities {
        for (name, part) in [("docker", docker), ("fuse", fuse), ("borg", borg)] {
            numbers.insert(format!("recovery_{name}_usable"), if part.usable { 1.0 } else { 0.0 });
            problems.extend(part.problem.clone());
        }
    }
    Health { ready: connected && sequence.is_some() && capabilities.is_some(), problems, numbers }
}

#[cfg(test)]
mod tests;

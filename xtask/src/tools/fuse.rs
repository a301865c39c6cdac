//! The part of borg that mounts archives, which Debian has in a package of its own.

use super::apt;
use crate::Result;
use std::process::Command;

/// Debian's package with it.
const PACKAGE: &str = "python3-pyfuse3";

/// Installs it when borg says that it has none.
pub fn ensure() -> Result<()> {
    // Something that is no folder: borg refuses it, and nothing is ever mounted.
    let said = Command::new("borg").args(["mount", "/dev/null", "/dev/null"]).output();
    let said = said.map_err(|e| format!("borg: {e}"))?;
    if !String::from_utf8_lossy(&said.stderr).contains("no FUSE support") {
        return Ok(());
    }
    println!("installing {PACKAGE}: lets borg mount archives (from this distribution through apt-get)");
    apt::install(&[PACKAGE])
}

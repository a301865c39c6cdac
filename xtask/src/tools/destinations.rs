//! Servers that the tests store to: each test starts one of its own.

use super::{apt, on_path};
use crate::{Result, child, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Keeps the package from starting a server of its own, now and at each boot: its service looks for this file.
const NOT_TO_BE_RUN: &str = "/etc/ssh/sshd_not_to_be_run";

/// The emulator, pinned: what was tested is what is installed.
const AZURITE: &str = "azurite@3.37.0";

/// For its download, with some 450 packages that it needs.
const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Finds them, and installs what is missing.
pub fn ensure() -> Result<()> {
    ssh_server()?;
    gpg()?;
    azurite()
}

fn ssh_server() -> Result<()> {
    let there = || Path::new("/usr/sbin/sshd").is_file() || Path::new("/usr/local/sbin/sshd").is_file();
    if there() {
        return Ok(());
    }
    println!(
        "installing sshd: the tests store over SFTP (package openssh-server, from this distribution through apt-get; its own \
         service is kept from running by {NOT_TO_BE_RUN})"
    );
    apt::place("", NOT_TO_BE_RUN, "644")?;
    apt::install(&["openssh-server"])?;
    if there() {
        Ok(())
    } else {
        Err("package openssh-server is installed, but there is still no sshd".to_owned())
    }
}

fn gpg() -> Result<()> {
    if on_path("gpg").is_some() && on_path("gpg-agent").is_some() {
        return Ok(());
    }
    println!(
        "installing gpg: the tests store for people who have keys of it (packages gnupg and gpg-agent, from this distribution \
         through apt-get)"
    );
    apt::install(&["gnupg", "gpg-agent"])
}

fn azurite() -> Result<()> {
    let folder = workspace::root().join(".tools/azurite");
    let chosen = std::env::var_os("AZURITE_BLOB").filter(|chosen| !chosen.is_empty());
    if chosen.is_some_and(|chosen| PathBuf::from(chosen).is_file()) || program(&folder).is_file() {
        return Ok(());
    }
    println!(
        "installing Azurite: Microsoft's emulator of Azure Blob Storage, which the tests store to (package {AZURITE}, from the npm \
         registry through npm, into .tools/)"
    );
    if on_path("npm").is_none() {
        println!(
            "installing npm: fetches it (packages nodejs and npm, from this distribution through apt-get)"
        );
        apt::install(&["nodejs", "npm"])?;
    }
    // Aside, so that an installation that breaks off is not taken for a whole one.
    let scratch = workspace::root().join(format!(".tools/azurite-{}", std::process::id()));
    let installed = install(&scratch).and_then(|()| {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::rename(&scratch, &folder).map_err(|e| format!("{}: {e}", folder.display()))
    });
    let _ = std::fs::remove_dir_all(&scratch);
    installed
}

fn install(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev"])
        .args(["--omit=optional", "--prefix"])
        .arg(folder)
        .arg(AZURITE);
    if !child::run(&mut npm, DEADLINE)?.success() {
        return Err(format!("npm did not install {AZURITE}; its output is above"));
    }
    if program(folder).is_file() {
        Ok(())
    } else {
        Err(format!("there is no {} in package {AZURITE}", program(Path::new("")).display()))
    }
}

/// Where `strongroom_testkit::Azurite` looks for it as well.
fn program(folder: &Path) -> PathBuf {
    folder.join("node_modules/azurite/dist/src/blob/main.js")
}

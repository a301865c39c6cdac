//! The programs that the product needs, and their installation where they are missing.
//!
//! Nothing is installed before a line has said what, why and from where, and nothing at all when everything is there.

mod apt;
pub mod components;
pub mod databases;
pub mod destinations;
pub mod docker;
pub mod fuse;
mod nats_server;
mod postgresql;
mod wheel;

use crate::Result;
use std::path::{Path, PathBuf};

/// A program from the distribution.
struct Program {
    /// The file to look for on the `PATH`.
    name: &'static str,
    /// The Debian package that has it.
    package: &'static str,
    /// What it is for.
    why: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program { name: "borg", package: "borgbackup", why: "makes and reads the archives" },
    Program { name: "setpriv", package: "util-linux", why: "ends nats-server when its parent dies" },
    Program { name: "kill", package: "procps", why: "asks nats-server to stop" },
];

/// What is there once everything is installed.
pub struct Tools {
    /// A nats-server that is new enough.
    pub nats_server: PathBuf,
}

/// Finds everything, and installs what is missing.
pub fn ensure() -> Result<Tools> {
    let missing: Vec<&Program> = PROGRAMS.iter().filter(|p| on_path(p.name).is_none()).collect();
    for program in &missing {
        println!(
            "installing {}: {} (package {}, from this distribution through apt-get)",
            program.name, program.why, program.package
        );
    }
    if !missing.is_empty() {
        apt::install(&missing.iter().map(|p| p.package).collect::<Vec<_>>())?;
        if let Some(program) = missing.iter().find(|p| on_path(p.name).is_none()) {
            return Err(format!(
                "package {} is installed, but {} is still not on the PATH",
                program.package, program.name
            ));
        }
    }
    Ok(Tools { nats_server: nats_server::ensure()? })
}

/// The first file of this name on the `PATH` that may be executed.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

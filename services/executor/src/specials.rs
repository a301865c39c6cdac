//! What borg must not open in a folder while it reads pipes as files.
//!
//! The accident that this file prevents: a backup that hangs for ever, or fills the repository. With `--read-special` borg
//! opens every pipe and every device that it meets, and every link to one: `/dev/stdout` in a folder of logs, a link to
//! `/dev/zero`, or a pipe that nobody writes to. Without it the dumps could not flow. So they are looked for, and left out
//! by their exact path.

use std::fs::{FileType, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use strongroom_domain::source::Files;
use strongroom_domain::{Failure, FailureCode};

/// More of them are no accident: somebody backs up devices.
const MOST: usize = 2000;

/// Those at and below the paths of a source, in order.
pub fn find(files: &Files) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for path in &files.paths {
        let path = Path::new(path);
        // What is not there is told by borg.
        let Ok(there) = path.symlink_metadata() else { continue };
        let device = files.one_file_system.then(|| there.dev());
        look(path, there.file_type(), device, &mut found)?;
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn look(path: &Path, kind: FileType, device: Option<u64>, found: &mut Vec<String>) -> Result<(), Failure> {
    let mut folders: Vec<PathBuf> = Vec::new();
    take(path, kind, &mut folders, found)?;
    while let Some(folder) = folders.pop() {
        let is_elsewhere = |of: Metadata| device.is_some_and(|device| of.dev() != device);
        if folder.symlink_metadata().is_ok_and(is_elsewhere) {
            continue;
        }
        // What cannot be read here cannot be read by borg, which tells it.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if let Ok(kind) = entry.file_type() {
                take(&entry.path(), kind, &mut folders, found)?;
            }
        }
    }
    Ok(())
}

fn take(
    path: &Path,
    kind: FileType,
    folders: &mut Vec<PathBuf>,
    found: &mut Vec<String>,
) -> Result<(), Failure> {
    if kind.is_dir() {
        folders.push(path.to_owned());
        return Ok(());
    }
    let is_special = |kind: FileType| kind.is_fifo() || kind.is_char_device() || kind.is_block_device();
    let leads_to_one = || kind.is_symlink() && path.metadata().is_ok_and(|to| is_special(to.file_type()));
    if !is_special(kind) && !leads_to_one() {
        return Ok(());
    }
    let refused = |why: &str| {
        let message = format!("{} is a pipe or a device, or a link to one, and {why}", path.display());
        Failure::new(FailureCode::DumpFailed, message)
    };
    let name = path.to_str().ok_or_else(|| refused("its name is no text, so it cannot be left out"))?;
    if found.len() == MOST {
        return Err(refused(
            "there are too many of them; exclude the folder, or back it up by a plan for files",
        ));
    }
    found.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use rustix::fs::{CWD, Mode, mknodat};
    use std::os::unix::fs::symlink;

    #[test]
    fn pipes_devices_and_links_to_them_are_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("a/b c")).unwrap();
        std::fs::write(at("a/plain"), "x").unwrap();
        let pipe = at("a/b c/pi*pe\n");
        mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        for (name, to) in
            [("null", "/dev/null"), ("folder", "/"), ("file", "a/plain"), ("loop", "loop"), ("none", "x")]
        {
            symlink(to, at(name)).unwrap();
        }
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let paths = vec![folder.path().display().to_string(), "/dev/zero".into(), "/not/there".into()];
        let files = Files { paths, excludes: Vec::new(), one_file_system: true, exclude_caches: false };
        let mut expected = [pipe, at("null"), "/dev/zero".into()];
        expected.sort();
        assert_eq!(
            find(&files).unwrap(),
            expected.iter().map(|p| p.display().to_string()).collect::<Vec<_>>()
        );
    }
}

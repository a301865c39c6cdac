//! Scratch folders of restores: made beside their target, gone with the restore, and noted so that what a killed
//! executor has left is found.
//!
//! The accident that this file prevents: what is removed is more than what was made, because a link or another file
//! system came to lie in between.

use crate::jobs::ground::Ground;
use crate::mounts::Mounts;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use strongroom_domain::JobId;

/// How their names begin.
const PREFIX: &str = ".strongroom-restore-";

/// A scratch folder. Dropped, it is removed by a thread of its own; [`Scratch::remove`] does it here and now.
pub struct Scratch(Option<Made>);

struct Made {
    /// Where it was made.
    path: PathBuf,
    /// The folder itself, whatever stands at that path by now.
    folder: OwnedFd,
    note: PathBuf,
}

impl Scratch {
    /// Makes one inside of a folder, on its file system, for nobody else to see.
    pub fn make(ground: &Ground, job: JobId, epoch: u64, part: usize, notes: &Path) -> io::Result<Self> {
        // Of this attempt alone: one that was overtaken must not remove what the next one works with.
        let name = OsString::from(format!("{PREFIX}{job}-{epoch}-{part}"));
        let (path, note) = (ground.shown(&name), notes.join(format!("{job}-{epoch}-{part}")));
        // Noted first: a folder that is not noted would stay for ever.
        fs::write(&note, path.as_os_str().as_encoded_bytes())?;
        let at = ground.at(&name);
        remove(&at, &path)?;
        fs::DirBuilder::new().mode(0o700).create(&at)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(CWD, &at, flags, Mode::empty())?;
        let made = Made { path, folder, note };
        // Somebody who may write in the folder around it may have put another in its place.
        let metadata = fs::metadata(made.itself())?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
            return Err(io::Error::new(ErrorKind::PermissionDenied, "it is not the folder that was made"));
        }
        Ok(Self(Some(made)))
    }

    /// How it is reached, whatever becomes of the folders above it.
    pub fn path(&self) -> PathBuf {
        self.0.as_ref().map(Made::itself).unwrap_or_default()
    }

    /// Removes it; a large one takes a while.
    pub fn remove(mut self) {
        if let Some(made) = self.0.take() {
            made.remove();
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(made) = self.0.take() {
            // Nothing waits for it. When the process ends before it, the note is still there.
            let _ = std::thread::Builder::new().name("scratch".into()).spawn(move || made.remove());
        }
    }
}

impl Made {
    fn itself(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd()))
    }

    fn remove(self) {
        match self.try_remove() {
            Ok(()) => {
                let _ = fs::remove_file(&self.note);
            }
            // The note stays, and the next start tries again.
            Err(e) => {
                tracing::warn!(path = %self.path.display(), error = %e, "a scratch folder was not removed")
            }
        }
    }

    fn try_remove(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.itself())? {
            let name = entry?.file_name();
            remove(&self.itself().join(&name), &self.path.join(&name))?;
        }
        match fs::remove_dir(&self.path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// Removes what restores of an earlier life have left.
pub fn clear(notes: &Path) {
    let notes = fs::read_dir(notes).into_iter().flatten().flatten();
    for note in notes {
        let path = fs::read(note.path()).unwrap_or_default();
        // The very bytes: a name need not be UTF-8.
        let path = PathBuf::from(OsString::from_vec(path));
        let removed = if is_ours(&path, &note.file_name()) { remove(&path, &path) } else { Ok(()) };
        match removed {
            Ok(()) => {
                let _ = fs::remove_file(note.path());
            }
            Err(e) => tracing::warn!(path = %path.display(), error = %e, "a scratch folder was not removed"),
        }
    }
}

/// Called as its note says. Somebody's own folder may begin with the same words.
fn is_ours(path: &Path, note: &OsStr) -> bool {
    let mut name = OsString::from(PREFIX);
    name.push(note);
    path.is_absolute() && path.file_name() == Some(&name)
}

/// Removes a file or a folder with all that is in it, but no other file system. A link is removed and not followed.
fn remove(path: &Path, shown: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => {
            let mounts = Mounts::of(&fs::read("/proc/self/mountinfo")?);
            if let Some(mounted) = mounts.at_or_below(shown) {
                let message = format!("a file system is mounted at {}", mounted.display());
                return Err(io::Error::other(message));
            }
            fs::remove_dir_all(path).or_else(|e| {
                if e.kind() != ErrorKind::PermissionDenied {
                    return Err(e);
                }
                // Folders that are read-only bind those that are not root, in what is their own as well.
                open_up(path)?;
                fs::remove_dir_all(path)
            })
        }
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use uuid::Uuid;

    fn made() -> (tempfile::TempDir, PathBuf, Scratch) {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("target")).unwrap();
        fs::create_dir(top.join("notes")).unwrap();
        let ground = Ground::open(&top.join("target"), std::slice::from_ref(&top)).unwrap().unwrap();
        let scratch = Scratch::make(&ground, JobId(Uuid::from_u128(7)), 1, 0, &top.join("notes")).unwrap();
        fs::create_dir(scratch.path().join("d")).unwrap();
        fs::write(scratch.path().join("d/x"), "x").unwrap();
        (folder, top, scratch)
    }

    fn left(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn what_was_made_is_removed_and_not_what_stands_in_its_place_by_now() {
        let (_folder, top, scratch) = made();
        let place = fs::read_link(scratch.path()).unwrap();
        fs::create_dir(top.join("precious")).unwrap();
        fs::write(top.join("precious/x"), "mine").unwrap();
        fs::rename(&place, top.join("target/moved")).unwrap();
        std::os::unix::fs::symlink(top.join("precious"), &place).unwrap();
        scratch.remove();
        assert_eq!(fs::read_to_string(top.join("precious/x")).unwrap(), "mine");
        assert_eq!(left(&top.join("target/moved")), 0);
    }

    #[test]
    fn only_what_is_called_as_its_note_says_is_cleared() {
        let (_folder, top, scratch) = made();
        let made = scratch.0.as_ref().unwrap();
        let own = top.join(format!("target/{PREFIX}of-somebody"));
        fs::create_dir(&own).unwrap();
        fs::write(top.join("notes/odd"), own.as_os_str().as_encoded_bytes()).unwrap();
        let path = made.path.clone();
        clear(&top.join("notes"));
        assert!(own.exists() && !path.exists());
        assert_eq!(left(&top.join("notes")), 0);
    }
}

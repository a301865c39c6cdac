//! Folders of a target, held open.
//!
//! The accident that this file prevents: between the look at a path and the use of it, somebody puts a link there that
//! leads elsewhere. A folder is opened once, it is asked where it is, and everything goes through what was opened.

use super::init::file_failure;
use crate::core::paths::root_of;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags, openat, statx};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use strongroom_domain::{Failure, FailureCode};

/// One of them. It is inside of a root, or above one on the way into it.
pub struct Ground {
    folder: OwnedFd,
    real: PathBuf,
    inside: bool,
}

impl Ground {
    /// The folder at this path; `None` when nothing is there.
    pub fn open(path: &Path, roots: &[PathBuf]) -> Result<Option<Self>, Failure> {
        Self::open_with(path, path, OFlags::empty(), roots)
    }

    /// The folder of this name in it, by a link as well.
    pub fn below(&self, name: &OsStr, roots: &[PathBuf]) -> Result<Option<Self>, Failure> {
        Self::open_with(&self.at(name), &self.shown(name), OFlags::empty(), roots)
    }

    /// The folder at this path; what is missing of it is made.
    pub fn make(path: &Path, roots: &[PathBuf]) -> Result<Self, Failure> {
        let mut missing: Vec<OsString> = Vec::new();
        let mut there = path.to_owned();
        let mut ground = loop {
            if let Some(ground) = Self::open(&there, roots)? {
                break ground;
            }
            match (there.file_name().map(OsStr::to_owned), there.parent().map(Path::to_owned)) {
                (Some(name), Some(parent)) => {
                    missing.push(name);
                    there = parent;
                }
                _ => return Err(file_failure(&path.display().to_string(), &io::ErrorKind::NotFound.into())),
            }
        };
        for name in missing.iter().rev() {
            ground.takes_entries()?;
            match fs::create_dir(ground.at(name)) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(file_failure(&ground.shown(name).display().to_string(), &e));
                }
                _ => {}
            }
            // What was made is no link.
            let made = Self::open_with(&ground.at(name), &ground.shown(name), OFlags::NOFOLLOW, roots)?;
            let gone =
                || file_failure(&ground.shown(name).display().to_string(), &io::ErrorKind::NotFound.into());
            ground = made.ok_or_else(gone)?;
        }
        Ok(ground)
    }

    fn open_with(
        path: &Path,
        shown: &Path,
        more: OFlags,
        roots: &[PathBuf],
    ) -> Result<Option<Self>, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
        let folder = match openat(CWD, path, flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(file_failure(&shown.display().to_string(), &e.into())),
        };
        let real =
            fs::read_link(by_number(&folder)).map_err(|e| file_failure(&shown.display().to_string(), &e))?;
        let inside = root_of(&real, roots).is_some();
        if !inside && !roots.iter().any(|root| root.starts_with(&real)) {
            let message =
                format!("{} leads to {}, outside of the allowed folders", shown.display(), real.display());
            return Err(Failure::new(FailureCode::TargetRefused, message));
        }
        Ok(Some(Self { folder, real, inside }))
    }

    /// How it itself is reached.
    pub fn path(&self) -> PathBuf {
        by_number(&self.folder)
    }

    /// How what is called so in it is reached, whatever becomes of the folders above.
    pub fn at(&self, name: &OsStr) -> PathBuf {
        self.path().join(name)
    }

    /// Where that is, for people.
    pub fn shown(&self, name: &OsStr) -> PathBuf {
        self.real.join(name)
    }

    /// What stands there, if something does.
    pub fn standing(&self, name: &OsStr) -> Result<Option<Metadata>, Failure> {
        match self.at(name).symlink_metadata() {
            Ok(metadata) => Ok(Some(metadata)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(file_failure(&self.shown(name).display().to_string(), &e)),
        }
    }

    /// Whether it is inside of a root.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// A folder that is only above a root is passed through on the way into it: nothing is put into it.
    pub fn takes_entries(&self) -> Result<(), Failure> {
        if !self.inside {
            let message = format!("{} is outside of the allowed folders", self.real.display());
            return Err(Failure::new(FailureCode::TargetRefused, message));
        }
        self.is_not_fixed(OsStr::new("."))
    }

    /// `chattr +i` and `+a` bind the administrator as well.
    pub fn is_not_fixed(&self, name: &OsStr) -> Result<(), Failure> {
        let attributes = statx(CWD, self.at(name), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
        // Not every file system has them.
        let attributes = attributes.map_or(StatxAttributes::empty(), |found| found.stx_attributes);
        if attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
            let message = format!(
                "{} is immutable or append-only; take that from it with 'chattr -i -a' first",
                self.shown(name).display()
            );
            return Err(Failure::new(FailureCode::TargetRefused, message));
        }
        Ok(())
    }
}

fn by_number(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_was_opened_is_what_is_used_whatever_comes_to_stand_at_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let (roots, outside) = ([top.join("root")], top.join("outside"));
        fs::create_dir_all(top.join("root/in")).unwrap();
        fs::create_dir(&outside).unwrap();
        let ground = Ground::make(&top.join("root/in/new/deep"), &roots).unwrap();
        fs::rename(top.join("root/in/new"), top.join("root/moved")).unwrap();
        std::os::unix::fs::symlink(&outside, top.join("root/in/new")).unwrap();
        fs::write(ground.at(OsStr::new("x")), "x").unwrap();
        assert!(top.join("root/moved/deep/x").exists());
        for through in ["root/in/new", "root/in/new/deeper"] {
            let refused = Ground::make(&top.join(through), &roots).err().unwrap();
            assert_eq!(refused.code, FailureCode::TargetRefused, "{through}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made outside");
        let above = Ground::open(&top, &roots).unwrap().unwrap();
        assert_eq!(above.takes_entries().unwrap_err().code, FailureCode::TargetRefused);
    }
}

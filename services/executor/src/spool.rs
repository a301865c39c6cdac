//! Spools: where the log of a server lies from when it was received until an archive that holds it is known of.
//!
//! The accident that this file prevents: a stretch of the log that the server has let go of, because it was received, and
//! that is in no archive, because the attempt died. Nothing is removed from a spool before the log of Strongroom itself names
//! an archive that holds it.

use crate::child::User;
use crate::core::wal::File;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use strongroom_domain::PlanId;

/// The spool of a plan.
pub struct Spool(PathBuf);

impl Spool {
    /// The one of this plan, whether it is there or not.
    pub fn of(spools: &Path, plan: &PlanId) -> Self {
        Self(spools.join(plan.as_str()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// Makes it, for nobody but the one who fills it.
    pub fn make(&self, user: Option<User>) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(&self.0) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        if let Some(User { uid, gid }) = user {
            chown(&self.0, Some(uid), Some(gid))?;
        }
        match self.0.parent() {
            Some(spools) => fs::File::open(spools)?.sync_all(),
            None => Ok(()),
        }
    }

    /// What is in it, with its sizes.
    pub fn files(&self) -> io::Result<Vec<File>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            files.push((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len()));
        }
        files.sort();
        Ok(files)
    }

    /// Removes some of it.
    pub fn remove(&self, names: &[String]) -> io::Result<()> {
        names.iter().try_for_each(|name| fs::remove_file(self.0.join(name)))
    }

    /// Removes what is in it.
    pub fn clear(&self) -> io::Result<()> {
        let names: Vec<String> = self.files()?.into_iter().map(|(name, _)| name).collect();
        self.remove(&names)
    }

    /// Removes it.
    pub fn retire(&self) -> io::Result<()> {
        self.clear()?;
        fs::remove_dir(&self.0)
    }

    /// What was received is on the disk, and so are its names.
    pub fn keep(&self, names: &[String]) -> io::Result<()> {
        for name in names {
            fs::File::open(self.0.join(name))?.sync_all()?;
        }
        fs::File::open(&self.0)?.sync_all()
    }
}

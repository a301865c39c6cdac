//! Lists of the files of servers (`backup_manifest`), on which the next archives of changed blocks are made.
//!
//! The accident that this file prevents: changes since another moment than the one that the last archive is of. A list is
//! called by its digest, which the archive says: that of an archive which came to nothing is never asked for, and one that
//! was changed on the disk is not taken for what it was.

use crate::child::User;
use crate::core::sum::Sum;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use strongroom_domain::PlanId;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// The lists of a plan.
#[derive(Clone)]
pub struct Manifests {
    folder: PathBuf,
    user: Option<User>,
}

impl Manifests {
    /// Those of this plan, whether there are any or not; `user` reads them.
    pub fn of(manifests: &Path, plan: &PlanId, user: Option<User>) -> Self {
        Self { folder: manifests.join(plan.as_str()), user }
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Whether the list with this digest is there, as it was.
    pub fn holds(&self, sha256: &str) -> io::Result<bool> {
        let mut file = match File::open(self.folder.join(sha256)) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        let (mut sum, mut piece) = (Sum::default(), vec![0; PIECE_BYTES]);
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(sum.finish().sha256 == sha256),
                read => sum.add(piece.get(..read).unwrap_or_default()),
            }
        }
    }

    /// Makes a file one of them: it is on the disk, and so is its name.
    pub fn take_in(&self, file: &Path, sha256: &str) -> io::Result<()> {
        // With the one above it, should somebody have cleared that away.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        File::open(file)?.sync_all()?;
        self.give(&self.folder)?;
        self.give(file)?;
        fs::rename(file, self.folder.join(sha256))?;
        File::open(&self.folder)?.sync_all()?;
        self.folder.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
    }

    /// Removes all but one.
    pub fn keep_only(&self, sha256: &str) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name() != sha256 {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes them all.
    pub fn retire(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        self.user.map_or(Ok(()), |User { uid, gid }| chown(path, Some(uid), Some(gid)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::core::sum;

    #[test]
    fn a_list_is_there_only_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let manifests = Manifests::of(&folder.path().join("all"), &"pg".parse().unwrap(), None);
        let (old, new) = (sum::of(b"old").sha256, sum::of(b"new").sha256);
        assert!(!manifests.holds(&old).unwrap());
        fs::remove_dir_all(folder.path().join("all")).unwrap_or_default();
        for (sha256, text) in [(&old, "old"), (&new, "new")] {
            let scratch = folder.path().join("scratch");
            fs::write(&scratch, text).unwrap();
            manifests.take_in(&scratch, sha256).unwrap();
            assert!(manifests.holds(sha256).unwrap() && !scratch.exists());
        }
        manifests.keep_only(&new).unwrap();
        assert!(!manifests.holds(&old).unwrap() && manifests.holds(&new).unwrap());
        fs::write(manifests.path().join(&new), "changed").unwrap();
        assert!(!manifests.holds(&new).unwrap());
        manifests.retire().unwrap();
        manifests.retire().unwrap();
        assert!(!manifests.path().exists());
    }
}

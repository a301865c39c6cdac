//! Scratch folders of restores: made beside their target, gone with the restore, and noted so that what a killed
//! executor has left is found.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use strongroom_domain::JobId;

/// A scratch folder. Dropped, it is removed.
pub struct Scratch {
    path: PathBuf,
    note: PathBuf,
}

impl Scratch {
    /// Makes one inside `folder`, on its file system, for nobody else to see.
    pub fn make(folder: &Path, job: JobId, epoch: u64, part: usize, notes: &Path) -> std::io::Result<Self> {
        // Of this attempt alone: one that was overtaken must not remove what the next one works with.
        let path = folder.join(format!(".strongroom-restore-{job}-{epoch}-{part}"));
        let note = notes.join(format!("{job}-{epoch}-{part}"));
        // Noted first: a folder that is not noted would stay for ever.
        std::fs::write(&note, path.as_os_str().as_encoded_bytes())?;
        remove(&path)?;
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, note })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match where_it_may_take_its_time(|| remove(&self.path)) {
            Ok(()) => {
                let _ = std::fs::remove_file(&self.note);
            }
            // The note stays, and the next start tries again.
            Err(e) => {
                tracing::warn!(path = %self.path.display(), error = %e, "a scratch folder was not removed")
            }
        }
    }
}

/// Removes what restores of an earlier life have left.
pub fn clear(notes: &Path) {
    where_it_may_take_its_time(|| clear_now(notes));
}

fn clear_now(notes: &Path) {
    let notes = std::fs::read_dir(notes).into_iter().flatten().flatten();
    for note in notes {
        let path = std::fs::read(note.path()).unwrap_or_default();
        // The very bytes: a name need not be UTF-8.
        let path = PathBuf::from(OsString::from_vec(path));
        let ours = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(".strongroom-restore-"));
        let removed = if ours { remove(&path) } else { Ok(()) };
        match removed {
            Ok(()) => {
                let _ = std::fs::remove_file(note.path());
            }
            Err(e) => tracing::warn!(path = %path.display(), error = %e, "a scratch folder was not removed"),
        }
    }
}

/// A large tree takes minutes to remove: meanwhile the other tasks of this thread (the heartbeat, the lease) go on elsewhere.
fn where_it_may_take_its_time<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

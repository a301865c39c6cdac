//! Moving within a file system.
//!
//! The accident that this file prevents: something that came to stand there this very moment is overwritten, or what gave
//! way is gone before the other stands.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::io;
use std::path::Path;

/// Renames, and never over something, not even over what came to be this moment.
pub fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can; there it is looked at first.
        Err(e) if cannot(e) => match to.symlink_metadata() {
            Ok(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            Err(_) => fs::rename(from, to),
        },
        renamed => Ok(renamed?),
    }
}

/// Puts one in the other's place. What stood there is in the scratch folder then, and goes with it: it is removed after
/// the new one stands, and not before.
pub fn exchange(source: &Path, target: &Path) -> io::Result<()> {
    match renameat_with(CWD, source, CWD, target, RenameFlags::EXCHANGE) {
        Err(e) if cannot(e) => exchange_in_steps(source, target),
        exchanged => Ok(exchanged?),
    }
}

/// The same, where the file system cannot do it at once.
pub fn exchange_in_steps(source: &Path, target: &Path) -> io::Result<()> {
    for n in 0_u32.. {
        let aside = source.with_file_name(format!(".strongroom-aside-{n}"));
        match rename_to_free(target, &aside) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            moved => moved?,
        }
        return rename_to_free(source, target).inspect_err(|_| {
            // The old one goes back to where it stood; if that fails as well, the first error is what is told.
            let _ = rename_to_free(&aside, target);
        });
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// The file system does not know this way to rename.
fn cannot(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)
}

//! What stands in a folder, and whether it is what would be put there.

use super::init::file_failure;
use rustix::fs::{AtFlags, CWD, OFlags, StatxFlags, statx};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use strongroom_domain::Failure;

/// All that is in a folder; links are not followed.
pub fn entries(folder: &Path) -> Result<Vec<(PathBuf, OsString, Metadata)>, Failure> {
    let failed = |e: io::Error| file_failure(&folder.display().to_string(), &e);
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry.path().symlink_metadata().map_err(failed)?;
        out.push((entry.path(), entry.file_name(), metadata));
    }
    Ok(out)
}

/// Whether something is a folder, or a link to one.
pub fn leads_to_folder(target: &Path, there: &Metadata) -> bool {
    there.is_dir() || (there.is_symlink() && target.is_dir())
}

/// Whether what stands there is what would be put there.
pub fn same(source: &Path, new: &Metadata, target: &Path, there: &Metadata) -> io::Result<bool> {
    if new.file_type() != there.file_type() {
        return Ok(false);
    }
    if new.is_symlink() {
        return Ok(fs::read_link(source)? == fs::read_link(target)?);
    }
    let alike = new.len() == there.len()
        && new.mode() == there.mode()
        && (new.uid(), new.gid()) == (there.uid(), there.gid());
    if !alike || new.mtime() != there.mtime() {
        return Ok(false);
    }
    if !new.is_file() {
        // Pipes and devices have no content; an earlier attempt at this restore may have put them there.
        return Ok(!new.is_dir() && new.rdev() == there.rdev());
    }
    // What was a file a moment ago may be a link or a pipe by now, and is not waited for.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let open = |path: &Path| fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let (mut a, mut b) = (open(source)?, open(target)?);
    let (mut left, mut right) = (vec![0_u8; 64 * 1024], vec![0_u8; 64 * 1024]);
    loop {
        let n = a.read(&mut left)?;
        if n == 0 {
            return Ok(true);
        }
        let Some(right) = right.get_mut(..n) else { return Ok(false) };
        b.read_exact(right)?;
        if left.get(..n) != Some(right) {
            return Ok(false);
        }
    }
}

/// Which mount a path is on; `None` where the kernel does not say.
pub fn mount_of(path: &Path) -> Option<u64> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}

//! Where file systems are mounted (`man 5 proc`, `/proc/<pid>/mountinfo`).
//!
//! The accident that this file prevents: a folder is removed, and with it all that another file system holds, which only
//! happened to be mounted below it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// All places where something is mounted.
#[derive(Debug, Clone, Default)]
pub struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Those in a `mountinfo`.
    pub fn of(mountinfo: &[u8]) -> Self {
        let lines = mountinfo.split(|b| *b == b'\n');
        // <id> <parent> <major:minor> <root> <mount point> ...
        let points = lines.filter_map(|line| line.split(|b| *b == b' ').nth(4));
        Self(points.map(|point| PathBuf::from(OsString::from_vec(unescaped(point)))).collect())
    }

    /// What is mounted at this place or below it.
    pub fn at_or_below(&self, path: &Path) -> Option<&Path> {
        self.0.iter().map(PathBuf::as_path).find(|point| point.starts_with(path))
    }
}

/// Spaces and the like are written as `\040`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let byte = octal.and_then(|o| u8::from_str_radix(std::str::from_utf8(o).ok()?, 8).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_at_a_place_and_below_it() {
        let mounts = Mounts::of(
            b"22 27 0:21 / /proc rw - proc proc rw\n36 35 98:0 /mnt1 /srv/a\\040b/c rw,noatime - ext3 /dev/x rw\n\n",
        );
        let found = |path: &str| mounts.at_or_below(Path::new(path)).map(|p| p.display().to_string());
        assert_eq!(found("/srv/a b").as_deref(), Some("/srv/a b/c"));
        assert_eq!(found("/proc").as_deref(), Some("/proc"));
        assert_eq!((found("/srv/a"), found("/srv/a b/c/d")), (None, None));
    }
}

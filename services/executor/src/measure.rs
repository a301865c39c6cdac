//! How much a backup of files would read: a walk over them, within bounds of time and of entries.
//!
//! It takes what borg would: hard links once, no file that is excluded, and no folder that is tagged as a cache when these
//! are left out. It opens no file but such tags.

use crate::core::excludes::Excludes;
use std::collections::HashSet;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use strongroom_domain::source::Files;

/// How long is counted.
const WITHIN: Duration = Duration::from_secs(20);
/// How many files and folders are counted.
const ENTRIES: u64 = 2_000_000;
/// How many that cannot be read are named.
const UNREAD_NAMED: usize = 20;
/// The name of a tag, and how it begins (<https://bford.info/cachedir/>).
const TAG: &str = "CACHEDIR.TAG";
const TAG_BEGINS: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What was counted.
#[derive(Debug, Default)]
pub struct Measured {
    /// Bytes below each path, in the order of the paths.
    pub sizes_bytes: Vec<u64>,
    /// Files and folders.
    pub entries: u64,
    /// Whether there are more.
    pub cut: bool,
    /// Files and folders that may not be read, the first of them.
    pub unread: Vec<PathBuf>,
    /// How many these are in all.
    pub unread_total: u64,
}

/// Counts, until it is done, or takes too long, or nobody wants it any more.
pub async fn measure(files: &Files) -> Measured {
    let (files, unwanted) = (files.clone(), Unwanted::default());
    let seen = unwanted.0.clone();
    let counting = tokio::task::spawn_blocking(move || {
        let mut walk = Walk {
            excludes: Excludes::read(&files.excludes),
            files: &files,
            end: Instant::now() + WITHIN,
            linked: HashSet::new(),
            unwanted: seen,
            found: Measured::default(),
        };
        for path in &files.paths {
            let bytes = walk.below(Path::new(path));
            walk.found.sizes_bytes.push(bytes);
        }
        walk.found
    });
    counting.await.unwrap_or_default()
}

/// Ends the walk when who waits for it has gone.
#[derive(Default)]
struct Unwanted(Arc<AtomicBool>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Walk<'a> {
    files: &'a Files,
    excludes: Excludes,
    end: Instant,
    /// Files of several names that were counted.
    linked: HashSet<(u64, u64)>,
    unwanted: Arc<AtomicBool>,
    found: Measured,
}

impl Walk<'_> {
    /// The bytes of one path and all below it.
    fn below(&mut self, path: &Path) -> u64 {
        let (mut bytes, mut waiting) = (0_u64, vec![path.to_owned()]);
        let device = path.symlink_metadata().ok().map(|there| there.dev());
        while let Some(path) = waiting.pop() {
            if self.found.entries >= ENTRIES
                || self.unwanted.load(Ordering::Relaxed)
                || Instant::now() > self.end
            {
                self.found.cut = true;
                break;
            }
            if self.excludes.leave_out(path.as_os_str().as_bytes()) {
                continue;
            }
            // What has vanished is nothing.
            let Ok(there) = path.symlink_metadata() else { continue };
            self.found.entries += 1;
            if there.is_file() {
                if rustix::fs::access(&path, rustix::fs::Access::READ_OK).is_err() {
                    self.is_unread(path);
                } else if there.nlink() == 1 || self.linked.insert((there.dev(), there.ino())) {
                    bytes = bytes.saturating_add(there.len());
                }
            } else if there.is_dir() {
                let stays = !self.files.one_file_system || Some(there.dev()) == device;
                if !stays || (self.files.exclude_caches && is_cache(&path)) {
                    continue;
                }
                match std::fs::read_dir(&path) {
                    Ok(inside) => waiting.extend(inside.flatten().map(|entry| entry.path())),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(_) => self.is_unread(path),
                }
            }
        }
        bytes
    }

    fn is_unread(&mut self, path: PathBuf) {
        self.found.unread_total += 1;
        if self.found.unread.len() < UNREAD_NAMED {
            self.found.unread.push(path);
        }
    }
}

fn is_cache(folder: &Path) -> bool {
    let tag = folder.join(TAG);
    // A pipe of this name would be waited for.
    if !tag.symlink_metadata().is_ok_and(|there| there.is_file()) {
        return false;
    }
    let mut begins = [0; TAG_BEGINS.len()];
    std::fs::File::open(tag).and_then(|mut file| file.read_exact(&mut begins)).is_ok() && begins == TAG_BEGINS
}

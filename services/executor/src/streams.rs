//! The folder of pipes through which dumps flow into borg, and what is fed into one of them.
//!
//! The accident that this file prevents: a dump that breaks off late and leaves an archive that looks whole. A pipe is
//! closed only when its program has ended well: until then borg waits for more, and is stopped before it could take the
//! end of a broken dump for the end of a whole one.

use crate::parts::{Fed, NotFed, Part, Sink, failed, produce};
use bytes::Bytes;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_domain::JobId;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

/// How often it is looked whether borg has come to a pipe.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The folder. Dropped, it is removed.
pub struct Streams(PathBuf);

impl Streams {
    /// Makes it, for nobody else to see.
    pub fn make(streams: &Path, job: JobId, epoch: u64) -> io::Result<Self> {
        Self::make_as(streams, &format!("{job}-{epoch}"))
    }

    /// The same under a name, when a job has another one besides.
    pub fn make_as(streams: &Path, name: &str) -> io::Result<Self> {
        let folder = streams.join(name);
        match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes a pipe, and the folders above it.
    pub fn pipe(&self, path: &str) -> io::Result<()> {
        let path = self.0.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), error = %e, "a folder of pipes was not removed");
        }
    }
}

/// Removes what an earlier life has left.
pub fn clear(streams: &Path) {
    for entry in std::fs::read_dir(streams).into_iter().flatten().flatten() {
        drop(Streams(entry.path()));
    }
}

/// Waits until borg comes to the pipe of a part, and feeds it. The pipe stays open until the program has ended well;
/// when it has not, it is given back with the failure, for who stops borg to close it after that.
pub async fn feed(streams: &Streams, part: Part) -> Result<Fed, (NotFed, Option<pipe::Sender>)> {
    let mut pipe =
        reader(&streams.path().join(&part.path)).await.map_err(|e| (failed(&part.path, &e), None))?;
    produce(part, &mut pipe).await.map_err(|not_fed| (not_fed, Some(pipe)))
}

impl Sink for pipe::Sender {
    async fn give(&mut self, piece: Bytes) -> Result<(), NotFed> {
        // An error here can only be that nobody reads.
        self.write_all(&piece).await.map_err(|_| NotFed::ReaderGone)
    }
}

/// Waits until somebody reads from a pipe. Whoever waits ends this when nobody will.
async fn reader(path: &Path) -> io::Result<pipe::Sender> {
    loop {
        match pipe::OpenOptions::new().open_sender(path) {
            // Nobody has opened it for reading so far (`man 7 fifo`).
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            opened => return opened,
        }
    }
}

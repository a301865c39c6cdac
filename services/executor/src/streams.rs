//! The folder of pipes through which dumps flow into borg, and what is fed into one of them.
//!
//! The accident that this file prevents: a dump that breaks off late and leaves an archive that looks whole. A pipe is
//! closed only when its program has ended well: until then borg waits for more, and is stopped before it could take the
//! end of a broken dump for the end of a whole one.

use crate::child::{Input, Plan};
use crate::core::hex::hex;
use crate::program;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use sha2::{Digest, Sha256};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_domain::archive::Artefact;
use strongroom_domain::{Failure, FailureCode, JobId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// How much is taken on at once.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that wait to be taken on.
const PIECES: usize = 4;
/// How much of what may turn out to be nothing is held back.
const HELD_BYTES: usize = 16 << 10;
/// How often it is looked whether borg has come to a pipe.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The folder. Dropped, it is removed.
pub struct Streams(PathBuf);

impl Streams {
    /// Makes it, for nobody else to see.
    pub fn make(streams: &Path, job: JobId, epoch: u64) -> io::Result<Self> {
        let folder = streams.join(format!("{job}-{epoch}"));
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

/// A part of a dump, before it is made.
pub struct Part {
    /// Where it will be in the archive.
    pub path: String,
    /// What it is.
    pub kind: &'static str,
    /// Which database.
    pub database: Option<String>,
    /// How it is written.
    pub format: Option<String>,
    /// Whether it is no failure when it is gone before its turn comes.
    pub may_vanish: bool,
    /// Where its bytes come from.
    pub from: From,
}

/// Where the bytes of a part come from.
pub enum From {
    /// What a program prints.
    Program(Box<Program>),
    /// These.
    Bytes(Vec<u8>),
    /// What this gives, in a thread where it may take its time.
    Reader(Reader),
}

/// A program that prints a part, and how to read what it says of its end with an error.
pub struct Program {
    /// How it is called.
    pub plan: Plan,
    /// The cause, by its last lines.
    pub cause: fn(&[String]) -> FailureCode,
    /// What people read of them.
    pub words: fn(&[String]) -> String,
}

/// Gives pieces until there are no more, or nobody takes them.
pub type Reader = Box<dyn FnOnce(mpsc::Sender<Vec<u8>>) -> Result<(), Failure> + Send>;

/// Why a part was not fed.
pub enum NotFed {
    /// Borg does not read any more; it says why.
    ReaderGone,
    /// Where it comes from has failed.
    Failed(Failure),
}

/// A part that borg has read, and the end of its pipe: closed, borg goes on to the next.
pub struct Fed {
    /// What it is; nothing, when it was gone.
    pub artefact: Option<Artefact>,
    /// The last lines of its program.
    pub tail: Vec<String>,
}

/// Waits until borg comes to the pipe of a part, and feeds it. The pipe stays open until the program has ended well;
/// when it has not, it is given back with the failure, for who stops borg to close it after that.
pub async fn feed(streams: &Streams, part: Part) -> Result<Fed, (NotFed, Option<pipe::Sender>)> {
    let mut pipe =
        reader(&streams.path().join(&part.path)).await.map_err(|e| (failed(&part.path, &e), None))?;
    let Part { path, kind, database, format, may_vanish, from } = part;
    let mut sum = Sum::default();
    let fed = match from {
        From::Bytes(bytes) => sum.give(&mut pipe, &bytes).await.map(|()| Vec::new()),
        From::Reader(reader) => read(reader, &mut pipe, &mut sum).await.map(|()| Vec::new()),
        From::Program(program) => run(*program, may_vanish, &mut pipe, &mut sum).await,
    };
    match fed {
        Ok(tail) => {
            let artefact = Artefact {
                path,
                kind: kind.to_owned(),
                database,
                format,
                size_bytes: sum.bytes,
                sha256: hex(&sum.digest.finalize()),
                stored: None,
            };
            Ok(Fed { artefact: Some(artefact), tail })
        }
        Err(NotFed::Failed(failure))
            if may_vanish && sum.bytes == 0 && failure.code == FailureCode::DatabaseMissing =>
        {
            Ok(Fed { artefact: None, tail: failure.log_tail })
        }
        Err(not_fed) => Err((not_fed, Some(pipe))),
    }
}

async fn read(reader: Reader, pipe: &mut pipe::Sender, sum: &mut Sum) -> Result<(), NotFed> {
    let (give, mut come) = mpsc::channel(PIECES);
    let reading = tokio::task::spawn_blocking(move || reader(give));
    while let Some(piece) = come.recv().await {
        sum.give(pipe, &piece).await?;
    }
    let read = reading.await.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()));
    read.and_then(|read| read).map_err(NotFed::Failed)
}

/// With `hold`, what is printed first is held back: a program that finds out that there is nothing to dump may have
/// printed how such a dump begins.
async fn run(
    Program { plan, cause, words }: Program,
    hold: bool,
    pipe: &mut pipe::Sender,
    sum: &mut Sum,
) -> Result<Vec<String>, NotFed> {
    debug_assert!(!matches!(plan.input, Input::Stream), "nobody writes to it");
    let program = plan.program.clone();
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (mut stdout, stderr, mut handle) = program::start(plan).await.map_err(NotFed::Failed)?.into_parts();
    let mut held = hold.then(Vec::new);
    let giving = async {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let n = stdout.read(&mut piece).await.map_err(|e| failed(&name, &e))?;
            let Some(piece) = piece.get(..n).filter(|piece| !piece.is_empty()) else { return Ok(()) };
            match &mut held {
                Some(first) if first.len() + n <= HELD_BYTES => first.extend_from_slice(piece),
                _ => {
                    sum.give(pipe, &held.take().unwrap_or_default()).await?;
                    sum.give(pipe, piece).await?;
                }
            }
        }
    };
    // When borg is gone, so is the program: its handle is dropped, and nobody waits for it.
    let speaking = program::tail(stderr);
    let (given, tail) = tokio::join!(
        async {
            let given: Result<(), NotFed> = giving.await;
            // It would wait for ever to be read from, and we for its last words.
            if given.is_err() {
                handle.signal(rustix::process::Signal::KILL);
            }
            given
        },
        speaking
    );
    given?;
    let status = handle.ended().await.map_err(|e| failed(&name, &e))?;
    if status.success() {
        sum.give(pipe, &held.unwrap_or_default()).await?;
        return Ok(tail);
    }
    let failure = Failure::new(cause(&tail), format!("{name} ended with {status}: {}", words(&tail)));
    Err(NotFed::Failed(failure.with_log(tail)))
}

#[derive(Default)]
struct Sum {
    digest: Sha256,
    bytes: u64,
}

impl Sum {
    async fn give(&mut self, pipe: &mut pipe::Sender, piece: &[u8]) -> Result<(), NotFed> {
        self.digest.update(piece);
        self.bytes += piece.len() as u64;
        // An error here can only be that nobody reads.
        pipe.write_all(piece).await.map_err(|_| NotFed::ReaderGone)
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

fn failed(what: &str, error: &io::Error) -> NotFed {
    NotFed::Failed(Failure::new(FailureCode::Unknown, format!("{what}: {error}")))
}

//! A dump as a file of the node: `pg_restore --jobs` reads it at several places at once.
//!
//! The accident that this file prevents: a database in plain text that stays on a disk, because whoever wrote it was killed.
//! For a program of the node the file loses its name as soon as it is made, so that it goes with the last process that has it
//! open. A program in a container needs the name; the file lies in the private folder of the job, which goes with it, and with
//! the next start of the executor.

use super::Dumped;
use super::origin::Origin;
use crate::child::User;
use crate::control::{self, NoOutcome, Stop};
use crate::core::progress::ProgressLine;
use crate::core::sum::{Sum, Summed};
use crate::jobs::{Bench, file_failure};
use crate::program::Place;
use crate::streams::Streams;
use rustix::fs::FallocateFlags;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::clock;
use tokio::sync::mpsc;

/// What is left free on that disk, whatever the dump takes: others write there, too.
const LEFT_FREE_BYTES: u64 = 64 << 20;
/// After how many bytes it is looked again how much is free.
const LOOK_EVERY_BYTES: u64 = 16 << 20;
/// Its name, as long as it has one.
const NAME: &str = "dump";
/// Pieces that wait to be written.
const PIECES: usize = 16;

/// A dump that lies in a file as a whole.
pub struct Landed {
    /// The file.
    pub file: Arc<File>,
    /// Where it lies, when it has a name.
    pub path: Option<PathBuf>,
}

impl Drop for Landed {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(e) = fs::remove_file(path)
        {
            // It goes with its folder.
            tracing::warn!(path = %path.display(), error = %e, "the file of a restore was not removed");
        }
    }
}

/// Refuses several connections where the dump has no places to begin at.
pub fn may_be_parallel(jobs: u32, is_custom: bool) -> Result<(), Failure> {
    if jobs <= 1 || is_custom {
        return Ok(());
    }
    let message = "parallel_jobs is for dumps of PostgreSQL in the custom format: any other is one stream, which is restored from its beginning to its end";
    Err(Failure::new(FailureCode::RestoreFailed, message))
}

/// What it would take of the node's disk.
pub struct Needs {
    /// Bytes of the file, when they are known.
    pub file_bytes: Option<u64>,
    /// What is free.
    pub free_bytes: u64,
    /// Why there is no room for it, if so.
    pub refusal: Option<Failure>,
}

/// Looks whether there is room for it; nothing, when it lies where it can be read.
pub fn needs(
    bench: &Bench<'_>,
    dumped: &Dumped<'_>,
    place: &Place,
    user: Option<User>,
) -> Result<Option<Needs>, Failure> {
    let folder = bench.state.streams();
    let file_bytes = match &dumped.origin {
        Origin::File(_) if where_it_lies(dumped, place, user).is_some() => return Ok(None),
        // In a container it is seen under a name of its own.
        Origin::File(foreign) => foreign.bare().and_then(|file| Some(file.metadata().ok()?.len())),
        _ => Some(dumped.part.size_bytes),
    };
    let free_bytes = free(&folder)?;
    let needed = file_bytes.unwrap_or_default();
    let refusal = (needed.saturating_add(LEFT_FREE_BYTES) > free_bytes)
        .then(|| no_room(&folder, &format!("takes {needed} bytes"), free_bytes));
    Ok(Some(Needs { file_bytes, free_bytes, refusal }))
}

/// Makes a file of it, whose digest was compared.
pub async fn land(
    bench: &Bench<'_>,
    dumped: &Dumped<'_>,
    streams: &Streams,
    place: &Place,
    user: Option<User>,
) -> Result<Landed, NoOutcome> {
    if let Some(file) = where_it_lies(dumped, place, user) {
        let file = Arc::new(file.try_clone().map_err(|e| failed(Path::new(&dumped.part.path), &e))?);
        write(bench, dumped, None).await?;
        return Ok(Landed { file, path: None });
    }
    let needs = needs(bench, dumped, place, user)?;
    if let Some(refusal) = needs.as_ref().and_then(|needs| needs.refusal.clone()) {
        return Err(refusal.into());
    }
    let path = streams.path().join(NAME);
    let file = make(&path, user).map_err(|e| failed(&path, &e))?;
    let file = Arc::new(file);
    let path = match place {
        Place::Node(_) => {
            fs::remove_file(&path).map_err(|e| failed(&path, &e))?;
            None
        }
        Place::Image(..) => Some(path),
    };
    let landed = Landed { file, path };
    let bytes = needs.and_then(|needs| needs.file_bytes);
    write(bench, dumped, Some((landed.file.clone(), bytes))).await?;
    Ok(landed)
}

/// The file that somebody has named, when it is the dump and whoever restores may read it.
fn where_it_lies<'a>(dumped: &Dumped<'a>, place: &Place, user: Option<User>) -> Option<&'a File> {
    let (Origin::File(foreign), Place::Node(_)) = (&dumped.origin, place) else { return None };
    let file = foreign.bare()?;
    let metadata = file.metadata().ok()?;
    let mode = metadata.mode();
    let may = match user {
        None => true,
        Some(user) if user.uid == metadata.uid() => mode & 0o400 != 0,
        Some(user) if user.gid == metadata.gid() => mode & 0o040 != 0,
        Some(_) => mode & 0o004 != 0,
    };
    may.then_some(file)
}

/// For nobody but who restores.
fn make(path: &Path, user: Option<User>) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    if let Some(User { uid, gid }) = user {
        fchown(&file, Some(uid), Some(gid))?;
    }
    Ok(file)
}

/// Writes all of it, or nothing that counts; without a file it is only read and summed up.
async fn write(
    bench: &Bench<'_>,
    dumped: &Dumped<'_>,
    to: Option<(Arc<File>, Option<u64>)>,
) -> Result<(), NoOutcome> {
    let Dumped { origin, part, .. } = dumped;
    let (give, come) = mpsc::channel::<Vec<u8>>(PIECES);
    let (stopper, control) = control::pair();
    let reading = origin.pieces(bench, part, control, give);
    let (folder, meter, shown) = (bench.state.streams(), bench.meter.clone(), part.path.clone());
    let writing = tokio::task::spawn_blocking(move || {
        let tell = |bytes: u64| {
            let line = ProgressLine::Archive {
                nfiles: 1,
                original_size: bytes,
                compressed_size: 0,
                deduplicated_size: 0,
                path: shown.clone(),
            };
            meter.lock().unwrap_or_else(PoisonError::into_inner).take(line, clock::now());
        };
        // Dropped when this is done: whoever reads hears that nobody takes more.
        take(come, to, &folder, tell)
    });
    let writing = async {
        let written = writing.await.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()));
        let written = written.and_then(|written| written);
        if written.is_err() {
            stopper.stop(Stop::SourceFailed);
        }
        written
    };
    let both = async { tokio::join!(reading, writing) };
    let (read, written) = bench.control.clone().unless_stopped(both).await?;
    let written = written?;
    let whole = origin.is_whole(part, &written);
    match read {
        Ok(of_origin) if !whole => Err(origin.other(part).with_log(of_origin).into()),
        Ok(_) => Ok(()),
        Err(not_done) => Err(not_done.into()),
    }
}

/// Takes pieces until there are no more.
fn take(
    mut come: mpsc::Receiver<Vec<u8>>,
    to: Option<(Arc<File>, Option<u64>)>,
    folder: &Path,
    tell: impl Fn(u64),
) -> Result<Summed, Failure> {
    if let Some((file, Some(bytes))) = &to {
        reserve(file, *bytes).map_err(|e| failed(folder, &e))?;
    }
    let (mut sum, mut taken, mut looked) = (Sum::default(), 0, 0);
    while let Some(piece) = come.blocking_recv() {
        sum.add(&piece);
        taken += piece.len() as u64;
        if let Some((file, known)) = &to {
            if known.is_none() && taken - looked >= LOOK_EVERY_BYTES {
                looked = taken;
                let free = free(folder)?;
                if free < LEFT_FREE_BYTES {
                    return Err(no_room(folder, &format!("takes more than {taken} bytes"), free));
                }
            }
            file.as_ref().write_all(&piece).map_err(|e| failed(folder, &e))?;
        }
        tell(taken);
    }
    Ok(sum.finish())
}

/// Takes the room before anybody else does, where the file system can.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::NOSPC) => Err(ErrorKind::StorageFull.into()),
        _ => Ok(()),
    }
}

fn free(folder: &Path) -> Result<u64, Failure> {
    let found = rustix::fs::statvfs(folder).map_err(|e| failed(folder, &e.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn no_room(folder: &Path, takes: &str, free: u64) -> Failure {
    let message = format!(
        "with several connections the dump lies in a file on this node meanwhile, which {takes} in {}, where {free} are free \
         and {LEFT_FREE_BYTES} of them stay so; restore with one connection, which writes no file",
        folder.display()
    );
    Failure::new(FailureCode::NoSpace, message)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    file_failure(&path.display().to_string(), error)
}

//! Reading a file from its beginning, in a thread where that may take its time, or through a program that unpacks it.

use super::blocking;
use super::layers::{Goal, PIECE_BYTES, Place, Walk, damaged, drain, head_of};
use crate::child::{Input, Plan};
use crate::control::{Control, NoOutcome};
use crate::core::recognise::{Content, Wrapper, recognise};
use crate::gpg::Opener;
use crate::jobs::Bench;
use crate::pipeline::{Flow, way};
use crate::program;
use crate::streams::Streams;
use age::secrecy::SecretString;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strongroom_domain::{Failure, FailureCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Pieces that wait to be read.
const PIECES: usize = 4;

/// Tells a reader in another thread that nobody waits for it any more.
struct Watch(Arc<AtomicBool>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads until it is told to stop.
struct Watched<R>(R, Arc<AtomicBool>);

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        self.0.read(buffer)
    }
}

/// Goes through a file from its beginning. What only programs unpack is unpacked only where it is the outermost.
pub async fn walk(
    bench: &Bench<'_>,
    control: Control,
    file: &File,
    mut walk: Walk,
) -> Result<Walk, NoOutcome> {
    let failed =
        |e: io::Error| Failure::new(FailureCode::PermissionDenied, format!("it cannot be read: {e}"));
    let mut file = file.try_clone().map_err(failed)?;
    let stop = Arc::new(AtomicBool::new(false));
    let _watch = Watch(stop.clone());
    let (mut file, head) = blocking(move || {
        file.rewind().map_err(failed)?;
        let head = head_of(&mut file).map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok((file, recognise(&head)))
    })
    .await?;
    let walking = async {
        let Content::Wrapped(wrapper @ (Wrapper::Xz | Wrapper::Bzip2 | Wrapper::Gpg)) = head else {
            return Ok(blocking(move || {
                walk.one(&mut Watched(&mut file, stop), &Place::default())?;
                Ok(walk)
            })
            .await?);
        };
        let (give, come) = mpsc::channel(PIECES);
        let secret = walk.secret.clone();
        let unpacking = async {
            match wrapper {
                Wrapper::Gpg => decrypt_by_gpg(bench, secret, file, give).await,
                _ => unpack_by_program(bench, wrapper, file, give).await,
            }
        };
        let walking = blocking(move || {
            let mut reader = Watched(Pieces { come, piece: Cursor::default() }, stop);
            walk.one(&mut reader, &Place::default().inside(wrapper))?;
            // A looker has seen enough before the end; who gives something away must know that it was whole.
            if matches!(walk.goal, Goal::Give { .. }) {
                drain(&mut reader)?;
            }
            Ok(walk)
        });
        let (unpacked, walked) = tokio::join!(unpacking, walking);
        // That it could not be begun is why there was nothing to read.
        unpacked?;
        Ok(walked?)
    };
    control.unless_stopped(walking).await?
}

/// Gives what gpg makes of a file that is encrypted to a key.
async fn decrypt_by_gpg(
    bench: &Bench<'_>,
    secret: Option<SecretString>,
    mut file: File,
    give: mpsc::Sender<io::Result<Vec<u8>>>,
) -> Result<(), Failure> {
    let secret = secret.ok_or_else(|| {
        let message = "it is encrypted with gpg; give the secret key, in its form for texts, as 'identity'";
        Failure::new(FailureCode::SecretMissing, message)
    })?;
    let name = format!("gpg-{}", uuid::Uuid::now_v7().simple());
    let streams = Streams::make_as(&bench.state.streams(), &name)
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("a private folder for gpg: {e}")))?;
    let opener = Opener::new(secret, streams.path(), "gpg-file", &bench.state.children())?;
    let ((to, encrypted), (output, mut decrypted)) = (way(), way());
    let feeding = tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            // Without its end it is not taken for all.
            let Ok(n) = file.read(&mut piece) else { return };
            piece.truncate(n);
            let flow = if n == 0 { Flow::End } else { Flow::Piece(piece.into()) };
            if to.blocking_send(flow).is_err() || n == 0 {
                return;
            }
        }
    });
    let passing = async move {
        while let Some(flow) = decrypted.recv().await {
            let Flow::Piece(piece) = flow else { return true };
            if give.send(Ok(piece.into())).await.is_err() {
                // Who looks has seen enough before the end.
                return true;
            }
        }
        let _ = give.send(Err(io::Error::other("gpg says that it is damaged"))).await;
        false
    };
    let (opened, seen) = tokio::join!(opener.open(encrypted, output), passing);
    let _ = feeding.await;
    match opened {
        Err(failure) if !seen && failure.code == FailureCode::ArchiveDamaged => {
            Err(damaged(&failure.message).with_log(failure.log_tail))
        }
        Err(failure) if !seen => Err(failure),
        _ => Ok(()),
    }
}

/// Gives what a program makes of a file.
async fn unpack_by_program(
    bench: &Bench<'_>,
    wrapper: Wrapper,
    file: File,
    give: mpsc::Sender<io::Result<Vec<u8>>>,
) -> Result<(), Failure> {
    let name = wrapper.name();
    let program = program::find(name, &[]).into_iter().next().ok_or_else(|| {
        let package = if wrapper == Wrapper::Xz { "xz-utils" } else { "bzip2" };
        let message = format!("there is no {name} on this node; install the package {package}");
        Failure::new(FailureCode::ToolMissing, message)
    })?;
    let plan = Plan {
        program,
        arguments: vec!["--decompress".into(), "--stdout".into(), "--quiet".into()],
        environment: program::environment(),
        folder: Some("/".into()),
        input: Input::Stream,
        user: None,
        notes: bench.state.children(),
        inside: None,
    };
    let mut running = program::start(plan).await?;
    let stdin = running.stdin.take();
    let (mut stdout, stderr, mut handle) = running.into_parts();
    let feeding = async {
        if let Some(mut stdin) = stdin {
            let mut file = tokio::fs::File::from_std(file);
            // Who does not want to know it has ended, and says why.
            let _ = tokio::io::copy(&mut file, &mut stdin).await;
            let _ = stdin.shutdown().await;
        }
    };
    let reading = async {
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            match stdout.read_buf(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    if give.send(Ok(piece)).await.is_err() {
                        handle.signal(rustix::process::Signal::KILL);
                        return;
                    }
                }
            }
        }
        if !handle.ended().await.is_ok_and(|status| status.success()) {
            let _ = give.send(Err(io::Error::other(format!("{name} says that it is damaged")))).await;
        }
        drop(give);
    };
    let ((), (), _) = tokio::join!(feeding, reading, program::tail(stderr));
    Ok(())
}

/// What comes in pieces, to be read.
struct Pieces {
    come: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = Read::read(&mut self.piece, buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            match self.come.blocking_recv() {
                Some(piece) => self.piece = Cursor::new(piece?),
                None => return Ok(0),
            }
        }
    }
}

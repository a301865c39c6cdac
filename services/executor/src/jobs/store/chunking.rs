//! Parts on their way into a store that is deduplicated: cut by what is in them into chunks, of which those are stored that
//! are not there, several at once.
//!
//! The accident that this file prevents: an archive that relies on a chunk which is half there, or gone. Only those are
//! relied on that have the bytes which their name says; before the archive is made, all that it needs are seen once more.
//!
//! Memory: what is being cut, two chunks that wait, and [`FLYING`] more, each for a moment beside what it is packed to:
//! some 25 MiB as chunks mostly are, and 70 at most, with what zstd needs, when all are of the largest size. What is
//! remembered of each chunk stands in `core/chunks.rs`.

use super::storing::{Kept, Storing};
use crate::core::chunks::{AVERAGE_BYTES, Chunk, Entry, Id, Index, MAX_BYTES, MIN_BYTES, Naming};
use crate::core::dump_store::ARCHIVES;
use crate::dump_store::Opened;
use crate::parts::NotFed;
use crate::pipeline::{Flow, In, Recipe, pack_whole, way};
use fastcdc::v2020::{Normalization, StreamCDC};
use futures::{FutureExt, StreamExt};
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use strongroom_domain::archive::{Chunked, Stored};
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

/// How many chunks are packed and stored at once.
const FLYING: usize = 4;
/// How many lines of a list go on at once.
const LINES: usize = 2000;

/// The chunks of an attempt.
pub struct Chunking {
    naming: Naming,
    /// Those that are there.
    index: Mutex<Index>,
}

/// What a part is cut into.
enum Cut {
    /// A chunk.
    Chunk(Vec<u8>),
    /// That was all.
    End,
}

/// A chunk of a part.
type Known = (Id, u32);

impl Chunking {
    /// Looks what is there.
    pub async fn begin(opened: &Opened<'_>, naming: Naming) -> Result<Self, Failure> {
        Ok(Self { naming, index: Mutex::new(opened.chunks().await?) })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when a chunk that is needed is not there, and says how many bytes the store has.
    pub async fn are_there(&self, opened: &Opened<'_>) -> Result<u64, Failure> {
        let there = opened.chunks().await?;
        if let Some(missing) = self.index().missing_in(&there) {
            let problem = there.problem(&missing).unwrap_or_default();
            let message = format!("what was stored could not be read back: {problem}");
            return Err(Failure::new(FailureCode::NotReadBack, message));
        }
        let others = opened.store.list(ARCHIVES).await?;
        Ok(there.bytes() + others.iter().map(|object| object.size_bytes).sum::<u64>())
    }

    /// Stores what `produce` gives, and the list of the chunks that it was cut into as the object.
    pub async fn store<T>(
        &self,
        storing: &Storing<'_>,
        recipe: &Recipe,
        object: String,
        produce: impl AsyncFnOnce(mpsc::Sender<Flow>) -> Result<Option<T>, NotFed>,
    ) -> Result<Option<Kept<T>>, Failure> {
        let (give, input) = way();
        let (cuts, come) = mpsc::channel(1);
        let cutting = cut(self.naming.seed(), input, cuts);
        let new_bytes = AtomicU64::new(0);
        let keeping = async {
            // Dropped with its end, so that nobody waits for it when it fails.
            let (mut come, failed) = (come, AtomicBool::new(false));
            let coming = futures::stream::poll_fn(|context| match failed.load(Ordering::Relaxed) {
                true => Poll::Ready(None),
                false => come.poll_recv(context),
            });
            let keeping = coming.map(|cut| self.keep(storing, recipe, cut, &new_bytes).boxed());
            let mut keeping = std::pin::pin!(keeping.buffered(FLYING));
            let (mut all, mut whole, mut failure) = (Vec::new(), false, None);
            // When one fails, those that are on their way come to their end: none is stored behind the back of who clears up.
            while let Some(kept) = keeping.next().await {
                match kept {
                    Ok(Some(known)) => all.push(known),
                    Ok(None) => whole = true,
                    Err(e) => {
                        failed.store(true, Ordering::Relaxed);
                        failure.get_or_insert(e);
                    }
                }
            }
            failure.map_or(Ok(whole.then_some(all)), Err)
        };
        let (made, kept) = tokio::join!(produce(give), keeping);
        let cut = cutting.await.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
        match (made, kept, cut) {
            (_, Err(failure), _) | (Err(NotFed::Failed(failure)), ..) => Err(failure),
            (Ok(None), ..) => Ok(None),
            (Ok(Some(made)), Ok(Some(all)), Ok(())) => {
                let new_bytes = new_bytes.into_inner();
                let stored = self.list(storing, recipe, object, &all, new_bytes).await?;
                let plain_bytes = all.iter().map(|(_, plain_bytes)| u64::from(*plain_bytes)).sum();
                Ok(Some(Kept { made, plain_bytes, stored }))
            }
            (Err(NotFed::ReaderGone), ..) | (_, Ok(None), _) | (.., Err(_)) => {
                Err(Failure::new(FailureCode::Unknown, format!("{object} was not taken to its end")))
            }
        }
    }

    /// Stores a chunk, unless it is there; nothing, when that was all.
    async fn keep(
        &self,
        storing: &Storing<'_>,
        recipe: &Recipe,
        cut: Cut,
        new_bytes: &AtomicU64,
    ) -> Result<Option<Known>, Failure> {
        let Cut::Chunk(plain) = cut else { return Ok(None) };
        let plain_bytes = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        let naming = self.naming.clone();
        let (id, plain) = apart(move || Ok((naming.id_of(&plain), plain))).await?;
        let (is_wanted, there) = {
            let mut index = self.index();
            (index.is_wanted(id), index.get(&id))
        };
        if is_wanted {
            let packing = recipe.clone();
            let packed = apart(move || pack_whole(&packing, &plain)).await?;
            let stored_bytes = u32::try_from(packed.len()).unwrap_or(u32::MAX);
            let (compression, encryption) = (recipe.compression, recipe.encryption());
            let chunk = Chunk { id, stored_bytes, compression, encryption };
            let object = chunk.object();
            if let Some(bytes) = self.broken(&object) {
                // Nothing takes the place of what is there, so it goes first. It is of no use to anybody.
                tracing::warn!(
                    object,
                    bytes,
                    "a chunk had not the bytes that its name says, and is stored anew"
                );
                storing.opened().store.delete(&object).await?;
            }
            storing.opened().store.put(&object, packed).await?;
            self.index().was_stored(chunk);
            new_bytes.fetch_add(stored_bytes.into(), Ordering::Relaxed);
            storing.sent(stored_bytes.into()).await;
        } else if let Some(there) = there {
            storing.found(there.stored_bytes.into());
        }
        Ok(Some((id, plain_bytes)))
    }

    fn broken(&self, object: &str) -> Option<u64> {
        self.index().broken(object)
    }

    /// Stores the list of these.
    async fn list(
        &self,
        storing: &Storing<'_>,
        recipe: &Recipe,
        object: String,
        all: &[Known],
        new_bytes: u64,
    ) -> Result<Stored, Failure> {
        let entry = |(id, plain_bytes): &Known| {
            let chunk = self.index().get(id);
            chunk
                .map(|chunk| Entry { chunk, plain_bytes: *plain_bytes })
                .ok_or_else(|| Failure::new(FailureCode::Unknown, format!("the chunk {id} was not stored")))
        };
        let mut stored_bytes = 0;
        for known in all {
            stored_bytes += u64::from(entry(known)?.chunk.stored_bytes);
        }
        let kept = storing.object(recipe, object.clone(), None, async |give| {
            for some in all.chunks(LINES) {
                let lines = some.iter().map(|known| entry(known).map(|entry| entry.line()));
                let lines = lines.collect::<Result<String, _>>().map_err(NotFed::Failed)?;
                give.send(Flow::Piece(lines.into())).await.map_err(|_| NotFed::ReaderGone)?;
            }
            give.send(Flow::End).await.map_err(|_| NotFed::ReaderGone)?;
            Ok(Some(()))
        });
        let kept = kept
            .await?
            .ok_or_else(|| Failure::new(FailureCode::Unknown, format!("nothing was stored of {object}")))?;
        let chunked = Chunked { chunks: all.len() as u64, stored_bytes, new_bytes };
        Ok(Stored { chunked: Some(chunked), ..kept.stored })
    }
}

/// Cuts what is given, in a thread of its own.
fn cut(seed: u64, input: mpsc::Receiver<Flow>, cuts: mpsc::Sender<Cut>) -> JoinHandle<io::Result<()>> {
    spawn_blocking(move || {
        let nobody = |_| io::Error::new(ErrorKind::BrokenPipe, "nobody takes it");
        let reading = In::of(input);
        let level = Normalization::Level1;
        let cutting =
            StreamCDC::with_level_and_seed(reading, MIN_BYTES, AVERAGE_BYTES, MAX_BYTES, level, seed);
        for chunk in cutting {
            cuts.blocking_send(Cut::Chunk(chunk?.data)).map_err(nobody)?;
        }
        cuts.blocking_send(Cut::End).map_err(nobody)
    })
}

/// Does what takes its time where nobody else waits for it.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = spawn_blocking(work).await.map_err(io::Error::other).and_then(|done| done);
    done.map_err(|e| Failure::new(FailureCode::Unknown, format!("a chunk cannot be packed: {e}")))
}

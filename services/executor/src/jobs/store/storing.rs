//! Objects on their way into a dump store, in one pass each.

use super::chunking::Chunking;
use crate::core::chunks::LIST_SUFFIX;
use crate::core::dump_store as forms;
use crate::core::progress::ProgressLine;
use crate::dump_store::Opened;
use crate::jobs::Bench;
use crate::parts::{NotFed, Sink};
use crate::pipeline::{Flow, Recipe, pack, way};
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError};
use std::time::Duration;
use strongroom_domain::archive::Stored;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::clock;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// All objects of an attempt.
pub struct Storing<'a> {
    bench: &'a Bench<'a>,
    opened: &'a Opened<'a>,
    pace: Pace,
    plain: AtomicU64,
    stored: AtomicU64,
    /// Bytes that were needed and there already.
    known: AtomicU64,
    chunking: Option<Chunking>,
}

/// Which part of an archive.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The archive's name.
    pub archive: &'a str,
    /// 1, 2, ...
    pub n: usize,
    /// The part's path.
    pub path: &'a str,
}

/// An object that is stored.
pub struct Kept<T> {
    /// What its making gave.
    pub made: T,
    /// How many bytes went in.
    pub plain_bytes: u64,
    /// How it lies there.
    pub stored: Stored,
}

impl<'a> Storing<'a> {
    /// Nothing so far. Of a store that is deduplicated it is looked what is there.
    pub async fn begin(
        bench: &'a Bench<'a>,
        opened: &'a Opened<'a>,
        kib_per_s: Option<u32>,
    ) -> Result<Self, Failure> {
        let chunking = match opened.naming() {
            Some(naming) => Some(Chunking::begin(opened, naming.clone()).await?),
            None => None,
        };
        let (plain, stored, known) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { bench, opened, pace: Pace::new(kib_per_s), plain, stored, known, chunking })
    }

    /// Where it is stored.
    pub fn opened(&self) -> &'a Opened<'a> {
        self.opened
    }

    /// Fails when a chunk that is needed is not there (any more); says how many bytes the store has, when it is deduplicated.
    pub async fn chunks_are_there(&self) -> Result<Option<u64>, Failure> {
        match &self.chunking {
            Some(chunking) => chunking.are_there(self.opened).await.map(Some),
            None => Ok(None),
        }
    }

    /// Stores what `produce` gives as a part of an archive: as an object, or in chunks. It says [`Flow::End`] when that was
    /// all, and gives nothing as its answer when there is to be no such part.
    pub async fn part<T>(
        &self,
        recipe: &Recipe,
        place: Place<'_>,
        expected_bytes: Option<u64>,
        produce: impl AsyncFnOnce(mpsc::Sender<Flow>) -> Result<Option<T>, NotFed>,
    ) -> Result<Option<Kept<T>>, Failure> {
        let Place { archive, n, path } = place;
        let named = |suffix: &str| forms::object(archive, self.bench.epoch, n, path, suffix);
        match &self.chunking {
            None => self.object(recipe, named(&recipe.suffix()), expected_bytes, produce).await,
            Some(chunking) => {
                let object = named(&format!("{LIST_SUFFIX}{}", recipe.suffix()));
                // On the heap: it is large, and every job would carry it along.
                Box::pin(chunking.store(self, recipe, object, produce)).await
            }
        }
    }

    /// So many bytes more are stored; waits until more may be.
    pub async fn sent(&self, bytes: u64) {
        let total = self.stored.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.pace.keep(total).await;
    }

    /// So many bytes more are needed and were there.
    pub fn found(&self, bytes: u64) {
        self.known.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Stores what `produce` gives. It says [`Flow::End`] when that was all, and gives nothing as its answer when there is to be
    /// no object.
    pub async fn object<T>(
        &self,
        recipe: &Recipe,
        object: String,
        expected_bytes: Option<u64>,
        produce: impl AsyncFnOnce(mpsc::Sender<Flow>) -> Result<Option<T>, NotFed>,
    ) -> Result<Option<Kept<T>>, Failure> {
        let mut upload = self.opened.store.upload(&object, expected_bytes).await?;
        let (give, input) = way();
        let (output, come) = way();
        let packing = pack(recipe.clone(), &object, input, output);
        let uploading = async {
            // Dropped with its end, so that nobody waits for it when it fails.
            let mut come = come;
            while let Some(flow) = come.recv().await {
                match flow {
                    Flow::Piece(piece) => {
                        let bytes = piece.len() as u64;
                        upload.write(piece).await?;
                        self.sent(bytes).await;
                    }
                    Flow::End => return Ok(true),
                }
            }
            Ok::<_, Failure>(false)
        };
        let (made, uploaded) = tokio::join!(produce(give), uploading);
        let sums = packing.sums().await;
        let failure = match (made, uploaded, sums) {
            (_, Err(failure), _) | (Err(NotFed::Failed(failure)), ..) => failure,
            (Ok(None), ..) => {
                upload.abort().await;
                return Ok(None);
            }
            (_, _, Err(failure)) => failure,
            (Ok(Some(made)), Ok(true), Ok((plain_bytes, kept))) => {
                upload.finish().await?;
                let stored = Stored {
                    object,
                    size_bytes: kept.bytes,
                    sha256: kept.sha256,
                    compression: recipe.compression,
                    encryption: recipe.encryption(),
                    chunked: None,
                };
                return Ok(Some(Kept { made, plain_bytes, stored }));
            }
            (Err(NotFed::ReaderGone), ..) | (_, Ok(false), _) => {
                Failure::new(FailureCode::Unknown, format!("{object} was not taken to its end"))
            }
        };
        upload.abort().await;
        Err(failure)
    }

    /// What takes on the bytes of a part, and tells how far it is.
    pub fn counting<'b>(&'b self, give: mpsc::Sender<Flow>, path: &'b str, parts: u64) -> Counting<'b> {
        Counting { give, storing: self, path, parts }
    }

    /// So many more bytes went in.
    pub fn tell(&self, bytes: u64, path: &str, parts: u64) {
        let original_size = self.plain.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let stored = self.stored.load(Ordering::Relaxed);
        let line = ProgressLine::Archive {
            nfiles: parts,
            original_size,
            compressed_size: stored + self.known.load(Ordering::Relaxed),
            deduplicated_size: stored,
            path: path.to_owned(),
        };
        self.bench.meter.lock().unwrap_or_else(PoisonError::into_inner).take(line, clock::now());
    }
}

/// See [`Storing::counting`].
pub struct Counting<'a> {
    give: mpsc::Sender<Flow>,
    storing: &'a Storing<'a>,
    path: &'a str,
    parts: u64,
}

impl Counting<'_> {
    /// That was all, and it is whole.
    pub async fn end(self) -> Result<(), NotFed> {
        self.give.send(Flow::End).await.map_err(|_| NotFed::ReaderGone)
    }
}

impl Sink for Counting<'_> {
    async fn give(&mut self, piece: Bytes) -> Result<(), NotFed> {
        let bytes = piece.len() as u64;
        self.give.send(Flow::Piece(piece)).await.map_err(|_| NotFed::ReaderGone)?;
        self.storing.tell(bytes, self.path, self.parts);
        Ok(())
    }
}

/// Fails when other bytes went into an object than came out of what it is made of.
pub fn all_of_it(path: &str, went_in: u64, came_out: u64) -> Result<(), Failure> {
    if went_in == came_out {
        return Ok(());
    }
    let message = format!("of {came_out} bytes of {path}, {went_in} were stored");
    Err(Failure::new(FailureCode::Unknown, message))
}

/// Keeps to a rate, over the whole of an attempt.
struct Pace {
    /// When the first bytes went.
    since: OnceLock<Instant>,
    bytes_per_s: Option<u64>,
}

impl Pace {
    fn new(kib_per_s: Option<u32>) -> Self {
        Self { since: OnceLock::new(), bytes_per_s: kib_per_s.map(|rate| u64::from(rate.max(1)) * 1024) }
    }

    /// Waits until so much may have been sent.
    async fn keep(&self, bytes: u64) {
        if let Some(rate) = self.bytes_per_s {
            let due = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
            let since = *self.since.get_or_init(Instant::now);
            tokio::time::sleep_until(since + due).await;
        }
    }
}

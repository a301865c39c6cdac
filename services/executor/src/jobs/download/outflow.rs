//! The way of a download to the gateway: in pieces of one size, several at once, each until it is taken.

use crate::control::{NoOutcome, Stop};
use crate::core::progress::ProgressLine;
use crate::core::sum::{Sum, Summed};
use crate::jobs::Bench;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::time::Duration;
use strongroom_bus::NodeBus;
use strongroom_domain::wire::{PIECE_BYTES, Piece, PieceAnswer, Whole};
use strongroom_domain::{Failure, FailureCode, JobId};
use strongroom_service::clock;
use tokio::time::Instant;

/// How many pieces are under way at once.
const AT_ONCE: usize = 4;
/// How long nobody may answer before the download is given up: a network that comes back in time loses nothing.
const SILENT: Duration = Duration::from_secs(60);

type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), NoOutcome>> + Send + 'a>>;

/// What is sent.
pub struct Outflow<'a> {
    bench: &'a Bench<'a>,
    under_way: FuturesUnordered<Sending<'a>>,
    filling: Vec<u8>,
    n: u64,
    sum: Sum,
}

impl<'a> Outflow<'a> {
    /// Nothing so far.
    pub fn new(bench: &'a Bench<'a>) -> Self {
        let filling = Vec::with_capacity(PIECE_BYTES);
        Self { bench, under_way: FuturesUnordered::new(), filling, n: 0, sum: Sum::default() }
    }

    /// Sends these bytes, when there is room for them.
    pub async fn send(&mut self, bytes: Vec<u8>) -> Result<(), NoOutcome> {
        self.sum.add(&bytes);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let room = PIECE_BYTES.saturating_sub(self.filling.len());
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.filling.extend_from_slice(now);
            rest = later;
            if self.filling.len() >= PIECE_BYTES {
                let full = std::mem::replace(&mut self.filling, Vec::with_capacity(PIECE_BYTES));
                self.piece(full, None).await?;
            }
        }
        let so_far = self.sum.bytes();
        let line = ProgressLine::Archive {
            nfiles: 0,
            original_size: so_far,
            compressed_size: so_far,
            deduplicated_size: so_far,
            path: String::new(),
        };
        self.bench.meter.lock().unwrap_or_else(PoisonError::into_inner).take(line, clock::now());
        Ok(())
    }

    /// That was all: sends the rest, and then says so.
    pub async fn end(mut self) -> Result<Whole, NoOutcome> {
        let rest = std::mem::take(&mut self.filling);
        if !rest.is_empty() {
            self.piece(rest, None).await?;
        }
        let Summed { bytes, sha256 } = std::mem::take(&mut self.sum).finish();
        let whole = Whole { size_bytes: bytes, sha256 };
        self.piece(Vec::new(), Some(whole.clone())).await?;
        let mut control = self.bench.control.clone();
        while !self.under_way.is_empty() {
            tokio::select! {
                sent = self.under_way.next() => sent.unwrap_or(Ok(()))?,
                why = control.stopped() => return Err(NoOutcome::Stopped(why)),
            }
        }
        Ok(whole)
    }

    async fn piece(&mut self, bytes: Vec<u8>, whole: Option<Whole>) -> Result<(), NoOutcome> {
        while self.under_way.len() >= AT_ONCE {
            self.under_way.next().await.unwrap_or(Ok(()))?;
        }
        let piece = Piece { epoch: self.bench.epoch, n: self.n, bytes, whole };
        self.n += 1;
        self.under_way.push(Box::pin(send(self.bench.bus, self.bench.job, piece)));
        Ok(())
    }
}

/// Sends a piece until it is taken.
async fn send(bus: &NodeBus, job: JobId, piece: Piece) -> Result<(), NoOutcome> {
    let mut heard = Instant::now();
    loop {
        match bus.send_piece(job, &piece).await {
            Ok(PieceAnswer::Taken) => return Ok(()),
            Ok(PieceAnswer::Wait) => heard = Instant::now(),
            // Who asked for it has gone.
            Ok(PieceAnswer::Stop) => return Err(NoOutcome::Stopped(Stop::Cancel)),
            Err(fault) if fault.is_transient() && heard.elapsed() < SILENT => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(fault) => {
                let message = format!("the gateway that waited for the download does not answer: {fault}");
                return Err(Failure::new(FailureCode::ReaderGone, message).into());
            }
        }
    }
}

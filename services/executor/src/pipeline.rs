//! From a dump to what is stored of it and back: compression and encryption, in one pass. The digest of a dump is taken where
//! it comes from, that of what is stored of it here; who reads it back has both.
//!
//! The accident that this file prevents: the end of a broken dump that is taken for the end of a whole one. That all has
//! been given is said in a message of its own; a way that closes without it makes everything behind it fail.
//!
//! Memory: [`PIECES`] pieces of [`PIECE_BYTES`] wait at each of three places, and zstd holds [`ZSTD_BYTES`] for all its
//! threads together, and half as much again in and out: some 40 MiB at level 3, whatever the size of the dump.

use crate::core::chunks;
use crate::core::sum::{Sum, Summed};
use crate::gpg::Sealer;
use age::x25519::{Identity, Recipient};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Write};
use strongroom_domain::archive::{Compressed, Encrypted};
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use zstd::zstd_safe::CParameter;

mod zip;

/// How much flows at once.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait to be taken on.
const PIECES: usize = 4;
/// How much the threads of zstd take at once, all together. Each begins what it has taken with a look at what came before,
/// so that larger pieces take less of the processor: 4 MiB for each of two threads a tenth less than 2 MiB.
const ZSTD_BYTES: u32 = 8 << 20;
/// Threads of zstd, where the machine has as many.
const ZSTD_THREADS: u32 = 4;
/// The level of zstd when a plan names none: its own default.
const ZSTD_LEVEL: u8 = 3;
/// The level of gzip when a plan names none: that of the program.
const GZIP_LEVEL: u8 = 6;
/// The largest window that is made room for when reading: 128 MiB, as the program does without being told otherwise.
const ZSTD_WINDOW_LOG: u32 = 27;

/// What flows.
#[derive(Debug)]
pub enum Flow {
    /// Some bytes.
    Piece(Bytes),
    /// That was all, and it is whole.
    End,
}

/// A way for what flows, which holds only as much as its end can take.
pub fn way() -> (mpsc::Sender<Flow>, mpsc::Receiver<Flow>) {
    mpsc::channel(PIECES)
}

/// How a dump is packed.
#[derive(Clone)]
pub struct Recipe {
    /// How it is compressed.
    pub compression: Compressed,
    /// How hard.
    pub level: Option<u8>,
    /// To whom it is encrypted; not at all, when there is nobody.
    pub recipients: Vec<Recipient>,
    /// Encrypts it in the place of age.
    pub gpg: Option<Sealer>,
}

impl Recipe {
    /// How it is encrypted.
    pub fn encryption(&self) -> Encrypted {
        match (&self.gpg, self.recipients.is_empty()) {
            (Some(_), _) => Encrypted::Gpg,
            (None, true) => Encrypted::None,
            (None, false) => Encrypted::Age,
        }
    }

    /// How the name of an object ends that is packed so.
    pub fn suffix(&self) -> String {
        chunks::suffix(self.compression, self.encryption())
    }

    /// What is in an object of this name, for people who unpack it.
    fn content<'a>(&self, object: &'a str) -> &'a str {
        let name = object.rsplit('/').next().unwrap_or(object);
        name.strip_suffix(&self.suffix()).unwrap_or(name)
    }
}

/// A dump that is being packed.
pub struct Packing {
    compressing: JoinHandle<io::Result<u64>>,
    encrypting: JoinHandle<io::Result<Summed>>,
}

/// Packs what is given on the one end, and gives it on the other: the bytes of this object.
pub fn pack(
    recipe: Recipe,
    object: &str,
    input: mpsc::Receiver<Flow>,
    output: mpsc::Sender<Flow>,
) -> Packing {
    let (give, come) = way();
    let content = recipe.content(object).to_owned();
    let Recipe { compression, level, recipients, gpg } = recipe;
    let compressing = tokio::task::spawn_blocking(move || match compression {
        Compressed::Zip => zip::write(&content, input, Out::to(give)),
        _ => compress(compression, level, input, Out::to(give)),
    });
    let encrypting = match gpg {
        Some(gpg) => gpg.seal(come, output),
        None => tokio::task::spawn_blocking(move || encrypt(&recipients, come, Out::to(output))),
    };
    Packing { compressing, encrypting }
}

impl Packing {
    /// How many bytes went in, and what came out.
    pub async fn sums(self) -> Result<(u64, Summed), Failure> {
        let (plain, stored) = tokio::join!(self.compressing, self.encrypting);
        let failed =
            |e: io::Error| Failure::new(FailureCode::Unknown, format!("the dump cannot be packed: {e}"));
        Ok((plain.map_err(joined)?.map_err(failed)?, stored.map_err(joined)?.map_err(failed)?))
    }
}

fn joined(error: tokio::task::JoinError) -> Failure {
    Failure::new(FailureCode::Unknown, error.to_string())
}

enum Encoder {
    None(Out),
    Gzip(GzEncoder<Out>),
    Zstd(zstd::Encoder<'static, Out>),
}

impl Encoder {
    fn new(compression: Compressed, level: Option<u8>, out: Out) -> io::Result<Self> {
        Ok(match compression {
            Compressed::None => Self::None(out),
            Compressed::Zip => {
                return Err(io::Error::new(ErrorKind::Unsupported, "a zip has a writer of its own"));
            }
            Compressed::Gzip => {
                let level = flate2::Compression::new(u32::from(level.unwrap_or(GZIP_LEVEL)));
                Self::Gzip(GzEncoder::new(out, level))
            }
            Compressed::Zstd => {
                let mut encoder = zstd::Encoder::new(out, i32::from(level.unwrap_or(ZSTD_LEVEL)))?;
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                let threads = u32::try_from(processors).map_or(ZSTD_THREADS, |n| n.clamp(1, ZSTD_THREADS));
                encoder.multithread(threads)?;
                encoder.set_parameter(CParameter::JobSize(ZSTD_BYTES / threads))?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    fn write(&mut self, piece: Bytes) -> io::Result<()> {
        match self {
            Self::None(out) => out.pass(piece),
            Self::Gzip(encoder) => encoder.write_all(&piece),
            Self::Zstd(encoder) => encoder.write_all(&piece),
        }
    }

    fn finish(self) -> io::Result<Out> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

fn compress(
    compression: Compressed,
    level: Option<u8>,
    mut input: mpsc::Receiver<Flow>,
    out: Out,
) -> io::Result<u64> {
    let mut bytes = 0;
    let mut encoder = Encoder::new(compression, level, out)?;
    while let Some(piece) = next(&mut input)? {
        bytes += piece.len() as u64;
        encoder.write(piece)?;
    }
    encoder.finish()?.end()?;
    Ok(bytes)
}

/// Packs what is in memory as a whole, in one thread.
pub fn pack_whole(recipe: &Recipe, plain: &[u8]) -> io::Result<Vec<u8>> {
    let compressed = match recipe.compression {
        Compressed::None => Cow::Borrowed(plain),
        Compressed::Gzip => {
            let level = flate2::Compression::new(u32::from(recipe.level.unwrap_or(GZIP_LEVEL)));
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain)?;
            Cow::Owned(encoder.finish()?)
        }
        Compressed::Zstd => {
            let level = i32::from(recipe.level.unwrap_or(ZSTD_LEVEL));
            let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
            encoder.include_checksum(true)?;
            encoder.set_pledged_src_size(Some(plain.len() as u64))?;
            encoder.write_all(plain)?;
            Cow::Owned(encoder.finish()?)
        }
        Compressed::Zip => return Err(io::Error::new(ErrorKind::Unsupported, "a chunk is no zip")),
    };
    if recipe.recipients.is_empty() {
        return Ok(compressed.into_owned());
    }
    let recipients = recipe.recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
    let mut writer = encryptor.wrap_output(Vec::new())?;
    writer.write_all(&compressed)?;
    writer.finish()
}

/// Unpacks what is in memory as a whole, when it has no more than so many bytes then.
pub fn unpack_whole(
    compression: Compressed,
    encryption: Encrypted,
    identity: Option<&Identity>,
    stored: &[u8],
    limit: u64,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let plain = plain_of(compression, encryption, identity, stored)?;
    plain.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| damaged(&e))?;
    if bytes.len() as u64 > limit {
        return Err(damaged(&io::Error::other(format!("it has more than {limit} bytes"))));
    }
    Ok(bytes)
}

fn encrypt(recipients: &[Recipient], mut input: mpsc::Receiver<Flow>, mut out: Out) -> io::Result<Summed> {
    if recipients.is_empty() {
        while let Some(piece) = next(&mut input)? {
            out.pass(piece)?;
        }
        return out.end();
    }
    let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
    let mut writer = encryptor.wrap_output(out)?;
    while let Some(piece) = next(&mut input)? {
        writer.write_all(&piece)?;
    }
    writer.finish()?.end()
}

/// The next piece; none, when all were given.
fn next(input: &mut mpsc::Receiver<Flow>) -> io::Result<Option<Bytes>> {
    match input.blocking_recv() {
        Some(Flow::Piece(piece)) => Ok(Some(piece)),
        Some(Flow::End) => Ok(None),
        None => Err(io::Error::new(ErrorKind::BrokenPipe, "what it is made of broke off")),
    }
}

/// Writes into a way, and sums up what it writes.
struct Out {
    to: mpsc::Sender<Flow>,
    waiting: BytesMut,
    sum: Sum,
}

impl Out {
    fn to(to: mpsc::Sender<Flow>) -> Self {
        Self { to, waiting: BytesMut::new(), sum: Sum::default() }
    }

    /// A piece as it is.
    fn pass(&mut self, piece: Bytes) -> io::Result<()> {
        self.sum.add(&piece);
        self.send(Flow::Piece(piece))
    }

    fn send(&self, flow: Flow) -> io::Result<()> {
        self.to.blocking_send(flow).map_err(|_| io::Error::new(ErrorKind::BrokenPipe, "nobody takes it"))
    }

    fn end(mut self) -> io::Result<Summed> {
        self.flush()?;
        self.send(Flow::End)?;
        Ok(self.sum.finish())
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let piece = self.waiting.split().freeze();
        self.pass(piece)
    }
}

/// A dump that is being unpacked.
pub struct Unpacking(JoinHandle<Result<(Summed, Summed), Failure>>);

/// Unpacks what is given on the one end, and gives it on the other.
pub fn unpack(
    compression: Compressed,
    encryption: Encrypted,
    identity: Option<Identity>,
    input: mpsc::Receiver<Flow>,
    output: mpsc::Sender<Flow>,
) -> Unpacking {
    Unpacking(tokio::task::spawn_blocking(move || {
        let mut reading = Summing { inner: In::of(input), sum: Sum::default() };
        let plain = unpack_all(compression, encryption, identity.as_ref(), &mut reading, Out::to(output))?;
        // What comes after the end of what was packed is part of what is stored.
        io::copy(&mut reading, &mut io::sink()).map_err(|e| damaged(&e))?;
        Ok((reading.sum.finish(), plain))
    }))
}

impl Unpacking {
    /// What went in, and what came out.
    pub async fn sums(self) -> Result<(Summed, Summed), Failure> {
        self.0.await.map_err(joined)?
    }
}

/// What of it is read decrypted and decompressed.
fn plain_of<'a>(
    compression: Compressed,
    encryption: Encrypted,
    identity: Option<&Identity>,
    input: impl Read + 'a,
) -> Result<Box<dyn Read + 'a>, Failure> {
    let decrypted: Box<dyn Read + 'a> = match (encryption, identity) {
        // What gpg has encrypted comes decrypted.
        (Encrypted::None | Encrypted::Gpg, _) => Box::new(input),
        (Encrypted::Age, None) => {
            let message = "it is encrypted, and no key to open it was given";
            return Err(Failure::new(FailureCode::SecretMissing, message));
        }
        (Encrypted::Age, Some(identity)) => {
            let opened = age::Decryptor::new(input)
                .and_then(|opened| opened.decrypt(std::iter::once(identity as &dyn age::Identity)));
            Box::new(opened.map_err(|e| match e {
                age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed => {
                    Failure::new(FailureCode::WrongPassphrase, "the key does not open it")
                }
                other => Failure::new(FailureCode::ArchiveDamaged, other.to_string()),
            })?)
        }
    };
    Ok(match compression {
        Compressed::None => decrypted,
        Compressed::Gzip => Box::new(MultiGzDecoder::new(decrypted)),
        Compressed::Zstd => {
            let mut decoder = zstd::Decoder::new(decrypted).map_err(|e| damaged(&e))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|e| damaged(&e))?;
            Box::new(decoder)
        }
        Compressed::Zip => zip::read(decrypted).map_err(|e| damaged(&e))?,
    })
}

fn unpack_all(
    compression: Compressed,
    encryption: Encrypted,
    identity: Option<&Identity>,
    input: impl Read,
    mut out: Out,
) -> Result<Summed, Failure> {
    let mut plain = plain_of(compression, encryption, identity, input)?;
    loop {
        let mut piece = BytesMut::zeroed(PIECE_BYTES);
        let mut filled = 0;
        while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match plain.read(rest) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(damaged(&e)),
            }
        }
        piece.truncate(filled);
        if filled == 0 {
            // The end is said by who has compared the digests.
            return Ok(out.sum.finish());
        }
        out.pass(piece.freeze()).map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
    }
}

fn damaged(error: &io::Error) -> Failure {
    Failure::new(FailureCode::ArchiveDamaged, format!("it cannot be read: {error}"))
}

/// Reads from a way, in a thread that may wait. A way that closes before all was given is an error.
pub struct In {
    from: mpsc::Receiver<Flow>,
    piece: Bytes,
    ended: bool,
}

impl In {
    /// Nothing so far.
    pub fn of(from: mpsc::Receiver<Flow>) -> Self {
        Self { from, piece: Bytes::new(), ended: false }
    }
}

impl Read for In {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match next(&mut self.from)? {
                Some(piece) => self.piece = piece,
                None => self.ended = true,
            }
        }
        let n = self.piece.len().min(to.len());
        let taken = self.piece.split_to(n);
        if let Some(to) = to.get_mut(..n) {
            to.copy_from_slice(&taken);
        }
        Ok(n)
    }
}

/// Sums up what is read through it.
struct Summing {
    inner: In,
    sum: Sum,
}

impl Read for Summing {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(to)?;
        self.sum.add(to.get(..n).unwrap_or_default());
        Ok(n)
    }
}

#[cfg(test)]
mod tests;

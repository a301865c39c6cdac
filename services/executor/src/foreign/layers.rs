//! The layers of a file: each is taken off as it comes, and nothing of it lies anywhere in between.

use super::{Ended, Found};
use crate::core::foreign_sql::Filter;
use crate::core::members::{self, BLOCK, NAME_BYTES, ZIP_HEADER};
use crate::core::recognise::{Content, Form, HEAD_BYTES, Wrapper, recognise};
use crate::core::sum::Sum;
use age::secrecy::{ExposeSecret, SecretString};
use std::io::{self, Cursor, ErrorKind, Read};
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;

/// How often something may be wrapped.
const LAYERS: usize = 8;
/// How many members are remembered.
const MEMBERS: usize = 10_000;
/// How much is passed on at once.
pub const PIECE_BYTES: usize = 256 << 10;
/// The largest window of zstd: 128 MiB, as its program has it.
const ZSTD_WINDOW_LOG: u32 = 27;
/// How hard a passphrase of age may be: 256 MiB of memory.
const SCRYPT_WORK_FACTOR: u8 = 18;

/// Where a reader is.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The member of each tar or zip around it, outermost first.
    pub members: Vec<String>,
    /// What it is wrapped in, outermost first.
    pub wrappers: Vec<Wrapper>,
}

impl Place {
    /// Inside of this.
    pub fn inside(&self, wrapper: Wrapper) -> Self {
        let mut place = self.clone();
        place.wrappers.push(wrapper);
        place
    }

    fn member(&self, name: String) -> Self {
        let mut place = self.clone();
        place.members.push(name);
        place
    }
}

/// What a file is read for.
pub enum Goal {
    /// To know what is in it.
    Look(Vec<(Place, Content)>),
    /// To give this away.
    Give {
        /// Which one.
        wanted: Found,
        /// To whom.
        give: mpsc::Sender<Vec<u8>>,
        /// What came of it.
        ended: Option<Ended>,
    },
}

/// A way through the layers of a file.
pub struct Walk {
    /// What opens what is encrypted.
    pub secret: Option<SecretString>,
    /// What for.
    pub goal: Goal,
}

impl Walk {
    /// Looks at what comes, and at what is in it.
    pub fn one(&mut self, input: &mut dyn Read, place: &Place) -> Result<(), Failure> {
        let head = head_of(input).map_err(|e| broken(&e))?;
        let content = recognise(&head);
        let input: &mut dyn Read = &mut Read::chain(Cursor::new(head), input);
        match content {
            Content::Wrapped(wrapper) if place.wrappers.len() >= LAYERS => {
                let message = format!("it is wrapped more than {LAYERS} times ({} again)", wrapper.name());
                Err(Failure::new(FailureCode::FormatUnknown, message))
            }
            Content::Wrapped(Wrapper::Xz | Wrapper::Bzip2 | Wrapper::Gpg)
            | Content::Other(_)
            | Content::Dump(_) => self.leaf(input, place, content),
            Content::Wrapped(Wrapper::Tar) => self.tar(input, &place.inside(Wrapper::Tar)),
            Content::Wrapped(Wrapper::Zip) => self.zip(input, &place.inside(Wrapper::Zip)),
            Content::Wrapped(Wrapper::Gzip) => {
                let mut inner = flate2::read::MultiGzDecoder::new(input);
                self.inside(&mut inner, &place.inside(Wrapper::Gzip))
            }
            Content::Wrapped(Wrapper::Zstd) => {
                let mut inner = zstd::stream::read::Decoder::new(input).map_err(|e| broken(&e))?;
                inner.window_log_max(ZSTD_WINDOW_LOG).map_err(|e| broken(&e))?;
                self.inside(&mut inner, &place.inside(Wrapper::Zstd))
            }
            Content::Wrapped(Wrapper::Age) => {
                let mut inner = self.decrypt(input)?;
                self.inside(&mut *inner, &place.inside(Wrapper::Age))
            }
        }
    }

    /// What is inside, read to its end when something of it is given away: only then its sums were compared.
    fn inside(&mut self, inner: &mut dyn Read, place: &Place) -> Result<(), Failure> {
        self.one(inner, place)?;
        if matches!(self.goal, Goal::Give { .. }) { drain(inner) } else { Ok(()) }
    }

    fn decrypt<'a>(&self, input: &'a mut dyn Read) -> Result<Box<dyn Read + 'a>, Failure> {
        let opened =
            age::Decryptor::new(input).map_err(|e| damaged(&format!("what age has made of it: {e}")))?;
        let Some(secret) = &self.secret else {
            let message = "it is encrypted with age; give the secret key, or the passphrase, as 'identity'";
            return Err(Failure::new(FailureCode::SecretMissing, message));
        };
        let text = secret.expose_secret().trim();
        let read = match text.parse::<age::x25519::Identity>() {
            Ok(identity) => opened.decrypt(std::iter::once(&identity as &dyn age::Identity)),
            Err(_) => {
                let mut identity = age::scrypt::Identity::new(text.to_owned().into());
                identity.set_max_work_factor(SCRYPT_WORK_FACTOR);
                opened.decrypt(std::iter::once(&identity as &dyn age::Identity))
            }
        };
        match read {
            Ok(read) => Ok(Box::new(read)),
            Err(age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed) => {
                let message = "the secret key or passphrase does not open what age has encrypted";
                Err(Failure::new(FailureCode::WrongPassphrase, message))
            }
            Err(e) => Err(damaged(&format!("what age has made of it: {e}"))),
        }
    }

    fn tar(&mut self, input: &mut dyn Read, place: &Place) -> Result<(), Failure> {
        let (mut name, mut size) = (None, None);
        loop {
            let mut block = [0; BLOCK];
            let n = fill(input, &mut block).map_err(|e| broken(&e))?;
            if n == 0 || block.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let header = members::tar_header(block.get(..n).unwrap_or_default());
            let header = header.ok_or_else(|| damaged("the tar is cut off or damaged"))?;
            let bytes: u64 = size.take().filter(|_| is_file(header.kind)).unwrap_or(header.size);
            let mut member = input.take(bytes);
            match header.kind {
                b'L' | b'x' if bytes <= NAME_BYTES => {
                    let mut text = Vec::new();
                    member.read_to_end(&mut text).map_err(|e| broken(&e))?;
                    if header.kind == b'L' {
                        name = Some(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned());
                    } else {
                        let (path, length) = members::pax(&text);
                        name = path.or(name);
                        size = length;
                    }
                }
                kind => {
                    let called = name.take().unwrap_or(header.name);
                    if is_file(kind) && bytes > 0 {
                        self.member(&mut member, &place.member(called))?;
                    }
                }
            }
            let left = member.limit();
            if io::copy(&mut member, &mut io::sink()).map_err(|e| broken(&e))? < left {
                return Err(damaged("the tar is cut off"));
            }
            let filling = (BLOCK as u64 - bytes % BLOCK as u64) % BLOCK as u64;
            io::copy(&mut input.take(filling), &mut io::sink()).map_err(|e| broken(&e))?;
        }
    }

    /// A member of several: one that cannot be read is no reason not to find the others.
    fn member(&mut self, input: &mut dyn Read, place: &Place) -> Result<(), Failure> {
        let Err(failure) = self.one(input, place) else { return Ok(()) };
        match &mut self.goal {
            Goal::Look(seen) => {
                let what = match failure.code {
                    FailureCode::SecretMissing => "encrypted with age, and no 'identity' was given",
                    FailureCode::WrongPassphrase => "encrypted with age for another key",
                    _ => "which cannot be unwrapped",
                };
                if seen.len() < MEMBERS {
                    seen.push((place.clone(), Content::Other(what)));
                }
                Ok(())
            }
            Goal::Give { wanted, .. } if wanted.members.starts_with(&place.members) => Err(failure),
            Goal::Give { .. } => Ok(()),
        }
    }

    /// A zip with one member, as it comes: where a member ends is known when it has been unpacked.
    fn zip(&mut self, input: &mut dyn Read, place: &Place) -> Result<(), Failure> {
        let mut inner = io::BufReader::new(input);
        let mut bytes = [0; ZIP_HEADER];
        let short = || damaged("the zip is cut off");
        if fill(&mut inner, &mut bytes).map_err(|e| broken(&e))? < ZIP_HEADER {
            return Err(short());
        }
        let header = members::zip_header(&bytes).ok_or_else(short)?;
        let refused = |why: &str| Err(Failure::new(FailureCode::FormatUnknown, format!("a zip {why}")));
        let mut name = vec![0; usize::from(header.name_bytes)];
        let mut extra = vec![0; usize::from(header.extra_bytes)];
        for part in [&mut name, &mut extra] {
            if fill(&mut inner, part).map_err(|e| broken(&e))? < part.len() {
                return Err(short());
            }
        }
        if header.encrypted {
            return refused("that is encrypted");
        }
        let place = place.member(String::from_utf8_lossy(&name).into_owned());
        let gives = matches!(self.goal, Goal::Give { .. });
        let crc = match header.method {
            8 => {
                let mut member = Summing {
                    inner: flate2::bufread::DeflateDecoder::new(&mut inner),
                    crc: flate2::Crc::new(),
                };
                self.inside(&mut member, &place)?;
                member.crc
            }
            0 if !header.described_after && header.stored_bytes != u32::MAX => {
                let member = (&mut inner).take(u64::from(header.stored_bytes));
                let mut member = Summing { inner: member, crc: flate2::Crc::new() };
                self.inside(&mut member, &place)?;
                member.crc
            }
            0 => return refused("that does not say how large its member is"),
            other => return refused(&format!("of the method {other}, which is not known")),
        };
        if !gives {
            return Ok(());
        }
        // Sum and sizes may come here, with four bytes before them or without.
        let mut next = [0; 4];
        fill(&mut inner, &mut next).map_err(|e| broken(&e))?;
        let mut told = header.crc;
        if header.described_after {
            if next == *b"PK\x07\x08" {
                fill(&mut inner, &mut next).map_err(|e| broken(&e))?;
            }
            told = u32::from_le_bytes(next);
            let mut rest = Vec::new();
            (&mut inner).take(20).read_to_end(&mut rest).map_err(|e| broken(&e))?;
            // Two sizes, of four bytes or of eight.
            let at = |n: usize| rest.get(n..n + 4).and_then(|b| <[u8; 4]>::try_from(b).ok());
            next = [at(8), at(16)].into_iter().flatten().find(|b| b.starts_with(b"PK")).unwrap_or_default();
        }
        if told != crc.sum() {
            return Err(damaged("the zip is damaged: the sum of its member is another one"));
        }
        if next != *b"PK\x01\x02" {
            return refused("with several members, or cut off; unpack the one that is meant first");
        }
        Ok(())
    }

    /// Something that is not unwrapped.
    fn leaf(&mut self, input: &mut dyn Read, place: &Place, content: Content) -> Result<(), Failure> {
        match &mut self.goal {
            Goal::Look(seen) => {
                if seen.len() < MEMBERS {
                    seen.push((place.clone(), content));
                }
                Ok(())
            }
            Goal::Give { wanted, give, ended } => {
                let is_it = place.members == wanted.members
                    && place.wrappers == wanted.wrappers
                    && content == Content::Dump(wanted.form);
                // A name may be there twice.
                if is_it && ended.is_none() {
                    *ended = Some(pass_on(input, wanted.form, give)?);
                }
                Ok(())
            }
        }
    }
}

/// Passes a dump on to its end.
fn pass_on(input: &mut dyn Read, form: Form, give: &mpsc::Sender<Vec<u8>>) -> Result<Ended, Failure> {
    let mut sum = Sum::default();
    let mut filter = form.is_sql().then(|| Filter::new(form));
    let strange = |why: &dyn std::fmt::Display| Failure::new(FailureCode::RestoreFailed, why.to_string());
    let nobody = || Failure::new(FailureCode::RestoreFailed, "nobody read it to its end");
    if form == Form::PostgresqlPlain {
        // A dump is SQL, and psql also knows words that run programs on this node. From here on it takes none of them.
        let words = format!("\\restrict {}\n", uuid::Uuid::now_v7().simple());
        give.blocking_send(words.into_bytes()).map_err(|_| nobody())?;
    }
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let n = fill(input, &mut buffer).map_err(|e| broken(&e))?;
        let piece = buffer.get(..n).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        sum.add(piece);
        let mut out = Vec::with_capacity(n);
        match &mut filter {
            Some(filter) => filter.push(piece, &mut out).map_err(|e| strange(&e))?,
            None => out.extend_from_slice(piece),
        }
        if !out.is_empty() {
            give.blocking_send(out).map_err(|_| nobody())?;
        }
    }
    let mut ending = None;
    if let Some(filter) = filter {
        let mut out = Vec::new();
        ending = Some(filter.finish(&mut out).map_err(|e| strange(&e))?);
        if !out.is_empty() {
            give.blocking_send(out).map_err(|_| nobody())?;
        }
    }
    Ok(Ended { sum: sum.finish(), ending })
}

/// Sums up what is read through it.
struct Summing<R> {
    inner: R,
    crc: flate2::Crc,
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.crc.update(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

fn is_file(kind: u8) -> bool {
    matches!(kind, 0 | b'0' | b'7')
}

/// The beginning of what comes; all of it, when it is short.
pub fn head_of(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Reads until the buffer is full or nothing more comes.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Reads to the end: only then sums are compared.
pub fn drain(input: &mut dyn Read) -> Result<(), Failure> {
    io::copy(input, &mut io::sink()).map(|_| ()).map_err(|e| broken(&e))
}

/// What is not as it was written.
pub fn damaged(why: &str) -> Failure {
    Failure::new(FailureCode::FileDamaged, why.to_owned())
}

/// What could not be read to its end.
pub fn broken(error: &io::Error) -> Failure {
    damaged(&format!("it is cut off or damaged: {error}"))
}

//! The chunks of a deduplicated dump store: what they are called, the lists of them, and which of them nobody needs.
//!
//! The accident that this file prevents: a chunk that is removed while an archive needs it, or taken for whole when it is
//! not. What is removed is what no list names, and a list that cannot be read is not here to say so ([`unneeded`] is asked
//! only when all were read). The name of a chunk says how many bytes it has, so that one listing tells those that are whole.
//!
//! ```text
//! chunks/3f/3f9a...c1-731204.zst.age             a chunk of 731,204 bytes, known by the digest of what it was made of
//! archives/<archive>/<epoch>/0001-shop.dump.chunks.zst.age   a list: one line a chunk, in the order of the part
//! ```
//!
//! Memory: 36 bytes for each chunk of a part, and up to some 90 for each chunk of the store while an attempt writes; the
//! names of a listing, some 170 bytes each, are held besides while they are looked through. Chunks have 1 MiB or so: for
//! a store of 1 TiB before compression, 100 MiB for long and 300 for a moment.

use super::hex::hex;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::collections::hash_map::Entry as Place;
use std::collections::{HashMap, HashSet};
use strongroom_domain::archive::{Compressed, Encrypted};

/// What all chunks are below.
pub const CHUNKS: &str = "chunks";
/// What the names of lists end in, before how they are packed.
pub const LIST_SUFFIX: &str = ".chunks";
/// No chunk has less, but the last of a part.
pub const MIN_BYTES: usize = 256 << 10;
/// About what most have.
pub const AVERAGE_BYTES: usize = 1 << 20;
/// None has more.
pub const MAX_BYTES: usize = 4 << 20;
/// None takes more as it is stored: what cannot be compressed grows a little, and encryption adds to it.
pub const MAX_STORED_BYTES: u32 = 5 << 20;
/// The longest line of a list.
const LINE_BYTES: usize = 128;

/// What a chunk is known by: the digest of its bytes before they are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id([u8; 32]);

impl Id {
    fn read(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 64 || !bytes.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)) {
            return None;
        }
        let mut id = [0; 32];
        for (n, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()?;
        }
        Some(Self(id))
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// How a store names its chunks, and where it cuts. With the secret of the store in both, nobody without it can tell
/// whether something that is known to him is in there.
#[derive(Clone)]
pub struct Naming {
    key: Option<Hmac<Sha256>>,
    seed: u64,
}

impl Naming {
    /// Of a store without encryption.
    pub fn open() -> Self {
        Self { key: None, seed: 0 }
    }

    /// Of a store with this secret.
    pub fn of_secret(secret: &[u8]) -> Self {
        let secret = Sha256::digest(secret);
        let derived = |what: &[u8]| {
            let mut mac = keyed(&secret);
            mac.update(what);
            mac.finalize().into_bytes()
        };
        let seed = derived(b"strongroom: where chunks are cut, version 1");
        let seed = seed.iter().take(8).fold(0, |seed: u64, byte| (seed << 8) | u64::from(*byte));
        Self { key: Some(keyed(&derived(b"strongroom: ids of chunks, version 1"))), seed }
    }

    /// What a chunk of these bytes is known by.
    pub fn id_of(&self, bytes: &[u8]) -> Id {
        let digest = match &self.key {
            None => Sha256::digest(bytes),
            Some(key) => {
                let mut mac = key.clone();
                mac.update(bytes);
                mac.finalize().into_bytes()
            }
        };
        Id(digest.into())
    }

    /// What is mixed into the choice of where to cut.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// With a key of up to one block of SHA-256, which RFC 2104 fills up with zeros.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    Hmac::new((&block).into())
}

/// A chunk as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// What it is known by.
    pub id: Id,
    /// Its bytes, packed.
    pub stored_bytes: u32,
    /// How it was compressed.
    pub compression: Compressed,
    /// How it was encrypted.
    pub encryption: Encrypted,
}

impl Chunk {
    /// Its object.
    pub fn object(&self) -> String {
        let (id, bytes) = (self.id.to_string(), self.stored_bytes);
        let folder = id.get(..2).unwrap_or_default();
        format!("{CHUNKS}/{folder}/{id}-{bytes}{}", suffix(self.compression, self.encryption))
    }

    /// The chunk that an object of this name is.
    pub fn of_object(name: &str) -> Option<Self> {
        let (folder, last) = name.strip_prefix(CHUNKS)?.strip_prefix('/')?.split_once('/')?;
        let (id, rest) = last.split_once('-')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (bytes, suffix) = rest.split_at(digits);
        let chunk = Self::read(id, bytes, suffix)?;
        // Also what would be read as the same, and is written otherwise, is another name.
        (id.get(..2) == Some(folder) && chunk.object() == name).then_some(chunk)
    }

    fn read(id: &str, bytes: &str, suffix: &str) -> Option<Self> {
        let (compression, encryption) = packing(suffix)?;
        let stored_bytes = bytes.parse().ok().filter(|bytes| (1..=MAX_STORED_BYTES).contains(bytes))?;
        Some(Self { id: Id::read(id)?, stored_bytes, compression, encryption })
    }
}

/// How the name of an object ends that is packed so.
pub fn suffix(compression: Compressed, encryption: Encrypted) -> String {
    let compressed = match compression {
        Compressed::None => "",
        Compressed::Gzip => ".gz",
        Compressed::Zstd => ".zst",
        Compressed::Zip => ".zip",
    };
    let encrypted = match encryption {
        Encrypted::None => "",
        Encrypted::Age => ".age",
        Encrypted::Gpg => ".gpg",
    };
    format!("{compressed}{encrypted}")
}

fn packing(text: &str) -> Option<(Compressed, Encrypted)> {
    // A zip of each chunk would be of use to nobody: plans into such stores cannot ask for it.
    let compressions = [Compressed::None, Compressed::Gzip, Compressed::Zstd];
    let of_it = |encryption| compressions.into_iter().map(move |compression| (compression, encryption));
    // With keys of OpenPGP nothing is deduplicated.
    let mut all = of_it(Encrypted::None).chain(of_it(Encrypted::Age));
    all.find(|(compression, encryption)| suffix(*compression, *encryption) == text)
}

/// A line of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The chunk.
    pub chunk: Chunk,
    /// Its bytes as they are in the part.
    pub plain_bytes: u32,
}

impl Entry {
    /// The line, with its end: `<id> <bytes in the part> <bytes stored> <suffix>`.
    pub fn line(&self) -> String {
        let Chunk { id, stored_bytes, compression, encryption } = self.chunk;
        let suffix = suffix(compression, encryption);
        format!("{id} {} {stored_bytes} {suffix}", self.plain_bytes).trim_end().to_owned() + "\n"
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (id, plain, stored) = (words.next()?, words.next()?, words.next()?);
        let suffix = words.next().unwrap_or_default();
        let plain_bytes = plain.parse().ok().filter(|bytes| (1..=MAX_BYTES).contains(&(*bytes as usize)))?;
        let entry = Self { chunk: Chunk::read(id, stored, suffix)?, plain_bytes };
        (words.next().is_none() && entry.line().trim_end() == line).then_some(entry)
    }
}

/// Why a list cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its list of chunks cannot be read: line {0} is none of it")]
pub struct Unreadable(usize);

/// A list that is being read.
#[derive(Default)]
pub struct Lines {
    entries: Vec<Entry>,
    rest: Vec<u8>,
}

impl Lines {
    /// Some more of it.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), Unreadable> {
        let mut lines = piece.split(|byte| *byte == b'\n');
        // What is behind the last end is no line so far.
        let last = lines.next_back().unwrap_or_default();
        for line in lines {
            self.rest.extend_from_slice(line);
            let text = std::str::from_utf8(&self.rest).ok();
            let entry = text.and_then(Entry::read).ok_or(Unreadable(self.entries.len() + 1))?;
            self.entries.push(entry);
            self.rest.clear();
        }
        self.rest.extend_from_slice(last);
        if self.rest.len() > LINE_BYTES { Err(Unreadable(self.entries.len() + 1)) } else { Ok(()) }
    }

    /// That was all.
    pub fn finish(self) -> Result<Vec<Entry>, Unreadable> {
        if self.rest.is_empty() { Ok(self.entries) } else { Err(Unreadable(self.entries.len() + 1)) }
    }
}

/// How a chunk that is known is stored.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Nothing so far, when it is on its way.
    stored_bytes: u32,
    compression: Compressed,
    encryption: Encrypted,
    /// Whether the attempt needs it.
    is_needed: bool,
}

/// The chunks that a store holds whole.
#[derive(Default)]
pub struct Index {
    held: HashMap<Id, Held>,
    /// Those that are there a second time, packed otherwise.
    others: HashSet<Chunk>,
    /// Objects that have another size than their name says.
    broken: HashMap<String, u64>,
    bytes: u64,
}

impl Index {
    /// Of what was listed: names and sizes.
    pub fn of<'a>(objects: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let mut index = Self::default();
        for (name, size) in objects {
            index.bytes += size;
            match Chunk::of_object(name) {
                Some(chunk) if u64::from(chunk.stored_bytes) == size => index.add(chunk),
                Some(_) => {
                    index.broken.insert(name.to_owned(), size);
                }
                None => {}
            }
        }
        index
    }

    fn add(&mut self, chunk: Chunk) {
        let Chunk { id, stored_bytes, compression, encryption } = chunk;
        match self.held.entry(id) {
            Place::Vacant(place) => {
                place.insert(Held { stored_bytes, compression, encryption, is_needed: false });
            }
            Place::Occupied(_) => {
                self.others.insert(chunk);
            }
        }
    }

    /// Whether this very one is there, whole.
    pub fn holds(&self, chunk: &Chunk) -> bool {
        self.get(&chunk.id) == Some(*chunk) || self.others.contains(chunk)
    }

    /// The one that is known by this.
    pub fn get(&self, id: &Id) -> Option<Chunk> {
        let Held { stored_bytes, compression, encryption, .. } = *self.held.get(id)?;
        (stored_bytes > 0).then_some(Chunk { id: *id, stored_bytes, compression, encryption })
    }

    /// Says that it is needed, and whether it is to be stored: it is not there, and nobody is at it.
    pub fn is_wanted(&mut self, id: Id) -> bool {
        match self.held.entry(id) {
            Place::Occupied(mut place) => {
                place.get_mut().is_needed = true;
                false
            }
            Place::Vacant(place) => {
                let (compression, encryption) = (Compressed::None, Encrypted::None);
                place.insert(Held { stored_bytes: 0, compression, encryption, is_needed: true });
                true
            }
        }
    }

    /// It was stored, so.
    pub fn was_stored(&mut self, chunk: Chunk) {
        let Chunk { id, stored_bytes, compression, encryption } = chunk;
        self.held.insert(id, Held { stored_bytes, compression, encryption, is_needed: true });
    }

    /// How many bytes an object of this name has instead of those that it should.
    pub fn broken(&self, object: &str) -> Option<u64> {
        self.broken.get(object).copied()
    }

    /// Bytes of all that was listed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first of those that are needed here and not there.
    pub fn missing_in(&self, there: &Self) -> Option<Chunk> {
        let needed = self.held.iter().filter(|(_, held)| held.is_needed).map(|(id, _)| *id);
        needed.filter_map(|id| self.get(&id)).find(|chunk| !there.holds(chunk))
    }

    /// What is wrong with a chunk that it does not hold.
    pub fn problem(&self, chunk: &Chunk) -> Option<String> {
        if self.holds(chunk) {
            return None;
        }
        let object = chunk.object();
        Some(match self.broken(&object) {
            Some(size) => {
                format!("the chunk {object} has {size} bytes, and not {}", chunk.stored_bytes)
            }
            None => format!("the chunk {object} is not there"),
        })
    }
}

/// The objects among these that are chunks which no list names. What is no chunk is none of ours.
pub fn unneeded<'a>(objects: impl IntoIterator<Item = &'a str>, needed: &HashSet<Chunk>) -> Vec<&'a str> {
    let is_unneeded = |name: &&str| Chunk::of_object(name).is_some_and(|chunk| !needed.contains(&chunk));
    objects.into_iter().filter(is_unneeded).collect()
}

#[cfg(test)]
mod tests;

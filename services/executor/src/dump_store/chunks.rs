//! The chunks of a deduplicated store, read: the lists of them, and what they are put together to.
//!
//! The accident that this file prevents: a part that is put together of other pieces than it was cut into. Each chunk is
//! proven by what it is known by before it is given on, and the whole by the digest that it had when it was dumped.
//!
//! Memory: [`AHEAD`] chunks of up to 4 MiB, each for a moment beside what it was unpacked from: 36 MiB at most, some 10
//! mostly; and 44 bytes for each chunk of the part.

use super::Opened;
use super::reading::{PIECES, nobody_reads, other_than_stored, stored_of};
use crate::core::chunks::{CHUNKS, Chunk, Entry, Index, Lines};
use crate::core::sum::{Sum, Summed};
use crate::pipeline::unpack_whole;
use futures::{FutureExt, StreamExt};
use strongroom_domain::archive::{Artefact, Chunked, Stored};
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;

/// How many chunks are on their way at once.
const AHEAD: usize = 4;

impl Opened<'_> {
    /// All chunks that the store holds.
    pub async fn chunks(&self) -> Result<Index, Failure> {
        let there = self.store.list(CHUNKS).await?;
        Ok(Index::of(there.iter().map(|object| (object.name.as_str(), object.size_bytes))))
    }

    /// The first chunk of an archive that is not there; `None` when all are.
    pub async fn missing_chunk(
        &self,
        there: &Index,
        artefacts: &[Artefact],
    ) -> Result<Option<String>, Failure> {
        for part in artefacts {
            let entries = match self.chunks_of(part).await {
                Ok(entries) => entries,
                Err(failure) if failure.code == FailureCode::ArchiveDamaged => {
                    return Ok(Some(failure.message));
                }
                Err(failure) => return Err(failure),
            };
            if let Some(problem) = entries.iter().find_map(|entry| there.problem(&entry.chunk)) {
                return Ok(Some(problem));
            }
        }
        Ok(None)
    }

    /// The chunks of a part, in their order; none, when it was not cut. The digest of the list was compared.
    pub async fn chunks_of(&self, part: &Artefact) -> Result<Vec<Entry>, Failure> {
        let stored = stored_of(part)?;
        match &stored.chunked {
            None => Ok(Vec::new()),
            Some(chunked) => self.list_of(part, stored, chunked).await,
        }
    }

    async fn list_of(
        &self,
        part: &Artefact,
        stored: &Stored,
        chunked: &Chunked,
    ) -> Result<Vec<Entry>, Failure> {
        let (give, mut come) = mpsc::channel::<Vec<u8>>(PIECES);
        // Read to its end in any case: that its digest is another one says more.
        let reading = async {
            let (mut lines, mut taken) = (Lines::default(), Ok(()));
            while let Some(piece) = come.recv().await {
                taken = taken.and_then(|()| lines.take(&piece));
            }
            taken.and_then(|()| lines.finish())
        };
        let (read, entries) = tokio::join!(self.read_object(part, stored, give), reading);
        read?;
        let entries = entries.map_err(|e| other_than_stored(&part.path, &e.to_string()))?;
        let stored_bytes: u64 = entries.iter().map(|entry| u64::from(entry.chunk.stored_bytes)).sum();
        let plain_bytes: u64 = entries.iter().map(|entry| u64::from(entry.plain_bytes)).sum();
        let told = (chunked.chunks, chunked.stored_bytes, part.size_bytes);
        if (entries.len() as u64, stored_bytes, plain_bytes) != told {
            return Err(other_than_stored(&part.path, "its list of chunks is not that of all of it"));
        }
        Ok(entries)
    }

    /// Gives a part as its chunks come, in their order, and then the sum of them.
    pub(super) async fn read_chunks(
        &self,
        part: &Artefact,
        stored: &Stored,
        chunked: &Chunked,
        give: mpsc::Sender<Vec<u8>>,
    ) -> Result<Summed, Failure> {
        let entries = self.list_of(part, stored, chunked).await?;
        let mut sum = Sum::default();
        let coming = entries.into_iter().map(|entry| self.chunk(part, entry).boxed());
        let mut coming = std::pin::pin!(futures::stream::iter(coming).buffered(AHEAD));
        while let Some(bytes) = coming.next().await {
            let bytes = bytes?;
            sum.add(&bytes);
            if give.send(bytes).await.is_err() {
                return Err(nobody_reads(part));
            }
        }
        Ok(sum.finish())
    }

    /// A chunk as it was in the part: the very one.
    async fn chunk(&self, part: &Artefact, entry: Entry) -> Result<Vec<u8>, Failure> {
        let Entry { chunk, plain_bytes } = entry;
        let Chunk { id, stored_bytes, compression, encryption } = chunk;
        let object = chunk.object();
        let damaged = |why: &str| other_than_stored(&part.path, &format!("the chunk {object} {why}"));
        let packed = self.whole(&object, stored_bytes as usize).await?;
        let packed = packed.ok_or_else(|| damaged("is not there"))?;
        if packed.len() != stored_bytes as usize {
            return Err(damaged(&format!("has {} bytes, and not {stored_bytes}", packed.len())));
        }
        let Some(naming) = self.naming.clone() else {
            return Err(damaged("is in a store that has none"));
        };
        let identity = self.identity.clone();
        let unpacking = tokio::task::spawn_blocking(move || {
            let limit = u64::from(plain_bytes);
            let bytes = unpack_whole(compression, encryption, identity.as_ref(), &packed, limit)?;
            Ok::<_, Failure>((naming.id_of(&bytes) == id).then_some(bytes))
        });
        let unpacked = unpacking.await.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
        match unpacked {
            Ok(Some(bytes)) if bytes.len() == plain_bytes as usize => Ok(bytes),
            Ok(_) => Err(damaged("is another one than its name says")),
            // The list was opened with the same key.
            Err(failure)
                if matches!(failure.code, FailureCode::ArchiveDamaged | FailureCode::WrongPassphrase) =>
            {
                let why = format!("of the chunk {object}, {}", failure.message);
                Err(other_than_stored(&part.path, &why))
            }
            Err(failure) => Err(failure),
        }
    }

    /// An object as a whole, or so much of it that it is seen to be too large.
    async fn whole(&self, object: &str, bytes: usize) -> Result<Option<Vec<u8>>, Failure> {
        let (give, come) = mpsc::channel::<bytes::Bytes>(PIECES);
        let collecting = async {
            // Dropped with its end, so that who fetches does not wait for ever.
            let mut come = come;
            let mut whole = Vec::with_capacity(bytes);
            while let Some(piece) = come.recv().await {
                whole.extend_from_slice(&piece);
                if whole.len() > bytes {
                    break;
                }
            }
            whole
        };
        let (fetched, whole) = tokio::join!(self.store.fetch(object, give), collecting);
        Ok(fetched?.then_some(whole))
    }
}

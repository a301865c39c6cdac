//! The parts of an archive, out of the store again.

use super::{Archive, Opened};
use crate::core::dump_store as forms;
use crate::core::sum::{Sum, Summed};
use crate::pipeline::{Flow, unpack, way};
use crate::stores::Object;
use strongroom_domain::archive::{Artefact, Encrypted, Stored};
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;

/// Pieces that wait on their way out of the store.
pub(super) const PIECES: usize = 4;

impl Opened<'_> {
    /// Gives an object as it lies there, to its end; then its digest was compared.
    pub async fn fetch(&self, part: &Artefact, give: mpsc::Sender<Flow>) -> Result<(), Failure> {
        let stored = stored_of(part)?;
        let mut sum = Sum::default();
        self.pass(part, stored, &give, |piece| sum.add(piece)).await?;
        is_what_was_stored(part, stored, &sum.finish())?;
        // Whoever does not take it has failed, and says so.
        let _ = give.send(Flow::End).await;
        Ok(())
    }

    /// Passes on the pieces of an object until nobody takes them.
    async fn pass(
        &self,
        part: &Artefact,
        stored: &Stored,
        give: &mpsc::Sender<Flow>,
        mut see: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let (pieces, come) = mpsc::channel::<bytes::Bytes>(PIECES);
        let passing = async {
            // Dropped with its end, so that who fetches does not wait for ever.
            let mut come = come;
            while let Some(piece) = come.recv().await {
                see(&piece);
                if give.send(Flow::Piece(piece)).await.is_err() {
                    return;
                }
            }
        };
        let (fetched, ()) = tokio::join!(self.store.fetch(&stored.object, pieces), passing);
        if fetched? { Ok(()) } else { Err(other_than_stored(&part.path, "its object is not there")) }
    }

    /// What is missing of an archive, or has another size; `None` when all of it is there.
    pub async fn what_is_missing(&self, archive: &Archive) -> Result<Option<String>, Failure> {
        self.missing_of(&archive.facts.name, &archive.manifest.dump.artefacts).await
    }

    async fn missing_of(&self, name: &str, parts: &[Artefact]) -> Result<Option<String>, Failure> {
        let there = self.store.list(&forms::folder(name)).await?;
        if let Some(missing) = missing_in(&there, parts) {
            return Ok(Some(missing));
        }
        if self.naming.is_none() {
            return Ok(None);
        }
        let chunks = self.chunks().await?;
        Box::pin(self.missing_chunk(&chunks, parts)).await
    }

    /// Fails when something of these parts of an archive is not there: for who only wants to know what a restore would do.
    pub async fn are_there(&self, name: &str, parts: &[Artefact]) -> Result<(), Failure> {
        match self.missing_of(name, parts).await? {
            None => Ok(()),
            Some(missing) => {
                let message = format!("the archive {name} is not whole: {missing}");
                Err(Failure::new(FailureCode::ArchiveDamaged, message))
            }
        }
    }

    /// Gives a part piece by piece, as it was dumped. Only when this ends well were they all, and the right ones.
    pub async fn read(&self, part: &Artefact, give: mpsc::Sender<Vec<u8>>) -> Result<(), Failure> {
        let stored = stored_of(part)?;
        let dumped = match &stored.chunked {
            None => self.read_object(part, stored, give).await?,
            // On the heap: it is large, and every job would carry it along.
            Some(chunked) => Box::pin(self.read_chunks(part, stored, chunked, give)).await?,
        };
        if (dumped.bytes, &dumped.sha256) != (part.size_bytes, &part.sha256) {
            let why = format!("its digest is {}, and was {}", dumped.sha256, part.sha256);
            return Err(other_than_stored(&part.path, &why));
        }
        Ok(())
    }

    /// Gives what is in the object of a part piece by piece, and then the sum of that. The digest of the object was
    /// compared.
    pub(super) async fn read_object(
        &self,
        part: &Artefact,
        stored: &Stored,
        give: mpsc::Sender<Vec<u8>>,
    ) -> Result<Summed, Failure> {
        let (packed, input) = way();
        let (output, mut plain) = way();
        let (input, decrypting) = self.decrypted(stored, input)?;
        let unpacking = unpack(stored.compression, stored.encryption, self.identity.clone(), input, output);
        let mut sum = Sum::default();
        let fetching = async {
            // Dropped with its end: whoever unpacks waits for it.
            let packed = packed;
            self.pass(part, stored, &packed, |piece| sum.add(piece)).await?;
            // What is too short is told by its digest.
            let _ = packed.send(Flow::End).await;
            Ok::<_, Failure>(())
        };
        // It drops its end when nobody takes more: whoever unpacks would wait for ever.
        let giving = async move {
            while let Some(flow) = plain.recv().await {
                if let Flow::Piece(piece) = flow
                    && give.send(piece.into()).await.is_err()
                {
                    return false;
                }
            }
            true
        };
        let (fetched, taken, decrypted) = tokio::join!(fetching, giving, decrypting);
        let sums = unpacking.sums().await;
        if !taken {
            return Err(nobody_reads(part));
        }
        fetched?;
        let named = |failure: Failure| match failure.code {
            FailureCode::ArchiveDamaged => other_than_stored(&part.path, &failure.message),
            _ => Failure { message: format!("{}: {}", part.path, failure.message), ..failure },
        };
        decrypted.map_err(named)?;
        let kept = sum.finish();
        let (_, dumped) = sums.map_err(named)?;
        is_what_was_stored(part, stored, &kept)?;
        Ok(dumped)
    }
}

impl Opened<'_> {
    /// What gpg has encrypted, decrypted on its way; and the end of that.
    fn decrypted(
        &self,
        stored: &Stored,
        input: mpsc::Receiver<Flow>,
    ) -> Result<(mpsc::Receiver<Flow>, impl Future<Output = Result<(), Failure>>), Failure> {
        let opener = self.gpg.as_ref().and_then(|gpg| gpg.opener.clone());
        let mut by_gpg = None;
        let input = match (stored.encryption, opener) {
            (Encrypted::Gpg, Some(opener)) => {
                let (give, decrypted) = way();
                by_gpg = Some((opener, input, give));
                decrypted
            }
            (Encrypted::Gpg, None) => {
                let message = "it is encrypted, and no key to open it was given";
                return Err(Failure::new(FailureCode::SecretMissing, message));
            }
            _ => input,
        };
        // On the heap: it is large, and every job would carry it along.
        let decrypting = Box::pin(async move {
            match by_gpg {
                Some((opener, input, give)) => opener.open(input, give).await,
                None => Ok(()),
            }
        });
        Ok((input, decrypting))
    }
}

pub(super) fn stored_of(part: &Artefact) -> Result<&Stored, Failure> {
    part.stored.as_ref().ok_or_else(|| other_than_stored(&part.path, "it has no object"))
}

fn is_what_was_stored(part: &Artefact, stored: &Stored, kept: &Summed) -> Result<(), Failure> {
    if (kept.bytes, &kept.sha256) == (stored.size_bytes, &stored.sha256) {
        return Ok(());
    }
    let why = format!("the digest of its object is {}, and was {}", kept.sha256, stored.sha256);
    Err(other_than_stored(&part.path, &why))
}

pub(super) fn other_than_stored(path: &str, why: &str) -> Failure {
    Failure::new(FailureCode::ArchiveDamaged, format!("{path} is not what was stored: {why}"))
}

/// Whoever reads has failed, and says so.
pub(super) fn nobody_reads(part: &Artefact) -> Failure {
    Failure::new(FailureCode::Unknown, format!("nobody read {} to its end", part.path))
}

/// The first part that is not there with its size.
pub fn missing_in(there: &[Object], artefacts: &[Artefact]) -> Option<String> {
    let sizes: std::collections::HashMap<_, _> =
        there.iter().map(|o| (o.name.as_str(), o.size_bytes)).collect();
    artefacts.iter().find_map(|artefact| {
        let stored = artefact.stored.as_ref()?;
        match sizes.get(stored.object.as_str()) {
            None => Some(format!("the object {} is not there", stored.object)),
            Some(size) if *size != stored.size_bytes => {
                Some(format!("the object {} has {size} bytes, and not {}", stored.object, stored.size_bytes))
            }
            Some(_) => None,
        }
    })
}

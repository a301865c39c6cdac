//! What nobody needs any more of a deduplicated store.
//!
//! The accident that this file prevents: a chunk that is removed while an archive needs it. All chunks are listed first,
//! so that none is looked at that came later; then every list of every archive is read, and one that cannot be read ends
//! it before anything is removed. There is one writer to a repository at a time (the scheduler sees to that).

use super::Opened;
use crate::core::chunks::{self, CHUNKS, Chunk};
use crate::core::dump_store as forms;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::{HashMap, HashSet};
use strongroom_domain::Failure;

/// How many objects are deleted at once.
const DELETES: usize = 8;

impl Opened<'_> {
    /// Removes the chunks that no archive needs, and what was never whole, and says how many bytes these chunks had.
    /// Nothing, in a store that has no chunks.
    pub async fn sweep(&self) -> Result<u64, Failure> {
        if self.naming.is_none() {
            return Ok(0);
        }
        self.store.clear_partial(CHUNKS).await?;
        let there = self.store.list(CHUNKS).await?;
        let needed = self.needed_chunks().await?;
        let unneeded = chunks::unneeded(there.iter().map(|object| object.name.as_str()), &needed);
        let (removed, kept) = (unneeded.len(), there.len() - unneeded.len());
        let sizes: HashMap<&str, u64> = there.iter().map(|o| (o.name.as_str(), o.size_bytes)).collect();
        let freed_bytes = unneeded.iter().filter_map(|name| sizes.get(*name)).sum();
        let mut deleting = FuturesUnordered::new();
        for name in unneeded {
            if deleting.len() >= DELETES {
                deleting.next().await.transpose()?;
            }
            deleting.push(self.store.delete(name));
        }
        while deleting.next().await.transpose()?.is_some() {}
        tracing::info!(repository = %self.access.repository, removed, kept, "chunks that no archive needs were removed");
        Ok(freed_bytes)
    }

    /// The chunks that are in a list of an archive.
    async fn needed_chunks(&self) -> Result<HashSet<Chunk>, Failure> {
        let mut needed = HashSet::new();
        let objects = self.store.list(forms::ARCHIVES).await?;
        for name in objects.iter().filter_map(|object| forms::archive_of(&object.name)) {
            let unknown = |failure: Failure| {
                let message = format!(
                    "it is not known what the archive {name} needs, so nothing was removed: {}",
                    failure.message
                );
                Failure { message, ..failure }
            };
            // One that is gone by now needs nothing.
            let Some(archive) = self.archive(name).await.map_err(unknown)? else { continue };
            for part in &archive.manifest.dump.artefacts {
                let entries = self.chunks_of(part).await.map_err(unknown)?;
                needed.extend(entries.into_iter().map(|entry| entry.chunk));
            }
        }
        Ok(needed)
    }
}

//! File indexes of archives: too large for events, made once by the node, read by the catalog when someone browses.

use crate::{Bus, Fault, subjects};
use bytes::Bytes;

/// The largest part, in bytes: well below NATS' limit for a message.
pub const CHUNK_BYTES: usize = 512 * 1024;

impl Bus {
    /// Reads all parts of an archive's index, in order; fewer than `chunks` when some are not there.
    pub async fn read_index(&self, node: &str, archive: &str, chunks: u32) -> Result<Vec<Bytes>, Fault> {
        let mut parts = Vec::new();
        for chunk in 0..chunks {
            let subject = subjects::index(node, archive, chunk);
            match self.nats.newest(subjects::INDEXES, &subject).await? {
                Some((_, part)) => parts.push(part),
                None => break,
            }
        }
        Ok(parts)
    }

    /// Removes the index of an archive that is gone.
    pub async fn purge_index(&self, archive: &str) -> Result<(), Fault> {
        let request = serde_json::json!({ "filter": format!("strongroom.index.*.{archive}.>") });
        self.nats.api(&format!("STREAM.PURGE.{}", subjects::INDEXES), &request).await.map(|_| ())
    }
}

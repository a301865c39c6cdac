//! Sums of some files as they lie on this node, recorded with the archive that has just been made of them.

use crate::core::hex::hex;
use crate::core::sample::{Draw, Drawn, RECORDED, is_unchanged};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use strongroom_domain::archive::Sampled;

/// Takes the digests of what was drawn, as far as it is still what the archive holds.
pub async fn take(draw: Draw, begun: Timestamp) -> Vec<Sampled> {
    let taking = move || draw.drawn().filter_map(|drawn| digest(drawn, begun)).take(RECORDED).collect();
    // Without a sample an archive is as good as before.
    tokio::task::spawn_blocking(taking).await.unwrap_or_default()
}

fn digest(drawn: Drawn, begun: Timestamp) -> Option<Sampled> {
    let mut options = File::options();
    let nofollow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut file = options
        .read(true)
        .custom_flags(i32::try_from(nofollow.bits()).ok()?)
        .open(Path::new("/").join(&drawn.path))
        .ok()?;
    if !is_it(&drawn, &file.metadata().ok()?, begun) {
        return None;
    }
    let mut bytes = Vec::new();
    (&mut file).take(drawn.size_bytes.saturating_add(1)).read_to_end(&mut bytes).ok()?;
    // Whoever has written to it meanwhile has left a trace.
    let same = is_it(&drawn, &file.metadata().ok()?, begun) && bytes.len() as u64 == drawn.size_bytes;
    let Drawn { path, size_bytes, .. } = drawn;
    same.then(|| Sampled { path, size_bytes, sha256: hex(&Sha256::digest(&bytes)) })
}

fn is_it(drawn: &Drawn, there: &Metadata, begun: Timestamp) -> bool {
    let at =
        |s: i64, ns: i64| Timestamp::new(s, i32::try_from(ns).unwrap_or_default()).unwrap_or(Timestamp::MAX);
    let (modified, changed) = (at(there.mtime(), there.mtime_nsec()), at(there.ctime(), there.ctime_nsec()));
    there.is_file() && is_unchanged(drawn, there.len(), modified, changed, begun)
}

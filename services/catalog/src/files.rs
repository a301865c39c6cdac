//! Indexes of archives' files that somebody browses: fetched when first asked for, checked against what the log says of
//! them, laid out in a database of their own, and dropped again when there are too many.
//!
//! The accident that this file prevents: a folder that is shown as whole while a part of its index is missing. What does
//! not have the digest and the number of entries that the log says is not shown at all.

use crate::core::index::{Layout, browse};
use crate::core::list::{RawPage, Refused};
use crate::core::store::{StoreError, Writes};
use crate::desk::Desk;
use crate::disk::Disk;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use strongroom_bus::envelope::hex;
use strongroom_bus::{Bus, Fault};
use strongroom_domain::ArchiveId;
use strongroom_domain::archive::IndexFacts;
use strongroom_domain::event::decode_payload;
use strongroom_domain::view::{Archive, BrowseQuestion, Entry};
use strongroom_service::Shutdown;

/// How many indexes are kept, and how many bytes of them.
const KEPT: (usize, u64) = (64, 2 << 30);
/// How many are open at the same time, and how much of each is in memory.
const OPEN: usize = 4;
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// How much a part of 512 KiB may hold: it comes from a node, which may lie.
const PART_BYTES: u64 = 256 * 1024 * 1024;
/// Entries that are written together.
const BATCH: usize = 10_000;
/// What the folder of an index is called while it is made.
const UNFINISHED: &str = ".unfinished";
/// The file whose age says when an index was last opened.
const USED: &str = "used";

/// Why a folder cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum BrowseError {
    /// The question is not right, or the store does not do its part.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The index could not be fetched.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why an index was not laid out.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    /// It is not what the log says.
    #[error("{0}")]
    Unusable(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the catalog is shutting down")]
    Shutdown,
}

/// The indexes in a folder.
pub struct Files {
    folder: PathBuf,
    shutdown: Shutdown,
    /// Those that are open, the one used last at the end.
    open: Mutex<Vec<(String, Arc<Disk>)>>,
    /// One is made at a time: whoever asks for the same one finds it made.
    making: tokio::sync::Mutex<()>,
}

impl Files {
    /// The indexes in this folder; what was left half made is removed.
    pub fn open(folder: PathBuf, shutdown: Shutdown) -> std::io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        for entry in std::fs::read_dir(&folder)?.flatten() {
            if entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self { folder, shutdown, open: Mutex::default(), making: tokio::sync::Mutex::default() })
    }

    /// A page of a folder; `None` when the archive has no index that can be used.
    pub async fn browse(
        self: &Arc<Self>,
        bus: &Bus,
        archive: &Archive,
        question: BrowseQuestion,
    ) -> Result<Option<RawPage>, BrowseError> {
        let Some(index) = &archive.facts.index else { return Ok(None) };
        let Some(name) = name_of(archive.id, index) else { return Ok(None) };
        let disk = match self.made(&name).await? {
            Some(disk) => disk,
            None => {
                let _one_at_a_time = self.making.lock().await;
                match self.made(&name).await? {
                    Some(disk) => disk,
                    None => match self.make(bus, archive, index, &name).await? {
                        Some(disk) => disk,
                        None => return Ok(None),
                    },
                }
            }
        };
        Ok(Some(blocking(move || browse(&*disk, &question)).await?))
    }

    /// Removes the indexes of archives that are gone or have another index now, and the oldest when there are too many.
    pub async fn sweep(self: &Arc<Self>, desk: &Arc<Desk>) {
        let (files, desk) = (self.clone(), desk.clone());
        let swept = tokio::task::spawn_blocking(move || {
            let keep = |name: &str| {
                let id = name.get(..36).and_then(|id| id.parse().ok());
                let Some(id) = id else { return false };
                let archive = desk.read(|base| crate::core::question::archive(base, id));
                match archive {
                    Ok((_, archive)) => archive
                        .and_then(|a| a.facts.index.and_then(|index| name_of(a.id, &index)))
                        .is_some_and(|now| now == name),
                    // Not known at the moment is not gone.
                    Err(_) => true,
                }
            };
            // Before the end of the log was reached, nothing is known to be gone.
            let caught_up = desk.seen().borrow().caught_up;
            files.drop_unwanted(|name| !caught_up || keep(name), KEPT)
        });
        if let Ok(Err(error)) = swept.await {
            tracing::warn!(%error, "indexes of archives could not be swept");
        }
    }

    async fn made(self: &Arc<Self>, name: &str) -> Result<Option<Arc<Disk>>, Refused> {
        if let Some(disk) = self.opened(name) {
            return Ok(Some(disk));
        }
        let (files, name) = (self.clone(), name.to_owned());
        blocking(move || Ok(files.open_made(&name)?)).await
    }

    fn opened(&self, name: &str) -> Option<Arc<Disk>> {
        let mut open = self.open_ones();
        let i = open.iter().position(|(n, _)| n == name)?;
        let found = open.remove(i);
        let disk = found.1.clone();
        open.push(found);
        Some(disk)
    }

    fn open_made(&self, name: &str) -> Result<Option<Arc<Disk>>, StoreError> {
        let folder = self.folder.join(name);
        if !folder.is_dir() {
            return Ok(None);
        }
        // Held while it is opened, so that two do not open the same folder.
        let mut open = self.open_ones();
        if let Some((_, disk)) = open.iter().find(|(n, _)| n == name) {
            return Ok(Some(disk.clone()));
        }
        let disk = match Disk::open(&folder, CACHE_BYTES) {
            Ok(disk) => Arc::new(disk),
            Err(StoreError::Damaged(problem)) => {
                tracing::warn!(index = name, problem, "the index of an archive is damaged; it is made again");
                std::fs::remove_dir_all(&folder).map_err(disk_error)?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let _ = std::fs::write(folder.join(USED), b"");
        open.push((name.to_owned(), disk.clone()));
        if open.len() > OPEN {
            open.remove(0);
        }
        Ok(Some(disk))
    }

    /// Fetches and lays out an index; `None` when it cannot be used.
    async fn make(
        self: &Arc<Self>,
        bus: &Bus,
        archive: &Archive,
        index: &IndexFacts,
        name: &str,
    ) -> Result<Option<Arc<Disk>>, BrowseError> {
        let parts = bus.read_index(archive.node.as_str(), &archive.id.to_string(), index.chunks).await?;
        let (files, index, name) = (self.clone(), index.clone(), name.to_owned());
        let id = archive.id;
        let made = blocking(move || match files.lay_out(&parts, &index, &name) {
            Ok(()) => {
                let others = files.drop_unwanted(|_| true, KEPT);
                others.map_err(|e| StoreError::Disk(e.to_string()))?;
                Ok(files.open_made(&name)?)
            }
            Err(BuildError::Unusable(problem)) => {
                tracing::error!(archive.id = %id, problem, "the index of an archive cannot be used");
                Ok(None)
            }
            Err(BuildError::Store(error)) => Err(error.into()),
            Err(BuildError::Shutdown) => Err(StoreError::Disk(BuildError::Shutdown.to_string()).into()),
        });
        Ok(made.await?)
    }

    fn lay_out(&self, parts: &[Bytes], index: &IndexFacts, name: &str) -> Result<(), BuildError> {
        if parts.len() != index.chunks as usize {
            let text = format!("{} of its {} parts are there", parts.len(), index.chunks);
            return Err(BuildError::Unusable(text));
        }
        let mut digest = Sha256::new();
        parts.iter().for_each(|part| digest.update(part));
        if !hex(&digest.finalize()).eq_ignore_ascii_case(&index.sha256) {
            return Err(BuildError::Unusable("its digest is not the one in the log".into()));
        }
        let unfinished = self.folder.join(format!("{name}{UNFINISHED}"));
        let _ = std::fs::remove_dir_all(&unfinished);
        let result = self.write_entries(parts, index, &unfinished);
        let result = result.and_then(|()| {
            let done = std::fs::rename(&unfinished, self.folder.join(name));
            done.map_err(|e| BuildError::Store(disk_error(e)))
        });
        if result.is_err() {
            let _ = std::fs::remove_dir_all(&unfinished);
        }
        result
    }

    fn write_entries(&self, parts: &[Bytes], index: &IndexFacts, folder: &Path) -> Result<(), BuildError> {
        let disk = Disk::open(folder, CACHE_BYTES)?;
        let mut layout = Layout::default();
        let mut entries_total = 0;
        for part in parts {
            let entries = read_part(part)?;
            entries_total += entries.len() as u64;
            for some in entries.chunks(BATCH) {
                if self.shutdown.is_cancelled() {
                    return Err(BuildError::Shutdown);
                }
                let mut writes = Vec::with_capacity(some.len());
                some.iter().try_for_each(|entry| layout.place(entry, &mut writes))?;
                disk.write(writes.into_iter().map(|(k, v)| (k, Some(v))).collect::<Writes>())?;
            }
        }
        if entries_total != index.entries {
            let text = format!("it holds {entries_total} entries and should hold {}", index.entries);
            return Err(BuildError::Unusable(text));
        }
        disk.flush()?;
        std::fs::write(folder.join(USED), b"").map_err(|e| BuildError::Store(disk_error(e)))
    }

    /// Removes what `keep` does not want, then the oldest beyond a number and a size. One that is read right now stays.
    fn drop_unwanted(
        &self,
        keep: impl Fn(&str) -> bool,
        (number, bytes): (usize, u64),
    ) -> std::io::Result<()> {
        let mut there: Vec<(SystemTime, String, u64)> = Vec::new();
        for entry in std::fs::read_dir(&self.folder)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(UNFINISHED) {
                continue;
            }
            if keep(&name) {
                let used = std::fs::metadata(entry.path().join(USED)).and_then(|m| m.modified());
                let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
                there.push((used, name, size_of(&entry.path())));
            } else {
                self.drop_one(&name)?;
            }
        }
        there.sort_unstable_by(|a, b| b.cmp(a));
        let mut total = 0;
        for (i, (_, name, size)) in there.iter().enumerate() {
            total += size;
            // The newest stays, however large it is: somebody asked for it.
            if i > 0 && (i >= number || total > bytes) {
                self.drop_one(name)?;
            }
        }
        Ok(())
    }

    fn drop_one(&self, name: &str) -> std::io::Result<()> {
        let mut open = self.open_ones();
        if let Some(i) = open.iter().position(|(n, _)| n == name) {
            let (name, disk) = open.remove(i);
            if let Err(read_now) = Arc::try_unwrap(disk) {
                open.push((name, read_now));
                return Ok(());
            }
        }
        std::fs::remove_dir_all(self.folder.join(name))
    }

    fn open_ones(&self) -> MutexGuard<'_, Vec<(String, Arc<Disk>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the folder of an index is called; `None` when what a node said is no digest.
fn name_of(archive: ArchiveId, index: &IndexFacts) -> Option<String> {
    let digest = &index.sha256;
    let sound = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    sound.then(|| format!("{archive}-{}", digest.to_ascii_lowercase()))
}

/// One part: a zstd frame of MessagePack.
fn read_part(part: &[u8]) -> Result<Vec<Entry>, BuildError> {
    let unusable = |e: &dyn std::fmt::Display| BuildError::Unusable(format!("a part cannot be read: {e}"));
    let decoder = zstd::stream::read::Decoder::new(part).map_err(|e| unusable(&e))?;
    let mut bytes = Vec::new();
    decoder.take(PART_BYTES + 1).read_to_end(&mut bytes).map_err(|e| unusable(&e))?;
    if bytes.len() as u64 > PART_BYTES {
        return Err(unusable(&"it is too large"));
    }
    decode_payload(&bytes).map_err(|e| unusable(&e))
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(m) if m.is_dir() => size_of(&entry.path()),
        Ok(m) => m.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

fn disk_error(error: std::io::Error) -> StoreError {
    StoreError::Disk(error.to_string())
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, Refused> + Send + 'static,
) -> Result<R, Refused> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(StoreError::damaged("an index", e).into()))
}

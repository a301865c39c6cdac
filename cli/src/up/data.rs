//! The data folder: one process works in it, and everything of a system lies in it.
//!
//! The accident that this file prevents: a second `up` on the same folder, which would write a second log over the first.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The folder, locked for this process.
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

/// What is decided once, when the folder is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    /// Which log this is: positions carry it.
    pub generation: String,
    /// How large the log may become.
    pub log_max_bytes: u64,
    /// How large the file indexes may become.
    pub indexes_max_bytes: u64,
}

/// Less than this is no place for a log.
const SMALLEST: u64 = 64 << 20;

impl LogSettings {
    /// Sizes for a disk with this much free space. A full log is a clean error, a full disk is not: they stay well
    /// below it.
    pub fn for_free_space(free: u64, wanted: Option<u64>, generation: String) -> Self {
        let part = |percent: u64, most: u64| (free / 100 * percent).clamp(SMALLEST, most);
        Self {
            generation,
            log_max_bytes: wanted.unwrap_or_else(|| part(40, 20 << 30)),
            indexes_max_bytes: part(20, 10 << 30),
        }
    }
}

impl DataFolder {
    /// Makes and locks it, or says who has it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let lock = strongroom_service::settings::lock_folder(path)
            .context("the data folder cannot be used (choose one with --data)")?;
        let path = path.canonicalize().with_context(|| path.display().to_string())?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a service keeps its state.
    pub fn of(&self, service: &str) -> PathBuf {
        self.path.join(service)
    }

    /// Where the first administrator's token is.
    pub fn token_file(&self) -> PathBuf {
        self.path.join("gateway/token")
    }

    /// Leaves the address for the client on this machine.
    pub fn write_address(&self, address: SocketAddr) -> anyhow::Result<()> {
        write_whole(&self.path.join("address"), format!("http://{address}\n").as_bytes())
    }

    /// The settings of the log, decided at the first start. Its size can be raised later, and never lowered: what it
    /// holds is held for ever.
    pub fn log_settings(&self, wanted: Option<u64>) -> anyhow::Result<LogSettings> {
        let file = self.path.join("log.json");
        let mut settings = self.read_or_decide(&file, wanted)?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted > settings.log_max_bytes) {
            settings.log_max_bytes = wanted;
            write_whole(&file, &serde_json::to_vec_pretty(&settings)?)?;
        }
        Ok(settings)
    }

    fn read_or_decide(&self, file: &Path, wanted: Option<u64>) -> anyhow::Result<LogSettings> {
        match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("{} is damaged; restore it, its generation stands in every position", file.display())
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let disk = rustix::fs::statvfs(&self.path).context("asking for free space")?;
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                let settings = LogSettings::for_free_space(free, wanted, uuid::Uuid::now_v7().to_string());
                write_whole(file, &serde_json::to_vec_pretty(&settings)?)?;
                Ok(settings)
            }
            Err(e) => Err(e).with_context(|| file.display().to_string()),
        }
    }
}

/// Writes a file so that it is there whole or not at all.
fn write_whole(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let aside = file.with_extension("new");
    let write = || {
        let mut out = File::create(&aside)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        std::fs::rename(&aside, file)
    };
    write().with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_never_takes_the_whole_disk_and_stays_as_it_was_decided() {
        let small = LogSettings::for_free_space(1 << 30, None, "g".into());
        assert!(small.log_max_bytes + small.indexes_max_bytes < 1 << 30);
        let large = LogSettings::for_free_space(10 << 40, None, "g".into());
        assert_eq!(large.log_max_bytes, 20 << 30);

        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let first = data.log_settings(None).unwrap();
        assert_eq!(data.log_settings(Some(7)).unwrap(), first, "it is never lowered");
        let more = first.log_max_bytes + 1;
        assert_eq!(data.log_settings(Some(more)).unwrap().log_max_bytes, more);
        assert_eq!(data.log_settings(None).unwrap().log_max_bytes, more);
    }

    #[test]
    fn a_second_process_is_told_that_the_folder_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let _first = DataFolder::open(folder.path()).unwrap();
        let second = format!("{:#}", DataFolder::open(folder.path()).err().unwrap());
        assert!(second.contains("in use by another process"), "{second}");
    }
}

//! Uploads in parts that are not ended: the service keeps their parts, unseen and paid for, until it is told otherwise.
//!
//! Each is noted on the disk before its first part goes, and the note is locked by whoever sends it. A note that nobody
//! holds was left by one that died, and its upload is to be given up.

use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The folder.
#[derive(Debug, Clone)]
pub struct Notes(PathBuf);

/// What is noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The place, as people are told it.
    pub place: String,
    /// The whole name of the object.
    pub object: String,
    /// What the service calls the upload.
    pub upload_id: String,
}

/// A note that is held. Dropped, it stays.
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
    _lock: File,
}

impl Notes {
    /// The folder, which is there.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Notes an upload; it is on the disk when this returns.
    pub fn keep(&self, noted: &Noted) -> io::Result<Note> {
        let path = self.0.join(format!("{}.upload", uuid::Uuid::now_v7().simple()));
        let aside = path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        // Held before others see it.
        file.lock()?;
        file.write_all(&serde_json::to_vec(noted)?)?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        File::open(&self.0)?.sync_all()?;
        Ok(Note { path, _lock: file })
    }

    /// Those at a place that nobody holds any more; they are held from here on.
    pub fn left_behind(&self, place: &str) -> io::Result<Vec<(Note, Noted)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "upload") {
                continue;
            }
            let mut file = match File::open(&path) {
                // It has just ended.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(e)) => return Err(e),
            }
            let mut bytes = Vec::new();
            (&mut file).take(64 << 10).read_to_end(&mut bytes)?;
            match serde_json::from_slice::<Noted>(&bytes) {
                Ok(noted) if noted.place == place => found.push((Note { path, _lock: file }, noted)),
                Ok(_) => {}
                Err(e) => {
                    tracing::warn!(file = %path.display(), error = %e, "the note of an upload cannot be read")
                }
            }
        }
        Ok(found)
    }
}

impl Note {
    /// The upload has ended, and the note goes.
    pub fn done(self) {
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), error = %e, "the note of an upload that has ended was not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_nobody_holds_was_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::at(folder.path());
        let noted =
            |upload_id: &str| Noted { place: "p".into(), object: "o".into(), upload_id: upload_id.into() };
        let held = notes.keep(&noted("1")).unwrap();
        drop(notes.keep(&noted("2")).unwrap());
        fs::write(folder.path().join("x.upload"), "{").unwrap();
        fs::write(folder.path().join("y.new"), "").unwrap();
        assert_eq!(notes.left_behind("q").unwrap().len(), 0);
        let left = notes.left_behind("p").unwrap();
        assert_eq!(left.iter().map(|(_, noted)| noted.upload_id.as_str()).collect::<Vec<_>>(), ["2"]);
        assert_eq!(notes.left_behind("p").unwrap().len(), 0, "somebody is at it");
        for (note, _) in left {
            note.done();
        }
        held.done();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "what is none of them is let be");
    }
}

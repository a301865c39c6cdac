//! The state folder: one executor works in it, and it is what makes this executor itself.
//!
//! The accident that this file prevents is P4: two containers with the same borg host id took each other's live lock for
//! dead. The host id is drawn once and kept, and the folder is locked by whoever works in it.

use crate::quiesce::Notes;
use age::x25519::Identity;
use std::fs::File;
use std::path::{Path, PathBuf};
use strongroom_service::{file, identity, settings};
use uuid::Uuid;

/// The folder, locked.
pub struct State {
    folder: PathBuf,
    /// What secrets for this node are encrypted to.
    pub identity: Identity,
    /// Borg's `BORG_HOST_ID`.
    pub host_id: String,
    /// New at each start.
    pub boot: String,
    /// What attempts have stopped.
    pub stopped: Notes,
    _lock: File,
}

impl State {
    /// Locks it, and makes what is missing.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let lock = settings::lock_folder(folder)?;
        let folder = folder.canonicalize()?;
        for name in [
            "children",
            "restores",
            "findings",
            "unfinished",
            "uploads",
            "streams",
            "stopped",
            "spools",
            "manifests",
            "borg",
        ] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let file = folder.join("borg-host-id");
        let host_id = match std::fs::read_to_string(&file) {
            Ok(text) => text.trim().to_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let id = format!("strongroom-{}", Uuid::now_v7());
                file::write_private(&file, id.as_bytes())?;
                id
            }
            Err(e) => return Err(e.into()),
        };
        anyhow::ensure!(!host_id.is_empty(), "{} is empty; restore it, or remove it", file.display());
        let identity = identity::open(&folder)?;
        let stopped = Notes::new(folder.join("stopped"));
        Ok(Self { stopped, identity, host_id, boot: Uuid::now_v7().to_string(), folder, _lock: lock })
    }

    /// Where children that run are noted.
    pub fn children(&self) -> PathBuf {
        self.folder.join("children")
    }

    /// Where restores that run are noted.
    pub fn restores(&self) -> PathBuf {
        self.folder.join("restores")
    }

    /// What was found while archives were made whose jobs have not ended.
    pub fn findings(&self) -> PathBuf {
        self.folder.join("findings")
    }

    /// Backups that came to no end, and have left checkpoints.
    pub fn unfinished(&self) -> PathBuf {
        self.folder.join("unfinished")
    }

    /// Uploads that a destination keeps the parts of until it is told that they are not wanted.
    pub fn uploads(&self) -> PathBuf {
        self.folder.join("uploads")
    }

    /// Folders of pipes through which dumps flow.
    pub fn streams(&self) -> PathBuf {
        self.folder.join("streams")
    }

    /// Where logs of servers lie until they are in an archive.
    pub fn spools(&self) -> PathBuf {
        self.folder.join("spools")
    }

    /// Where lists of the files of servers lie, on which the next archives are made.
    pub fn manifests(&self) -> PathBuf {
        self.folder.join("manifests")
    }

    /// Borg's base folder: its cache, and which repositories it has seen.
    pub fn borg_base(&self) -> PathBuf {
        self.folder.join("borg")
    }
}

//! The nkeys of all users: made once, kept in files that only their owner can read.

use super::permissions::{PROVISIONER, SERVICES, node_user};
use nkeys::KeyPair;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use strongroom_domain::NodeId;

/// Why the keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system does not do its part.
    #[error("the key file {path}: {problem}")]
    File {
        /// Which file.
        path: String,
        /// What went wrong.
        problem: String,
    },
}

/// Where the seeds lie, and the public keys to them.
#[derive(Debug, Clone)]
pub struct KeyRing {
    folder: PathBuf,
    public: BTreeMap<String, String>,
}

impl KeyRing {
    /// Loads the keys of all services and of these nodes from a folder, making those that are not there.
    pub fn open(folder: &Path, nodes: &[NodeId]) -> Result<Self, KeyError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| KeyError::File { path: folder.display().to_string(), problem: e.to_string() })?;
        let mut public = BTreeMap::new();
        let core = std::iter::once(PROVISIONER).chain(SERVICES.iter().map(|s| s.user));
        for user in core.map(ToOwned::to_owned).chain(nodes.iter().map(node_user)) {
            let pair = load_or_make(&folder.join(format!("{user}.nk")))?;
            public.insert(user, pair.public_key());
        }
        Ok(Self { folder: folder.to_owned(), public })
    }

    /// The file with this user's seed.
    pub fn seed_file(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{user}.nk"))
    }

    /// Public keys by user.
    pub fn public(&self) -> &BTreeMap<String, String> {
        &self.public
    }
}

fn load_or_make(path: &Path) -> Result<KeyPair, KeyError> {
    let error = |e: &dyn std::fmt::Display| KeyError::File {
        path: path.display().to_string(),
        problem: e.to_string(),
    };
    if path.exists() {
        let seed = std::fs::read_to_string(path).map_err(|e| error(&e))?;
        return KeyPair::from_seed(seed.trim()).map_err(|e| error(&e));
    }
    let pair = KeyPair::new_user();
    let seed = pair.seed().map_err(|e| error(&e))?;
    // Written aside and renamed: a crash in between must not leave half a key that locks a service out.
    let aside = path.with_extension("new");
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .and_then(|mut file| file.write_all(seed.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&aside, path))
        .map_err(|e| error(&e))?;
    Ok(pair)
}

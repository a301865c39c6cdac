//! The nkeys of all users: made once, kept in files that only their owner can read.

use super::permissions::{PROVISIONER, SERVICES, node_user};
use nkeys::{KeyPair, KeyPairType};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
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
    let error = |problem: String| KeyError::File { path: path.display().to_string(), problem };
    match std::fs::metadata(path) {
        Ok(metadata) => {
            close_to_others(path, &metadata).map_err(|e| error(e.to_string()))?;
            let seed = std::fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
            // The library's error is not shown: it may quote what it could not read.
            let pair = KeyPair::from_seed(seed.trim())
                .ok()
                .filter(|pair| matches!(pair.key_pair_type(), KeyPairType::User));
            pair.ok_or_else(|| {
                error("it holds no seed of a user; restore it, or remove it for a new key".into())
            })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let pair = KeyPair::new_user();
            let seed = pair.seed().map_err(|e| error(e.to_string()))?;
            write(path, &seed).map_err(|e| error(e.to_string()))?;
            Ok(pair)
        }
        Err(e) => Err(error(e.to_string())),
    }
}

/// A copy or a restore may have opened the file to others.
fn close_to_others(path: &Path, metadata: &std::fs::Metadata) -> std::io::Result<()> {
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "a key could be read by other users; it is closed to them now");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Written aside and renamed: a crash in between must not leave half a key that locks a service out.
fn write(path: &Path, seed: &str) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(seed.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_made_once_for_everyone_and_nobody_else_can_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("keys");
        let first = KeyRing::open(&folder, &["a".parse().unwrap()]).unwrap();
        let again = KeyRing::open(&folder, &["a".parse().unwrap(), "b".parse().unwrap()]).unwrap();
        for user in ["provisioner", "gateway", "scheduler", "catalog", "recovery", "notifier", "node-a"] {
            assert_eq!(first.public().get(user), again.public().get(user), "{user} got another key");
            assert_eq!(mode(&first.seed_file(user)), 0o600);
        }
        assert!(again.public().contains_key("node-b"));
        assert_eq!(again.public().values().collect::<std::collections::BTreeSet<_>>().len(), 8);
        assert_eq!(mode(&folder), 0o700);
    }

    #[test]
    fn an_opened_key_is_closed_and_a_damaged_one_is_no_reason_to_make_another() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyRing::open(folder.path(), &[]).unwrap();
        let file = keys.seed_file("gateway");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        KeyRing::open(folder.path(), &[]).unwrap();
        assert_eq!(mode(&file), 0o600);
        let seed = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, &seed[..20]).unwrap();
        let refused = KeyRing::open(folder.path(), &[]).unwrap_err().to_string();
        assert!(refused.contains("gateway.nk") && !refused.contains(&seed[..20]), "{refused}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), &seed[..20]);
        // A seed of an account is none of a user.
        std::fs::write(&file, KeyPair::new_account().seed().unwrap()).unwrap();
        assert!(KeyRing::open(folder.path(), &[]).is_err());
    }
}

//! A tree of files to back up, from a seed, and a way to see whether two trees are the same to the byte.

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A folder with files of many kinds.
pub struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    /// `files` files of up to `max_bytes`, with names that a shell or a pattern would misread, an empty file, links and
    /// an empty folder.
    pub fn new(seed: u64, files: usize, max_bytes: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut random = StdRng::seed_from_u64(seed);
        let odd = ["with space", "*star?", "q'uote\"", "-dash", "{brace}", "é", "$HOME", "a\\b", "[x]"];
        for n in 0..files {
            let below = folder.path().join(format!("d{}", n % 7)).join(format!("e{}", n % 3));
            std::fs::create_dir_all(&below)?;
            let name = odd.get(n).map_or_else(|| format!("file{n}"), |odd| (*odd).to_owned());
            let size = random.random_range(0..max_bytes.max(1));
            let mut bytes = vec![0_u8; size];
            random.fill_bytes(&mut bytes);
            let path = below.join(name);
            std::fs::write(&path, bytes)?;
            let mode = if n % 5 == 0 { 0o600 } else { 0o644 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        }
        std::fs::write(folder.path().join("empty"), "")?;
        std::fs::create_dir_all(folder.path().join("empty folder"))?;
        symlink("empty", folder.path().join("link"))?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file of some size, written anew from another seed.
    pub fn change(&self, seed: u64, name: &str, bytes: usize) -> Result<PathBuf> {
        let mut content = vec![0_u8; bytes];
        StdRng::seed_from_u64(seed).fill_bytes(&mut content);
        let path = self.path().join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// What is in a folder: of each entry its kind, mode, time, and digest or link.
    pub fn fingerprint(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
        let mut out = BTreeMap::new();
        for entry in walkdir::WalkDir::new(folder).min_depth(1) {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let content = if metadata.is_file() {
                Sha256::digest(std::fs::read(entry.path())?).iter().map(|b| format!("{b:02x}")).collect()
            } else if metadata.is_symlink() {
                std::fs::read_link(entry.path())?.display().to_string()
            } else {
                "folder".to_owned()
            };
            let mode = metadata.mode();
            let print =
                format!("{mode:o} {} {content}", if metadata.is_symlink() { 0 } else { metadata.mtime() });
            out.insert(entry.path().strip_prefix(folder)?.to_owned(), print);
        }
        Ok(out)
    }
}

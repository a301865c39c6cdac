//! The files of the repository, without those that a build or an installation leaves.

use std::path::{Path, PathBuf};

/// The folder with the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What holds what was made, not written.
const MADE: &[&str] = &[".git", ".tools", "target", "node_modules", "playwright-report", "test-results"];

/// A file, by its path from the root.
pub struct File {
    /// With forward slashes.
    pub path: String,
    /// What stands in it; nothing where it is no text.
    pub text: Option<String>,
}

/// All files, sorted. Walked and not asked of git, because a checkout may come without it.
pub fn files() -> Vec<File> {
    let root = root();
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().unwrap();
            let at_top = folder == root;
            // Of a second checkout of the same repository, `.git` is a file.
            if MADE.contains(&name.as_str()) || (kind.is_dir() && at_top && name == "data") {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && !name.ends_with(".log") {
                let path = entry.path().strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                // Somebody may be editing here at this moment: a file that is gone again is no finding.
                let Ok(bytes) = std::fs::read(entry.path()) else { continue };
                files.push(File { path, text: String::from_utf8(bytes).ok() });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.iter().any(|f| f.path == "xtask/tests/checks/repository.rs"), "the walk finds this file");
    files
}

/// All files whose name ends so, with their text.
pub fn texts(suffix: &str) -> Vec<(String, String)> {
    files().into_iter().filter(|f| f.path.ends_with(suffix)).filter_map(|f| Some((f.path, f.text?))).collect()
}

//! Files of which borg did not write all, taken out of what was extracted.
//!
//! The accident that this file prevents: half a file that replaces a whole one. A file with several names is one file:
//! what is wrong with it is said once, and is wrong under each of its names.

use super::init::file_failure;
use crate::core::finding::spoken;
use crate::core::findings::Findings;
use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use strongroom_domain::Failure;
use strongroom_domain::failure::{Finding, Severity};

/// Removes what is called so, and whatever shares its content. Those of which nothing was said become findings.
pub fn remove(scratch: &Path, names: &[String], findings: &mut Findings) -> Result<(), Failure> {
    let mut untold: HashMap<&str, u64> = HashMap::new();
    for name in names {
        *untold.entry(name).or_default() += 1;
    }
    let mut files = HashSet::new();
    each_file(scratch, &mut |path, metadata| {
        if untold.contains_key(called(scratch, path).as_str()) {
            files.insert((metadata.dev(), metadata.ino()));
        }
        Ok(())
    })?;
    each_file(scratch, &mut |path, metadata| {
        if !files.contains(&(metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        let name = called(scratch, path);
        match untold.get_mut(name.as_str()) {
            Some(told) if *told > 0 => *told -= 1,
            _ => findings.add(Finding {
                severity: Severity::Incomplete,
                path: Some(name),
                message: "it is the same file as one that is not whole, and was not restored".to_owned(),
            }),
        }
        fs::remove_file(path).map_err(|e| file_failure(&path.display().to_string(), &e))
    })
}

fn called(scratch: &Path, path: &Path) -> String {
    spoken(path.strip_prefix(scratch).unwrap_or(path).as_os_str().as_bytes())
}

fn each_file(
    folder: &Path,
    take: &mut dyn FnMut(&Path, &Metadata) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |path: &Path, e: std::io::Error| file_failure(&path.display().to_string(), &e);
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| failed(&folder, e))? {
            let path = entry.map_err(|e| failed(&folder, e))?.path();
            let metadata = path.symlink_metadata().map_err(|e| failed(&path, e))?;
            if metadata.is_dir() {
                folders.push(path);
            } else {
                take(&path, &metadata)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn what_is_not_whole_goes_under_each_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
        fs::create_dir_all(at(b"d/e")).unwrap();
        for name in [b"d/half".as_slice(), b"d/whole", b"caf\xe9", b"half"] {
            fs::write(at(name), name).unwrap();
        }
        fs::hard_link(at(b"d/half"), at(b"d/e/other name")).unwrap();
        let mut findings = Findings::default();
        let names = ["d/half", "caf?", "never there"].map(str::to_owned);
        remove(folder.path(), &names, &mut findings).unwrap();
        let mut left = Vec::new();
        each_file(folder.path(), &mut |path, _| {
            left.push(called(folder.path(), path));
            Ok(())
        })
        .unwrap();
        left.sort();
        assert_eq!(left, ["d/whole", "half"]);
        let told: Vec<_> = findings.kept.iter().map(|f| f.path.as_deref().unwrap()).collect();
        assert_eq!((told, findings.incomplete_total), (vec!["d/e/other name"], 1));
    }
}

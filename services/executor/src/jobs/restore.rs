//! `borg extract` into a scratch folder, and from there to where the files belong.
//!
//! The accident that this file prevents: a restore that stops in the middle, or goes where it should not, and has by then
//! overwritten what people still had. Nothing is put in place before everything was extracted and checked.

use super::init::file_failure;
use super::placing::{Placed, Placing};
use super::{Bench, Finished, finished, index};
use crate::borg::Call;
use crate::control::NoOutcome;
use crate::core::findings::{Extracted, Findings};
use crate::core::{command, paths};
use crate::scratch::Scratch;
use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use strongroom_domain::job::{Conflict, JobResult, RestoreSpec, RestoreTarget};
use strongroom_domain::{Failure, FailureCode};

/// A part of a restore: what goes below one folder, inside one allowed root.
struct Part {
    /// An existing folder on the target's file system.
    near: PathBuf,
    /// Below which folder everything goes.
    base: PathBuf,
    /// Which paths of the archive; all, when empty.
    paths: Vec<String>,
}

/// Restores.
pub async fn run(bench: &Bench<'_>, spec: &RestoreSpec) -> Result<Finished, NoOutcome> {
    let roots = existing_roots(&spec.allowed_roots);
    let mut wanted = Vec::new();
    for path in &spec.paths {
        let normal = paths::in_archive(path);
        wanted.push(normal.ok_or_else(|| {
            Failure::new(FailureCode::PathNotInArchive, format!("'{path}' is no path of an archive"))
        })?);
    }
    let parts = match &spec.target {
        RestoreTarget::Folder { path } => {
            let (near, base) = resolve(Path::new(path), &roots)?;
            vec![Part { near, base, paths: wanted.iter().map(|p| p.display().to_string()).collect() }]
        }
        RestoreTarget::Original => original(&wanted, &roots)?,
    };
    bench.step("extract");
    let name = index::name_of(bench, &spec.access, &spec.archive).await?;
    let mut findings = Findings::default();
    let mut tail = Vec::new();
    let mut ready = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let scratch = Scratch::make(&part.near, bench.job, bench.epoch, n, &bench.state.restores())
            .map_err(|e| file_failure(&part.near.display().to_string(), &e))?;
        let arguments = command::extract(&spec.access, &name, &part.paths);
        let call = Call { folder: Some(scratch.path()), ..bench.call(arguments) };
        let mut done = bench.borg.run(call).await?;
        done.findings.nothing_vanishes();
        if let Some(pattern) = done.never_matched.first() {
            let path = pattern.strip_prefix("pp:").unwrap_or(pattern);
            let message = format!("'{path}' is not in the archive; nothing was restored");
            return Err(Failure::new(FailureCode::PathNotInArchive, message).into());
        }
        match done.findings.extracted(spec.on_conflict == Conflict::Overwrite) {
            Extracted::Unknown(failure) => return Err(failure.with_log(done.tail).into()),
            Extracted::But(halves) => {
                let folder = scratch.path().to_owned();
                blocking(move || remove_all(&folder, &halves)).await?;
            }
        }
        findings.kept.extend(done.findings.kept);
        findings.incomplete_total += done.findings.incomplete_total;
        findings.benign_total += done.findings.benign_total;
        tail = done.tail;
        let placing = Placing {
            from: scratch.path().to_owned(),
            to: part.base.clone(),
            roots: roots.clone(),
            policy: spec.on_conflict,
            suffix: format!(".before-restore-{}", bench.job),
        };
        ready.push((placing, scratch));
    }
    bench.step("place");
    let placed = blocking(move || place_all(ready)).await?;
    let target = match &spec.target {
        RestoreTarget::Folder { path } => path.clone(),
        RestoreTarget::Original => "/".to_owned(),
    };
    let Placed { files, size_bytes, kept_both } = placed;
    Ok(finished(JobResult::Restore { files, size_bytes, target, kept_both }, findings, tail))
}

/// Everything was extracted: all of it is looked at before any of it is put in place. Removing the scratch folders takes
/// time as well, and is done here for that.
fn place_all(ready: Vec<(Placing, Scratch)>) -> Result<Placed, Failure> {
    for (placing, _) in &ready {
        placing.look()?;
    }
    let mut placed = Placed::default();
    for (placing, _) in &ready {
        let one = placing.place()?;
        placed.files += one.files;
        placed.size_bytes += one.size_bytes;
        placed.kept_both += one.kept_both;
    }
    Ok(placed)
}

/// Removes files that are not whole, under all of their names: one that shares its bytes with another is not whole there
/// either.
fn remove_all(scratch: &Path, halves: &[String]) -> Result<(), Failure> {
    let failed = |path: &Path, e: &std::io::Error| file_failure(&path.display().to_string(), e);
    let mut shared = HashSet::new();
    for path in halves.iter().filter_map(|path| paths::in_archive(path)) {
        let path = scratch.join(path);
        let metadata = match path.symlink_metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            metadata => metadata.map_err(|e| failed(&path, &e))?,
        };
        if metadata.nlink() > 1 && !metadata.is_dir() {
            shared.insert(metadata.ino());
        }
        std::fs::remove_file(&path).map_err(|e| failed(&path, &e))?;
    }
    if shared.is_empty() { Ok(()) } else { remove_shared(scratch, &shared) }
}

/// Removes all below a folder that has one of these inodes. A scratch folder is on one file system.
fn remove_shared(folder: &Path, inodes: &HashSet<u64>) -> Result<(), Failure> {
    let failed = |e: std::io::Error| file_failure(&folder.display().to_string(), &e);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry.path().symlink_metadata().map_err(failed)?;
        if metadata.is_dir() {
            remove_shared(&entry.path(), inodes)?;
        } else if inodes.contains(&metadata.ino()) {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Does what takes its time with many files, where nobody else waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(Failure::new(FailureCode::Unknown, e.to_string())))
}

/// The roots that are there, resolved.
fn existing_roots(roots: &[String]) -> Vec<PathBuf> {
    roots.iter().filter_map(|root| Path::new(root).canonicalize().ok()).collect()
}

/// Where a path really leads: the deepest part that is there, resolved, and the whole. It must be inside of a root.
fn resolve(path: &Path, roots: &[PathBuf]) -> Result<(PathBuf, PathBuf), Failure> {
    let mut there = path.to_owned();
    let mut missing = Vec::new();
    let near = loop {
        match there.canonicalize() {
            Ok(near) => break near,
            // A link that leads nowhere is there all the same, and writing through it would make what it names.
            Err(_) if there.is_symlink() => return Err(refused(path, roots)),
            Err(_) => match (there.file_name().map(ToOwned::to_owned), there.parent().map(Path::to_owned)) {
                (Some(name), Some(parent)) => {
                    missing.push(name);
                    there = parent;
                }
                _ => return Err(refused(path, roots)),
            },
        }
    };
    let whole: PathBuf =
        near.components().map(|c| c.as_os_str().to_owned()).chain(missing.into_iter().rev()).collect();
    if paths::root_of(&whole, roots).is_none() {
        return Err(refused(path, roots));
    }
    if !near.is_dir() {
        let message = format!("{} is no folder", near.display());
        return Err(Failure::new(FailureCode::TargetRefused, message));
    }
    // A root that is made below an existing folder outside of it: the scratch folder belongs inside.
    let near = if paths::root_of(&near, roots).is_some() { near } else { return Err(refused(path, roots)) };
    Ok((near, whole))
}

/// Each path back to where it came from, those of one folder together.
fn original(wanted: &[PathBuf], roots: &[PathBuf]) -> Result<Vec<Part>, Failure> {
    if wanted.is_empty() {
        let message = "to restore over the original, name the paths; all of an archive goes to a folder";
        return Err(Failure::new(FailureCode::TargetRefused, message));
    }
    let mut parts: BTreeMap<PathBuf, Part> = BTreeMap::new();
    for path in wanted {
        let place = Path::new("/").join(path);
        // The file itself is not resolved: a link that stands there is replaced and not followed.
        let stands = place.is_dir() && !place.is_symlink();
        let folder = if stands { &place } else { place.parent().unwrap_or(Path::new("/")) };
        let (near, _) = resolve(folder, roots)?;
        let part = Part { near: near.clone(), base: PathBuf::from("/"), paths: Vec::new() };
        parts.entry(near).or_insert(part).paths.push(path.display().to_string());
    }
    Ok(parts.into_values().collect())
}

fn refused(path: &Path, roots: &[PathBuf]) -> Failure {
    let roots: Vec<String> = roots.iter().map(|r| r.display().to_string()).collect();
    let allowed = if roots.is_empty() { "nothing is allowed".to_owned() } else { roots.join(", ") };
    let message = format!("{} does not lead into an allowed folder ({allowed})", path.display());
    Failure::new(FailureCode::TargetRefused, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_file_that_is_not_whole_is_removed_under_all_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        for name in ["a/half", "whole"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        std::fs::hard_link(folder.path().join("a/half"), folder.path().join("a/b/other")).unwrap();
        std::fs::hard_link(folder.path().join("whole"), folder.path().join("a/b/whole")).unwrap();
        remove_all(folder.path(), &["a/half".into(), "a/was-never-made".into()]).unwrap();
        let there = |name: &str| folder.path().join(name).exists();
        assert!(!there("a/half") && !there("a/b/other") && there("whole") && there("a/b/whole"));
    }

    #[test]
    fn a_target_is_where_it_really_leads() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let roots = vec![base.join("root")];
        std::fs::create_dir_all(base.join("root/in")).unwrap();
        std::fs::create_dir_all(base.join("out")).unwrap();
        std::os::unix::fs::symlink(base.join("out"), base.join("root/link")).unwrap();
        std::os::unix::fs::symlink(base.join("root/in"), base.join("alias")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", base.join("root/dangling")).unwrap();
        let leads = |path: &str| resolve(&base.join(path), &roots).map(|(_, whole)| whole);
        assert_eq!(leads("root/in/a/b").unwrap(), base.join("root/in/a/b"));
        assert_eq!(leads("alias/x").unwrap(), base.join("root/in/x"), "a link into a root is fine");
        for outside in ["root/link/x", "out", "root/dangling", "root/dangling/x", "root/../out", "rooted"] {
            assert_eq!(leads(outside).unwrap_err().code, FailureCode::TargetRefused, "{outside}");
        }
    }
}

//! `borg extract` into a scratch folder, and from there to where the files belong.
//!
//! The accident that this file prevents: a restore that stops in the middle, or goes where it should not, and has by then
//! overwritten what people still had. Nothing is put in place before everything was extracted and checked.

use super::ground::Ground;
use super::init::file_failure;
use super::placing::{Placed, Placing};
use super::store::files;
use super::{Bench, Finished, finished, halves, index, preview};
use crate::borg::{Call, Done};
use crate::control::NoOutcome;
use crate::core::finding::{self, Work};
use crate::core::findings::Findings;
use crate::core::health::Damaged;
use crate::core::{command, paths};
use crate::dump_store::Opened;
use crate::scratch::Scratch;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::{Conflict, JobResult, RestoreSpec, RestoreTarget};
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;

/// Lines of borg that wait to be looked at.
pub const LINES: usize = 1000;

/// A part of a restore: what goes below one folder, inside one allowed root.
pub struct Part {
    /// An existing folder on the target's file system.
    pub near: PathBuf,
    /// Below which folder everything goes.
    pub base: PathBuf,
    /// Which paths of the archive; all, when empty.
    pub paths: Vec<String>,
}

/// Restores, out of borg's repository or out of a dump store.
pub async fn run(
    bench: &Bench<'_>,
    spec: &RestoreSpec,
    store: Option<&Opened<'_>>,
) -> Result<Finished, NoOutcome> {
    let roots = existing_roots(&spec.allowed_roots)?;
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
    let target = match &spec.target {
        RestoreTarget::Folder { path } => path.clone(),
        RestoreTarget::Original => "/".to_owned(),
    };
    if spec.dry_run {
        return preview::run(bench, spec, store, &parts, &roots, target).await;
    }
    bench.step("extract");
    let mut extracted = Vec::new();
    let extracting = async {
        match store {
            Some(opened) => files::extract(bench, spec, opened, &parts, &roots, &mut extracted).await,
            None => extract(bench, spec, &parts, &roots, &mut extracted).await,
        }
    };
    let (findings, tail) = match extracting.await {
        Ok(done) => done,
        Err(e) => {
            // A large folder takes a while to remove.
            let remove = move || extracted.into_iter().for_each(|(_, scratch)| scratch.remove());
            let _ = tokio::task::spawn_blocking(remove).await;
            return Err(e);
        }
    };
    bench.step("place");
    let placing = tokio::task::spawn_blocking(move || place_all(extracted)).await;
    let placed = placing.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))??;
    let Placed { files, size_bytes, kept_both } = placed;
    Ok(finished(JobResult::Restore { files, size_bytes, target, kept_both }, findings, tail))
}

/// Extracts each part into a scratch folder of its own.
async fn extract(
    bench: &Bench<'_>,
    spec: &RestoreSpec,
    parts: &[Part],
    roots: &[PathBuf],
    extracted: &mut Vec<(Placing, Scratch)>,
) -> Result<(Findings, Vec<String>), NoOutcome> {
    let name = &index::name_of(bench, &spec.access, &spec.archive).await?;
    let mut findings = Findings::default();
    let mut tail = Vec::new();
    let damaged = damaged(bench, spec, name, parts).await?;
    for (n, part) in parts.iter().enumerate() {
        let from = scratch_of(bench, spec, part, n, roots, extracted).await?;
        let arguments = command::extract(&spec.access, name, &part.paths);
        let call = Call { folder: Some(&from), work: Work::Extracting, ..bench.call(arguments) };
        let mut done = bench.borg.run(call).await?;
        if let Some(pattern) = done.never_matched.first() {
            let path = pattern.strip_prefix("pp:").unwrap_or(pattern);
            let message = format!("'{path}' is not in the archive; nothing was taken out of it");
            return Err(Failure::new(FailureCode::PathNotInArchive, message).into());
        }
        if let Ok(told) = &mut done.extracted {
            for name in damaged.below(&part.paths) {
                if !told.damaged.iter().any(|told| told == name) {
                    told.damaged.push(name.to_owned());
                    findings.add(finding::damaged(name));
                }
            }
        }
        let policy = spec.on_conflict;
        let unexplained;
        (unexplained, findings, tail) = blocking(move || sort_out(&from, policy, done, findings)).await?;
        if let Some((placing, _)) = extracted.last_mut().filter(|_| unexplained)
            && placing.distrust()
        {
            let message =
                "borg does not say which file is not whole: what stood there was kept and not replaced";
            findings.add(Finding { severity: Severity::Incomplete, path: None, message: message.to_owned() });
        }
    }
    Ok((findings, tail))
}

/// A scratch folder for a part, from which it is placed once it is there.
pub async fn scratch_of(
    bench: &Bench<'_>,
    spec: &RestoreSpec,
    part: &Part,
    n: usize,
    roots: &[PathBuf],
    extracted: &mut Vec<(Placing, Scratch)>,
) -> Result<PathBuf, Failure> {
    let (near, notes, job, epoch) = (part.near.clone(), bench.state.restores(), bench.job, bench.epoch);
    let allowed = roots.to_owned();
    let scratch = blocking(move || {
        let failed = |e| file_failure(&near.display().to_string(), &e);
        let ground = Ground::open(&near, &allowed)?;
        let ground = ground.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        ground.takes_entries()?;
        Scratch::make(&ground, job, epoch, n, &notes).map_err(failed)
    })
    .await?;
    let from = scratch.path();
    let placing = Placing {
        from: from.clone(),
        to: part.base.clone(),
        roots: roots.to_owned(),
        policy: spec.on_conflict,
        suffix: format!(".before-restore-{}", bench.job),
    };
    extracted.push((placing, scratch));
    Ok(from)
}

/// Which files are damaged of which borg would not say it: those that are extracted without the name that holds their
/// content. An archive as a whole has all of its names, and what has one name speaks for itself.
async fn damaged(
    bench: &Bench<'_>,
    spec: &RestoreSpec,
    name: &str,
    parts: &[Part],
) -> Result<Damaged, NoOutcome> {
    let chosen: Vec<String> = parts.iter().flat_map(|part| part.paths.iter().cloned()).collect();
    if chosen.is_empty() {
        return Ok(Damaged::default());
    }
    let found = list_damaged(bench, spec, name, &chosen).await?;
    if found.has_links() { list_damaged(bench, spec, name, &[]).await } else { Ok(found) }
}

async fn list_damaged(
    bench: &Bench<'_>,
    spec: &RestoreSpec,
    name: &str,
    paths: &[String],
) -> Result<Damaged, NoOutcome> {
    let (give, mut come) = mpsc::channel::<String>(LINES);
    let call = bench.call(command::list_entries(&spec.access, name, paths));
    // With a problem it drops its end: what borg has left to say is read then, and passed over.
    let taking = async move {
        let mut damaged = Damaged::default();
        while let Some(line) = come.recv().await {
            damaged.take(&line).map_err(|e| Failure::new(FailureCode::RepositoryDamaged, e.to_string()))?;
        }
        Ok::<_, Failure>(damaged)
    };
    let (listed, damaged) = tokio::join!(bench.borg.run_lines(call, give), taking);
    listed?;
    Ok(damaged?)
}

/// Removes what is not to be put in place. Says whether more may not be whole than is known.
fn sort_out(
    scratch: &Path,
    policy: Conflict,
    done: Done,
    mut findings: Findings,
) -> Result<(bool, Findings, Vec<String>), Failure> {
    let mut extracted = done.extracted.map_err(|failure| failure.with_log(done.tail.clone()))?;
    findings.merge(done.findings);
    let mut unfit = extracted.not_whole;
    if policy == Conflict::Overwrite {
        // Where nothing is replaced, a damaged one is better than none.
        unfit.append(&mut extracted.damaged);
    }
    if !unfit.is_empty() {
        halves::remove(scratch, &unfit, &mut findings)?;
    }
    Ok((extracted.unexplained, findings, done.tail))
}

/// Does what takes its time with many files, where nobody else waits for it.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?
}

/// Places all of it, and removes the scratch folders, which takes time as well.
fn place_all(extracted: Vec<(Placing, Scratch)>) -> Result<Placed, Failure> {
    let placed = place_each(&extracted.iter().map(|(placing, _)| placing).collect::<Vec<_>>());
    extracted.into_iter().for_each(|(_, scratch)| scratch.remove());
    placed
}

/// Everything was extracted: all of it is looked at before any of it is put in place.
fn place_each(all: &[&Placing]) -> Result<Placed, Failure> {
    let mut placed = Placed::default();
    let looked = all.iter().try_for_each(|placing| placing.look());
    let done = looked.and_then(|()| all.iter().try_for_each(|placing| placing.place(&mut placed)));
    done.map(|()| placed).map_err(|failure| in_the_middle(failure, placed))
}

/// Nobody is to believe that nothing was touched when something was. What an earlier attempt has put in place is not
/// counted here, and nothing is said of it.
fn in_the_middle(failure: Failure, placed: Placed) -> Failure {
    let Placed { files, kept_both, .. } = placed;
    let how_far = if files + kept_both == 0 {
        "nothing was put in place".to_owned()
    } else {
        format!(
            "not all of it was put in place, and what was stays there ({files} files; {kept_both} that stood there were renamed)"
        )
    };
    Failure { message: format!("{how_far}: {}", failure.message), ..failure }
}

/// The roots that are there, resolved. When none of them is, that is said: it is not that nothing is allowed.
pub fn existing_roots(roots: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let there: Vec<_> = roots.iter().filter_map(|root| Path::new(root).canonicalize().ok()).collect();
    if there.is_empty() && !roots.is_empty() {
        let message =
            format!("none of the allowed folders is there: {}; make one, or allow another", roots.join(", "));
        return Err(Failure::new(FailureCode::TargetRefused, message));
    }
    Ok(there)
}

/// Where a path really leads: the deepest part that is there, resolved, and the whole. It must be inside of a root.
pub fn resolve(path: &Path, roots: &[PathBuf]) -> Result<(PathBuf, PathBuf), Failure> {
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
    fn allowed_folders_that_are_not_there_are_told_as_such() {
        let failure = existing_roots(&["/never/there".to_owned()]).unwrap_err();
        assert!(failure.message.contains("/never/there"), "{}", failure.message);
        assert!(existing_roots(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_restore_that_fails_in_the_middle_does_not_look_as_if_nothing_had_happened() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("to")).unwrap();
        let placing = |name: &str| {
            std::fs::create_dir(base.join(name)).unwrap();
            std::fs::write(base.join(name).join("x"), name).unwrap();
            let (from, to, roots) = (base.join(name), base.join("to"), vec![base.join("to")]);
            Placing { from, to, roots, policy: Conflict::Fail, suffix: ".old".into() }
        };
        // Nothing stands in the way of either, until the first is in place.
        let failure = place_each(&[&placing("first"), &placing("second")]).unwrap_err();
        assert_eq!(failure.code, FailureCode::TargetExists);
        assert!(failure.message.contains("what was stays there (1 files;"), "{failure:?}");
        let untouched = place_each(&[&placing("third")]).unwrap_err();
        assert!(untouched.message.starts_with("nothing was put in place: "), "{untouched:?}");
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

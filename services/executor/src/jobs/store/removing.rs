//! Removing archives from a dump store, one or several.
//!
//! The accidents that this file prevents: an archive that still looks whole and lacks a part, because its removal was
//! killed half way; and room that is never freed, because nobody knows of what was left over, or because an archive was only
//! hidden that is locked. So what makes it an archive
//! goes first, and who makes the next one finds a note.

use crate::control::{NoOutcome, Stop};
use crate::core::dump_store as forms;
use crate::core::findings::Findings;
use crate::dump_store::Opened;
use crate::jobs::prune::{left_over, spared};
use crate::jobs::store::making;
use crate::jobs::{Bench, Finished, finished};
use crate::unfinished::{self, Unfinished};
use strongroom_domain::archive::Target;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::{JobResult, PruneSpec};
use strongroom_domain::{Failure, FailureCode};

/// What came of a removal.
enum Removed {
    /// It was there, and took so many bytes, but for chunks.
    Now(u64),
    /// It was gone already.
    Before,
    /// Another one has its name, which nobody asked to remove.
    Another,
    /// The destination keeps it for some time yet.
    Locked(Failure),
}

/// Removes an archive: first what makes it one, then its parts, then the chunks that no other one needs, and with them those of
/// backups that came to nothing. What is left over
/// from a removal that was killed is removed by its next attempt, for which the archive is gone already.
pub async fn delete(bench: &Bench<'_>, opened: &Opened<'_>, target: &Target) -> Result<Finished, NoOutcome> {
    bench.step("delete");
    let (removed, cleared) = remove(bench, opened, target).await?;
    let mut findings = Findings::default();
    let was_gone = match removed {
        Removed::Locked(failure) => return Err(failure.into()),
        Removed::Another => true,
        Removed::Now(_) | Removed::Before => {
            free(bench, opened, &target.name, cleared, &mut findings).await;
            matches!(removed, Removed::Before)
        }
    };
    Ok(finished(JobResult::DeleteArchive { was_gone }, findings, Vec::new()))
}

/// The same for several, which are exactly those that were decided; chunks are looked at once.
pub async fn prune(bench: &Bench<'_>, opened: &Opened<'_>, spec: &PruneSpec) -> Result<Finished, NoOutcome> {
    bench.step("delete");
    let (mut deleted, mut freed_bytes, mut last, mut locked) = (Vec::new(), 0, None, Vec::new());
    let (mut gone, mut findings) = (Vec::new(), Findings::default());
    let mut cleared = Ok(());
    let mut stopped = None;
    for target in &spec.archives {
        // What is spared now may have been removed by an attempt whose word was lost.
        if spec.spares(target.id) {
            let is_gone =
                bench.attempt > 1 && opened.archive(&target.name).await.is_ok_and(|there| there.is_none());
            if !is_gone {
                continue;
            }
            gone.push(target.id);
        }
        if let Some(why) = bench.control.why() {
            stopped = Some(NoOutcome::Stopped(why));
            break;
        }
        match remove(bench, opened, target).await {
            Ok((Removed::Locked(failure), _)) => locked.push((target, failure)),
            Ok((removed, clearing)) => {
                if let (Removed::Now(bytes), Ok(())) = (&removed, &clearing) {
                    freed_bytes += bytes;
                }
                if !matches!(removed, Removed::Another) {
                    last = Some(target.name.as_str());
                }
                cleared = clearing;
                deleted.push(target.id);
            }
            // One that cannot be read keeps nobody from removing the others.
            Err(NoOutcome::Failed(failure)) if failure.code == FailureCode::ArchiveDamaged => {
                locked.push((target, failure));
            }
            Err(why) => {
                stopped = Some(why);
                break;
            }
        }
        if cleared.is_err() {
            // A note names one archive: what is left of this one is not to be forgotten for the next.
            break;
        }
    }
    findings.merge(spared(spec, &gone));
    match stopped {
        // The work comes back, and what is gone is found to be.
        Some(NoOutcome::Stopped(why)) if why != Stop::Cancel => return Err(NoOutcome::Stopped(why)),
        Some(why) if deleted.is_empty() => return Err(why),
        Some(why) => findings.add(left_over(
            spec.archives.len().saturating_sub(deleted.len() + locked.len() + spec.spared.len()),
            &why,
        )),
        None => {}
    }
    for (target, failure) in locked {
        if deleted.is_empty() {
            return Err(failure.into());
        }
        let message = format!("archive '{}' stays: {}", target.name, failure.message);
        findings.add(Finding { severity: Severity::Incomplete, path: None, message });
    }
    if let Some(last) = last {
        bench.step("sweep");
        freed_bytes += free(bench, opened, last, cleared, &mut findings).await;
    }
    Ok(finished(JobResult::Prune { deleted, freed_bytes: Some(freed_bytes) }, findings, Vec::new()))
}

/// Removes what makes it an archive, and then its parts. Whether these are removed is no reason to say that it is there.
async fn remove(
    bench: &Bench<'_>,
    opened: &Opened<'_>,
    target: &Target,
) -> Result<(Removed, Result<(), Failure>), NoOutcome> {
    let notes = bench.state.unfinished();
    if opened.naming().is_some() {
        // Who makes the next archive knows by it that something may be left.
        let note = Unfinished { repository: opened.access.repository.clone(), archive: target.name.clone() };
        unfinished::keep(&notes, bench.job, &note);
    }
    let removed = match opened.archive(&target.name).await {
        Ok(Some(there)) if there.facts.borg_id == target.borg_id => {
            // Written last, it is locked the longest.
            if let Some(failure) = opened.store.locked(&forms::manifest_of(&target.name)).await? {
                unfinished::forget(&notes, bench.job);
                return Ok((Removed::Locked(failure), Ok(())));
            }
            opened.store.delete(&forms::manifest_of(&target.name)).await?;
            let stored = there.manifest.dump.artefacts.iter().filter_map(|part| part.stored.as_ref());
            Removed::Now(stored.map(|stored| stored.size_bytes).sum())
        }
        Ok(Some(_)) => {
            unfinished::forget(&notes, bench.job);
            return Ok((Removed::Another, Ok(())));
        }
        Ok(None) => Removed::Before,
        Err(failure) => return Err(failure.into()),
    };
    // The archive is gone from here on, whoever wants to stop.
    Ok((removed, opened.store.clear(&forms::folder(&target.name)).await))
}

/// Removes the chunks that nobody needs, and says how many bytes that were.
async fn free(
    bench: &Bench<'_>,
    opened: &Opened<'_>,
    last: &str,
    cleared: Result<(), Failure>,
    findings: &mut Findings,
) -> u64 {
    // Backups that came to nothing may have left something as well. None runs: a repository has one writer at a time.
    let left = Box::pin(making::clear_unfinished(bench, opened, last)).await;
    let freed = match cleared {
        Ok(()) => Box::pin(opened.sweep()).await,
        Err(failure) => Err(failure),
    };
    match freed {
        Ok(bytes) => {
            for note in left {
                let _ = std::fs::remove_file(note);
            }
            unfinished::forget(&bench.state.unfinished(), bench.job);
            bytes
        }
        Err(failure) => {
            let message = format!("its space was not freed: {}", failure.message);
            findings.add(Finding { severity: Severity::Benign, path: None, message });
            0
        }
    }
}

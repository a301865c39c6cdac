//! How an archive comes to be in a dump store.
//!
//! The accident that this file prevents is P1: an archive that looks whole and is not. Each attempt writes objects of its
//! own; what makes an archive of them is a small object that is written last, once, and only when all others were seen in
//! their place with the size that was counted on the way.
//!
//! Chunks of a store that is deduplicated belong to no attempt: those that one has stored which came to no archive serve the
//! next one, and what of them nobody needs is removed when an archive is made. Until then a note says that there are such.

use crate::control::{Control, NoOutcome, Stop};
use crate::core::dump_store as forms;
use crate::core::findings::Findings;
use crate::dump_store::{Archive, Opened, missing_in};
use crate::found;
use crate::jobs::Bench;
use crate::unfinished::{self, Unfinished};
use std::path::PathBuf;
use strongroom_domain::archive::Artefact;
use strongroom_domain::{Failure, FailureCode};

/// All parts of an archive, stored, and the list of them.
pub struct Made {
    /// The list.
    pub manifest: Vec<u8>,
    /// What was found on the way.
    pub findings: Findings,
    /// The last lines.
    pub tail: Vec<String>,
}

/// An archive that is there.
pub enum Came {
    /// This attempt has made it.
    Now {
        /// As it was read back.
        archive: Archive,
        /// What was found on the way.
        findings: Findings,
        /// The last lines.
        tail: Vec<String>,
    },
    /// An earlier attempt had made it, and its word was lost.
    Before(Archive),
}

/// Makes an archive of what `storing` stores, unless it is there. It must end by itself when the attempt is to stop.
pub async fn make(
    bench: &Bench<'_>,
    opened: &Opened<'_>,
    name: &str,
    storing: impl Future<Output = Result<Made, NoOutcome>>,
) -> Result<Came, NoOutcome> {
    // The first attempt as well may have had an earlier life, before its executor was killed.
    if let Some(archive) = made_before(opened, name).await? {
        return Ok(before(bench, opened, archive));
    }
    opened.store.clear(&forms::folder(name)).await?;
    let left = clear_unfinished(bench, opened, name).await;
    let note = Unfinished { repository: opened.access.repository.clone(), archive: name.to_owned() };
    unfinished::keep(&bench.state.unfinished(), bench.job, &note);
    let made = storing.await;
    // From here on it comes to be: an attempt that is not the present one any more must not make it.
    let made = match (made, bench.control.why()) {
        (Ok(made), None) => made,
        (Ok(_), Some(why)) => {
            clear_own(bench, opened, name).await;
            return Err(NoOutcome::Stopped(why));
        }
        (Err(why), _) => {
            clear_own(bench, opened, name).await;
            if !serves_the_next(&why) {
                sweep(bench, opened, bench.control.clone()).await;
            }
            return Err(why);
        }
    };
    bench.step("read-back");
    let Made { manifest, findings, tail } = made;
    found::keep(&bench.state.findings(), bench.job, &findings);
    let written = opened.store.create(&forms::manifest_of(name), manifest).await;
    // Whether it was written or not, and whatever was said of it: what counts is what is there.
    let there = opened.archive(name).await;
    match (written, there) {
        (Ok(true), Ok(Some(archive))) => {
            if left.is_empty() || sweep(bench, opened, bench.control.past_cancel()).await {
                for note in left {
                    let _ = std::fs::remove_file(note);
                }
                unfinished::forget(&bench.state.unfinished(), bench.job);
            }
            Ok(Came::Now { archive, findings, tail })
        }
        (Ok(false), Ok(Some(archive))) => {
            clear_own(bench, opened, name).await;
            match opened.what_is_missing(&archive).await? {
                None => Ok(before(bench, opened, archive)),
                Some(missing) => {
                    let message = format!("another attempt has made {name}, but it is not whole: {missing}");
                    Err(Failure::new(FailureCode::NotReadBack, message).into())
                }
            }
        }
        (Ok(_), Ok(None)) => {
            let message = format!("{name} was stored, but could not be read back: it is not there");
            Err(Failure::new(FailureCode::NotReadBack, message).into())
        }
        (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure.into()),
    }
}

/// What an earlier attempt has made, when it is whole.
async fn made_before(opened: &Opened<'_>, name: &str) -> Result<Option<Archive>, NoOutcome> {
    let Some(archive) = opened.archive(name).await? else { return Ok(None) };
    match opened.what_is_missing(&archive).await? {
        None => Ok(Some(archive)),
        Some(missing) => {
            tracing::warn!(
                archive = name,
                missing,
                "what an earlier attempt has stored is not whole, and is removed"
            );
            opened.store.delete(&forms::manifest_of(name)).await?;
            Ok(None)
        }
    }
}

fn before(bench: &Bench<'_>, opened: &Opened<'_>, archive: Archive) -> Came {
    if opened.naming().is_none() {
        unfinished::forget(&bench.state.unfinished(), bench.job);
    }
    Came::Before(archive)
}

/// Fails when an object of this attempt is not in its place, with its size.
pub async fn all_are_there(
    bench: &Bench<'_>,
    opened: &Opened<'_>,
    name: &str,
    artefacts: &[Artefact],
) -> Result<(), Failure> {
    let there = opened.store.list(&forms::attempt(name, bench.epoch)).await?;
    match missing_in(&there, artefacts) {
        None => Ok(()),
        Some(missing) => {
            let message = format!("{name} was stored, but could not be read back: {missing}");
            Err(Failure::new(FailureCode::NotReadBack, message))
        }
    }
}

/// Whether what an attempt has stored is kept for the next one, although it came to nothing.
fn serves_the_next(why: &NoOutcome) -> bool {
    match why {
        NoOutcome::Stopped(Stop::Cancel) => false,
        // What is not the present attempt any more has nothing to say of what the present one may need.
        NoOutcome::Stopped(_) => true,
        NoOutcome::Failed(failure) => failure.code != FailureCode::NoSpace,
    }
}

/// Removes the chunks that no archive needs, and says whether it did. What stays is removed by the next backup.
async fn sweep(bench: &Bench<'_>, opened: &Opened<'_>, control: Control) -> bool {
    if opened.naming().is_none() {
        return true;
    }
    // Somebody who has cancelled waits for this, and nobody else stops it.
    let control = if control.why() == Some(Stop::Cancel) { control.past_cancel() } else { control };
    match control.unless_stopped(opened.sweep()).await {
        Ok(Ok(_)) => true,
        Ok(Err(failure)) => {
            tracing::warn!(job = %bench.job, problem = failure.message, "chunks that nobody needs were not removed");
            false
        }
        Err(_) => false,
    }
}

/// Removes what killed attempts of other jobs have left, and gives the notes of those whose chunks may be left; that of an
/// earlier attempt of this job is among them.
pub async fn clear_unfinished(bench: &Bench<'_>, opened: &Opened<'_>, name: &str) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for (note, earlier) in unfinished::of(&bench.state.unfinished(), &opened.access.repository) {
        // One that is whole was told, or will be by the next attempt at its job.
        let own = earlier.archive == name;
        let cleared = match opened.archive(&earlier.archive).await {
            // What was of this name is cleared away.
            _ if own => Ok(()),
            Ok(None) => opened.store.clear(&forms::folder(&earlier.archive)).await,
            Ok(Some(_)) => Ok(()),
            Err(failure) => Err(failure),
        };
        match cleared {
            Ok(()) if opened.naming().is_some() => left.push(note),
            Ok(()) if own => {}
            Ok(()) => {
                let _ = std::fs::remove_file(note);
            }
            Err(failure) => {
                tracing::warn!(
                    archive = earlier.archive,
                    problem = failure.message,
                    "what a backup has left was not removed"
                );
            }
        }
    }
    left
}

/// Removes what this attempt has stored but its chunks. What stays is removed by the next backup.
async fn clear_own(bench: &Bench<'_>, opened: &Opened<'_>, name: &str) {
    match opened.store.clear(&forms::attempt(name, bench.epoch)).await {
        Ok(()) if opened.naming().is_some() => {}
        Ok(()) => unfinished::forget(&bench.state.unfinished(), bench.job),
        Err(failure) => {
            tracing::warn!(job = %bench.job, problem = failure.message, "what was stored of it was not removed");
        }
    }
}

//! `borg delete` of the archives that a plan's retention keeps no longer, then `borg compact`.
//!
//! The accidents that this file prevents are P3: `borg prune`, which looks at a rule once more and would remove what came,
//! was held, or lies there of other plans; and a job that was ended half way, whose catalog goes on promising what it
//! has removed. So exactly what was decided is removed, and what is gone is read off the repository.

use super::{Bench, Finished, compact, finished};
use crate::borg::NotDone;
use crate::control::{NoOutcome, Stop};
use crate::core::findings::Findings;
use crate::core::{archive, command};
use std::collections::HashMap;
use strongroom_domain::archive::Target;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::{JobResult, PruneSpec};
use strongroom_domain::{ArchiveId, Failure, FailureCode};

/// How many are named to borg at once: a command line has an end, and a cancel waits for one.
const AT_ONCE: usize = 50;

/// Removes them; those that are gone already are as good as removed.
pub async fn run(bench: &Bench<'_>, spec: &PruneSpec) -> Result<Finished, NoOutcome> {
    let mut tail = Vec::new();
    let targets: Vec<&Target> = spec.to_remove().collect();
    bench.step("list");
    let before = bench.archives(&spec.access).await?;
    let names: HashMap<&str, &str> =
        before.iter().map(|there| (there.borg_id.as_str(), there.name.as_str())).collect();
    // As they are called now: people can rename them.
    let to_delete: Vec<&str> =
        targets.iter().filter_map(|t| names.get(t.borg_id.as_str()).copied()).collect();
    bench.step("delete");
    let mut said = Findings::default();
    let stopped = delete(bench, spec, &to_delete, &mut said, &mut tail).await;
    let after = bench.borg_past_cancel(command::list_archives(&spec.access)).await;
    let Some(after) = after.ok().and_then(|done| archive::all(&done.stdout, &spec.access.repository).ok())
    else {
        // Nobody may say that they are gone as long as that cannot be told; the next attempt finds out.
        let message = "it cannot be read which archives are left".to_owned();
        return Err(stopped.unwrap_or_else(|| Failure::new(FailureCode::BorgError, message).into()));
    };
    let is_there = |target: &&&Target| after.iter().any(|there| there.borg_id == target.borg_id);
    let deleted: Vec<ArchiveId> = targets.iter().filter(|t| !is_there(t)).map(|t| t.id).collect();
    // What is spared now may have been removed by an attempt whose word was lost.
    let spared_ids = spec.archives.iter().filter(|t| bench.attempt > 1 && spec.spares(t.id));
    let before: Vec<ArchiveId> = spared_ids.filter(|t| !is_there(&t)).map(|t| t.id).collect();
    let mut findings = said;
    findings.merge(spared(spec, &before));
    match stopped {
        // The work comes back, and what is gone is found to be.
        Some(NoOutcome::Stopped(why)) if why != Stop::Cancel => return Err(NoOutcome::Stopped(why)),
        Some(why) if deleted.is_empty() => return Err(why),
        Some(why) => findings.add(left_over(targets.len() - deleted.len(), &why)),
        None => {}
    }
    let deleted: Vec<ArchiveId> = deleted.into_iter().chain(before).collect();
    if deleted.is_empty() {
        return Ok(finished(JobResult::Prune { deleted, freed_bytes: Some(0) }, findings, tail));
    }
    let freed_bytes = compact::run(bench, &spec.access, &mut findings, &mut tail).await?;
    Ok(finished(JobResult::Prune { deleted, freed_bytes }, findings, tail))
}

/// Deletes them; what has stopped it, if it did not come to its end.
async fn delete(
    bench: &Bench<'_>,
    spec: &PruneSpec,
    names: &[&str],
    findings: &mut Findings,
    tail: &mut Vec<String>,
) -> Option<NoOutcome> {
    let (plain, odd): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| command::is_plain(name));
    let many = plain.chunks(AT_ONCE).map(|some| command::delete_all(&spec.access, some));
    let single = odd.iter().map(|name| command::delete(&spec.access, name));
    for call in many.chain(single) {
        match bench.borg(call).await {
            Ok(done) => {
                findings.merge(done.findings);
                tail.extend(done.tail);
            }
            Err(NotDone::Stopped(why)) => return Some(NoOutcome::Stopped(why)),
            Err(NotDone::Failed(failure, _)) => return Some(failure.into()),
        }
    }
    None
}

/// What was to go and stays, because something has changed since that was decided.
pub fn spared(spec: &PruneSpec, gone: &[ArchiveId]) -> Findings {
    let mut findings = Findings::default();
    for spared in spec.spared.iter().filter(|spared| !gone.contains(&spared.archive)) {
        let name = spec.archives.iter().find(|t| t.id == spared.archive).map(|t| t.name.as_str());
        let message = format!("{} stays: {}", name.unwrap_or_default(), spared.why);
        findings.add(Finding { severity: Severity::Benign, path: None, message });
    }
    findings
}

/// What is told when some are gone and others are not: a failure would say nothing of those that are gone.
pub fn left_over(count: usize, why: &NoOutcome) -> Finding {
    let why = match why {
        NoOutcome::Failed(failure) => failure.message.clone(),
        NoOutcome::Stopped(_) => "it was cancelled".to_owned(),
    };
    let message = format!("{count} archives that were to go are still there: {why}");
    Finding { severity: Severity::Incomplete, path: None, message }
}

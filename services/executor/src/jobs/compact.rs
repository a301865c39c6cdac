//! `borg compact` after archives were removed: until then they take as much room as before.

use super::Bench;
use crate::borg::NotDone;
use crate::control::NoOutcome;
use crate::core::command;
use crate::core::findings::Findings;
use crate::core::freed::freed_bytes;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::repository::Access;

/// Frees the room, and says how much that was, where borg tells. The archives are gone whatever comes of it: what was not
/// freed is freed by the next one.
pub async fn run(
    bench: &Bench<'_>,
    access: &Access,
    findings: &mut Findings,
    tail: &mut Vec<String>,
) -> Result<Option<u64>, NoOutcome> {
    bench.step("compact");
    match bench.borg_past_cancel(command::compact(access)).await {
        Ok(done) => {
            let freed = freed_bytes(&done.tail);
            tail.extend(done.tail);
            Ok(freed)
        }
        Err(NotDone::Stopped(why)) => Err(NoOutcome::Stopped(why)),
        Err(NotDone::Failed(failure, _)) => {
            let message = format!("space was not freed yet: {}", failure.message);
            findings.add(Finding { severity: Severity::Benign, path: None, message });
            Ok(None)
        }
    }
}

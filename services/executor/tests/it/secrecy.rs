//! P10: a secret in arguments, environments, reports, or on a disk.

use crate::look;
use crate::stage::{Stage, tree};
use anyhow::Result;
use serde_json::json;
use std::path::Path;
use strongroom_domain::JobId;
use strongroom_domain::job::Report;
use strongroom_domain::wire::LeaseAnswer;
use uuid::Uuid;

/// No other test has this one, so whoever shows it has it from here.
const PASSPHRASE: &str = "tr0ub4dor-and-three";

/// What anybody may see of every process of this machine, by process.
pub fn all_processes() -> Vec<(String, Vec<u8>)> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|e| e.path());
    let numbered = processes.filter(|p| p.file_name().unwrap().to_string_lossy().parse::<u32>().is_ok());
    numbered
        .flat_map(|p| ["cmdline", "environ"].map(|file| p.join(file)))
        // Some end while they are looked at.
        .filter_map(|p| Some((p.display().to_string(), std::fs::read(&p).ok()?)))
        .collect()
}

pub fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

fn files_with(folder: &Path, text: &str, found: &mut Vec<String>) {
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()) {
        if path.is_dir() && !path.is_symlink() {
            files_with(&path, text, found);
        } else if std::fs::read(&path).is_ok_and(|bytes| holds(&bytes, text)) {
            found.push(path.display().to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_is_seen_nowhere_while_borg_has_the_repository_open() -> Result<()> {
    let stage = Stage::set().await?;
    let give = async |spec| stage.emit_attempt(JobId(Uuid::now_v7()), 1, spec, Some(PASSPHRASE)).await;
    let init = json!({ "kind": "init-repository", "access": stage.access() });
    let (job, epoch) = give(init).await?;
    let mut told = vec![stage.end_of(job, epoch).await?];
    let large = look::large_tree(&stage)?;
    let (job, epoch) = give(look::slow(&stage, &large)).await?;
    stage.begun(job).await?;
    // Borg holds the lock: it has been given the passphrase, and works.
    let pid = look::in_the_act(&stage).await?;
    let seen = all_processes();
    let own = format!("/proc/{}/", pid.as_raw_nonzero());
    let of_borg: Vec<_> = seen.iter().filter(|(path, _)| path.starts_with(&own)).collect();
    assert!(look::lives(pid), "it ended before it was looked at");
    assert!(of_borg.iter().any(|(_, bytes)| holds(bytes, "create")), "{of_borg:?}");
    assert!(of_borg.iter().any(|(_, bytes)| holds(bytes, "BORG_PASSPHRASE_FD=0")), "{of_borg:?}");
    let showing: Vec<_> = seen.iter().filter(|(_, b)| holds(b, PASSPHRASE)).map(|(path, _)| path).collect();
    assert!(showing.is_empty(), "{showing:?}");

    stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    told.push(stage.end_of(job, epoch).await?);
    assert!(matches!(told[..], [Report::Succeeded { .. }, Report::Cancelled]), "{told:?}");
    let small = tree(3)?;
    let (job, epoch) = give(stage.backup(small.path())).await?;
    told.push(stage.end_of(job, epoch).await?);
    assert!(matches!(told[2], Report::Succeeded { .. }), "{told:?}");
    assert!(!serde_json::to_string(&told)?.contains(PASSPHRASE));
    // Neither what the executor keeps, nor the repository, nor what the log has stored of all that was said.
    let mut found = Vec::new();
    files_with(stage.folder.path(), PASSPHRASE, &mut found);
    files_with(stage.nats.folder(), PASSPHRASE, &mut found);
    assert!(found.is_empty(), "{found:?}");
    Ok(())
}

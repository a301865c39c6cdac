//! Ending children that an earlier life of this executor has left.
//!
//! The kernel ends them with us. This is for what it could not: a child that was just being started.

use crate::child::start_time;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::path::Path;
use std::time::Duration;

/// Ends every noted child that still is the one that was noted.
pub async fn end_all(notes: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(notes)? {
        let entry = entry?;
        let noted = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let pid: Option<u32> = entry.file_name().to_str().and_then(|n| n.parse().ok());
        if let Some(pid) = pid {
            end(pid, &noted).await?;
        }
        std::fs::remove_file(entry.path())?;
    }
    Ok(())
}

async fn end(pid: u32, noted: &str) -> anyhow::Result<()> {
    let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    // A child leads a group, and a borg that is one file has a child of its own in it, which may outlive the leader: as
    // long as it does, the number of the group is given to nobody else.
    let lives = || match start_time(pid) {
        Some(start) => start == noted,
        None => test_kill_process_group(group).is_ok(),
    };
    if !lives() {
        return Ok(());
    }
    tracing::warn!(pid, "a child of an earlier life still runs; it is ended");
    // It may end by itself this moment.
    let _ = kill_process_group(group, Signal::KILL);
    for _ in 0..100 {
        if !lives() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("process {pid} of an earlier life does not end; end it before this executor is started")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[tokio::test]
    async fn what_the_child_has_started_is_ended_even_when_the_child_is_gone() {
        let notes = tempfile::tempdir().unwrap();
        let file = notes.path().join("pid-of-the-grandchild");
        let script = format!("sleep 1000 & echo $! > '{}'; exit", file.display());
        let mut child = Command::new("sh").args(["-c", &script]).process_group(0).spawn().unwrap();
        let (pid, start) = (child.id(), start_time(child.id()).unwrap());
        child.wait().unwrap();
        let grandchild: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        std::fs::remove_file(file).unwrap();
        assert!(start_time(grandchild).is_some());
        std::fs::write(notes.path().join(pid.to_string()), start).unwrap();
        end_all(notes.path()).await.unwrap();
        assert!(start_time(grandchild).is_none(), "it outlives its group");
    }

    #[tokio::test]
    async fn only_the_very_process_that_was_noted_is_ended() {
        let notes = tempfile::tempdir().unwrap();
        let mut ours = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let mut others = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        std::fs::write(notes.path().join(ours.id().to_string()), start_time(ours.id()).unwrap()).unwrap();
        std::fs::write(notes.path().join(others.id().to_string()), "12345").unwrap();
        let reaping = std::thread::spawn(move || ours.wait().unwrap());
        end_all(notes.path()).await.unwrap();
        assert!(!reaping.join().unwrap().success());
        assert!(others.try_wait().unwrap().is_none(), "a process with a reused number was ended");
        others.kill().unwrap();
        others.wait().unwrap();
        assert_eq!(std::fs::read_dir(notes.path()).unwrap().count(), 0);
    }
}

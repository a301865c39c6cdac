//! Looking at what the executor does, behind its back.

use crate::stage::{PASSPHRASE, PATIENCE, Stage};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_testkit::wait_until;

/// Runs borg as somebody else on another machine would, and gives what it printed.
pub fn borg(stage: &Stage, arguments: &[&str]) -> Result<String> {
    let output = as_another_machine(stage).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "borg {arguments:?}: {}: {said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub fn as_another_machine(stage: &Stage) -> Command {
    let mut command = Command::new("borg");
    command
        .env("BORG_PASSPHRASE", PASSPHRASE)
        .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
        .env("BORG_HOST_ID", "another-machine")
        .env("BORG_BASE_DIR", stage.path("another-machine"));
    command
}

pub fn repository(stage: &Stage) -> String {
    stage.path("repository").display().to_string()
}

/// The names of all archives, checkpoints too.
pub fn archives(stage: &Stage) -> Result<Vec<String>> {
    let names = borg(stage, &["list", "--short", "--consider-checkpoints", &repository(stage)])?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// Waits until a child of the executor holds the lock of the repository.
pub async fn in_the_act(stage: &Stage) -> Result<Pid> {
    let (lock, notes) = (stage.path("repository/lock.exclusive"), stage.path("state/children"));
    wait_until("borg to hold the lock", PATIENCE, async || {
        // `<host id>.<pid>-<thread>`, when it is there.
        std::fs::read_dir(&lock).ok()?.flatten().find_map(|holder| {
            let holder = holder.file_name().into_string().ok()?;
            let pid = holder.rsplit_once('.')?.1.split('-').next()?.to_owned();
            notes.join(&pid).exists().then(|| Pid::from_raw(pid.parse().ok()?))?
        })
    })
    .await
}

pub fn kill(pid: Pid) -> Result<()> {
    rustix::process::kill_process(pid, Signal::KILL).context("kill")
}

/// Whether it runs; a zombie has ended.
pub fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    })
    .flatten()
    .take(bytes)
    .collect()
}

/// Files that take borg with lzma long enough to be caught in the act on any machine.
pub fn large_tree(stage: &Stage) -> Result<PathBuf> {
    let folder = stage.path("large");
    std::fs::create_dir_all(&folder)?;
    for n in 0..8 {
        std::fs::write(folder.join(format!("f{n}")), noise(n + 1, 8 << 20))?;
    }
    Ok(folder)
}

/// A backup that takes long.
pub fn slow(stage: &Stage, source: &Path) -> serde_json::Value {
    let mut spec = stage.backup(source);
    spec["compression"] = serde_json::json!("lzma,6");
    spec
}

/// A borg that waits before this command for as long as the file `gate` is there, and tells by `gate.reached`.
pub fn gated(stage: &Stage, command: &str) -> Result<PathBuf> {
    std::fs::write(stage.path("gate"), "")?;
    let gate = stage.path("gate").display().to_string();
    stage.script(
        "gated-borg",
        &format!(
            "case \" $* \" in *\" {command} \"*) touch '{gate}.reached'; \
             while [ -e '{gate}' ]; do sleep 0.05; done;; esac\nexec borg \"$@\"\n"
        ),
    )
}

pub async fn until_gate(stage: &Stage) -> Result<()> {
    let reached = stage.path("gate.reached");
    wait_until("borg to come to the gate", PATIENCE, async || reached.exists().then_some(())).await
}

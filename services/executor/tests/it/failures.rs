//! Every typed failure, provoked.

use crate::stage::{Stage, script, secret, tree};
use anyhow::Result;
use serde_json::json;
use std::process::Command;
use strongroom_domain::FailureCode as Code;
use strongroom_domain::JobId;
use strongroom_domain::job::Report;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_repository_is_told_apart() -> Result<()> {
    let stage = Stage::set().await?;
    let source = tree(5)?;
    stage.failure(stage.backup(source.path()), Code::RepositoryMissing).await?;
    stage.init().await?;
    let again = stage.success(json!({ "kind": "init-repository", "access": stage.access() })).await?;
    assert_eq!(serde_json::to_value(again.result)?["existed"], true);

    let other = stage.path("other");
    std::fs::create_dir_all(&other)?;
    std::fs::write(other.join("mine"), "not borg's")?;
    let init = json!({ "kind": "init-repository", "access": stage.access_at(&other) });
    stage.failure(init, Code::RepositoryExists).await?;
    assert_eq!(std::fs::read_to_string(other.join("mine"))?, "not borg's");

    let (job, epoch) =
        stage.emit_attempt(JobId(Uuid::now_v7()), 1, stage.backup(source.path()), Some("wrong")).await?;
    let Report::Failed { failure } = stage.end_of(job, epoch).await? else { panic!("it went well") };
    assert_eq!(failure.code, Code::WrongPassphrase);
    assert!(!serde_json::to_string(&failure)?.contains("wrong\""), "{failure:?}");
    let (job, epoch) =
        stage.emit_attempt(JobId(Uuid::now_v7()), 1, stage.backup(source.path()), None).await?;
    let Report::Failed { failure } = stage.end_of(job, epoch).await? else { panic!("it went well") };
    assert_eq!(failure.code, Code::SecretMissing);

    // The lock of another host, which may live: it is waited for and never broken.
    let lock = stage.path("repository/lock.exclusive");
    std::fs::create_dir(&lock)?;
    std::fs::write(lock.join("otherhost@123456.4242-0"), "")?;
    stage.failure(stage.backup(source.path()), Code::RepositoryLocked).await?;
    assert!(lock.join("otherhost@123456.4242-0").exists(), "a foreign lock was broken");
    std::fs::remove_dir_all(&lock)?;
    stage.success(stage.backup(source.path())).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_encrypted_otherwise_is_not_taken_for_what_was_asked_for() -> Result<()> {
    let stage = Stage::set().await?;
    let made = Command::new("borg")
        .args(["init", "--encryption=none"])
        .arg(stage.path("repository"))
        .env("BORG_BASE_DIR", stage.path("somebody"))
        .status()?;
    anyhow::ensure!(made.success(), "borg made no repository");
    let init = json!({ "kind": "init-repository", "access": stage.access() });
    let failure = stage.failure(init, Code::RepositoryExists).await?;
    assert!(failure.message.contains("'none', and not 'repokey-blake2'"), "{failure:?}");
    let plain = json!({ "repository": "r", "location": stage.path("repository"), "encryption": "none" });
    let done = stage.success(json!({ "kind": "init-repository", "access": plain })).await?;
    assert_eq!(serde_json::to_value(done.result)?["existed"], true);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_source_is_told_apart() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let failure = stage.failure(stage.backup("/no/such/path".as_ref()), Code::SourceMissing).await?;
    assert!(failure.message.contains("/no/such/path"), "{failure:?}");
    let empty = tempfile::tempdir()?;
    stage.failure(stage.backup(empty.path()), Code::ArchiveEmpty).await?;
    // Python itself falls over such a pattern, with the exit code of a warning.
    let mut odd = stage.backup(empty.path());
    odd["source"]["excludes"] = json!(["re:("]);
    let failure = stage.failure(odd, Code::BorgError).await?;
    assert!(failure.message.contains("missing )"), "{failure:?}");
    let scan = json!({ "kind": "scan-repository", "access": stage.access() });
    let scanned = stage.success(scan).await?;
    assert_eq!(serde_json::to_value(scanned.result)?["archives"], 0, "the empty archive was left behind");
    Ok(())
}

/// A small file system that goes with the test.
pub struct Small(tempfile::TempDir);

impl Small {
    pub fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    pub fn new(size: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let options = format!("size={size}");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder.path())
            .status()?;
        anyhow::ensure!(status.success(), "this test mounts a small file system and needs root for it");
        Ok(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_the_repository_lives_on() -> Result<()> {
    let stage = Stage::set().await?;
    let small = Small::new("3m")?;
    let access = stage.access_at(&small.0.path().join("repository"));
    stage.success(json!({ "kind": "init-repository", "access": access })).await?;
    let source = tempfile::tempdir()?;
    let noise: Vec<u8> =
        (0..6_000_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    std::fs::write(source.path().join("large"), noise)?;
    let backup = |path: &std::path::Path| {
        json!({
            "kind": "backup", "plan": "p", "access": access, "compression": "none",
            "source": { "type": "files", "paths": [path] },
        })
    };
    stage.failure(backup(source.path()), Code::NoSpace).await?;
    std::fs::write(source.path().join("large"), "small now")?;
    stage.success(backup(source.path())).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_borg_and_an_old_one_are_told() -> Result<()> {
    let mut stage =
        Stage::set_with(|c| strongroom_executor::Config { borg: "/nonexistent/borg".into(), ..c }).await?;
    let source = tree(1)?;
    let failure = stage.failure(stage.backup(source.path()), Code::BorgMissing).await?;
    assert!(failure.advice.contains("borgbackup"), "{failure:?}");
    stage.stop().await?;
    let old = script(&stage.path("old-borg"), "echo 'borg 1.1.17'\n")?;
    stage.start(|c| strongroom_executor::Config { borg: old, ..c }).await?;
    let failure = stage.failure(stage.backup(source.path()), Code::BorgMissing).await?;
    assert!(failure.message.contains("1.1.17"), "{failure:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_limit_ends_a_job_and_there_is_no_other_limit() -> Result<()> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    stage.stop().await?;
    let slow = stage.slow_borg(30)?;
    stage.start(|c| strongroom_executor::Config { borg: slow, ..c }).await?;
    let source = tree(2)?;
    let mut spec = stage.backup(source.path());
    spec["limits"]["max_duration_s"] = json!(1);
    let failure = stage.failure(spec, Code::TimedOut).await?;
    assert!(failure.message.contains("1 s"), "{failure:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_may_not_be_is_refused_before_anything_is_touched() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(3)?;
    let done = stage.success(stage.backup(source.path())).await?;
    let archive = serde_json::to_value(&done.result)?["archive"].clone();
    let root = stage.path("root");
    std::fs::create_dir_all(&root)?;
    std::os::unix::fs::symlink("/etc", root.join("out"))?;
    let restore = |path: &str, target: &std::path::Path| {
        let target_ = json!({ "type": "folder", "path": target });
        json!({
            "kind": "restore", "access": stage.access(), "paths": [path], "target": target_, "allowed_roots": [root],
            "archive": { "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] },
        })
    };
    let file = source.path().join("d0/f0").strip_prefix("/")?.display().to_string();
    stage.failure(restore(&file, &root.join("out/x")), Code::TargetRefused).await?;
    stage.failure(restore(&file, "/tmp".as_ref()), Code::TargetRefused).await?;
    stage.failure(restore("no/such", &root.join("x")), Code::PathNotInArchive).await?;
    assert!(!root.join("x").exists(), "something was restored");
    stage.success(restore(&file, &root.join("x"))).await?;
    std::fs::write(root.join("x").join(&file), "mine")?;
    stage.failure(restore(&file, &root.join("x")), Code::TargetExists).await?;
    assert_eq!(std::fs::read_to_string(root.join("x").join(&file))?, "mine");
    let left: Vec<_> = std::fs::read_dir(&root)?.flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|n| !n.to_string_lossy().starts_with(".strongroom")), "{left:?}");
    let gone = json!({
        "kind": "index-archive", "access": stage.access(),
        "archive": { "id": archive["id"], "name": "x", "borg_id": "00" },
    });
    stage.failure(gone, Code::ArchiveMissing).await?;
    assert_eq!(secret()["version"], 1);
    Ok(())
}

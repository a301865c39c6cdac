//! What a restore meets where it is to put files: what binds the administrator as well, other file systems, and things
//! of other people.

use crate::look;
use crate::restores::{Archived, archive, fingerprint};
use anyhow::Result;
use serde_json::json;
use std::path::Path;
use std::process::{Command, Stdio};
use strongroom_domain::FailureCode;

fn ran(program: &str, arguments: &[&str], path: &Path) -> Result<()> {
    let done = Command::new(program).args(arguments).arg(path).stderr(Stdio::null()).status()?.success();
    anyhow::ensure!(
        done,
        "{program} {arguments:?} {}: this test needs root, and a file system for it",
        path.display()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_immutable_comes_back_without_that_and_leaves_no_scratch_folder() -> Result<()> {
    let mut archived = Archived::new().await?;
    let (file, folder) = (archived.tree.join("a"), archived.tree.join("sub"));
    ran("chattr", &["+i"], &file)?;
    ran("chattr", &["+a"], &folder)?;
    let made = archive(&archived.stage, &archived.tree).await;
    ran("chattr", &["-i"], &file)?;
    ran("chattr", &["-a"], &folder)?;
    archived.archive = made?;
    let to = archived.roots().join("new");
    for policy in ["fail", "overwrite", "keep_both"] {
        archived.stage.success(archived.to(&to, json!({ "on_conflict": policy }))).await?;
        assert_eq!(fingerprint(&archived.below(&to, "")), fingerprint(&archived.tree));
    }
    std::fs::remove_dir_all(&to)?;
    archived.is_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn before_what_is_immutable_here_nothing_is_touched() -> Result<()> {
    let archived = Archived::new().await?;
    let to = archived.roots().join("standing");
    let standing = archived.below(&to, "sub/b");
    std::fs::create_dir_all(standing.parent().unwrap())?;
    std::fs::write(&standing, "mine")?;
    let before = fingerprint(&to);
    for (flags, path) in [
        (["+i", "-i"], standing.clone()),
        (["+i", "-i"], archived.below(&to, "")),
        (["+a", "-a"], archived.below(&to, "sub")),
    ] {
        ran("chattr", &[flags[0]], &path)?;
        let mut failed = Vec::new();
        for policy in ["overwrite", "keep_both"] {
            let spec = archived.to(&to, json!({ "on_conflict": policy }));
            failed.push(archived.stage.failure(spec, FailureCode::TargetRefused).await);
        }
        ran("chattr", &[flags[1]], &path)?;
        for failure in failed {
            assert!(failure?.message.contains("chattr"));
        }
        assert_eq!(fingerprint(&to), before);
    }
    archived.is_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_gives_way_to_a_file_but_never_with_a_file_system_in_it() -> Result<()> {
    let archived = Archived::new().await?;
    let to = archived.roots().join("standing");
    // A file in the archive.
    let folder = archived.below(&to, "a");
    let disk = folder.join("deep/disk");
    std::fs::create_dir_all(&disk)?;
    // The same file system, mounted once more: its number tells nothing.
    let precious = archived.stage.path("precious");
    std::fs::create_dir(&precious)?;
    std::fs::write(precious.join("x"), "mine")?;
    ran("mount", &["--bind", &precious.display().to_string()], &disk)?;
    let mut failed = Vec::new();
    for policy in ["overwrite", "keep_both"] {
        let spec = archived.to(&to, json!({ "on_conflict": policy }));
        failed.push(archived.stage.failure(spec, FailureCode::TargetRefused).await);
    }
    let there = std::fs::read_to_string(disk.join("x"));
    ran("umount", &[], &disk)?;
    for failure in failed {
        assert!(failure?.message.contains("mounted"));
    }
    assert_eq!((there?.as_str(), std::fs::read_to_string(precious.join("x"))?.as_str()), ("mine", "mine"));
    assert!(!archived.below(&to, "sub/b").exists(), "something was put in place");
    archived.stage.success(archived.to(&to, json!({ "on_conflict": "overwrite" }))).await?;
    assert_eq!(fingerprint(&archived.below(&to, "")), fingerprint(&archived.tree));
    archived.is_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_touched_where_a_part_of_the_target_is_mounted_from_elsewhere() -> Result<()> {
    let archived = Archived::new().await?;
    let to = archived.roots().join("standing");
    let mounted = archived.below(&to, "sub");
    std::fs::create_dir_all(&mounted)?;
    // A folder of the same file system: files cannot be moved there all the same.
    let elsewhere = archived.stage.path("elsewhere");
    std::fs::create_dir(&elsewhere)?;
    ran("mount", &["--bind", &elsewhere.display().to_string()], &mounted)?;
    let before = fingerprint(&to);
    let failure = archived.stage.failure(archived.to(&to, json!({})), FailureCode::TargetRefused).await;
    let after = fingerprint(&to);
    ran("umount", &[], &mounted)?;
    assert!(failure?.message.contains("mounted"));
    assert_eq!(before, after);
    archived.is_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_ours_are_no_claim_to_what_is_called_alike() -> Result<()> {
    let mut archived = Archived::new().await?;
    // In the archive, and at the target.
    std::fs::create_dir(archived.tree.join(".strongroom-restore-in-the-archive"))?;
    std::fs::write(archived.tree.join(".strongroom-restore-in-the-archive/x"), "x")?;
    let long = "é".repeat(127);
    std::fs::write(archived.tree.join(&long), look::noise(3, 100))?;
    archived.archive = archive(&archived.stage, &archived.tree).await?;
    let to = archived.roots().join("new");
    std::fs::create_dir(&to)?;
    std::fs::create_dir(to.join(".strongroom-restore-mine"))?;
    std::fs::write(to.join(".strongroom-restore-mine/x"), "mine")?;
    std::fs::write(to.join(".strongroom-restore-"), "mine")?;
    let standing = archived.below(&to, &long);
    std::fs::create_dir_all(standing.parent().unwrap())?;
    std::fs::write(&standing, "mine")?;
    let done = archived.stage.success(archived.to(&to, json!({ "on_conflict": "keep_both" }))).await?;
    assert_eq!(serde_json::to_value(done.result)?["kept_both"], 1);
    assert_eq!(std::fs::read_to_string(to.join(".strongroom-restore-mine/x"))?, "mine");
    assert_eq!(std::fs::read_to_string(to.join(".strongroom-restore-"))?, "mine");
    assert_eq!(std::fs::read_to_string(archived.below(&to, ".strongroom-restore-in-the-archive/x"))?, "x");
    assert_eq!(std::fs::read(&standing)?, look::noise(3, 100));
    let below = std::fs::read_dir(archived.below(&to, ""))?.flatten();
    let kept: Vec<_> = below.filter(|e| std::fs::read(e.path()).is_ok_and(|text| text == b"mine")).collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].file_name().to_string_lossy().contains(".before-restore-"));
    Ok(())
}

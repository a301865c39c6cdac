//! A restore gives back the very bytes, and never costs what people still have.

use crate::look;
use crate::stage::{PASSPHRASE, PATIENCE, Stage};
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use strongroom_domain::job::Report;
use strongroom_domain::wire::NodeReport;
use strongroom_domain::{FailureCode, JobId};
use strongroom_executor::Config;
use strongroom_testkit::wait_until;
use uuid::Uuid;

/// A stage with an archive of a small tree with names that a shell or a pattern would misread.
pub struct Archived {
    pub stage: Stage,
    pub tree: PathBuf,
    pub archive: Value,
}

const NAMES: [&str; 7] = ["a", "*star?", "-dash", "{brace}", "[x]", "é", "sub/b"];

impl Archived {
    pub async fn new() -> Result<Self> {
        let stage = Stage::set().await?;
        stage.init().await?;
        let tree = stage.folder.path().canonicalize()?.join("tree");
        std::fs::create_dir_all(tree.join("sub/empty folder"))?;
        for (n, name) in (0..).zip(NAMES) {
            std::fs::write(tree.join(name), look::noise(n + 1, 1000 * usize::try_from(n)?))?;
        }
        std::os::unix::fs::symlink("a", tree.join("link"))?;
        let archive = archive(&stage, &tree).await?;
        std::fs::create_dir(stage.path("roots"))?;
        Ok(Self { stage, tree, archive })
    }

    pub fn roots(&self) -> PathBuf {
        self.stage.folder.path().canonicalize().unwrap().join("roots")
    }

    pub fn in_archive(&self, name: &str) -> String {
        self.tree.join(name).strip_prefix("/").unwrap().display().to_string()
    }

    /// Where a path comes to lie below a target.
    pub fn below(&self, target: &Path, name: &str) -> PathBuf {
        target.join(self.in_archive(name))
    }

    pub fn to(&self, target: &Path, changes: Value) -> Value {
        let mut spec = json!({
            "kind": "restore", "access": self.stage.access(), "archive": self.archive,
            "target": { "type": "folder", "path": target }, "allowed_roots": [self.roots()],
        });
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        spec
    }

    /// That no scratch folder is left, and none is noted.
    pub fn is_clean(&self) {
        let left: Vec<_> =
            std::fs::read_dir(self.roots()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(!left.iter().any(|n| n.to_string_lossy().starts_with(".strongroom")), "{left:?}");
        assert_eq!(std::fs::read_dir(self.stage.path("state/restores")).unwrap().count(), 0);
    }
}

pub async fn archive(stage: &Stage, source: &Path) -> Result<Value> {
    let done = serde_json::to_value(stage.success(stage.backup(source)).await?.result)?;
    let archive = &done["archive"];
    Ok(json!({ "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] }))
}

/// Of each entry its mode, time, and content or link.
pub fn fingerprint(folder: &Path) -> BTreeMap<PathBuf, String> {
    fn add(folder: &Path, top: &Path, all: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let print = if metadata.is_symlink() {
                format!("{}", std::fs::read_link(&path).unwrap().display())
            } else {
                let content = if metadata.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
                format!("{:o} {} {content:?}", metadata.mode(), metadata.mtime())
            };
            if metadata.is_dir() {
                add(&path, top, all);
            }
            all.insert(path.strip_prefix(top).unwrap().to_owned(), print);
        }
    }
    let mut all = BTreeMap::new();
    add(folder, folder, &mut all);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_is_the_same_to_the_byte_and_a_second_time_is_no_conflict() -> Result<()> {
    let archived = Archived::new().await?;
    let to = archived.roots().join("new/place");
    for _ in 0..2 {
        let done = serde_json::to_value(archived.stage.success(archived.to(&to, json!({}))).await?.result)?;
        assert_eq!(fingerprint(&archived.below(&to, "")), fingerprint(&archived.tree));
        // Seven files and a link.
        assert_eq!((&done["files"], &done["size_bytes"]), (&json!(8), &json!(21_000)), "{done}");
    }
    archived.is_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_chosen_comes_back_and_a_star_in_a_name_is_a_star() -> Result<()> {
    let archived = Archived::new().await?;
    for (n, name) in ["*star?", "[x]", "-dash", "{brace}", "é", "sub", "link"].into_iter().enumerate() {
        let to = archived.roots().join(n.to_string());
        archived.stage.success(archived.to(&to, json!({ "paths": [archived.in_archive(name)] }))).await?;
        let there: Vec<_> =
            std::fs::read_dir(archived.below(&to, ""))?.flatten().map(|e| e.file_name()).collect();
        assert_eq!(there, [name]);
    }
    let to = archived.roots().join("none");
    for missing in [archived.in_archive("*"), "../../etc/passwd".into()] {
        let paths = json!({ "paths": [archived.in_archive("a"), missing] });
        archived.stage.failure(archived.to(&to, paths), FailureCode::PathNotInArchive).await?;
        assert!(!to.exists(), "something was restored");
    }
    archived.is_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_is_kept_by_the_next_attempt_as_well() -> Result<()> {
    let archived = Archived::new().await?;
    let to = archived.roots().join("standing");
    let standing = archived.below(&to, "sub/b");
    std::fs::create_dir_all(standing.parent().unwrap())?;
    let job = JobId(Uuid::now_v7());
    // The same job twice, as after an interruption; somebody has worked on in between.
    for (attempt, text) in [(1, "mine"), (2, "mine again")] {
        std::fs::write(&standing, text)?;
        let spec = archived.to(&to, json!({ "on_conflict": "keep_both" }));
        let (_, epoch) = archived.stage.emit_attempt(job, attempt, spec, Some(PASSPHRASE)).await?;
        let Report::Succeeded { outcome, .. } = archived.stage.end_of(job, epoch).await? else {
            panic!("it failed")
        };
        assert_eq!(serde_json::to_value(outcome.result)?["kept_both"], 1);
        assert_eq!(std::fs::read(&standing)?, std::fs::read(archived.tree.join("sub/b"))?);
    }
    let kept = |suffix: &str| {
        std::fs::read_to_string(format!("{}.before-restore-{job}{suffix}", standing.display())).unwrap()
    };
    assert_eq!([kept(""), kept(".1")], ["mine", "mine again"]);
    std::fs::write(&standing, "to be replaced")?;
    archived.stage.success(archived.to(&to, json!({ "on_conflict": "overwrite" }))).await?;
    assert_eq!(std::fs::read(&standing)?, std::fs::read(archived.tree.join("sub/b"))?);
    archived.is_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_back_to_where_they_came_from() -> Result<()> {
    let archived = Archived::new().await?;
    let before = fingerprint(&archived.tree);
    std::fs::remove_file(archived.tree.join("a"))?;
    std::fs::remove_dir_all(archived.tree.join("sub"))?;
    let original = |roots: &Path| {
        let paths = [archived.in_archive("a"), archived.in_archive("sub")];
        let target = json!({ "type": "original" });
        archived.to(Path::new("/"), json!({ "target": target, "allowed_roots": [roots], "paths": paths }))
    };
    archived.stage.failure(original(&archived.roots()), FailureCode::TargetRefused).await?;
    archived.stage.success(original(&archived.tree)).await?;
    assert_eq!(fingerprint(&archived.tree), before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_and_no_name_leads_a_restore_out_of_the_roots() -> Result<()> {
    let archived = Archived::new().await?;
    let (roots, outside) = (archived.roots(), archived.stage.path("outside"));
    std::fs::create_dir(&outside)?;
    std::os::unix::fs::symlink("/no/such/place", roots.join("dangling"))?;
    let beside = PathBuf::from(format!("{}-not", roots.display()));
    for place in [roots.join("dangling"), roots.join("../outside"), beside] {
        archived.stage.failure(archived.to(&place, json!({})), FailureCode::TargetRefused).await?;
    }
    let nothing = archived.to(&roots, json!({ "allowed_roots": [] }));
    archived.stage.failure(nothing, FailureCode::TargetRefused).await?;
    // A link in the way, below a target that is allowed.
    let to = roots.join("in");
    let link = archived.below(&to, "sub");
    std::fs::create_dir_all(link.parent().unwrap())?;
    std::os::unix::fs::symlink(&outside, &link)?;
    for policy in ["fail", "keep_both", "overwrite"] {
        let spec = archived.to(&to, json!({ "on_conflict": policy }));
        archived.stage.failure(spec, FailureCode::TargetRefused).await?;
    }
    assert_eq!(std::fs::read_dir(&outside)?.count(), 0, "something was written outside");
    archived.is_clean();
    Ok(())
}

/// Borg goes on after a file that it had no room for, and leaves a part of it.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_never_replaces_a_whole_one() -> Result<()> {
    let archived = Archived::new().await?;
    let disk = archived.stage.path("disk");
    std::fs::create_dir(&disk)?;
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&disk).status()?.success();
    anyhow::ensure!(mounted, "this test mounts a small file system and needs root for it");
    let done = no_room(&archived, &disk.canonicalize()?).await;
    let _ = Command::new("umount").arg("-l").arg(&disk).stderr(Stdio::null()).status();
    done
}

async fn no_room(archived: &Archived, disk: &Path) -> Result<()> {
    let source = look::large_tree(&archived.stage)?.canonicalize()?;
    let large = archive(&archived.stage, &source).await?;
    let whole = disk.join(source.strip_prefix("/")?).join("f0");
    std::fs::create_dir_all(whole.parent().unwrap())?;
    std::fs::write(&whole, "whole")?;
    let before = fingerprint(disk);
    let spec =
        archived.to(disk, json!({ "archive": large, "allowed_roots": [disk], "on_conflict": "overwrite" }));
    archived.stage.failure(spec, FailureCode::NoSpace).await?;
    assert_eq!(fingerprint(disk), before, "something was put in place, or left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_restore_has_left_is_removed_at_the_next_start() -> Result<()> {
    let mut archived = Archived::new().await?;
    archived.stage.stop().await?;
    // A folder whose name is no UTF-8 is one all the same.
    let odd = archived.roots().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    std::fs::create_dir(&odd)?;
    std::os::unix::fs::symlink(&odd, archived.roots().join("cafe"))?;
    let borg = look::gated(&archived.stage, "extract")?;
    archived.stage.start(|c| Config { borg: borg.clone(), ..c }).await?;
    let to = archived.roots().join("cafe/deep");
    let (job, _) = archived.stage.emit(archived.to(&to, json!({}))).await?;
    archived.stage.begun(job).await?;
    look::until_gate(&archived.stage).await?;
    let first = |folder: &Path| std::fs::read_dir(folder).unwrap().flatten().next().map(|e| e.path());
    let (scratch, note) = (first(&odd).unwrap(), first(&archived.stage.path("state/restores")).unwrap());
    let noted = std::fs::read(&note)?;
    archived.stage.abort().await;
    wait_until("what was tidied up", PATIENCE, async || (!scratch.exists() && !note.exists()).then_some(()))
        .await?;
    // A kill leaves both; put back what an end in this process could still tidy up.
    std::fs::create_dir_all(&scratch)?;
    std::fs::write(scratch.join("half"), "x")?;
    std::fs::write(&note, noted)?;
    // Somebody's own folder, to which a damaged note leads.
    std::fs::write(archived.stage.path("state/restores/odd"), archived.tree.as_os_str().as_bytes())?;
    std::fs::remove_file(archived.stage.path("gate"))?;
    archived.stage.start(|c| Config { borg, ..c }).await?;
    assert!(!scratch.exists(), "what a killed restore has left is still there");
    assert!(archived.tree.join("a").exists(), "a folder that is none of ours was removed");
    assert!(first(&archived.stage.path("state/restores")).is_none());
    Ok(())
}

/// P2: what `borg check --repair` has filled with zeros never replaces a file that is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_lost_in_the_repository_replaces_no_good_one() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let roots = stage.folder.path().canonicalize()?.join("roots");
    let tree = roots.join("tree");
    std::fs::create_dir_all(&tree)?;
    let (large, small) = (look::noise(1, 3_000_000), look::noise(2, 1000));
    std::fs::write(tree.join("large"), &large)?;
    std::fs::hard_link(tree.join("large"), tree.join("same as large"))?;
    std::fs::write(tree.join("small"), &small)?;
    let mut archive = archive(&stage, &tree).await?;
    damage(&stage.path("repository"))?;
    let repaired = Command::new("borg")
        .args(["check", "--repair"])
        .arg(stage.path("repository"))
        .envs([("BORG_PASSPHRASE", PASSPHRASE), ("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES")])
        .env("BORG_BASE_DIR", stage.path("repairer"))
        .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    assert!(repaired.code().is_some_and(|code| code <= 1), "{repaired:?}");

    // The repair has written the archive anew, under another id: a scan tells of it.
    let scan = json!({ "kind": "scan-repository", "access": stage.access() });
    let (job, epoch) = stage.emit(scan).await?;
    stage.begun(job).await?;
    let NodeReport::Scanned { archives, .. } = stage.report().await? else { panic!("no page") };
    assert_ne!(archive["borg_id"], archives[0].borg_id.as_str());
    archive["borg_id"] = json!(archives[0].borg_id);
    stage.end_of(job, epoch).await?;

    std::fs::write(tree.join("small"), "changed since")?;
    let inside = |path: &Path| path.strip_prefix("/").unwrap().display().to_string();
    let restore = |target: Value, policy: &str| {
        json!({
            "kind": "restore", "access": stage.access(), "archive": archive, "on_conflict": policy,
            "target": target, "allowed_roots": [roots], "paths": [inside(&tree)],
        })
    };
    let over = restore(json!({ "type": "original" }), "overwrite");
    let done = serde_json::to_value(stage.success(over).await?)?;
    assert_eq!(done["completeness"], "incomplete", "{done}");
    let damaged = done["findings"][0]["path"].as_str().unwrap();
    assert!(damaged.contains("large"), "{done}");
    for name in ["large", "same as large"] {
        assert!(std::fs::read(tree.join(name))? == large, "'{name}' was replaced by zeros");
    }
    assert_eq!(std::fs::read(tree.join("small"))?, small);

    // Where nothing stands, what is left of it is better than nothing; and it is said.
    let to = roots.join("beside");
    let beside = restore(json!({ "type": "folder", "path": to }), "fail");
    let done = serde_json::to_value(stage.success(beside).await?)?;
    assert_eq!(done["completeness"], "incomplete", "{done}");
    let left = std::fs::read(to.join(inside(&tree)).join("large"))?;
    assert_eq!(left.len(), large.len());
    assert!(left != large);
    Ok(())
}

/// Turns a byte in the middle of the largest segment.
fn damage(repository: &Path) -> Result<()> {
    let segments = std::fs::read_dir(repository.join("data/0"))?.flatten();
    let largest = segments.max_by_key(|e| e.metadata().map(|m| m.len()).unwrap_or(0)).unwrap().path();
    let mut bytes = std::fs::read(&largest)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    Ok(std::fs::write(largest, bytes)?)
}

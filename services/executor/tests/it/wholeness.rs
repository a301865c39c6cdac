//! What the repository or the disk gave only a part of never replaces what is whole, and is told.

use crate::restores::{Archived, archive};
use crate::{look, stage};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use strongroom_domain::FailureCode;
use strongroom_executor::Config;

/// Loses what the repository holds of a file, and repairs it as borg advises. The archive is another one then.
fn lose_and_repair(stage: &stage::Stage, archive: &mut Value, path: &str) -> Result<()> {
    let repository = look::repository(stage);
    let dump = stage.path("dump").display().to_string();
    let named = format!("{repository}::{}", archive["name"].as_str().unwrap());
    look::borg(stage, &["debug", "dump-archive", &named, &dump])?;
    let items: Value = serde_json::from_slice(&std::fs::read(dump)?)?;
    let item = items["_items"].as_array().unwrap().iter().find(|i| i["path"] == path);
    let chunk = item.context("it is not in the archive")?["chunks"][0][0]
        .as_str()
        .context("it is a link")?
        .to_owned();
    // Bytes stand in the dump as DEL and hex digits.
    let chunk = chunk.trim_start_matches('\u{7f}');
    let lost = look::borg(stage, &["debug", "delete-obj", &repository, chunk])?;
    anyhow::ensure!(lost.contains("deleted"), "{lost}");
    let repaired = look::as_another_machine(stage)
        .env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES")
        .args(["check", "--repair", &repository])
        .output()?;
    // It ends with a warning: it has found something.
    anyhow::ensure!(repaired.status.code().is_some_and(|code| code < 2), "{repaired:?}");
    let listed: Value = serde_json::from_str(&look::borg(stage, &["list", "--json", &repository])?)?;
    let listed = listed["archives"].as_array().unwrap();
    let now = listed.iter().find(|a| a["name"] == archive["name"]).context("it is gone")?;
    assert_ne!(archive["borg_id"], now["id"], "nothing was repaired");
    archive["borg_id"] = now["id"].clone();
    Ok(())
}

/// The name that borg comes to first holds the content; the other is a link to it.
fn lose_either(archived: &mut Archived) -> Result<()> {
    let names = ["sub/lost", "z other name"].map(|name| archived.in_archive(name));
    let Archived { stage, archive, .. } = archived;
    lose_and_repair(stage, archive, &names[0]).or_else(|_| lose_and_repair(stage, archive, &names[1]))
}

/// Standing files of the same names as those of the archive.
fn stand(archived: &Archived, to: &Path, names: &[&str]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for name in names {
        let path = archived.below(to, name);
        std::fs::create_dir_all(path.parent().unwrap())?;
        std::fs::write(&path, "mine")?;
        all.push(path);
    }
    Ok(all)
}

fn told(done: &Value) -> BTreeMap<String, String> {
    let findings = done["findings"].as_array().unwrap();
    assert!(findings.iter().all(|f| f["severity"] == "incomplete"), "{done}");
    findings
        .iter()
        .map(|f| {
            (f["path"].as_str().unwrap_or_default().to_owned(), f["message"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_in_place_of_what_a_repository_has_lost_replace_nothing() -> Result<()> {
    let mut archived = Archived::new().await?;
    let lost = archived.tree.join("sub/lost");
    std::fs::write(&lost, look::noise(99, 5000))?;
    std::fs::hard_link(&lost, archived.tree.join("z other name"))?;
    archived.archive = archive(&archived.stage, &archived.tree).await?;
    lose_either(&mut archived)?;
    let to = archived.roots().join("standing");
    let standing = stand(&archived, &to, &["sub/lost", "z other name", "sub/b"])?;
    let spec = archived.to(&to, json!({ "on_conflict": "overwrite" }));
    let done = serde_json::to_value(archived.stage.success(spec).await?)?;
    assert_eq!(
        (&done["completeness"], &done["incomplete_total"]),
        (&json!("incomplete"), &json!(2)),
        "{done}"
    );
    let told = told(&done);
    for name in ["sub/lost", "z other name"] {
        assert!(told.contains_key(&archived.in_archive(name)), "{done}");
        assert_eq!(std::fs::read_to_string(archived.below(&to, name))?, "mine", "{name}");
    }
    assert_eq!(std::fs::read(&standing[2])?, std::fs::read(archived.tree.join("sub/b"))?);
    archived.is_clean();
    Ok(())
}

/// One of the names was chosen; which of them holds the content in the archive is borg's to know.
#[tokio::test(flavor = "multi_thread")]
async fn one_name_of_a_file_that_a_repository_has_lost_replaces_nothing_either() -> Result<()> {
    let mut archived = Archived::new().await?;
    let lost = archived.tree.join("sub/lost");
    std::fs::write(&lost, look::noise(99, 5000))?;
    std::fs::hard_link(&lost, archived.tree.join("z other name"))?;
    archived.archive = archive(&archived.stage, &archived.tree).await?;
    lose_either(&mut archived)?;
    for name in ["sub/lost", "z other name"] {
        let to = archived.roots().join(name.replace('/', " "));
        let standing = stand(&archived, &to, &[name])?;
        let paths = json!({ "on_conflict": "overwrite", "paths": [archived.in_archive(name)] });
        let done = serde_json::to_value(archived.stage.success(archived.to(&to, paths)).await?)?;
        assert!(std::fs::read(&standing[0])? == b"mine", "{name}: {done}");
        assert!(told(&done).contains_key(&archived.in_archive(name)), "{done}");
    }
    Ok(())
}

/// No file may be larger than this: borg writes a part of one, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_replaces_nothing_under_any_of_its_names() -> Result<()> {
    let mut archived = Archived::new().await?;
    let large = archived.tree.join("sub/large");
    std::fs::write(&large, look::noise(7, 3 << 20))?;
    std::fs::hard_link(&large, archived.tree.join("z other name"))?;
    // Small enough to stay in a buffer until the file is truncated.
    let small = archived.tree.join("small");
    std::fs::write(&small, look::noise(8, 70_000))?;
    archived.archive = archive(&archived.stage, &archived.tree).await?;
    archived.stage.stop().await?;
    let text = "case \" $* \" in *' extract '*) ulimit -f 100; export BORG_SELFTEST=disabled;; esac\nexec borg \"$@\"\n";
    let borg = archived.stage.script("bounded-borg", text)?;
    archived.stage.start(|c| Config { borg, ..c }).await?;
    let to = archived.roots().join("standing");
    let standing = stand(&archived, &to, &["sub/large", "z other name", "small", "sub/b"])?;
    let spec = archived.to(&to, json!({ "on_conflict": "overwrite" }));
    let done = serde_json::to_value(archived.stage.success(spec).await?)?;
    let told = told(&done);
    for (n, name) in ["sub/large", "z other name", "small"].iter().enumerate() {
        assert!(told.contains_key(&archived.in_archive(name)), "{name}: {done}");
        assert_eq!(std::fs::read_to_string(&standing[n])?, "mine", "{name}");
    }
    assert_eq!(told.len(), 3, "{done}");
    assert_eq!(std::fs::read(&standing[3])?, std::fs::read(archived.tree.join("sub/b"))?);
    archived.is_clean();
    Ok(())
}

/// Borg passes something over and does not say what.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_name_costs_nothing_that_stood_there() -> Result<()> {
    let mut archived = Archived::new().await?;
    archived.stage.stop().await?;
    let said =
        json!({ "type": "log_message", "levelname": "WARNING", "name": "borg.archiver", "message": "odd" });
    let text = format!(
        "case \" $* \" in *' extract '*) borg \"$@\" || exit 2; echo '{said}' >&2; exit 1;; esac\nexec borg \"$@\"\n"
    );
    let borg = archived.stage.script("vague-borg", &text)?;
    archived.stage.start(|c| Config { borg, ..c }).await?;
    let to = archived.roots().join("standing");
    let standing = stand(&archived, &to, &["sub/b"])?;
    archived.stage.failure(archived.to(&to, json!({})), FailureCode::TargetExists).await?;
    let spec = archived.to(&to, json!({ "on_conflict": "overwrite" }));
    let done = serde_json::to_value(archived.stage.success(spec).await?)?;
    assert_eq!(
        (&done["completeness"], &done["result"]["kept_both"]),
        (&json!("incomplete"), &json!(1)),
        "{done}"
    );
    assert_eq!(std::fs::read(&standing[0])?, std::fs::read(archived.tree.join("sub/b"))?);
    let folder = std::fs::read_dir(standing[0].parent().unwrap())?.flatten();
    let kept = folder.map(|e| e.path()).find(|p| p.display().to_string().contains("b.before-restore-"));
    assert_eq!(std::fs::read_to_string(kept.context("it was not kept")?)?, "mine");
    archived.is_clean();
    Ok(())
}

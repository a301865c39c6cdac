//! The main job: back up, list, browse, restore, delete, adopt.

use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use strongroom_e2e::{PATIENCE, Single, Tree, archives_in, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_backed_up_twice_browsed_and_restored_to_the_byte() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(1, 60, 40_000)?;
    let passphrase = single.api.define("web", single.folder(), &[tree.path()]).await?;

    let first = single.api.run("web").await?;
    assert_eq!(first["phase"], "complete", "{first}");
    let stats = &first["result"]["archive"]["stats"];
    assert_eq!(stats["files"], 61, "60 files and an empty one: {stats}");
    assert!(stats["deduplicated_size_bytes"].as_u64() > Some(500_000), "{stats}");
    let second = single.api.run("web").await?;
    let again = second["result"]["archive"]["stats"]["deduplicated_size_bytes"].as_u64().unwrap();
    assert!(again < 50_000, "an unchanged tree was stored again: {again} bytes");

    let archives = single.api.list("/archives?plan=web").await?;
    assert_eq!(archives.len(), 2);
    assert_eq!(archives[0]["id"], second["result"]["archive"]["id"], "the newest is first");
    let names: BTreeSet<String> =
        archives.iter().map(|a| a["facts"]["name"].as_str().unwrap().to_owned()).collect();
    let repository = single.folder().join("repositories/web/web");
    assert_eq!(names, archives_in(&repository, &passphrase, &single.folder().join("borg"))?);

    let metrics = single.api.http_text("/metrics").await?;
    let files = second["result"]["archive"]["stats"]["files"].as_u64().unwrap();
    for line in [
        format!("strongroom_plan_last_archive_files{{plan=\"web\"}} {files}"),
        "strongroom_plan_last_run_failed{plan=\"web\"} 0".to_owned(),
        "# TYPE strongroom_plan_last_archive_duration_seconds gauge".to_owned(),
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is missing: {metrics}");
    }

    let archive = archives[0]["id"].as_str().unwrap();
    let below = tree.path().strip_prefix("/")?.display().to_string();
    let entries = single.api.browse(archive, &below).await?;
    let names: Vec<&str> = entries.iter().map(|e| e["path"].as_str().unwrap()).collect();
    for name in ["d0", "empty", "empty folder", "link"] {
        assert!(names.contains(&format!("{below}/{name}").as_str()), "{name} is not in {names:?}");
    }

    let target = single.folder().join("restored/all");
    let body = json!({ "paths": [], "target": { "type": "folder", "path": target } });
    let asked = single.api.post(&format!("/archives/{archive}/restore"), &body).await?.expect(202)?;
    let restored = single.api.ended(asked.text("/id")?).await?;
    assert_eq!(restored["phase"], "complete", "{restored}");
    assert_eq!(Tree::fingerprint(tree.path())?, Tree::fingerprint(&target.join(&below))?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_never_overwrites_in_silence_and_never_leaves_the_allowed_folders() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(2, 5, 1000)?;
    single.api.define("web", single.folder(), &[tree.path()]).await?;
    let job = single.api.run("web").await?;
    let archive = job["result"]["archive"]["id"].as_str().unwrap();
    let restore = format!("/archives/{archive}/restore");
    let file = format!("{}/empty", tree.path().strip_prefix("/")?.display());
    let target = single.folder().join("restored");
    let standing = target.join(&file);
    std::fs::create_dir_all(standing.parent().unwrap())?;
    std::fs::write(&standing, "mine")?;

    let asked = |on_conflict: &str| json!({ "paths": [file], "target": { "type": "folder", "path": target }, "on_conflict": on_conflict });
    let id = single.api.post(&restore, &asked("fail")).await?.expect(202)?;
    let job = single.api.ended(id.text("/id")?).await?;
    assert_eq!(job["failure"]["code"], "target_exists", "{job}");
    assert_eq!(std::fs::read_to_string(&standing)?, "mine");

    let id = single.api.post(&restore, &asked("keep_both")).await?.expect(202)?;
    let job = single.api.ended(id.text("/id")?).await?;
    assert_eq!((&job["phase"], &job["result"]["kept_both"]), (&json!("complete"), &json!(1)), "{job}");
    assert_eq!(std::fs::read_to_string(&standing)?, "");
    let kept: Vec<_> = std::fs::read_dir(standing.parent().unwrap())?.collect::<Result<_, _>>()?;
    assert_eq!(kept.len(), 2, "{kept:?}");

    std::fs::write(&standing, "mine again")?;
    let id = single.api.post(&restore, &asked("overwrite")).await?.expect(202)?;
    assert_eq!(single.api.ended(id.text("/id")?).await?["phase"], "complete");
    assert_eq!(std::fs::read_to_string(&standing)?, "");

    let outside = json!({ "paths": [file], "target": { "type": "folder", "path": "/etc" } });
    let refused = single.api.post(&restore, &outside).await?.expect(422)?;
    assert_eq!(refused.text("/errors/0/field")?, "target.path", "{}", refused.body);
    // A link inside of an allowed folder that leads out of it is seen by the node only.
    std::os::unix::fs::symlink("/etc", target.join("out"))?;
    let sly = json!({ "paths": [file], "target": { "type": "folder", "path": target.join("out") } });
    let id = single.api.post(&restore, &sly).await?.expect(202)?;
    assert_eq!(single.api.ended(id.text("/id")?).await?["failure"]["code"], "target_refused");
    let absent = json!({ "paths": ["no/such"], "target": { "type": "folder", "path": target.join("new") } });
    let id = single.api.post(&restore, &absent).await?.expect(202)?;
    assert_eq!(single.api.ended(id.text("/id")?).await?["failure"]["code"], "path_not_in_archive");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_deleted_by_a_job_and_one_made_by_hand_is_adopted() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(3, 5, 1000)?;
    let passphrase = single.api.define("web", single.folder(), &[tree.path()]).await?;
    let job = single.api.run("web").await?;
    let archive = job["result"]["archive"]["id"].as_str().unwrap();

    let deleting = single.api.delete(&format!("/archives/{archive}")).await?.expect(202)?;
    assert_eq!(single.api.ended(deleting.text("/id")?).await?["phase"], "complete");
    wait_until("the archive to leave the catalog", PATIENCE, async || {
        let status = single.api.get(&format!("/archives/{archive}")).await.ok()?.status;
        (status == 404).then_some(())
    })
    .await?;
    let repository = single.folder().join("repositories/web/web");
    let base = single.folder().join("borg");
    assert!(archives_in(&repository, &passphrase, &base)?.is_empty());

    let made = Command::new("borg")
        .args(["create", &format!("{}::by-hand", repository.display()), "."])
        .current_dir(tree.path())
        .envs([("BORG_BASE_DIR", base.as_os_str()), ("BORG_PASSPHRASE", passphrase.as_ref())])
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let scanning = single.api.post("/repositories/web/scan", &json!({})).await?.expect(202)?;
    assert_eq!(single.api.ended(scanning.text("/id")?).await?["phase"], "complete");
    let adopted: Value = wait_until("the archive to be adopted", PATIENCE, async || {
        let archives = single.api.list("/archives?repository=web").await.ok()?;
        archives.first().cloned()
    })
    .await?;
    assert_eq!(adopted["facts"]["name"], "by-hand");
    let id = adopted["id"].as_str().unwrap();
    let refused = single.api.get(&format!("/archives/{id}/files")).await?.expect(409)?;
    assert_eq!(refused.text("/code")?, "no_index");
    let indexing = single.api.post(&format!("/archives/{id}/index"), &json!({})).await?.expect(202)?;
    assert_eq!(single.api.ended(indexing.text("/id")?).await?["phase"], "complete");
    let entries = wait_until("the index to be known", PATIENCE, async || {
        single.api.list(&format!("/archives/{id}/files")).await.ok()
    })
    .await?;
    assert!(entries.iter().any(|e| e["path"] == "empty"), "{entries:?}");
    Ok(())
}

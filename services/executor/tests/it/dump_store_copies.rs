//! Copies of archives in other dump stores: as they are where nobody but people can read them, and anew where each store has
//! a key of its own.

use crate::dump_store::{access, archive_of, backup, damage, files, folder, init, restore, target};
use crate::sqlite::{accounts, sum};
use crate::stage::Stage;
use age::secrecy::ExposeSecret;
use anyhow::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use strongroom_domain::FailureCode as Code;

fn named(mut access: Value, repository: &str) -> Value {
    access["repository"] = json!(repository);
    access
}

fn copy(from: &Value, archive: &Value, to: &Value) -> Value {
    json!({ "kind": "copy-archive", "from": from, "archive": target(archive), "plan": "p", "access": to })
}

async fn copied(stage: &Stage, copy: Value) -> Result<Value> {
    let outcome = serde_json::to_value(stage.success(copy).await?)?;
    Ok(outcome["result"]["archive"].clone())
}

fn sums(archive: &Value) -> Vec<&Value> {
    archive["dump"]["artefacts"].as_array().unwrap().iter().map(|a| &a["sha256"]).collect()
}

async fn comes_back(stage: &Stage, access: &Value, archive: &Value, data: &Path) -> Result<()> {
    let roots = tempfile::tempdir_in(stage.folder.path().canonicalize()?)?;
    stage.success(restore(access, archive, roots.path())).await?;
    let restored = roots.path().join("sqlite").join(data.strip_prefix("/")?);
    assert_eq!(sum(&restored)?, (20000, 2_000_000, "ok".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_of_the_same_moment_and_opens_with_what_opens_its_store() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("a.db");
    drop(accounts(&data, "delete")?);
    let places: Vec<PathBuf> =
        ["one", "two", "three"].iter().map(|name| folder(&stage, name)).collect::<Result<_>>()?;
    let one = access(&stage, &places[0], "passphrase");
    let two = named(access(&stage, &places[1], "passphrase"), "r2");
    let three = named(access(&stage, &places[2], "none"), "r3");
    for access in [&one, &two, &three] {
        stage.success(init(access)).await?;
    }
    let first = archive_of(&stage, backup(&one, "zstd,3", &[&data])).await?;
    for to in [&two, &three] {
        let second = copied(&stage, copy(&one, &first, to)).await?;
        assert_eq!((&second["name"], &second["started_at"]), (&first["name"], &first["started_at"]));
        assert_ne!((&second["id"], &second["borg_id"]), (&first["id"], &first["borg_id"]));
        assert_eq!(sums(&second), sums(&first));
        comes_back(&stage, to, &second, &data).await?;
        // A second time it is found, and nothing is written.
        let before = files(Path::new(to["location"].as_str().unwrap()));
        let again = serde_json::to_value(stage.success(copy(&one, &first, to)).await?)?;
        assert_eq!(
            (&again["result"]["recovered"], &again["result"]["archive"]["borg_id"]),
            (&json!(true), &second["borg_id"])
        );
        assert_eq!(files(Path::new(to["location"].as_str().unwrap())), before);
    }
    // What is copied out of the third is encrypted again.
    let third = json!({ "id": first["id"], "name": first["name"], "borg_id": "00" });
    stage.failure(copy(&three, &third, &one), Code::ArchiveDamaged).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_people_can_read_is_copied_as_it_is_and_what_is_damaged_is_not() -> Result<()> {
    let stage = Stage::set().await?;
    let key = age::x25519::Identity::generate();
    stage.secrets.lock().unwrap().insert("key".into(), key.to_string().expose_secret().to_owned());
    let data = folder(&stage, "data")?.join("a.db");
    drop(accounts(&data, "delete")?);
    let (from, to) = (folder(&stage, "from")?, folder(&stage, "to")?);
    let age = |place: &Path, repository: &str| {
        let mut access = named(access(&stage, place, "age"), repository);
        access["recipients"] = json!([key.to_public().to_string()]);
        access
    };
    let (one, two) = (age(&from, "r"), age(&to, "r2"));
    stage.success(init(&one)).await?;
    stage.success(init(&two)).await?;
    let first = archive_of(&stage, backup(&one, "zstd,3", &[&data])).await?;
    let second = copied(&stage, copy(&one, &first, &two)).await?;
    let stored = |archive: &Value| archive["dump"]["artefacts"][0]["stored"].clone();
    assert_eq!(stored(&second)["sha256"], stored(&first)["sha256"]);
    assert!(stored(&second)["object"].as_str().unwrap().ends_with(".db.zst.age"));
    let mut opened = two.clone();
    opened["identity"] = json!({ "reference": "key", "version": 1 });
    comes_back(&stage, &opened, &second, &data).await?;

    let other = archive_of(&stage, backup(&one, "none", &[&data])).await?;
    damage(&from)?;
    let before = files(&to);
    stage.failure(copy(&one, &other, &two), Code::ArchiveDamaged).await?;
    assert_eq!(files(&to), before, "nothing of it was kept");
    // Into a store of others it cannot be read.
    let mine = named(access(&stage, &folder(&stage, "mine")?, "passphrase"), "r3");
    stage.success(init(&mine)).await?;
    stage.failure(copy(&one, &first, &mine), Code::SecretMissing).await?;
    assert_eq!(std::fs::read_dir(stage.path("state/unfinished"))?.count(), 0);
    Ok(())
}

//! Dump stores that are elsewhere: jobs whose network is cut, whose server stops, whose executor dies.

use crate::dump_store::{archive_of, folder, init};
use crate::sqlite::{accounts, sum};
use crate::stage::{PATIENCE, Stage};
use anyhow::Result;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use strongroom_domain::FailureCode as Code;
use strongroom_domain::wire::LeaseAnswer;
use strongroom_testkit::{Azurite, S3, S3_ACCESS_KEY_ID, S3_SECRET, Sshd, Wire, wait_until};

fn access(stage: &Stage, mut place: Value, field: &str, secret: &str, location: &str) -> Value {
    stage.secrets.lock().unwrap().insert(field.into(), secret.into());
    place[field] = json!({ "reference": field, "version": 1 });
    json!({
        "repository": "r", "location": location, "encryption": "passphrase", "store": place,
        "passphrase": stage.access()["passphrase"],
    })
}

fn bucket(stage: &Stage, port: u16) -> Value {
    let place = json!({
        "type": "s3", "bucket": "bucket", "prefix": "backups", "endpoint": format!("http://127.0.0.1:{port}"),
        "access_key_id": S3_ACCESS_KEY_ID,
    });
    access(stage, place, "secret_access_key", S3_SECRET, "backups/s/r")
}

fn shell(stage: &Stage, server: &Sshd, port: u16) -> Result<Value> {
    let root = server.root();
    let place = json!({
        "type": "sftp", "host": "127.0.0.1", "port": port, "user": server.user()?, "path": root,
        "host_keys": [server.host_key()?],
    });
    let location = root.join("s/r").display().to_string();
    Ok(access(stage, place, "private_key", &server.private_key()?, &location))
}

fn backup(access: &Value, data: &Path, kib_per_s: Option<u32>) -> Value {
    json!({
        "kind": "backup", "plan": "p", "access": access, "compression": "none",
        "source": { "type": "sqlite", "paths": [data], "check": false },
        "limits": { "upload_rate_kib_per_s": kib_per_s },
    })
}

/// Enough for several parts.
fn data(stage: &Stage) -> Result<PathBuf> {
    let path = folder(stage, "data")?.join("a.db");
    accounts(&path, "delete")?.execute_batch(
        "create table filling as with recursive c(n) as (select 1 union all select n + 1 from c where n < 30)
         select randomblob(1000000) from c",
    )?;
    Ok(path)
}

async fn comes_back(stage: &Stage, access: &Value, archive: &Value, data: &Path) -> Result<()> {
    let roots = tempfile::tempdir_in(stage.folder.path())?;
    let restore = json!({
        "kind": "restore", "access": access, "allowed_roots": [roots.path()],
        "archive": { "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] },
        "target": { "type": "folder", "path": roots.path().canonicalize()? },
    });
    stage.success(restore).await?;
    let restored = roots.path().join("sqlite").join(data.strip_prefix("/")?);
    assert_eq!(sum(&restored)?, (20000, 2_000_000, "ok".into()));
    let filling: i64 =
        Connection::open(&restored)?.query_row("select count(*) from filling", [], |row| row.get(0))?;
    assert_eq!(filling, 30);
    Ok(())
}

/// All that can be done with a store, and nothing is left of it but what makes it one.
async fn there_and_back(stage: &Stage, access: &Value, data: &Path) -> Result<()> {
    let test = json!({ "kind": "test-destination", "place": access["store"] });
    // Clouds do not tell how much room there is; folders of other machines do.
    let tells = access["store"]["type"] == "sftp";
    let has_room = |space: &Value| space["free_bytes"].as_u64().is_some_and(|free| free > 0);
    let tested = serde_json::to_value(stage.success(test).await?)?;
    assert_eq!(has_room(&tested["result"]["probe"]["space"]), tells, "{tested}");
    stage.success(init(access)).await?;
    let done = serde_json::to_value(stage.success(backup(access, data, None)).await?)?;
    assert_eq!(
        (has_room(&done["result"]["space"]), &done["completeness"]),
        (tells, &json!("complete")),
        "{done}"
    );
    let archive = done["result"]["archive"].clone();
    comes_back(stage, access, &archive, data).await?;
    let scan = json!({ "kind": "scan-repository", "access": access });
    let scanned = serde_json::to_value(stage.success(scan.clone()).await?)?;
    assert_eq!(scanned["result"]["archives"], 1, "{scanned}");
    let target = json!({ "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] });
    stage.success(json!({ "kind": "delete-archive", "access": access, "archive": target })).await?;
    let scanned = serde_json::to_value(stage.success(scan).await?)?;
    assert_eq!((&scanned["result"]["archives"], &scanned["completeness"]), (&json!(0), &json!("complete")));
    Ok(())
}

/// On a bucket with locks a deletion hides an archive, and frees nothing: so it is refused, before anything is hidden.
#[tokio::test(flavor = "multi_thread")]
async fn given_locked_archives_when_they_are_to_be_removed_then_they_stay_whole_and_say_until_when()
-> Result<()> {
    let (stage, server) = (Stage::set().await?, S3::start().await?);
    let (data, plain) = (data(&stage)?, bucket(&stage, server.port()));
    let mut access = plain.clone();
    access["store"]["object_lock"] = json!({ "mode": "compliance", "days": 7 });
    let test = json!({ "kind": "test-destination", "place": access["store"] });
    stage.success(test).await?;
    stage.success(init(&access)).await?;
    let made = async |access: &Value| {
        let done = serde_json::to_value(stage.success(backup(access, &data, None)).await?)?;
        let archive = done["result"]["archive"].clone();
        anyhow::Ok(json!({ "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] }))
    };
    let locked = made(&access).await?;
    let delete = json!({ "kind": "delete-archive", "access": access, "archive": locked });
    let failure = stage.failure(delete, Code::DestinationDenied).await?;
    assert!(failure.message.contains("is locked until 20"), "{failure:?}");
    comes_back(&stage, &access, &locked, &data).await?;
    // One that was made before the lock was asked for goes, and the other one is spoken of.
    let free = made(&plain).await?;
    let prune = |archives: &[&Value]| json!({ "kind": "prune", "plan": "p", "access": access, "policy": { "keep_last": 1 }, "archives": archives });
    stage.failure(prune(&[&locked]), Code::DestinationDenied).await?;
    let done = serde_json::to_value(stage.success(prune(&[&locked, &free])).await?)?;
    assert_eq!(
        (&done["result"]["deleted"], &done["completeness"]),
        (&json!([free["id"]]), &json!("incomplete"))
    );
    assert!(done["findings"].to_string().contains("is locked until 20"), "{done}");
    comes_back(&stage, &access, &locked, &data).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_a_bucket_gives_back_what_was_put_in() -> Result<()> {
    let (stage, server) = (Stage::set().await?, S3::start().await?);
    let access = bucket(&stage, server.port());
    there_and_back(&stage, &access, &data(&stage)?).await?;
    assert_eq!(server.parts(), Vec::<String>::new());
    let mut wrong = access.clone();
    wrong["store"]["secret_access_key"] = json!({ "reference": "wrong", "version": 1 });
    stage.secrets.lock().unwrap().insert("wrong".into(), "not it at all".into());
    let failure = stage
        .failure(json!({ "kind": "test-destination", "place": wrong["store"] }), Code::DestinationDenied)
        .await?;
    assert!(failure.message.starts_with("writing: ") && !failure.message.contains("not it"), "{failure:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_another_machine_gives_back_what_was_put_in() -> Result<()> {
    let (stage, server) = (Stage::set().await?, Sshd::start().await?);
    let access = shell(&stage, &server, server.port())?;
    there_and_back(&stage, &access, &data(&stage)?).await?;
    assert_eq!(std::fs::read_dir(stage.path("state/streams"))?.count(), 0, "the key was left behind");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_archives_have_in_common_is_there_once_wherever_it_is() -> Result<()> {
    let mut stage = Stage::set().await?;
    let (s3, sshd, data) = (S3::start().await?, Sshd::start().await?, data(&stage)?);
    let there: [(Value, Box<dyn Fn() -> std::path::PathBuf>); 2] = [
        (bucket(&stage, s3.port()), Box::new(|| s3.bucket().join("backups/s/r"))),
        (shell(&stage, &sshd, sshd.port())?, Box::new(|| sshd.root().join("s/r"))),
    ];
    for (mut access, place) in there {
        access["deduplicate"] = json!(true);
        let files = |below: &str| crate::dump_store::files(&place().join(below));
        there_and_back(&stage, &access, &data).await?;
        let left: Vec<_> = files("").into_iter().map(|(name, _)| name).collect();
        assert_eq!(left, ["key.age", "strongroom-store.json"], "nothing is left of the first");
        // The executor dies in the middle; a chunk that is gone is stored again, and nothing is left over.
        let (job, _) = stage.emit(backup(&access, &data, Some(8 << 10))).await?;
        stage.begun(job).await?;
        wait_until("chunks are stored", PATIENCE, async || (files("chunks").len() > 3).then_some(())).await?;
        stage.abort().await;
        stage.leases.lock().unwrap().insert(job, LeaseAnswer::Stale);
        std::fs::remove_file(&files("chunks").first().unwrap().1)?;
        stage.start(|config| config).await?;
        let first = archive_of(&stage, backup(&access, &data, None)).await?;
        Connection::open(&data)?.execute_batch("update a set balance = balance where id < 9")?;
        let second = archive_of(&stage, backup(&access, &data, None)).await?;
        let size = |archive: &Value, name: &str| archive["stats"][name].as_u64().unwrap();
        let (new, all) = (size(&second, "deduplicated_size_bytes"), size(&second, "compressed_size_bytes"));
        assert!(new * 4 < all, "{new} of {all}");
        let target = json!({ "id": first["id"], "name": first["name"], "borg_id": first["borg_id"] });
        stage.success(json!({ "kind": "delete-archive", "access": access, "archive": target })).await?;
        comes_back(&stage, &access, &second, &data).await?;
        let parts = second["dump"]["artefacts"].as_array().unwrap();
        let needed: u64 = parts.iter().map(|a| a["stored"]["chunked"]["chunks"].as_u64().unwrap()).sum();
        assert_eq!(files("chunks").len() as u64, needed);
    }
    assert_eq!(std::fs::read_dir(stage.path("state/uploads"))?.count(), 0);
    assert_eq!(std::fs::read_dir(stage.path("state/unfinished"))?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_a_container_of_azure_gives_back_what_was_put_in() -> Result<()> {
    let (stage, server) = (Stage::set().await?, Azurite::start().await?);
    let place = json!({
        "type": "azure", "account": server.account(), "container": "container",
        "endpoint": format!("http://127.0.0.1:{}/{}", server.port(), server.account()),
    });
    let access = access(&stage, place, "access_key", &server.key(), "s/r");
    there_and_back(&stage, &access, &data(&stage)?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_in_the_middle_leaves_no_archive_and_the_next_backup_is_whole() -> Result<()> {
    is_cut_and_heals(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_between_chunks_leaves_no_archive_and_the_next_backup_is_whole() -> Result<()> {
    is_cut_and_heals(true).await
}

async fn is_cut_and_heals(deduplicate: bool) -> Result<()> {
    let (stage, server) = (Stage::set().await?, S3::start().await?);
    let wire = Wire::to(server.port()).await?;
    let (mut access, data) = (bucket(&stage, wire.port()), data(&stage)?);
    access["deduplicate"] = json!(deduplicate);
    stage.success(init(&access)).await?;
    wire.cut_after(20 << 20);
    let (job, epoch) = stage.emit(backup(&access, &data, None)).await?;
    let failure = match stage.end_within(job, epoch, 3 * PATIENCE).await? {
        strongroom_domain::job::Report::Failed { failure } => failure,
        other => anyhow::bail!("{other:?}"),
    };
    assert_eq!(failure.code, Code::DestinationUnreachable, "{failure:?}");
    assert!(!failure.message.contains(S3_SECRET), "{failure:?}");
    wire.heal();
    let archive = archive_of(&stage, backup(&access, &data, None)).await?;
    if deduplicate {
        // What had come through is not sent again.
        let size = |name: &str| archive["stats"][name].as_u64().unwrap();
        let (new, all) = (size("deduplicated_size_bytes"), size("compressed_size_bytes"));
        assert!(new + (5 << 20) < all, "{new} of {all}");
    }
    comes_back(&stage, &access, &archive, &data).await?;
    let scan = json!({ "kind": "scan-repository", "access": access });
    let scanned = serde_json::to_value(stage.success(scan).await?)?;
    assert_eq!((&scanned["result"]["archives"], &scanned["completeness"]), (&json!(1), &json!("complete")));
    assert_eq!(server.parts(), Vec::<String>::new(), "parts of the first one are left");
    assert_eq!(std::fs::read_dir(stage.path("state/unfinished"))?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_dies_in_the_middle_of_an_upload_leaves_nothing_for_long() -> Result<()> {
    let mut stage = Stage::set().await?;
    let (s3, sshd) = (S3::start().await?, Sshd::start().await?);
    let data = data(&stage)?;
    for (access, begun) in [
        (bucket(&stage, s3.port()), Box::new(|| !s3.parts().is_empty()) as Box<dyn Fn() -> bool>),
        (shell(&stage, &sshd, sshd.port())?, Box::new(|| sshd.root().join("s/r/archives").is_dir())),
    ] {
        stage.success(init(&access)).await?;
        let (job, _) = stage.emit(backup(&access, &data, Some(8 << 10))).await?;
        stage.begun(job).await?;
        wait_until("the upload has begun", PATIENCE, async || begun().then_some(())).await?;
        stage.abort().await;
        stage.leases.lock().unwrap().insert(job, LeaseAnswer::Stale);
        stage.start(|config| config).await?;
        let archive = archive_of(&stage, backup(&access, &data, None)).await?;
        comes_back(&stage, &access, &archive, &data).await?;
        let scan = json!({ "kind": "scan-repository", "access": access });
        let scanned = serde_json::to_value(stage.success(scan).await?)?;
        assert_eq!(scanned["result"]["archives"], 1, "{scanned}");
    }
    assert_eq!(s3.parts(), Vec::<String>::new());
    let left: Vec<_> = crate::dump_store::files(&sshd.root()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left.len(), 5, "key, description, manifest, database, tables: {left:?}");
    assert_eq!(std::fs::read_dir(stage.path("state/uploads"))?.count(), 0);
    Ok(())
}

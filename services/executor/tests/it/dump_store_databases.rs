//! Databases through a dump store and back, against real servers; and tests of sources and destinations.

use crate::dump_store::{access, archive_of, damage, files, folder, init};
use crate::stage::Stage;
use crate::{databases, mysql};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use strongroom_domain::FailureCode as Code;

/// A backup into a store in place of borg's repository.
fn into(mut backup: Value, access: &Value) -> Value {
    backup["access"] = access.clone();
    backup["compression"] = json!("zstd,3");
    backup
}

async fn store(stage: &Stage) -> Result<(PathBuf, Value)> {
    let place = folder(stage, "store")?;
    let access = access(stage, &place, "passphrase");
    stage.success(init(&access)).await?;
    Ok((place, access))
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_comes_back_out_of_a_store_with_its_properties() -> Result<()> {
    let all = databases::Databases::new().await?;
    let (place, access) = store(&all.stage).await?;
    let archive = archive_of(&all.stage, into(all.backup(json!({})), &access)).await?;
    let kinds: Vec<_> = archive["dump"]["artefacts"].as_array().unwrap().iter().map(|a| &a["kind"]).collect();
    assert_eq!(kinds[0], "globals");
    assert_eq!(kinds[kinds.len() - 2..], ["properties", "tables"]);
    // Who owns what is for nobody else to read.
    for (name, path) in files(&place) {
        let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
        assert!(!text.contains("reader") && !text.contains("work_mem") && !text.contains("odd"), "{name}");
    }
    let before = all.text("shop")?;
    let path = "postgresql/databases/shop.dump";
    let restore = all.restore(&archive, path, "copy", json!({ "access": access }));
    all.stage.success(restore).await?;
    assert_eq!(all.text("copy")?, before);
    let settings = "select setconfig from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
                    where setrole = 0 and datname = ";
    let set = |name: &str| all.server.sql("postgres", &format!("{settings} '{name}'"));
    assert_eq!(set("copy")?, set("shop")?);
    damage(&place)?;
    let restore = all.restore(&archive, path, "never", json!({ "access": access }));
    all.stage.failure(restore, Code::ArchiveDamaged).await?;
    assert!(!all.databases()?.contains("never") && !all.databases()?.contains("strongroom"));
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_comes_back_out_of_a_store_with_its_events() -> Result<()> {
    let all = mysql::Databases::new().await?;
    let (place, access) = store(&all.stage).await?;
    let archive = archive_of(&all.stage, into(all.backup(json!({})), &access)).await?;
    let before = all.text("shop")?;
    let path = "mysql/databases/shop.sql";
    let restore = all.restore(&archive, path, "copy", json!({ "access": access }));
    all.stage.success(restore).await?;
    assert_eq!(all.text("copy")?, before);
    damage(&place)?;
    let restore = all.restore(&archive, path, "never", json!({ "access": access }));
    all.stage.failure(restore, Code::ArchiveDamaged).await?;
    assert_eq!(all.databases()?, "copy,shop");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_looked_at_before_anything_depends_on_it() -> Result<()> {
    let all = databases::Databases::new().await?;
    let test = |changes: Value| json!({ "kind": "test-source", "source": all.backup(changes)["source"] });
    let found = serde_json::to_value(all.stage.success(test(json!({}))).await?)?;
    let probe = &found["result"]["probe"];
    assert_eq!((&found["completeness"], &probe["source"]), (&json!("complete"), &json!("postgresql")));
    assert!(probe["tool"].as_str().unwrap().contains("pg_dump"), "{probe}");
    let shop = probe["parts"].as_array().unwrap().iter().find(|p| p["name"] == "shop").unwrap();
    assert!(shop["size_bytes"].as_u64().unwrap() > 1_000_000, "{shop}");
    let wrong = json!({ "connection": { "host": "127.0.0.1", "port": 1, "user": "postgres" } });
    all.stage.failure(test(wrong), Code::ServerUnreachable).await?;
    all.stage.failure(test(json!({ "databases": ["none"] })), Code::DatabaseMissing).await?;
    // Who has mistaken the port of a server on the node is told which there are.
    let socket = all.server.socket().display().to_string();
    let port = |port: u16| {
        let connection = json!({ "host": socket, "port": port, "user": "postgres" });
        let mut changes = test(json!({}));
        changes["source"]["connection"] = connection;
        changes
    };
    let wrong = all.stage.failure(port(1), Code::ServerUnreachable).await?;
    let there = format!(" on port {}, socket in {socket}", all.server.port());
    assert!(wrong.message.contains(&there), "{wrong:?}");
    let files = json!({ "kind": "test-source", "source": { "type": "files", "paths": ["/etc", "/never"] } });
    let found = serde_json::to_value(all.stage.success(files).await?)?;
    assert_eq!(
        (&found["completeness"], &found["findings"][0]["path"]),
        (&json!("incomplete"), &json!("/never"))
    );
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_tried_and_left_as_it_was() -> Result<()> {
    let stage = Stage::set().await?;
    let place = folder(&stage, "store")?;
    let test =
        |path: &Path| json!({ "kind": "test-destination", "place": { "type": "local", "path": path } });
    let tried = serde_json::to_value(stage.success(test(&place)).await?)?;
    let probe = &tried["result"]["probe"];
    assert!(probe["space"]["free_bytes"].as_u64().unwrap() > 0, "{probe}");
    assert_eq!(std::fs::read_dir(&place)?.count(), 0);
    stage.failure(test(&place.join("none")), Code::DestinationMissing).await?;
    let small = crate::failures::Small::new("512k")?;
    let failure = stage.failure(test(small.path()), Code::NoSpace).await?;
    assert!(failure.message.starts_with("writing: "), "{failure:?}");
    assert_eq!(files(small.path()), []);
    Ok(())
}

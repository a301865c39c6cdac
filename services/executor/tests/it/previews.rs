//! What a restore would do is told before it does anything, and nothing is touched.

use crate::stage::{Stage, tree};
use crate::{databases, dump_store, mysql};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;
use strongroom_domain::FailureCode as Code;

fn preview(outcome: &Value) -> &Value {
    &outcome["result"]["preview"]
}

fn restore(access: Value, archive: &Value, root: &Path, changes: Value) -> Value {
    let mut spec = json!({
        "kind": "restore", "access": access, "allowed_roots": [root], "dry_run": true,
        "archive": { "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] },
        "target": { "type": "folder", "path": root },
    });
    spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    spec
}

async fn told(stage: &Stage, spec: Value) -> Result<Value> {
    Ok(serde_json::to_value(stage.success(spec).await?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_told_by_what_becomes_of_what_stands_there() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let tree = tree(60)?;
    let source = tree.path().canonicalize()?;
    let made = told(&stage, stage.backup(&source)).await?;
    let archive = made["result"]["archive"].clone();
    let root = dump_store::folder(&stage, "root")?;
    let told = async |changes: Value| told(&stage, restore(stage.access(), &archive, &root, changes)).await;

    let empty = told(json!({})).await?;
    let all = preview(&empty);
    assert_eq!(
        (&all["files"], &all["created"]["total"], &all["refusal"]),
        (&json!(60), &json!(60), &Value::Null)
    );
    assert_eq!(all["created"]["first"].as_array().unwrap().len(), 20);
    assert!(all["free_bytes"].as_u64() > Some(0) && all["size_bytes"].as_u64() > Some(0));
    assert_eq!(std::fs::read_dir(&root)?.count(), 0, "nothing was touched");

    // The same is there, and something else.
    let mut whole = restore(stage.access(), &archive, &root, json!({ "dry_run": false }));
    stage.success(whole.clone()).await?;
    let below = root.join(source.strip_prefix("/")?);
    std::fs::write(below.join("d0/f0"), "mine")?;
    std::fs::remove_file(below.join("d1/f1"))?;
    for (on_conflict, kind) in
        [("fail", "in_the_way"), ("keep_both", "renamed"), ("overwrite", "overwritten")]
    {
        let done = told(json!({ "on_conflict": on_conflict })).await?;
        let all = preview(&done);
        assert_eq!((&all["alike"]["total"], &all["created"]["total"]), (&json!(58), &json!(1)), "{all}");
        assert_eq!(
            (&all[kind]["total"], &all[kind]["first"]),
            (&json!(1), &json!([below.join("d0/f0")])),
            "{all}"
        );
        assert_eq!(all["refusal"].is_string(), on_conflict == "fail");
    }
    assert_eq!(std::fs::read_to_string(below.join("d0/f0"))?, "mine");
    whole["on_conflict"] = json!("fail");
    stage.failure(whole, Code::TargetExists).await?;

    let one = source.strip_prefix("/")?.join("d2");
    let done =
        told(json!({ "paths": [one], "target": { "type": "original" }, "allowed_roots": [source] })).await?;
    assert_eq!(preview(&done)["alike"]["total"], 12, "{done}");
    let missing = restore(stage.access(), &archive, &root, json!({ "paths": [one, "never/there"] }));
    let failure = stage.failure(missing, Code::PathNotInArchive).await?;
    assert!(failure.message.contains("never/there"), "{failure:?}");
    let outside =
        restore(stage.access(), &archive, &root, json!({ "target": { "type": "folder", "path": "/etc" } }));
    stage.failure(outside, Code::TargetRefused).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_told_with_what_stands_there_and_what_is_missing() -> Result<()> {
    let all = databases::Databases::new().await?;
    all.server.sql(
        "shop",
        "alter table \"odd \"\"name\" owner to owner; grant select on \"odd \"\"name\" to reader",
    )?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let before = all.databases()?;
    let told = async |database: &str, mut changes: Value| {
        changes["dry_run"] = json!(true);
        told(&all.stage, all.restore(&archive, "postgresql/databases/shop.dump", database, changes)).await
    };
    let done = told("copy", json!({})).await?;
    let copy = preview(&done);
    assert_eq!(
        (&copy["action"], &copy["standing"], &copy["refusal"]),
        (&json!("create"), &Value::Null, &Value::Null)
    );
    assert_eq!((&copy["dump_tables"], &copy["dump_rows"]), (&json!(1), &json!(2000)));
    assert_eq!((&copy["roles_missing"], &copy["roles_known"]), (&json!([]), &json!(true)));
    assert!(copy["tool"].as_str().unwrap().starts_with("pg_restore (PostgreSQL)"), "{copy}");

    let mut holder = all.server.tool("psql");
    holder.args(["-X", "-c", "select pg_sleep(300)"]).env("PGDATABASE", "shop");
    let holder = holder.stdout(std::process::Stdio::null()).spawn()?;
    let connected = "select count(*) from pg_stat_activity where datname = 'shop'";
    strongroom_testkit::wait_until("the client", crate::stage::PATIENCE, async || {
        all.server.sql("postgres", connected).is_ok_and(|n| n != "0").then_some(())
    })
    .await?;
    for (on_conflict, action) in [("fail", "refuse"), ("keep_both", "keep_both"), ("overwrite", "overwrite")]
    {
        let done = told("shop", json!({ "on_conflict": on_conflict })).await?;
        let shop = preview(&done);
        assert_eq!(shop["action"], action, "{shop}");
        assert_eq!((&shop["standing"]["tables"], &shop["standing"]["clients"]), (&json!(1), &json!(1)));
        assert!(shop["standing"]["size_bytes"].as_u64() > Some(100_000));
        assert_eq!(shop["kept_as"].is_string(), on_conflict == "keep_both");
        assert_eq!(shop["refusal"].is_string(), on_conflict == "fail");
    }
    mysql::end(holder)?;
    all.server.sql("postgres", "create database bare")?;
    assert_eq!(preview(&told("bare", json!({})).await?)["action"], "replace_empty");

    all.server
        .sql("shop", "drop owned by reader; reassign owned by owner to postgres; drop owned by owner")?;
    all.server.sql("postgres", "drop role owner; drop role reader")?;
    let done = told("copy", json!({})).await?;
    assert_eq!(preview(&done)["roles_missing"], json!(["owner", "reader"]), "{done}");
    assert!(preview(&done)["refusal"].as_str().unwrap().contains("owner, reader"), "{done}");
    let done = told("copy", json!({ "no_owner": true })).await?;
    assert_eq!(preview(&done)["refusal"], Value::Null, "{done}");
    all.server.sql("postgres", "drop database bare")?;
    assert_eq!(all.databases()?, before, "nothing was made");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_mariadb_is_told_as_well() -> Result<()> {
    let all = mysql::Databases::new().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let told = async |database: &str, on_conflict: &str| {
        let changes = json!({ "dry_run": true, "on_conflict": on_conflict });
        told(&all.stage, all.restore(&archive, "mysql/databases/shop.sql", database, changes)).await
    };
    for (database, on_conflict, action) in
        [("copy", "fail", "create"), ("shop", "fail", "refuse"), ("shop", "overwrite", "overwrite")]
    {
        let done = told(database, on_conflict).await?;
        let seen = preview(&done);
        assert_eq!((&seen["action"], &seen["dump_tables"]), (&json!(action), &json!(2)), "{seen}");
        if database == "shop" {
            assert_eq!(
                (&seen["standing"]["tables"], &seen["standing"]["clients"]),
                (&json!(2), &json!(0)),
                "{seen}"
            );
            assert!(seen["standing"]["size_bytes"].as_u64() > Some(1000), "{seen}");
        }
    }
    all.server.sql("", "create database bare")?;
    assert_eq!(preview(&told("bare", "fail").await?)["action"], "replace_empty");
    assert_eq!(all.databases()?, "bare,shop");
    Ok(())
}

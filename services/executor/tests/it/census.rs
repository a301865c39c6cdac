//! What is counted when a database is dumped, and compared when it comes back.

use crate::{databases, dump_store, look, mysql};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SHOP: &str = "postgresql/databases/shop.dump";

fn part<'a>(archive: &'a Value, database: &str) -> Result<&'a Value> {
    let parts = archive["dump"]["artefacts"].as_array().context("it lists its parts")?;
    let is_it = |a: &&Value| a["kind"] == "database" && a["database"] == database;
    parts.iter().find(is_it).context("it is not there")
}

fn check(outcome: &Value) -> &Value {
    &outcome["result"]["check"]
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_counted_in_the_very_snapshot_that_is_dumped() -> Result<()> {
    let all = databases::Databases::new().await?;
    all.server.sql(
        "shop",
        "create schema \"o'd\"\"d\"; create table \"o'd\"\"d\".grows (n bigserial primary key, x text);
         create table parted (n int, t text) partition by range (n);
         create table parted_low partition of parted for values from (0) to (10);
         create table parted_high partition of parted for values from (10) to (100);
         insert into parted select n, 'x' from generate_series(0, 49) n;
         alter table parted add check (t in ('x', 'y'));
         create view w as select n, t from parted where t = 'x';
         create function seven(a int, b text default 'x') returns int language sql as 'select 7';
         create table dropped (a int, b int, c text); alter table dropped drop column b;
         alter table dropped owner to owner;
         create materialized view m as select count(*) from parted",
    )?;
    let script = all.stage.path("grows.sql");
    std::fs::write(&script, "insert into \"o'd\"\"d\".grows (x) select 'x' from generate_series(1, 5);\n")?;
    let mut load = all
        .server
        .tool("pgbench")
        .args(["-n", "-c", "2", "-T", "300", "-f"])
        .arg(&script)
        .env("PGDATABASE", "shop")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let made = all.archive(json!({ "databases": ["shop"] })).await;
    load.kill()?;
    load.wait()?;
    let archive = made?;
    let census = part(&archive, "shop")?["census"].clone();
    // The tables of a partitioned one are counted, and itself is not.
    assert_eq!((&census["tables_total"], &census["tables_counted"]), (&json!(5), &json!(5)), "{census}");
    assert_eq!(census["taken"], "in_snapshot");
    // The log holds the sums, and the archive holds all.
    assert_eq!(archive["dump"]["artefacts"][0].get("tables"), None);
    let whole = format!("{}::{}", look::repository(&all.stage), archive["name"].as_str().unwrap());
    let manifest: Value =
        serde_json::from_str(&look::borg(&all.stage, &["extract", "--stdout", &whole, "strongroom.json"])?)?;
    let tables = manifest["tables"][SHOP]["tables"].as_array().context("it lists tables")?;
    assert_eq!(tables.len(), 5);
    assert_eq!(manifest["tables"][SHOP]["roles"], json!(["owner", "postgres"]));
    let rows: u64 = tables.iter().map(|t| t["rows"].as_u64().unwrap()).sum();
    assert_eq!(census["rows_total"], rows);

    // It has grown since, and what comes back has not.
    let spec = all.restore(&archive, SHOP, "copy", json!({}));
    let done = serde_json::to_value(all.stage.success(spec).await?)?;
    assert_eq!(done["completeness"], "complete", "{done}");
    assert_eq!(
        (&check(&done)["tables_equal"], &check(&done)["schema_equal"]),
        (&json!(5), &json!(true)),
        "{done}"
    );
    assert_eq!(check(&done)["rows_counted"], rows);
    let now: u64 = all.server.sql("shop", "select count(*) from \"o'd\"\"d\".grows")?.parse()?;
    let then: u64 = all.server.sql("copy", "select count(*) from \"o'd\"\"d\".grows")?.parse()?;
    assert!(now > then && then > 0, "{now} {then}");
    // A dump of what came back is of the same schema.
    let again = all.archive(json!({ "databases": ["copy"] })).await?;
    assert_eq!(part(&again, "copy")?["census"]["schema_sha256"], census["schema_sha256"]);
    all.server.sql("copy", "alter table parted add column more int")?;
    let other = all.archive(json!({ "databases": ["copy"] })).await?;
    assert_ne!(part(&other, "copy")?["census"]["schema_sha256"], census["schema_sha256"]);
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_restored_is_asked_what_people_want_to_know() -> Result<()> {
    let all = databases::Databases::new().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let restore = async |query: &str, expected: Option<&str>| {
        let changes =
            json!({ "check": { "query": query, "expected": expected }, "on_conflict": "overwrite" });
        let done = all.stage.success(all.restore(&archive, SHOP, "copy", changes)).await?;
        serde_json::to_value(done).context("an outcome")
    };
    let fine =
        restore("select count(*), 'it''s \\! :x' from \"odd \"\"name\" ; ", Some("2000\tit's \\! :x\n"))
            .await?;
    assert_eq!(fine["completeness"], "complete", "{fine}");
    assert_eq!(check(&fine)["answer"]["as_expected"], true);
    assert_eq!(check(&fine)["answer"]["text"], "2000\tit's \\! :x");
    let other = restore("select 1 union all select 2 order by 1", Some("1")).await?;
    assert_eq!(
        (&other["completeness"], &check(&other)["answer"]["text"]),
        (&json!("incomplete"), &json!("1\n2"))
    );
    assert!(other["findings"][0]["message"].as_str().unwrap().contains("not '1'"), "{other}");
    // It only reads, and reads no files of the server.
    for wrong in [
        "with x as (delete from \"odd \"\"name\" returning 1) select count(*) from x",
        "select pg_read_file('PG_VERSION')",
        "select nonsense",
    ] {
        let done = restore(wrong, None).await?;
        assert_eq!(
            (&done["completeness"], &check(&done)["answer"]),
            (&json!("incomplete"), &Value::Null),
            "{done}"
        );
        assert!(
            done["findings"][0]["message"].as_str().unwrap().contains("the check query failed"),
            "{done}"
        );
        assert_eq!(all.server.sql("copy", "select count(*) from \"odd \"\"name\"")?, "2000");
    }
    let long = restore("select repeat('é', 10000)", None).await?;
    assert_eq!((&check(&long)["answer"]["cut"], &long["completeness"]), (&json!(true), &json!("complete")));
    assert!(check(&long)["answer"]["text"].as_str().unwrap().len() <= 4096);
    all.nothing_is_left();
    Ok(())
}

/// A list of tables that says something else: what comes back is not what was said to be there.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_brings_back_other_rows_than_were_dumped_is_incomplete_and_says_where() -> Result<()> {
    let all = databases::Databases::new().await?;
    let place = dump_store::folder(&all.stage, "store")?;
    let access = dump_store::access(&all.stage, &place, "none");
    all.stage.success(dump_store::init(&access)).await?;
    let mut backup = all.backup(json!({ "databases": ["shop"] }));
    backup["access"] = access.clone();
    backup["compression"] = json!("none");
    let archive = dump_store::archive_of(&all.stage, backup).await?;
    let store = place.join("s/r");
    let name = archive["name"].as_str().unwrap();
    let path = store.join("archives").join(name).join("strongroom.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    // Names of tables are in no part that is not encrypted where the store is.
    assert_eq!(manifest.get("tables"), None);
    let parts = manifest["dump"]["artefacts"].as_array_mut().unwrap();
    let listed = parts.iter_mut().find(|a| a["path"] == "tables.json").context("tables are listed")?;
    let object = store.join(listed["stored"]["object"].as_str().unwrap());
    let mut tables: Value = serde_json::from_slice(&std::fs::read(&object)?)?;
    let mine = tables[SHOP]["tables"].as_array_mut().unwrap();
    assert_eq!((&mine[0]["table"], &mine[0]["rows"]), (&json!("odd \"name"), &json!(2000)));
    mine[0]["rows"] = json!(2001);
    mine.push(json!({ "schema": "public", "table": "lost", "rows": 3 }));
    let text = serde_json::to_vec(&tables)?;
    std::fs::write(&object, &text)?;
    let sha256 = sha256(&text);
    listed["size_bytes"] = json!(text.len());
    listed["sha256"] = json!(sha256);
    listed["stored"]["size_bytes"] = json!(text.len());
    listed["stored"]["sha256"] = json!(sha256);
    let shop = parts.iter_mut().find(|a| a["kind"] == "database").context("shop")?;
    shop["census"]["schema_sha256"] = json!("00");
    let text = serde_json::to_vec(&manifest)?;
    std::fs::write(&path, &text)?;
    let mut spec = all.restore(&archive, SHOP, "copy", json!({}));
    spec["access"] = access;
    spec["archive"]["borg_id"] = json!(self::sha256(&text));
    let done = serde_json::to_value(all.stage.success(spec).await?)?;
    assert_eq!(
        (&done["completeness"], &check(&done)["tables_differing"]),
        (&json!("incomplete"), &json!(2)),
        "{done}"
    );
    let said = done["findings"].to_string();
    for words in ["public.lost", "public.odd \\\"name (2000, then 2001)", "the schema is not the one"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    strongroom_executor::core::sum::of(bytes).sha256
}

/// Before 16 a transaction that may only read makes large objects nevertheless; a restored function may do so unseen.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_what_a_check_query_does_stays_in_the_restored_database() -> Result<()> {
    let all = databases::Databases::new().await?;
    all.server.sql(
        "shop",
        "create function f() returns int language plpgsql as $$ begin return lo_create(4712); end $$;
         create function g() returns int language plpgsql as $$ begin create table g (); return 1; end $$",
    )?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let there = "select (select count(*) from pg_largeobject_metadata) || ' ' || (select last_value from s)
         || ' ' || (select count(*) from pg_class where relname = 'g')";
    let before = all.server.sql("shop", there)?;
    let queries =
        ["lo_create(4711)", "f()", "nextval('s')", "g()", "lo_from_bytea(4713, 'x')", "pg_advisory_lock(1)"];
    for (n, query) in queries.iter().enumerate() {
        let (name, query) = (format!("copy{n}"), json!({ "query": format!("select {query}") }));
        let done = all.stage.success(all.restore(&archive, SHOP, &name, json!({ "check": query }))).await?;
        assert_eq!(all.server.sql(&name, there)?, before, "{query}: {done:?}");
    }
    let asked = json!({ "check": { "query": "select count(*) from \"odd \"\"name\"", "expected": "2000" } });
    let done = serde_json::to_value(all.stage.success(all.restore(&archive, SHOP, "last", asked)).await?)?;
    assert_eq!(check(&done)["answer"]["as_expected"], true, "{done}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_connect_once_has_that_for_its_dump() -> Result<()> {
    let all = databases::Databases::new().await?;
    all.server.sql("shop", "select lo_unlink(oid) from pg_largeobject_metadata; create role once login password 'o' connection limit 1;
        grant select on all tables in schema public to once; grant select on all sequences in schema public to once")?;
    all.stage.secrets.lock().unwrap().insert("o".into(), "o".into());
    let connection = json!({
        "host": "127.0.0.1", "port": all.server.port(), "user": "once", "password": { "reference": "o", "version": 1 },
    });
    let source =
        json!({ "connection": connection, "databases": ["shop"], "globals": "never", "settings": "never" });
    let done = serde_json::to_value(all.stage.success(all.backup(source)).await?)?;
    let archive = &done["result"]["archive"];
    assert_eq!(part(archive, "shop")?.get("census"), None, "{done}");
    assert!(done["findings"][0]["message"].as_str().unwrap().contains("were not counted"), "{done}");
    let spec = all.restore(archive, SHOP, "copy", json!({}));
    let done = serde_json::to_value(all.stage.success(spec).await?)?;
    assert_eq!(done["completeness"], "complete");
    assert!(check(&done)["skipped"].as_str().unwrap().contains("nothing was counted"), "{done}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_is_counted_in_its_dump_and_compared_wherever_it_comes_back() -> Result<()> {
    let all = mysql::Databases::new().await?;
    all.server.sql("shop", "create table mine (n int) engine = MyISAM; insert into mine values (1), (2)")?;
    let done = serde_json::to_value(all.stage.success(all.backup(json!({ "databases": ["shop"] }))).await?)?;
    let archive = &done["result"]["archive"];
    let census = &part(archive, "shop")?["census"];
    assert_eq!(
        (&census["tables_total"], &census["rows_total"], &census["taken"]),
        (&json!(3), &json!(2002), &json!("in_snapshot"))
    );
    let path = "mysql/databases/shop.sql";
    for (database, on_conflict) in [("copy", "fail"), ("copy", "overwrite")] {
        let query = json!({ "query": "select count(*), max(t) like 'line%' from `odd ``\n\\! name` -- all", "expected": "2000\t1" });
        let spec =
            all.restore(archive, path, database, json!({ "on_conflict": on_conflict, "check": query }));
        let done = serde_json::to_value(all.stage.success(spec).await?)?;
        assert_eq!(done["completeness"], "complete", "{done}");
        let check = check(&done);
        assert_eq!((&check["tables_equal"], &check["schema_equal"]), (&json!(3), &json!(true)), "{done}");
        assert_eq!(check["answer"]["as_expected"], true, "{done}");
    }
    let writes = json!({ "query": "select n from mine for update", "expected": null });
    let spec = all.restore(archive, path, "other", json!({ "check": writes }));
    let done = serde_json::to_value(all.stage.success(spec).await?)?;
    assert_eq!(check(&done)["tables_differing"], 0);
    let spec = all.restore(archive, path, "third", json!({ "check": { "query": "select nonsense" } }));
    let done = serde_json::to_value(all.stage.success(spec).await?)?;
    assert_eq!(done["completeness"], "incomplete", "{done}");
    assert_eq!(all.databases()?, "copy,other,shop,third");
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_that_is_written_to_meanwhile_is_no_failure() -> Result<()> {
    let all = mysql::Databases::new().await?;
    all.server.sql("shop", "create table grows (n int auto_increment primary key)")?;
    let (stop, all) = (Arc::new(AtomicBool::new(false)), Arc::new(all));
    let (stopping, writer) = (stop.clone(), all.clone());
    let writing = std::thread::spawn(move || -> Result<()> {
        while !stopping.load(Ordering::Relaxed) {
            writer.server.sql("shop", "insert into grows values (), (), ()")?;
        }
        Ok(())
    });
    let done = all.stage.success(all.backup(json!({ "databases": ["shop"] }))).await;
    stop.store(true, Ordering::Relaxed);
    writing.join().unwrap()?;
    let archive = serde_json::to_value(done?)?["result"]["archive"].clone();
    let spec = all.restore(&archive, "mysql/databases/shop.sql", "copy", json!({}));
    let done = serde_json::to_value(all.stage.success(spec).await?)?;
    // The rows are those of the dump, however many came meanwhile: nothing differs.
    assert_eq!(done["completeness"], "complete", "{done}");
    let check = check(&done);
    assert_eq!((&check["tables_differing"], &check["tables_not_compared"]), (&json!(0), &json!(0)), "{done}");
    assert_eq!(check["tables_equal"], json!(3), "{done}");
    Ok(())
}

//! Whole servers whose changed blocks are taken, against a real PostgreSQL 18.

use crate::cluster_lives::rewritten;
use crate::clusters::{Clusters, ORDERS};
use crate::dump_store;
use crate::stage::PATIENCE;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::Stdio;
use strongroom_domain::FailureCode as Code;
use strongroom_testkit::{POSTGRES_PASSWORD, Postgresql, skipped, wait_until};

/// A server that takes note of its blocks, with borg.
pub async fn blocks() -> Result<Clusters> {
    let server = Postgresql::start_18().await?;
    summarize(&server, "on").await?;
    Ok(Clusters { increments: "blocks", ..Clusters::of(server).await? })
}

/// Lets a server take notes of its blocks, or not.
async fn summarize(server: &Postgresql, on: &str) -> Result<()> {
    server.sql("postgres", &format!("alter system set summarize_wal = {on}"))?;
    server.sql("postgres", "select pg_reload_conf()")?;
    wait_until("the server to take note", PATIENCE, async || {
        let said = server.sql("postgres", "show summarize_wal").ok()?;
        (said == on).then_some(())
    })
    .await
}

/// All rows of all tables, as one text.
fn rows(server: &Postgresql) -> Result<Vec<String>> {
    let digest = |table: &str| {
        let sql = format!(
            "select count(*) || ' ' || md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from {table} t"
        );
        server.sql("shop", &sql)
    };
    ["orders", "accounts", "ledger", "filler"].into_iter().map(digest).collect()
}

/// The lists of files on the node.
pub fn lists(all: &Clusters) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(all.stage.path("state/manifests/pg-1")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

pub fn position(archive: &Value) -> &Value {
    &archive["dump"]["physical"]["position"]
}

fn bytes(archive: &Value, kind: &str) -> u64 {
    let parts = archive["dump"]["artefacts"].as_array().unwrap();
    parts.iter().find(|part| part["kind"] == kind).unwrap()["size_bytes"].as_u64().unwrap()
}

/// Restores, starts a server on it, and takes a look; nothing of it is left after that.
async fn looked(
    all: &Clusters,
    archive: &Value,
    look: impl FnOnce(&Postgresql) -> Result<()>,
) -> Result<Value> {
    let (cluster, restored) = all.back(archive, json!({})).await?;
    for left in ["full", "changes-0"] {
        assert!(!all.target().parent().unwrap().join(left).exists());
    }
    look(&restored)?;
    drop(restored);
    std::fs::remove_dir_all(all.target())?;
    Ok(cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn given_writes_when_blocks_are_taken_then_each_archive_is_the_server_as_it_was() -> Result<()> {
    let all = blocks().await?;
    all.server.sql(
        "shop",
        "create table accounts as select n as id, 100 as balance from generate_series(1, 2000) n;
         alter table accounts add primary key (id);
         create table ledger (id int primary key);
         create table filler as select n, repeat(md5(n::text), 20) as text from generate_series(1, 30000) n",
    )?;
    let mut load = all.moves()?;
    let making = async {
        all.add(1, 1000)?;
        let full = all.archive("incremental", None).await?;
        all.add(1001, 2000)?;
        let first = all.archive("incremental", Some(&full)).await?;
        all.add(2001, 3000)?;
        let known: u32 = all.server.sql("shop", "select max(id) from ledger")?.parse()?;
        let second = all.archive("incremental", Some(&first)).await?;
        anyhow::Ok((full, first, second, known))
    };
    let made = making.await;
    load.kill()?;
    load.wait()?;
    let (full, first, second, known) = made?;
    all.add(3001, 4000)?;
    // Its base is the full one, whose list is not on the node any more.
    let differential = all.archive("differential", Some(&full)).await?;
    let last = rows(&all.server)?;

    let variant = |archive: &Value| archive["dump"]["physical"]["variant"].clone();
    assert_eq!((variant(&full), variant(&first)), (json!("full"), json!("incremental")));
    assert_eq!(variant(&differential), "differential");
    assert_eq!(differential["dump"]["physical"]["base"]["name"], full["name"]);
    assert_eq!(position(&full)["blocks"]["since_lsn"], Value::Null);
    assert_eq!(position(&first)["blocks"]["since_lsn"], position(&full)["start_lsn"]);
    assert_eq!(position(&second)["blocks"]["since_lsn"], position(&first)["start_lsn"]);
    assert_eq!(position(&differential)["blocks"]["since_lsn"], position(&full)["start_lsn"]);
    // Of what has not changed there is nothing in it: the largest part is a segment of the log.
    let (whole, changed) = (bytes(&full, "base"), bytes(&second, "changes"));
    assert!(changed + (20 << 20) < whole, "{changed} of {whole}");
    assert_eq!((all.slots()?, all.spool()), (String::new(), 0), "nothing is kept on the server");
    assert_eq!(lists(&all).len(), 2, "that of the base, and that of the last");

    let cluster = looked(&all, &second, |restored| {
        assert_eq!(restored.sql("shop", "select count(*), sum(id) from orders")?, "3000|4501500");
        assert_eq!(restored.sql("shop", "select sum(balance) from accounts")?, "200000");
        let whole = restored.sql("shop", "select max(id) = count(*) from ledger")?;
        let last: u32 = restored.sql("shop", "select max(id) from ledger")?.parse()?;
        assert!(whole == "t" && last >= known, "{whole} {last} {known}");
        restored.sql("shop", "insert into orders values (0, 'it takes orders')")?;
        assert_eq!(restored.sql("postgres", "select pg_is_in_recovery()")?, "f");
        Ok(())
    });
    let cluster = cluster.await?;
    assert_eq!(cluster["archives"], json!([full["name"], first["name"], second["name"]]));
    assert!(cluster["reached_lsn"].is_string(), "{cluster}");
    // Nobody writes any more: it is the same to the last row.
    let cluster = looked(&all, &differential, |restored| {
        assert_eq!(rows(restored)?, last);
        // Each of its pages has a checksum, which is looked at when it is read.
        assert_eq!(restored.sql("postgres", "show data_checksums")?, "on");
        let checked = restored.tool("pg_dumpall").stdout(Stdio::null()).status()?;
        assert!(checked.success());
        Ok(())
    });
    assert_eq!(cluster.await?["archives"], json!([full["name"], differential["name"]]));
    looked(&all, &full, |restored| {
        assert_eq!(restored.sql("shop", "select count(*) from orders")?, "1000");
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_moment_between_archives_when_it_is_asked_for_then_it_is_refused_with_the_reason()
-> Result<()> {
    let all = blocks().await?.with_store().await?;
    all.add(1, 10)?;
    let full = all.archive("incremental", None).await?;
    all.add(11, 20)?;
    let first = all.archive("incremental", Some(&full)).await?;
    let (begin, end) = (position(&full)["stopped_at"].clone(), position(&first)["stopped_at"].clone());
    for until in
        [json!({ "time": begin }), json!({ "time": end }), json!({ "lsn": position(&first)["stop_lsn"] })]
    {
        let spec = all.restore(&first, json!({ "until": until }));
        let refused = all.stage.failure(spec, Code::UntilNotHeld).await?;
        assert!(refused.message.contains("one moment each"), "{refused:?}");
        all.nothing_is_left();
    }
    let preview = async |changes: Value| {
        let told = all.stage.success(all.restore(&first, changes)).await?;
        anyhow::Ok(serde_json::to_value(told)?["result"]["preview"].clone())
    };
    let shown = preview(json!({ "dry_run": true })).await?;
    assert_eq!(
        (&shown["earliest"], &shown["latest"], &shown["refusal"]),
        (&end, &end, &Value::Null),
        "{shown}"
    );
    assert_eq!(shown["archives"], json!([full["name"], first["name"]]));
    let shown = preview(json!({ "dry_run": true, "until": { "time": begin } })).await?;
    assert!(shown["refusal"].as_str().unwrap().contains("one moment each"), "{shown}");

    // Without the program that puts them together nothing is begun.
    let mut all = all;
    all.stage.stop().await?;
    all.stage.start(|config| config).await?;
    let missing = all.stage.failure(all.restore(&first, json!({})), Code::ToolMissing).await?;
    assert!(
        missing.message.contains("pg_combinebackup of version 18")
            && missing.message.contains("postgresql-18"),
        "{missing:?}"
    );
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_server_that_takes_no_notes_when_blocks_are_wanted_then_it_is_said_what_to_do() -> Result<()>
{
    let all = blocks().await?.with_store().await?;
    let test = |variant: &str| {
        let source = all.backup(variant, None)["source"].clone();
        json!({ "kind": "test-source", "source": source, "variant": variant })
    };
    let told = serde_json::to_value(all.stage.success(test("incremental")).await?)?;
    assert_eq!(
        (&told["result"]["probe"]["parts"][0]["kind"], &told["benign_total"]),
        (&json!("base"), &json!(0))
    );
    let full = all.archive("incremental", None).await?;
    summarize(&all.server, "off").await?;
    for spec in [test("incremental"), all.backup("incremental", None), all.backup("incremental", Some(&full))]
    {
        let unfit = all.stage.failure(spec, Code::SourceUnfit).await?;
        assert!(unfit.message.contains("ALTER SYSTEM SET summarize_wal = on"), "{unfit:?}");
    }
    let told = serde_json::to_value(all.stage.success(test("full")).await?)?;
    assert!(told["findings"][0]["message"].as_str().unwrap().contains("only the variant 'full'"), "{told}");

    // What it has noted does not reach back to the base any more, as after wal_summary_keep_time.
    summarize(&all.server, "on").await?;
    all.add(1, 10)?;
    let first = all.archive("incremental", Some(&full)).await?;
    for entry in std::fs::read_dir(all.server.data().join("pg_wal/summaries"))? {
        std::fs::remove_file(entry?.path())?;
    }
    let broken = all.stage.failure(all.backup("differential", Some(&full)), Code::ChainBroken).await?;
    assert!(
        broken.message.contains("WAL summaries are required")
            && broken.message.contains("wal_summary_keep_time"),
        "{broken:?}"
    );
    let (_, restored) = all.back(&first, json!({})).await?;
    assert_eq!(restored.sql("shop", ORDERS)?, "10|55|order 9");
    drop(restored);
    let full = all.archive("incremental", None).await?;
    all.add(11, 20)?;
    all.archive("incremental", Some(&full)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_server_of_an_older_version_when_blocks_are_wanted_then_it_is_refused() -> Result<()> {
    let all = Clusters { increments: "blocks", ..Clusters::new().await? };
    let major = all.server.major()?;
    if major >= 17 {
        skipped("blocks of an older version", &format!("the distribution has version {major}"));
        return Ok(());
    }
    let source = all.backup("incremental", None)["source"].clone();
    let test = json!({ "kind": "test-source", "source": source, "variant": "incremental" });
    for spec in [test, all.backup("incremental", None)] {
        let unfit = all.stage.failure(spec, Code::SourceUnfit).await?;
        let said = unfit.message;
        assert!(
            said.contains(&format!("the server has version {major}")) && said.contains("from 17 on"),
            "{said}"
        );
    }
    assert_eq!(all.slots()?, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_link_that_is_gone_or_was_changed_when_it_is_needed_then_nothing_is_touched() -> Result<()> {
    let all = blocks().await?.with_store().await?;
    let full = all.archive("incremental", None).await?;
    all.add(1, 10)?;
    let first = all.archive("incremental", Some(&full)).await?;

    // Blocks that belong to something else: the server would count from there, and the archive would say another base.
    let mut other = full.clone();
    other["dump"]["physical"]["position"]["start_lsn"] = json!("0/28");
    let wrong = all.stage.failure(all.backup("incremental", Some(&other)), Code::DumpFailed).await?;
    assert!(wrong.message.contains("since 0/28"), "{wrong:?}");
    let mut other = full.clone();
    other["dump"]["physical"]["position"]["blocks"]["manifest_sha256"] = json!("../../borg-host-id");
    let wrong = all.stage.failure(all.backup("incremental", Some(&other)), Code::ChainBroken).await?;
    assert!(wrong.message.contains("digest"), "{wrong:?}");

    // What says itself that it goes back to something else is not put on it.
    let odd = rewritten(&all, &first, "/dump/physical/position/blocks/since_lsn", json!("0/28"))?;
    let damaged = all.stage.failure(all.restore(&odd, json!({})), Code::ArchiveDamaged).await?;
    assert!(damaged.message.contains("does not go on where"), "{damaged:?}");
    all.nothing_is_left();
    let first = rewritten(
        &all,
        &odd,
        "/dump/physical/position/blocks/since_lsn",
        position(&full)["start_lsn"].clone(),
    )?;

    let delete = json!({
        "kind": "delete-archive", "access": all.access, "archive": dump_store::target(&full), "needed_by": [],
    });
    all.stage.success(delete).await?;
    let name = full["name"].as_str().unwrap();
    let missing = all.stage.failure(all.restore(&first, json!({})), Code::ArchiveMissing).await?;
    assert!(missing.message.contains(name), "{missing:?}");
    all.nothing_is_left();
    for base in [&full, &first] {
        let broken = all.stage.failure(all.backup("incremental", Some(base)), Code::ChainBroken).await?;
        assert!(broken.message.contains(name), "{broken:?}");
    }
    // Another server answers at the same place.
    let full = all.archive("incremental", None).await?;
    let mut all = all;
    let _old = std::mem::replace(&mut all.server, Postgresql::start_18().await?);
    summarize(&all.server, "on").await?;
    let foreign = all.stage.failure(all.backup("incremental", Some(&full)), Code::ChainBroken).await?;
    assert!(foreign.message.contains("another cluster"), "{foreign:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_role_that_may_replicate_and_no_more_when_blocks_are_taken_then_that_is_enough() -> Result<()>
{
    let all = blocks().await?.with_store().await?;
    let password = POSTGRES_PASSWORD.replace('\\', "\\\\").replace('\'', "''");
    let sql = format!("create role backup login replication password E'{password}'");
    all.server.sql("postgres", &sql)?;
    let role = json!({ "host": "127.0.0.1", "port": all.server.port(), "user": "backup", "password": { "reference": "pg", "version": 1 } });
    // By the name of a system user who comes to none of the executor's folders.
    let peer = json!({ "host": all.server.socket(), "port": all.server.port(), "os_user": "postgres", "user": "postgres" });
    let is_root = rustix::process::geteuid().is_root();
    for (n, connection) in [Some(role), is_root.then_some(peer)].into_iter().flatten().enumerate() {
        let backup = |base: Option<&Value>| {
            let mut spec = all.backup("incremental", base);
            spec["plan"] = json!(format!("pg-{n}"));
            spec["source"]["connection"] = connection.clone();
            spec
        };
        let archive = async |base: Option<&Value>| dump_store::archive_of(&all.stage, backup(base)).await;
        let mut made = archive(None).await?;
        for _ in 0..2 {
            all.server.sql("shop", "insert into orders select coalesce(max(id), 0) + 1, 'x' from orders")?;
            made = archive(Some(&made)).await?;
        }
        let expected = all.server.sql("shop", ORDERS)?;
        looked(&all, &made, |restored| {
            assert_eq!(restored.sql("shop", ORDERS)?, expected);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

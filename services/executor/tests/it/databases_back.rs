//! What a restored PostgreSQL database brings back besides its tables, and what it leaves alone.

use crate::databases::Databases;
use crate::stage::{PASSPHRASE, PATIENCE};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use strongroom_domain::job::Report;
use strongroom_domain::wire::LeaseAnswer;
use strongroom_domain::{FailureCode as Code, JobId};
use strongroom_testkit::wait_until;
use uuid::Uuid;

const SHOP: &str = "postgresql/databases/shop.dump";

/// Somebody's only function, or only large object, is as much as somebody else's tables.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_somebody_has_made_in_a_database_makes_it_one_that_is_not_empty() -> Result<()> {
    let all = Databases::new().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    for (n, sql) in [
        "select lo_from_bytea(0, 'precious')",
        "create function f() returns int language sql as 'select 1'",
        "create type mood as enum ('good')",
        "create schema own",
        "create sequence s",
        "create publication p",
        "create aggregate total (int) (sfunc = int4pl, stype = int)",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("own{n}");
        all.server.sql("postgres", &format!("create database {name}"))?;
        all.server.sql(&name, sql)?;
        let failure =
            all.stage.failure(all.restore(&archive, SHOP, &name, json!({})), Code::TargetExists).await;
        failure.with_context(|| (*sql).to_owned())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_limits_words_and_settings_of_a_database_come_back_with_it() -> Result<()> {
    let all = Databases::new().await?;
    for sql in [
        "revoke connect on database shop from public",
        "grant connect on database shop to reader",
        "grant temporary on database shop to owner with grant option",
        "alter database shop connection limit 7",
        "comment on database shop is 'it''s ours'",
        "alter role reader in database shop set work_mem = '9MB'",
    ] {
        all.server.sql("postgres", sql)?;
    }
    let about = |name: &str| {
        all.server.sql(
            "postgres",
            &format!(
                "select array(select a::text from unnest(datacl) a order by 1), datconnlimit, shobj_description(d.oid, 'pg_database'),
                 (select string_agg(setrole::regrole || ':' || setconfig::text, ',' order by setrole) from pg_db_role_setting where setdatabase = d.oid)
                 from pg_database d where datname = '{name}'"
            ),
        )
    };
    let before = about("shop")?;
    assert!(before.contains("reader=c/owner") && before.contains("|7|it's ours|"), "{before}");
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    all.stage.success(all.restore(&archive, SHOP, "shop", json!({ "on_conflict": "overwrite" }))).await?;
    assert_eq!(about("shop")?, before);
    // Without its roles it is at least not open to everybody.
    all.stage.success(all.restore(&archive, SHOP, "copy", json!({ "no_owner": true }))).await?;
    let may = "select has_database_privilege('reader', 'copy', 'connect')";
    assert_eq!(all.server.sql("postgres", may)?, "f");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_restore_leaves_nothing_and_a_backup_meanwhile_takes_no_half_of_it() -> Result<()> {
    let all = Databases::new().await?;
    all.server.sql("shop", "create table large as select n, sha512(n::text::bytea) as x from generate_series(1, 400000) n; create index on large (x)")?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let (job, epoch) = all.stage.emit(all.restore(&archive, SHOP, "copy", json!({}))).await?;
    all.stage.begun(job).await?;
    let scratch = "select count(*) from pg_stat_activity where datname like 'strongroom_restore_%'";
    wait_until("the restore to work", PATIENCE, async || {
        all.server.sql("postgres", scratch).is_ok_and(|n| n != "0").then_some(())
    })
    .await?;
    all.stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    assert_eq!(all.stage.end_of(job, epoch).await?, Report::Cancelled);
    assert_eq!(all.databases()?, "postgres,shop");
    all.nothing_is_left();
    Ok(())
}

/// Killed between the change of names and the report: what is done is done.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_killed_when_all_was_in_place_is_not_done_again() -> Result<()> {
    let all = Databases::new().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    for policy in ["fail", "overwrite", "keep_both"] {
        let (name, job) = (format!("copy_{policy}"), JobId(Uuid::now_v7()));
        all.server.sql("postgres", &format!("create database {name}"))?;
        if policy != "fail" {
            all.server.sql(&name, "create table mine (x int)")?;
        }
        let spec = all.restore(&archive, SHOP, &name, json!({ "on_conflict": policy }));
        let (_, epoch) = all.stage.emit_attempt(job, 1, spec.clone(), Some(PASSPHRASE)).await?;
        assert!(matches!(all.stage.end_of(job, epoch).await?, Report::Succeeded { .. }));
        // As it was a moment before the end.
        all.server
            .sql("postgres", &format!("comment on database {name} is 'being restored by job {job}'"))?;
        all.server.sql(&name, "create table since (x int)")?;
        let (_, epoch) = all.stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
        assert!(matches!(all.stage.end_of(job, epoch).await?, Report::Succeeded { .. }), "{policy}");
        assert_eq!(all.server.sql(&name, "select count(*) from since")?, "0", "{policy}: it was done again");
        let comment =
            format!("select shobj_description(oid, 'pg_database') from pg_database where datname = '{name}'");
        assert_eq!(all.server.sql("postgres", &comment)?, "");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_that_is_asked_can_itself_be_replaced_and_a_template_cannot() -> Result<()> {
    let all = Databases::new().await?;
    all.server.sql("postgres", "create table notes as select 'mine' as x")?;
    let archive = all.archive(json!({})).await?;
    all.server.sql("postgres", "drop table notes; create table other (x int)")?;
    let path = "postgresql/databases/postgres.dump";
    all.stage.success(all.restore(&archive, path, "postgres", json!({ "on_conflict": "overwrite" }))).await?;
    assert_eq!(all.server.sql("postgres", "select x from notes")?, "mine");
    all.stage
        .failure(
            all.restore(&archive, path, "template1", json!({ "on_conflict": "overwrite" })),
            Code::TargetRefused,
        )
        .await?;
    assert_eq!(all.databases()?, "postgres,shop");
    Ok(())
}

/// Of all the databases of a server, one goes while another is dumped.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_dropped_meanwhile_costs_the_others_nothing() -> Result<()> {
    let all = Databases::new().await?;
    all.server.sql("postgres", "create database aaa")?;
    all.server.sql("aaa", "create table t (x int)")?;
    all.server.sql("postgres", "create database zzz")?;
    let mut holder = all.server.tool("psql");
    holder.args(["-X", "-c", "begin; lock table t in access exclusive mode; select pg_sleep(300)"]);
    holder.env("PGDATABASE", "aaa").stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    drop(holder.spawn()?);
    let lock = |granted: &str| {
        let sql = format!(
            "select count(*) from pg_locks where mode like 'Access%' and database = (select oid from pg_database where datname = 'aaa') and {granted}"
        );
        all.server.sql("postgres", &sql).is_ok_and(|n| n != "0").then_some(())
    };
    wait_until("the lock", PATIENCE, async || lock("granted and mode = 'AccessExclusiveLock'")).await?;
    let (job, epoch) = all.stage.emit(all.backup(json!({}))).await?;
    all.stage.begun(job).await?;
    wait_until("the dump to wait", PATIENCE, async || lock("not granted")).await?;
    all.server.sql("postgres", "drop database zzz")?;
    all.server.sql(
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin; lock%'",
    )?;
    let Report::Succeeded { outcome, .. } = all.stage.end_of(job, epoch).await? else { panic!("it failed") };
    assert_eq!((outcome.benign_total, outcome.incomplete_total), (1, 0), "{:?}", outcome.findings);
    assert!(outcome.findings[0].message.contains("zzz"));
    Ok(())
}

/// Killed in the middle, and the next attempt does not come as far as the server, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_restore_has_left_is_put_away_or_named_by_an_attempt_that_fails() -> Result<()> {
    let all = Databases::new().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let mut gone = archive.clone();
    gone["name"] = json!("p-of-another-day");
    gone["borg_id"] = json!("0".repeat(64));
    let failing = async |job: JobId, spec: Value| {
        let (_, epoch) = all.stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
        match all.stage.end_of(job, epoch).await? {
            Report::Failed { failure } => Ok(failure),
            other => anyhow::bail!("{other:?}"),
        }
    };
    let job = JobId(Uuid::now_v7());
    let scratch = format!("strongroom_restore_{}", job.0.simple());
    all.server.sql("postgres", &format!("create database {scratch}"))?;
    all.server.sql(&scratch, "create table half (x int)")?;
    let failure = failing(job, all.restore(&gone, SHOP, "copy", json!({}))).await?;
    assert_eq!(failure.code, Code::ArchiveMissing, "{failure:?}");
    assert!(!failure.message.contains(&scratch), "{failure:?}");
    assert_eq!(all.databases()?, "postgres,shop");
    // A look is no attempt at anything.
    all.server.sql("postgres", &format!("create database {scratch}"))?;
    failing(job, all.restore(&gone, SHOP, "copy", json!({ "dry_run": true }))).await?;
    assert!(all.databases()?.contains(&scratch));
    // Nobody knows whether it is there.
    let mut connection = all.connection();
    connection["host"] = json!(all.server.socket());
    connection["port"] = json!(1);
    let into = json!({ "type": "postgresql", "connection": connection, "database": "copy" });
    let failure = failing(job, all.restore(&archive, SHOP, "copy", json!({ "into": into }))).await?;
    assert_eq!(failure.code, Code::ServerUnreachable, "{failure:?}");
    assert!(failure.message.contains(&format!("may have left the half restored database '{scratch}'")));
    // Who has mistaken the port learns which servers there are.
    let there = format!("on port {}, socket in {}", all.server.port(), all.server.socket().display());
    assert!(failure.message.contains(&there), "{failure:?}");
    all.nothing_is_left();
    Ok(())
}

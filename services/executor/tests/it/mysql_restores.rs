//! What a restore into MariaDB costs that stands there, and what it leaves when it fails.

use crate::mysql::{Databases, end};
use crate::stage::{PASSPHRASE, PATIENCE};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use strongroom_domain::job::Report;
use strongroom_domain::wire::LeaseAnswer;
use strongroom_domain::{FailureCode as Code, JobId};
use strongroom_testkit::wait_until;

const PATH: &str = "mysql/databases/shop.sql";

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_costs_nothing_that_stands_there_unless_it_was_asked_for() -> Result<()> {
    let all = Databases::new().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let old = all.text("shop")?;
    all.server.sql("shop", "create table newer as select 1 as x")?;
    let newer = all.text("shop")?;
    all.stage.failure(all.restore(&archive, PATH, "shop", json!({})), Code::TargetExists).await?;
    assert_eq!(all.text("shop")?, newer);
    // Somebody holds a table of it: nothing is changed.
    let holder = all.holder("start transaction; select count(*) from newer").await?;
    let overwrite = || all.restore(&archive, PATH, "shop", json!({ "on_conflict": "overwrite" }));
    let failure = all.stage.failure(overwrite(), Code::SourceLocked).await?;
    end(holder)?;
    assert!(failure.message.contains("1205"), "{failure:?}");
    assert_eq!((all.text("shop")?, all.databases()?), (newer, "shop".to_owned()));
    all.stage.success(overwrite()).await?;
    assert_eq!((all.text("shop")?, all.databases()?), (old.clone(), "shop".to_owned()));
    // What is empty gives way without a word.
    all.server.sql("", "create database bare character set latin1")?;
    all.stage.success(all.restore(&archive, PATH, "bare", json!({}))).await?;
    assert_eq!((all.text("bare")?, all.databases()?), (old, "bare,shop".to_owned()));
    // A procedure is something as well.
    all.server.sql("", "create database code")?;
    all.server.sql("code", "create procedure p() select 1")?;
    all.stage.failure(all.restore(&archive, PATH, "code", json!({})), Code::TargetExists).await?;
    all.stage
        .failure(all.restore(&archive, "mysql/globals.sql", "x", json!({})), Code::PathNotInArchive)
        .await?;
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_restored_leaves_what_stood_there() -> Result<()> {
    let all = Databases::new().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    // Who may not make a trigger for somebody else.
    all.stage.secrets.lock().unwrap().insert("r".into(), "r".into());
    all.server.sql(
        "",
        "create user r identified by 'r'; create database bare character set latin1;
         grant all on bare.* to r; grant all on shop.* to r; grant all on `strongroom\\_restore\\_%`.* to r",
    )?;
    let mut connection = all.connection();
    connection["user"] = json!("r");
    connection["password"] = json!({ "reference": "r", "version": 1 });
    let into = |database: &str, on_conflict: &str| {
        let into = json!({ "type": "mysql", "connection": connection, "database": database });
        all.restore(&archive, PATH, database, json!({ "into": into, "on_conflict": on_conflict }))
    };
    let before = all.text("shop")?;
    let failure = all.stage.failure(into("bare", "fail"), Code::AccessDenied).await?;
    assert!(failure.message.contains("1419"), "{failure:?}");
    assert_eq!(all.server.sql("bare", "show tables")?, "");
    assert_eq!(all.server.sql("bare", "select @@character_set_database")?, "latin1");
    all.stage.failure(into("shop", "overwrite"), Code::AccessDenied).await?;
    all.stage.failure(into("elsewhere", "fail"), Code::AccessDenied).await?;
    assert_eq!((all.text("shop")?, all.databases()?), (before, "bare,shop".to_owned()));
    all.nothing_is_left();
    Ok(())
}

async fn succeeded(all: &Databases, job: JobId, epoch: u64) -> Result<()> {
    let end = all.stage.end_of(job, epoch).await?;
    anyhow::ensure!(matches!(end, Report::Succeeded { .. }), "{end:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_dies_in_the_middle_of_a_restore_goes_on_in_its_next_life() -> Result<()> {
    let mut all = Databases::new().await?;
    // Enough to be met in the middle.
    all.server
        .sql("shop", "create table zz as select seq, repeat(sha2(seq, 512), 20) as x from seq_1_to_16000")?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let old = all.text("shop")?;
    all.server.sql("shop", "create table newer as select 1 as x")?;
    for (database, on_conflict, at) in [
        // In the middle of the first filling, where nothing stood.
        ("copy", "fail", "copy"),
        // While it is proven that all of it can be restored: what stands there is not touched.
        ("shop", "overwrite", "strongroom"),
    ] {
        let spec = all.restore(&archive, PATH, database, json!({ "on_conflict": on_conflict }));
        let (job, _) = all.stage.emit(spec.clone()).await?;
        all.stage.begun(job).await?;
        let filling = format!(
            "select count(*) from information_schema.tables m join information_schema.tables t using (table_schema)
             where m.table_name like 'strongroom\\_filling\\_%' and t.table_name = 'log' and m.table_schema like '{at}%'"
        );
        wait_until("the restore to be in the middle", PATIENCE, async || {
            all.server.sql("", &filling).is_ok_and(|n| n != "0").then_some(())
        })
        .await
        .context(at)?;
        all.stage.abort().await;
        let left = all.databases()?;
        if at == "strongroom" {
            assert_eq!(all.server.sql("shop", "select count(*) from newer")?, "1");
        }
        assert!(left.contains("strongroom_restore") == (on_conflict == "overwrite"), "{left}");
        all.stage.start(|c| c).await?;
        let (_, epoch) = all.stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
        succeeded(&all, job, epoch).await?;
        assert_eq!(all.text(database)?, old, "{at}");
        assert_eq!(all.databases()?, "copy,shop", "{at}");
        all.server.sql("shop", "create table if not exists newer as select 1 as x")?;
    }
    all.nothing_is_left();
    Ok(())
}

/// A restore whose scratch database is whole, and which waits for somebody who holds what stands at the name.
async fn a_restore_that_waits(all: &Databases, archive: &Value) -> Result<(JobId, u64, Value)> {
    all.server.sql("shop", "create table if not exists newer as select 1 as x")?;
    drop(all.holder("start transaction; select count(*) from newer").await?);
    let spec = all.restore(archive, PATH, "shop", json!({ "on_conflict": "overwrite" }));
    let (job, epoch) = all.stage.emit(spec.clone()).await?;
    all.stage.begun(job).await?;
    wait_until("the restore to wait", PATIENCE, async || {
        all.server.sql("", DROPS).is_ok_and(|n| n != "0").then_some(())
    })
    .await?;
    Ok((job, epoch, spec))
}

/// Counts those who are about to remove what stands at the name.
const DROPS: &str = "select count(*) from information_schema.processlist
  where info like '%drop database%`shop`%' and id <> connection_id()";

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_dies_when_all_is_in_the_scratch_database_goes_on_from_there() -> Result<()> {
    let mut all = Databases::new().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let old = all.text("shop")?;
    for at in ["nothing is done", "the old is gone", "some are moved", "all are moved"] {
        let (job, _, spec) = a_restore_that_waits(&all, &archive).await?;
        all.stage.abort().await;
        all.let_go()?;
        wait_until("the one who waits to go", PATIENCE, async || {
            all.server.sql("", DROPS).is_ok_and(|n| n == "0").then_some(())
        })
        .await?;
        // As it would be a moment later.
        let id = job.0.simple();
        let scratch = format!("strongroom_restore_{id}");
        if at != "nothing is done" {
            all.server.sql("", "drop database if exists shop")?;
        }
        if at.ends_with("are moved") {
            all.server.sql("", "create database shop character set utf8mb4 collate utf8mb4_bin")?;
            all.server.sql("shop", &format!("create table strongroom_filling_{id} (n int)"))?;
            all.server.sql(
                &scratch,
                "drop trigger tr; rename table `odd ``\n\\! name` to shop.`odd ``\n\\! name`",
            )?;
        }
        if at == "all are moved" {
            all.server.sql(&scratch, "rename table log to shop.log, s to shop.s")?;
        }
        // What was moved is not filled again.
        all.server.sql(
            "",
            "set global general_log = on, global log_output = 'TABLE'; truncate mysql.general_log",
        )?;
        all.stage.start(|c| c).await?;
        let (_, epoch) = all.stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
        succeeded(&all, job, epoch).await.context(at)?;
        let inserts = "select count(*) from mysql.general_log where argument like 'insert into%'";
        assert_eq!(all.server.sql("", inserts)?, "0", "{at}");
        all.server.sql("", "set global general_log = off")?;
        assert_eq!(all.text("shop")?, old, "{at}");
        assert_eq!(all.databases()?, "shop", "{at}");
    }
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_counts_until_what_stood_there_gives_way() -> Result<()> {
    let all = Databases::new().await?;
    all.server
        .sql("shop", "create table zz as select seq, repeat(sha2(seq, 512), 20) as x from seq_1_to_16000")?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let old = all.text("shop")?;
    // In the middle of the filling of the scratch database.
    all.server.sql("shop", "create table newer as select 1 as x")?;
    let newer = all.text("shop")?;
    let spec = all.restore(&archive, PATH, "shop", json!({ "on_conflict": "overwrite" }));
    let (job, epoch) = all.stage.emit(spec).await?;
    all.stage.begun(job).await?;
    wait_until("the scratch database", PATIENCE, async || {
        all.databases().is_ok_and(|d| d.contains("strongroom_restore")).then_some(())
    })
    .await?;
    all.stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    let cancelled = all.stage.end_of(job, epoch).await?;
    assert!(matches!(cancelled, Report::Cancelled), "{cancelled:?}");
    assert_eq!((all.text("shop")?, all.databases()?), (newer, "shop".to_owned()));
    // When it has begun to give way, it is done.
    let (job, epoch, _) = a_restore_that_waits(&all, &archive).await?;
    all.stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    all.let_go()?;
    let done = all.stage.end_of(job, epoch).await?;
    assert!(matches!(done, Report::Succeeded { .. }), "{done:?}");
    assert_eq!((all.text("shop")?, all.databases()?), (old, "shop".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_new_cannot_take_its_place_the_failure_names_where_all_of_it_is() -> Result<()> {
    let all = Databases::new().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let (old, without_events) = (all.text("shop")?, all.text_of("shop", false)?);
    all.stage.secrets.lock().unwrap().insert("r".into(), "r".into());
    // It may do anything but what is tried by turns.
    all.server.sql(
        "",
        "create user r identified by 'r'; grant super, set user, process on *.* to r; grant select on mysql.* to r;
         grant all on `strongroom\\_restore\\_%`.* to r;
         grant select, create, drop, alter, trigger, create view, event, execute, alter routine on shop.* to r",
    )?;
    let mut connection = all.connection();
    connection["user"] = json!("r");
    connection["password"] = json!({ "reference": "r", "version": 1 });
    let into = json!({ "type": "mysql", "connection": connection, "database": "shop" });
    let spec = all.restore(&archive, PATH, "shop", json!({ "into": into, "on_conflict": "overwrite" }));
    // The tables cannot be moved to where it may not insert.
    let (job, epoch) = all.stage.emit(spec.clone()).await?;
    let Report::Failed { failure } = all.stage.end_of(job, epoch).await? else { panic!("it was no failure") };
    let scratch = format!("strongroom_restore_{}", job.0.simple());
    let words = format!("all of the dump, without its events, is in database '{scratch}'");
    assert!(failure.message.contains(&words) && failure.message.contains("1142"), "{failure:?}");
    assert!(failure.advice.contains("that the message names"), "{failure:?}");
    assert_eq!((all.text_of(&scratch, false)?, all.databases()?), (without_events, scratch.clone()));
    // All is moved, and a procedure cannot be made.
    all.server
        .sql("", &format!("drop database {scratch}; create database shop; grant insert on shop.* to r"))?;
    all.server.sql("shop", "create table newer as select 1 as x")?;
    let failure = all.stage.failure(spec.clone(), Code::AccessDenied).await?;
    assert!(failure.message.contains("all tables of the dump are in database 'shop' now"), "{failure:?}");
    assert_eq!(all.databases()?, "shop");
    let count = "select count(*), sum(b is null) from `odd ``\n\\! name`";
    assert_eq!(all.server.sql("shop", count)?, "2000\t0");
    assert_eq!(all.server.sql("shop", "show tables like 'strongroom%'")?, "");
    // With the cause removed, all is well.
    all.server.sql("", "grant create routine on shop.* to r")?;
    all.stage.success(spec).await?;
    assert_eq!((all.text("shop")?, all.databases()?), (old, "shop".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_together_is_moved_together() -> Result<()> {
    let all = Databases::new().await?;
    all.server.sql(
        "shop",
        "create table parent (id int primary key, t text, fulltext (t)); insert into parent values (1, 'hello world');
         create table child (id int, p int, foreign key (p) references parent (id)); insert into child values (1, 1);
         create table m1 (n int) engine = MyISAM; insert into m1 values (3);
         create table mm (n int) engine = merge union = (m1);
         create table parts (n int) partition by range (n) (partition a values less than (10), partition b values less than maxvalue);
         insert into parts values (1), (20);
         create table now (x int) with system versioning; insert into now values (1); update now set x = 2;
         create table numbered (id int default nextval(s), x int); insert into numbered (x) values (1);
         create view b_second as select t from parent; create view a_first as select f() as x from b_second",
    )?;
    all.server.sql("", "create database other")?;
    all.server.sql(
        "other",
        "create table far (p int, foreign key (p) references shop.parent (id)); insert into far values (1)",
    )?;
    let made = all.stage.success(all.backup(json!({ "databases": ["shop"] }))).await?;
    // What the program leaves out, it leaves out in silence.
    let told = format!("{:?}", made.findings);
    assert!(made.incomplete_total == 1 && told.contains("1 system-versioned tables"), "{told}");
    let made = serde_json::to_value(made)?;
    let archive = &made["result"]["archive"];
    let old = all.text("shop")?;
    all.server.sql("shop", "create table newer as select 1 as x; delete from child")?;
    let done =
        all.stage.success(all.restore(archive, PATH, "shop", json!({ "on_conflict": "overwrite" }))).await?;
    assert_eq!(serde_json::to_value(done)?["result"]["tables"], 9);
    assert_eq!(all.text("shop")?, old);
    let looks = "select concat_ws('|', (select count(*) from parent where match (t) against ('hello')),
      (select n from mm), (select x from a_first), (select count(*) from parts where n > 10), (select x from now))";
    assert_eq!(all.server.sql("shop", looks)?, "1|3|7|1|2");
    all.server.sql("shop", "insert into numbered (x) values (2)")?;
    // What refers to it from elsewhere still does.
    all.server.sql("other", "insert into far values (1)")?;
    assert!(all.server.sql("other", "insert into far values (2)").is_err());
    assert!(all.server.sql("shop", "insert into child values (1, 2)").is_err());
    Ok(())
}

/// An event of a database that is not at its name would do there what it does, and do it twice.
#[tokio::test(flavor = "multi_thread")]
async fn events_run_only_in_a_database_that_has_its_name() -> Result<()> {
    let all = Databases::new().await?;
    all.server.sql(
        "",
        "create database audit; create table audit.ticks (who text); set global event_scheduler = on",
    )?;
    all.server.sql(
        "shop",
        "create event tick on schedule every 1 second do insert into audit.ticks values (schema())",
    )?;
    let ticks = "select group_concat(distinct who) from audit.ticks";
    let runs = async || {
        all.server.sql("", "truncate audit.ticks")?;
        let ran = || all.server.sql("", ticks).is_ok_and(|who| who != "NULL");
        wait_until("the event", PATIENCE, async || ran().then_some(())).await
    };
    runs().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let (job, epoch, _) = a_restore_that_waits(&all, &archive).await?;
    runs().await?;
    let elsewhere = "select count(*) from information_schema.events where event_schema like 'strongroom%'";
    assert_eq!(all.server.sql("", elsewhere)?, "0");
    all.let_go()?;
    let done = all.stage.end_of(job, epoch).await?;
    assert!(matches!(done, Report::Succeeded { .. }), "{done:?}");
    assert_eq!(all.server.sql("", ticks)?, "shop");
    runs().await?;
    // Those that were told not to run do not.
    all.server.sql("shop", "alter event tick disable")?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    all.stage.success(all.restore(&archive, PATH, "copy", json!({}))).await?;
    let states = "select group_concat(event_name, status order by event_name) from information_schema.events where event_schema = 'copy'";
    assert_eq!(all.server.sql("", states)?, "eENABLED,tickDISABLED");
    Ok(())
}

/// Killed in the middle, and the next attempt does not come as far as the server.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_restore_has_left_is_named_by_an_attempt_that_fails() -> Result<()> {
    let all = Databases::new().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let mut gone = archive.clone();
    gone["name"] = json!("p-of-another-day");
    gone["borg_id"] = json!("0".repeat(64));
    let failing = async |job: JobId| {
        let spec = all.restore(&gone, PATH, "copy", json!({}));
        let (_, epoch) = all.stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
        match all.stage.end_of(job, epoch).await? {
            Report::Failed { failure } if failure.code == Code::ArchiveMissing => Ok(failure.message),
            other => anyhow::bail!("{other:?}"),
        }
    };
    let job = JobId(uuid::Uuid::now_v7());
    let id = job.0.simple();
    assert!(!failing(job).await?.contains("earlier attempt"));
    all.server.sql("", "create database copy")?;
    all.server.sql("copy", &format!("create table strongroom_filling_{id} (x int)"))?;
    assert!(failing(job).await?.contains("left the database 'copy' half restored"));
    all.server.sql("", &format!("create database strongroom_restore_{id}"))?;
    let named = format!("left the database 'strongroom_restore_{id}' with a part of the dump");
    assert!(failing(job).await?.contains(&named));
    all.server
        .sql(&format!("strongroom_restore_{id}"), &format!("create table strongroom_whole_{id} (x int)"))?;
    assert!(failing(job).await?.contains("with all of the dump"));
    assert!(all.databases()?.contains("strongroom_restore_"), "it may be all that there is");
    all.nothing_is_left();
    Ok(())
}

//! What a restore into MariaDB costs that stands there, and what it leaves when it fails.

use crate::mysql::{Databases, end};
use crate::stage::{PASSPHRASE, PATIENCE};
use anyhow::{Context, Result};
use serde_json::json;
use strongroom_domain::FailureCode as Code;
use strongroom_domain::job::Report;
use strongroom_domain::wire::NodeReport;
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

async fn succeeded(all: &Databases, epoch: u64) -> Result<()> {
    loop {
        match all.stage.report().await? {
            NodeReport::Ended { epoch: e, how, .. } if e == epoch => match how {
                Report::Succeeded { .. } => return Ok(()),
                other => anyhow::bail!("{other:?}"),
            },
            _ => {}
        }
    }
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
        // In the middle of the second filling: what stood there has given way, and all of it is beside.
        ("shop", "overwrite", "shop"),
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
        succeeded(&all, epoch).await?;
        assert_eq!(all.text(database)?, old, "{at}");
        assert_eq!(all.databases()?, "copy,shop", "{at}");
        all.server.sql("shop", "create table if not exists newer as select 1 as x")?;
    }
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_second_filling_fails_the_failure_names_where_all_of_it_is() -> Result<()> {
    let all = Databases::new().await?;
    all.server
        .sql("shop", "create table zz as select seq, repeat(sha2(seq, 512), 20) as x from seq_1_to_16000")?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let old = all.text("shop")?;
    let spec = all.restore(&archive, PATH, "shop", json!({ "on_conflict": "overwrite" }));
    let (job, epoch) = all.stage.emit(spec).await?;
    all.stage.begun(job).await?;
    // Who fills it is cut off, but only when what stood there has given way.
    let killing = "select coalesce(max(id), 0) from information_schema.processlist where db = 'shop' and id <> connection_id()
      and exists (select 1 from information_schema.tables where table_schema = 'shop' and table_name like 'strongroom\\_filling%')
      and (info like 'insert%' or info like 'create%')";
    wait_until("the second filling", PATIENCE, async || {
        let id = all.server.sql("", killing).ok().filter(|id| id != "0")?;
        all.server.sql("", &format!("kill {id}")).ok()
    })
    .await?;
    let Report::Failed { failure } = all.stage.end_of(job, epoch).await? else { panic!("it was no failure") };
    let scratch = format!("strongroom_restore_{}", job.0.simple());
    assert!(failure.message.contains(&scratch), "{failure:?}");
    assert!(failure.advice.contains("that the message names"), "{failure:?}");
    assert_eq!((all.text(&scratch)?, all.databases()?), (old, scratch.clone()));
    Ok(())
}

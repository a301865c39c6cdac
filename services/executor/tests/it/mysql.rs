//! MariaDB, dumped into a repository, against a real server.

use crate::look;
use crate::stage::{PASSPHRASE, PATIENCE, Stage};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::process::Stdio;
use strongroom_domain::job::Report;
use strongroom_domain::{FailureCode as Code, JobId};
use strongroom_testkit::{MYSQL_PASSWORD, Mysql, wait_until};
use uuid::Uuid;

/// What a shell, SQL, a path, a pattern and a client would each misread.
const ODD: &str = "it's \"od/d\"\n\\! $(x)=é %_`b";

pub struct Databases {
    pub stage: Stage,
    pub server: Mysql,
}

impl Databases {
    pub async fn new() -> Result<Self> {
        Self::on(Mysql::start().await?).await
    }

    pub async fn on(server: Mysql) -> Result<Self> {
        let stage = Stage::set().await?;
        stage.init().await?;
        stage.secrets.lock().unwrap().insert("my".into(), MYSQL_PASSWORD.into());
        server.sql("", "create database shop character set utf8mb4 collate utf8mb4_bin")?;
        server.sql(
            "shop",
            // After a crash a sequence is not seen before something else is written than it.
            "create sequence s start with 41; do nextval(s);
             create table `odd ``\n\\! name` (id int primary key, t text, b blob, g int as (id * 2));
             insert into `odd ``\n\\! name` (id, t, b) select seq, concat('line', char(10), '\\\\.', char(0), 'é', seq), unhex(sha2(seq, 512)) from seq_1_to_2000;
             create view `v``w` as select count(*) from `odd ``\n\\! name`;
             create table log (n int);
             delimiter //
             create trigger tr after insert on `odd ``\n\\! name` for each row begin insert into log values (new.id); end//
             create procedure p(in a int) begin select 'it''s // a; word', a; end//
             create function f() returns int deterministic return 7//
             create event e on schedule every 1 year do begin delete from log; end//
             delimiter ;",
        )?;
        Ok(Self { stage, server })
    }

    pub fn connection(&self) -> Value {
        json!({
            "host": "127.0.0.1", "port": self.server.port(), "user": "root",
            "password": { "reference": "my", "version": 1 },
        })
    }

    pub fn with(&self, changes: Value) -> Value {
        let mut connection = self.connection();
        connection.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        connection
    }

    pub fn backup(&self, source: Value) -> Value {
        let mut whole = json!({ "type": "mysql", "connection": self.connection() });
        whole.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        json!({ "kind": "backup", "plan": "p", "access": self.stage.access(), "compression": "lz4", "source": whole })
    }

    /// The archive that a backup has made.
    pub async fn archive(&self, source: Value) -> Result<Value> {
        let done = serde_json::to_value(self.stage.success(self.backup(source)).await?)?;
        assert_eq!(done["completeness"], "complete", "{done}");
        Ok(done["result"]["archive"].clone())
    }

    pub fn restore(&self, archive: &Value, path: &str, database: &str, changes: Value) -> Value {
        let mut spec = json!({
            "kind": "restore-database", "access": self.stage.access(), "path": path,
            "archive": { "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] },
            "into": { "type": "mysql", "connection": self.connection(), "database": database },
        });
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        spec
    }

    /// All that is in a database, as text.
    pub fn text(&self, database: &str) -> Result<String> {
        // The program cannot find the events of a database of every name.
        self.text_of(database, database != ODD)
    }

    /// The same, perhaps without events.
    pub fn text_of(&self, database: &str, events: bool) -> Result<String> {
        let mut dump = self.server.tool("mariadb-dump");
        dump.args(["--skip-comments", "--hex-blob", "--routines", "--single-transaction"]);
        if events {
            dump.arg("--events");
        }
        let done = dump.args(["--", database]).output()?;
        anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let properties =
            self.server.sql(database, "select @@character_set_database, @@collation_database")?;
        Ok(format!("{properties}\n{}", String::from_utf8(done.stdout)?))
    }

    pub fn databases(&self) -> Result<String> {
        let sql = "select group_concat(schema_name order by schema_name) from information_schema.schemata
                   where schema_name not in ('mysql', 'sys', 'information_schema', 'performance_schema')";
        self.server.sql("", sql)
    }

    pub fn nothing_is_left(&self) {
        let left = std::fs::read_dir(self.stage.path("state/streams")).unwrap().count();
        assert_eq!(left, 0, "a folder of pipes has stayed");
    }

    /// Ends the session that holds a table.
    pub fn let_go(&self) -> Result<()> {
        let holder = self.server.sql("", "select is_used_lock('held')")?;
        self.server.sql("", &format!("kill {holder}"))?;
        Ok(())
    }

    /// A session that holds a table for itself, until it is killed or its server ends.
    pub async fn holder(&self, sql: &str) -> Result<std::process::Child> {
        let mut command = self.server.tool("mariadb");
        let sql = format!("{sql}; do get_lock('held', 0); do sleep(300)");
        command.args(["--database=shop", "-e", &sql]).stdout(Stdio::null()).stderr(Stdio::null());
        let holder = command.spawn()?;
        wait_until("the lock", PATIENCE, async || {
            self.server
                .sql("", "select is_used_lock('held') is not null")
                .is_ok_and(|n| n == "1")
                .then_some(())
        })
        .await?;
        Ok(holder)
    }
}

/// Ends what a test has started.
pub fn end(mut child: std::process::Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

pub fn password(name: &str) -> Value {
    json!({ "reference": name, "version": 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn all_databases_come_into_one_archive_and_each_comes_back_the_same() -> Result<()> {
    let all = Databases::new().await?;
    all.server.sql("", &format!("create database `{}` character set latin1", ODD.replace('`', "``")))?;
    all.server.sql(
        ODD,
        "create table t as select 'héllo' as x; create procedure `p``q`() select 1;
         create trigger tr before insert on t for each row set new.x = 'y'",
    )?;
    all.server
        .sql("", "create user `re'ader`@`%` identified by 'r'; grant select on shop.* to `re'ader`@`%`")?;
    let archive = all.archive(json!({ "globals": "always" })).await?;
    let dump = &archive["dump"];
    let artefacts = dump["artefacts"].as_array().unwrap();
    assert_eq!((&dump["source"], &dump["artefacts_total"]), (&json!("mysql"), &json!(artefacts.len())));
    assert!(dump["server_version"].as_str().unwrap().contains("MariaDB"));
    let databases: Vec<&str> = artefacts.iter().filter_map(|a| a["database"].as_str()).collect();
    assert_eq!(databases, [ODD, "shop", "shop"]);
    // As anybody with borg sees it.
    let whole = format!("{}::{}", look::repository(&all.stage), archive["name"].as_str().unwrap());
    let inside = |path: &str| look::borg(&all.stage, &["extract", "--stdout", &whole, path]);
    let globals = inside("mysql/globals.sql")?;
    assert!(globals.contains("CREATE USER `re'ader`@`%` IDENTIFIED BY PASSWORD"), "{globals}");
    assert!(globals.contains("GRANT SELECT ON `shop`.* TO `re'ader`@`%`"));
    let shop = inside("mysql/databases/shop.sql")?;
    assert!(shop.contains("\n-- CHANGE MASTER TO MASTER_LOG_FILE='changes."), "the position is not in it");
    if std::path::Path::new("/etc/mysql/my.cnf").exists() {
        assert!(inside("mysql/settings/etc/mysql/my.cnf")?.contains('['));
    }
    for (database, restored) in [("shop", "shop copy"), (ODD, "odd copy"), ("shop", "o\\d`d\n'\"")] {
        let part = artefacts.iter().find(|a| a["database"] == database).context("it is not there")?;
        let spec = all.restore(&archive, part["path"].as_str().unwrap(), restored, json!({}));
        // What the dump program cannot find it cannot compare; the events of this one are asked for otherwise.
        let done = serde_json::to_value(all.stage.success(spec).await?)?;
        assert_eq!(done["result"]["tables"], if database == "shop" { 2 } else { 1 }, "{done}");
        assert_eq!(done["result"]["sha256"], part["sha256"]);
        if restored.contains("copy") && database != ODD {
            assert_eq!(all.text(database)?, all.text(restored)?);
        }
    }
    let code = "select concat_ws('|', (select count(*) from information_schema.events where event_schema = database()),
      (select count(*) from information_schema.routines where routine_schema = database()),
      (select count(*) from information_schema.triggers where trigger_schema = database()), @@collation_database)";
    assert_eq!(all.server.sql("o\\d`d\n'\"", code)?, "1|2|1|utf8mb4_bin");
    assert_eq!(all.server.sql("odd copy", code)?, "0|1|1|latin1_swedish_ci");
    let copied = all.text("odd copy")?;
    assert!(copied.contains("'héllo'") && copied.contains("`p``q`"), "{copied}");
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_under_load_is_one_moment_and_names_what_cannot_be() -> Result<()> {
    let all = Databases::new().await?;
    all.server.sql(
        "shop",
        "create table accounts (id int primary key, balance int) as select seq as id, 100 as balance from seq_1_to_20000;
         create table old (n int) engine = MyISAM; create table odd (n int) engine = Aria;
         delimiter //
         create procedure moves() begin while true do
           set @a = 1 + floor(rand() * 10000), @b = 10001 + floor(rand() * 9999);
           start transaction;
           update accounts set balance = balance - 1 where id = @a;
           update accounts set balance = balance + 1 where id = @b;
           commit;
         end while; end//
         delimiter ;",
    )?;
    let mut load = all.server.tool("mariadb");
    load.args(["--database=shop", "-e", "call moves()"]).stdout(Stdio::null()).stderr(Stdio::null());
    let load = load.spawn()?;
    let moved = "select count(*) from accounts where balance <> 100";
    wait_until("the money to move", PATIENCE, async || {
        all.server.sql("shop", moved).is_ok_and(|n| n != "0").then_some(())
    })
    .await?;
    let made = all.stage.success(all.backup(json!({ "databases": ["shop"] }))).await;
    end(load)?;
    let made = serde_json::to_value(made?)?;
    assert_eq!((&made["completeness"], &made["benign_total"]), (&json!("complete"), &json!(1)), "{made}");
    let finding = made["findings"][0]["message"].as_str().unwrap();
    assert!(finding.contains("shop.odd (Aria), shop.old (MyISAM)"), "{finding}");
    let archive = &made["result"]["archive"];
    all.stage.success(all.restore(archive, "mysql/databases/shop.sql", "copy", json!({}))).await?;
    assert_eq!(all.server.sql("copy", "select sum(balance), count(*) from accounts")?, "2000000\t20000");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_dumped_says_why_and_leaves_no_archive() -> Result<()> {
    let all = Databases::new().await?;
    all.stage.secrets.lock().unwrap().extend([("wrong".into(), "wrong".into()), ("r".into(), "r".into())]);
    all.server.sql("", "create user reader identified by 'r'; grant select on shop.log to reader")?;
    let reader = all.with(json!({ "user": "reader", "password": password("r") }));
    for (source, code, words) in [
        (
            json!({ "connection": all.with(json!({ "password": password("wrong") })) }),
            Code::AccessDenied,
            "1045",
        ),
        (json!({ "connection": all.with(json!({ "password": null })) }), Code::AccessDenied, "1045"),
        (
            json!({ "connection": all.with(json!({ "password": password("lost") })) }),
            Code::SecretMissing,
            "lost",
        ),
        (json!({ "connection": all.with(json!({ "port": 1 })) }), Code::ServerUnreachable, "127.0.0.1"),
        (
            json!({ "connection": all.with(json!({ "host": "no.such.host.invalid" })) }),
            Code::ServerUnreachable,
            "no.such",
        ),
        (
            json!({ "connection": { "host": "/no/such/socket", "user": "x" } }),
            Code::ServerUnreachable,
            "/no/such/socket",
        ),
        (json!({ "databases": ["nowhere"] }), Code::DatabaseMissing, "nowhere"),
        (json!({ "connection": reader, "globals": "always" }), Code::AccessDenied, "1142"),
        (json!({ "connection": reader, "databases": ["shop"] }), Code::AccessDenied, "1044"),
        (json!({ "connection": all.with(json!({ "tls": "require" })) }), Code::ServerUnreachable, "SSL"),
        (json!({ "connection": all.with(json!({ "tls": "verify-full" })) }), Code::ServerUnreachable, "2026"),
    ] {
        let failure =
            all.stage.failure(all.backup(source.clone()), code).await.with_context(|| source.to_string())?;
        let whole = format!("{} {:?}", failure.message, failure.log_tail);
        assert!(whole.contains(words), "{words}: {whole}");
        assert!(!whole.contains(MYSQL_PASSWORD));
    }
    assert_eq!(look::archives(&all.stage)?, Vec::<String>::new());
    all.nothing_is_left();
    // What a user may not see besides is left out by the programs in silence, and told by us.
    all.server.sql(
        "",
        "revoke select on shop.log from reader; grant select, show view, event on shop.* to reader",
    )?;
    let done = all.stage.success(all.backup(json!({ "connection": reader }))).await?;
    let told = format!("{:?}", done.findings);
    assert_eq!((done.benign_total, done.incomplete_total), (2, 2), "{told}");
    for words in
        ["no users and grants", "only those that it may see", "triggers of", "procedures and functions of"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_the_program_cannot_find_are_told() -> Result<()> {
    let all = Databases::new().await?;
    all.server.sql("", "create database `o'b`")?;
    all.server.sql("o'b", "create table t (n int); create event e on schedule every 1 year do select 1")?;
    let done = all.stage.success(all.backup(json!({}))).await?;
    assert_eq!(done.incomplete_total, 1, "{:?}", done.findings);
    assert!(format!("{:?}", done.findings).contains("1 events of database 'o'b'"), "{:?}", done.findings);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_before_its_turn_is_told_and_no_failure() -> Result<()> {
    let all = Databases::new().await?;
    for name in ["zz", "keeps"] {
        all.server.sql("", &format!("create database {name}"))?;
        all.server
            .sql(name, "create table t (n int); create event e on schedule every 1 year do select 1")?;
    }
    for (source, fails) in [(json!({}), false), (json!({ "databases": ["shop", "zz"] }), true)] {
        all.server.sql("", "create database if not exists zz")?;
        let (job, epoch) = a_dump_that_waits_of(&all, source).await?;
        all.server.sql("", "drop database zz")?;
        all.let_go()?;
        match all.stage.end_of(job, epoch).await? {
            Report::Succeeded { outcome, .. } => {
                let done = serde_json::to_value(outcome)?;
                assert!(!fails, "{done}");
                let told = done["findings"].to_string();
                assert_eq!((&done["completeness"], &done["benign_total"]), (&json!("complete"), &json!(1)));
                assert!(told.contains("'zz' was dropped before it could be dumped"), "{told}");
                let parts = done["result"]["archive"]["dump"]["artefacts"].as_array().unwrap().clone();
                let names: Vec<&str> = parts.iter().filter_map(|a| a["database"].as_str()).collect();
                assert_eq!(names, ["keeps", "keeps", "shop", "shop"]);
            }
            Report::Failed { failure } => {
                assert!(fails && failure.code == Code::DatabaseMissing, "{failure:?}");
                assert!(failure.message.contains("1049"), "{failure:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    all.nothing_is_left();
    Ok(())
}

/// A dump that has begun, and waits for a lock in the middle.
pub async fn a_dump_that_waits(all: &Databases) -> Result<(JobId, u64)> {
    a_dump_that_waits_of(all, json!({ "databases": ["shop"] })).await
}

async fn a_dump_that_waits_of(all: &Databases, source: Value) -> Result<(JobId, u64)> {
    // It ends with its server, or when it is killed there.
    drop(all.holder("lock tables `odd ``\n\\! name` write").await?);
    let (job, epoch) = all.stage.emit(all.backup(source)).await?;
    all.stage.begun(job).await?;
    let waits =
        "select count(*) from information_schema.processlist where state = 'Waiting for table metadata lock'";
    wait_until("the dump to wait", PATIENCE, async || {
        all.server.sql("", waits).is_ok_and(|n| n != "0").then_some(())
    })
    .await?;
    Ok((job, epoch))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_middle_of_a_dump_leaves_no_archive() -> Result<()> {
    let mut all = Databases::new().await?;
    let (job, epoch) = a_dump_that_waits(&all).await?;
    all.server.kill()?;
    let Report::Failed { failure } = all.stage.end_of(job, epoch).await? else { panic!("it was no failure") };
    assert_eq!(failure.code, Code::ServerUnreachable, "{failure:?}");
    assert_eq!(look::archives(&all.stage)?, Vec::<String>::new());
    all.nothing_is_left();
    all.server.run().await?;
    all.archive(json!({ "databases": ["shop"] })).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_dies_in_the_middle_of_a_dump_leaves_no_archive_and_the_next_life_makes_one()
-> Result<()> {
    let mut all = Databases::new().await?;
    let (job, _) = a_dump_that_waits(&all).await?;
    all.stage.abort().await;
    all.let_go()?;
    all.stage.start(|c| c).await?;
    let (_, epoch) = all
        .stage
        .emit_attempt(job, 2, all.backup(json!({ "databases": ["shop"] })), Some(PASSPHRASE))
        .await?;
    // The first attempt is delivered once more, and is stale.
    let Report::Succeeded { outcome, .. } = all.stage.end_of(job, epoch).await? else { panic!("it failed") };
    let archive = &serde_json::to_value(outcome)?["result"]["archive"];
    assert_eq!(look::archives(&all.stage)?, [format!("p-{job}")]);
    all.stage.success(all.restore(archive, "mysql/databases/shop.sql", "copy", json!({}))).await?;
    assert_eq!(all.text("shop")?, all.text("copy")?);
    all.nothing_is_left();
    Ok(())
}

/// An archive that a kill at the worst moment has left: all of the dump, as it seems, but not its last file.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_its_list_is_no_backup() -> Result<()> {
    let all = Databases::new().await?;
    let job = JobId(Uuid::now_v7());
    let half = all.stage.path("half");
    std::fs::create_dir_all(half.join("mysql/databases"))?;
    std::fs::write(half.join("mysql/databases/shop.sql"), "half")?;
    let name = format!("{}::p-{job}", look::repository(&all.stage));
    let made =
        look::as_another_machine(&all.stage).current_dir(&half).args(["create", &name, "mysql"]).output()?;
    assert!(made.status.success());
    let (_, epoch) = all
        .stage
        .emit_attempt(job, 2, all.backup(json!({ "databases": ["shop"] })), Some(PASSPHRASE))
        .await?;
    let Report::Succeeded { outcome, .. } = all.stage.end_of(job, epoch).await? else { panic!("it failed") };
    let archive = &serde_json::to_value(outcome)?["result"]["archive"];
    assert!(archive["stats"]["original_size_bytes"].as_u64() > Some(50_000), "{archive}");
    all.stage.success(all.restore(archive, "mysql/databases/shop.sql", "copy", json!({}))).await?;
    Ok(())
}

//! PostgreSQL, dumped into a repository and back, against a real server.

use crate::look;
use crate::stage::{PASSPHRASE, PATIENCE, Stage};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::process::Stdio;
use strongroom_domain::job::Report;
use strongroom_domain::wire::NodeReport;
use strongroom_domain::{FailureCode as Code, JobId};
use strongroom_executor::Config;
use strongroom_testkit::{POSTGRES_PASSWORD, Postgresql, wait_until};
use uuid::Uuid;

/// What a shell, SQL, a path and a connection string would each misread.
const ODD: &str = "it's \"od/d\"\n=é ..$(x)";

pub struct Databases {
    pub stage: Stage,
    pub server: Postgresql,
}

impl Databases {
    pub async fn new() -> Result<Self> {
        let server = Postgresql::start().await?;
        let stage = Stage::set().await?;
        stage.init().await?;
        stage.secrets.lock().unwrap().insert("pg".into(), POSTGRES_PASSWORD.into());
        server.sql("postgres", "create role owner; create role reader login password 'r'")?;
        server.sql("postgres", "create database shop owner owner")?;
        server.sql(
            "shop",
            "create table \"odd \"\"name\" (id int primary key, text text, bytes bytea);
             insert into \"odd \"\"name\" select n, 'line' || chr(10) || '\\.' || n, sha256(n::text::bytea) from generate_series(1, 2000) n;
             create view v as select count(*) from \"odd \"\"name\";
             create sequence s start 41; select nextval('s');
             select lo_from_bytea(0, 'a large object');
             alter database shop set work_mem = '5MB'; alter database shop set search_path = \"$user\", public, other",
        )?;
        Ok(Self { stage, server })
    }

    pub fn connection(&self) -> Value {
        json!({
            "host": "127.0.0.1", "port": self.server.port(), "user": "postgres",
            "password": { "reference": "pg", "version": 1 },
        })
    }

    pub fn backup(&self, source: Value) -> Value {
        let mut whole = json!({ "type": "postgresql", "connection": self.connection() });
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
            "into": { "type": "postgresql", "connection": self.connection(), "database": database },
        });
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        spec
    }

    /// All that is in a database, as text.
    pub fn text(&self, database: &str) -> Result<String> {
        let done = self.server.tool("pg_dump").env("PGDATABASE", database).output()?;
        anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout)?;
        // A word that is drawn for each dump.
        Ok(text
            .lines()
            .filter(|l| !l.starts_with("\\restrict") && !l.starts_with("\\unrestrict"))
            .collect::<Vec<_>>()
            .join("\n"))
    }

    pub fn databases(&self) -> Result<String> {
        self.server.sql(
            "postgres",
            "select string_agg(datname, ',' order by datname) from pg_database where not datistemplate",
        )
    }

    pub fn nothing_is_left(&self) {
        let left = std::fs::read_dir(self.stage.path("state/streams")).unwrap().count();
        assert_eq!(left, 0, "a folder of pipes has stayed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_databases_come_into_one_archive_and_each_comes_back_the_same() -> Result<()> {
    let all = Databases::new().await?;
    all.server.sql("postgres", &format!("create database \"{}\"", ODD.replace('"', "\"\"")))?;
    all.server.sql(ODD, "create table t as select 'héllo' as x")?;
    for (format, suffix) in [("custom", "dump"), ("plain", "sql")] {
        let archive = all.archive(json!({ "format": format })).await?;
        let dump = &archive["dump"];
        let artefacts = dump["artefacts"].as_array().unwrap();
        assert_eq!(
            (&dump["source"], &dump["artefacts_total"]),
            (&json!("postgresql"), &json!(artefacts.len()))
        );
        let kinds: Vec<&str> = artefacts.iter().map(|a| a["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds.first_chunk(), Some(&["globals", "settings", "settings", "settings", "database"]));
        let there = "select count(*) from pg_database where datallowconn and not datistemplate";
        assert_eq!(all.server.sql("postgres", there)?, (kinds.len() - 4).to_string());
        // As anybody with borg sees it.
        let whole = format!("{}::{}", look::repository(&all.stage), archive["name"].as_str().unwrap());
        let globals = look::borg(&all.stage, &["extract", "--stdout", &whole, "postgresql/globals.sql"])?;
        assert!(globals.contains("CREATE ROLE reader") && globals.contains("SCRAM-SHA-256"));
        let settings =
            look::borg(&all.stage, &["extract", "--stdout", &whole, "postgresql/settings/pg_hba.conf"])?;
        assert!(settings.contains("scram-sha-256"));
        for (database, restored) in [("shop", "shop copy"), (ODD, "odd copy")] {
            let part = artefacts.iter().find(|a| a["database"] == database).context("it is not there")?;
            let path = part["path"].as_str().unwrap();
            assert!(path.ends_with(suffix), "{path}");
            let restored = format!("{restored} {format}");
            let spec = all.restore(&archive, path, &restored, json!({}));
            let done = serde_json::to_value(all.stage.success(spec).await?)?;
            assert_eq!(done["result"]["tables"], 1, "{done}");
            assert_eq!(done["result"]["sha256"], part["sha256"]);
            assert_eq!(all.text(database)?, all.text(&restored)?);
        }
        let copy = format!("shop copy {format}");
        assert_eq!(all.server.sql(&copy, "show work_mem")?, "5MB");
        assert_eq!(all.server.sql(&copy, "show search_path")?, "\"$user\", public, other");
        let owner = format!("select pg_get_userbyid(datdba) from pg_database where datname = '{copy}'");
        assert_eq!(all.server.sql("postgres", &owner)?, "owner");
    }
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_under_load_is_one_moment_and_a_second_one_shares_what_is_the_same() -> Result<()> {
    let all = Databases::new().await?;
    all.server.sql(
        "shop",
        "create table accounts as select n as id, 100 as balance from generate_series(1, 20000) n",
    )?;
    // Money moves all the time, and its sum stays.
    // More than a chunk or two, and nothing that compresses.
    let random =
        (0..8).map(|n| format!("sha512((n * 8 + {n})::text::bytea) as c{n}")).collect::<Vec<_>>().join(", ");
    all.server
        .sql("shop", &format!("create table bulk as select n, {random} from generate_series(1, 20000) n"))?;
    let script = all.stage.path("moves.sql");
    std::fs::write(
        &script,
        "\\set a random(1, 10000)\n\\set b random(10001, 20000)\nbegin; update accounts set balance = balance - 1 where id = :a; update accounts set balance = balance + 1 where id = :b; commit;\n",
    )?;
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
    all.stage.success(all.restore(&archive, "postgresql/databases/shop.dump", "copy", json!({}))).await?;
    assert_eq!(all.server.sql("copy", "select sum(balance), count(*) from accounts")?, "2000000|20000");
    let again = all.archive(json!({ "databases": ["shop"] })).await?;
    let again = all.archive(json!({ "databases": ["shop"] })).await.map(|last| (again, last))?;
    let bytes = |archive: &Value, what: &str| archive["stats"][what].as_u64().unwrap();
    assert!(
        bytes(&again.1, "deduplicated_size_bytes") * 2 < bytes(&again.1, "compressed_size_bytes"),
        "{}",
        again.1["stats"]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_and_the_system_user_of_the_server_are_enough() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        // Only root can become another user.
        return Ok(());
    }
    let all = Databases::new().await?;
    let peer = json!({ "host": all.server.socket(), "port": all.server.port(), "os_user": "postgres" });
    let archive =
        all.archive(json!({ "connection": peer, "databases": ["shop"], "settings": "always" })).await?;
    let into = json!({ "type": "postgresql", "connection": peer, "database": "copy" });
    all.stage
        .success(all.restore(&archive, "postgresql/databases/shop.dump", "copy", json!({ "into": into })))
        .await?;
    assert_eq!(all.text("shop")?, all.text("copy")?);
    let nobody = json!({ "host": all.server.socket(), "port": all.server.port(), "os_user": "no-such-user" });
    all.stage.failure(all.backup(json!({ "connection": nobody })), Code::AccessDenied).await?;
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_dumped_says_why_and_leaves_no_archive() -> Result<()> {
    let all = Databases::new().await?;
    all.stage.secrets.lock().unwrap().extend([("wrong".into(), "wrong".into()), ("r".into(), "r".into())]);
    let with = |changes: Value| {
        let mut connection = all.connection();
        connection.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        connection
    };
    let password = |name: &str| json!({ "reference": name, "version": 1 });
    let reader = with(json!({ "user": "reader", "password": password("r") }));
    for (source, code, words) in [
        (
            json!({ "connection": with(json!({ "password": password("wrong") })) }),
            Code::AccessDenied,
            "password",
        ),
        (json!({ "connection": with(json!({ "password": null })) }), Code::AccessDenied, "password"),
        (json!({ "connection": with(json!({ "password": password("lost") })) }), Code::SecretMissing, "lost"),
        (json!({ "connection": with(json!({ "port": 1 })) }), Code::ServerUnreachable, "127.0.0.1"),
        (
            json!({ "connection": with(json!({ "host": "no.such.host.invalid" })) }),
            Code::ServerUnreachable,
            "no.such",
        ),
        (json!({ "databases": ["nowhere"] }), Code::DatabaseMissing, "nowhere"),
        (json!({ "connection": reader, "databases": ["shop"] }), Code::AccessDenied, "permission denied"),
        (json!({ "connection": reader, "globals": "always" }), Code::AccessDenied, "superuser"),
        (json!({ "connection": with(json!({ "tls": "require" })) }), Code::ServerUnreachable, "SSL"),
    ] {
        let failure =
            all.stage.failure(all.backup(source.clone()), code).await.with_context(|| source.to_string())?;
        let whole = format!("{} {:?}", failure.message, failure.log_tail);
        assert!(whole.contains(words), "{words}: {whole}");
        assert!(!whole.contains(POSTGRES_PASSWORD));
    }
    assert_eq!(look::archives(&all.stage)?, Vec::<String>::new());
    all.nothing_is_left();
    // What a role may not read besides is left out, and told.
    all.server.sql("shop", "grant select on all tables in schema public to reader; grant select on sequence s to reader; select lo_unlink(oid) from pg_largeobject_metadata")?;
    let done = all.stage.success(all.backup(json!({ "connection": reader, "databases": ["shop"] }))).await?;
    assert_eq!((done.benign_total, done.incomplete_total), (2, 0), "{:?}", done.findings);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_middle_of_a_dump_leaves_no_archive() -> Result<()> {
    let mut all = Databases::new().await?;
    let (job, epoch) = a_dump_that_waits(&all).await?;
    all.server.kill()?;
    let Report::Failed { failure } = all.stage.end_of(job, epoch).await? else { panic!("it was no failure") };
    assert!(matches!(failure.code, Code::ServerUnreachable | Code::DumpFailed), "{failure:?}");
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
    all.server.sql(
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin%'",
    )?;
    all.stage.start(|c| c).await?;
    let (_, epoch) = all
        .stage
        .emit_attempt(job, 2, all.backup(json!({ "databases": ["shop"] })), Some(PASSPHRASE))
        .await?;
    // The first attempt may be delivered once more and end as well.
    let outcome = loop {
        match all.stage.report().await? {
            NodeReport::Ended { epoch: e, how, .. } if e == epoch => match how {
                Report::Succeeded { outcome, .. } => break outcome,
                other => anyhow::bail!("{other:?}"),
            },
            _ => {}
        }
    };
    let archive = &serde_json::to_value(outcome)?["result"]["archive"];
    assert_eq!(look::archives(&all.stage)?, [format!("p-{job}")]);
    all.stage.success(all.restore(archive, "postgresql/databases/shop.dump", "copy", json!({}))).await?;
    assert_eq!(all.text("shop")?, all.text("copy")?);
    all.nothing_is_left();
    Ok(())
}

/// A dump that has begun, and waits for a lock in the middle.
async fn a_dump_that_waits(all: &Databases) -> Result<(JobId, u64)> {
    let locking = "lock table \"odd \"\"name\" in access exclusive mode; select pg_sleep(300)";
    let mut command = all.server.tool("psql");
    command
        .args(["-X", "-c", &format!("begin; {locking}")])
        .env("PGDATABASE", "shop")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // It ends with its server.
    drop(command.spawn()?);
    let held = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted";
    wait_until("the lock", PATIENCE, async || {
        all.server.sql("shop", held).is_ok_and(|n| n != "0").then_some(())
    })
    .await?;
    let (job, epoch) = all.stage.emit(all.backup(json!({ "databases": ["shop"] }))).await?;
    all.stage.begun(job).await?;
    let waits = "select count(*) from pg_locks where not granted";
    wait_until("the dump to wait", PATIENCE, async || {
        all.server.sql("shop", waits).is_ok_and(|n| n != "0").then_some(())
    })
    .await?;
    Ok((job, epoch))
}

/// An archive that a kill at the worst moment has left: all of the dump, as it seems, but not its last file.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_its_list_is_no_backup() -> Result<()> {
    let all = Databases::new().await?;
    let job = JobId(Uuid::now_v7());
    let half = all.stage.path("half");
    std::fs::create_dir_all(half.join("postgresql/databases"))?;
    std::fs::write(half.join("postgresql/databases/shop.dump"), "half")?;
    let name = format!("{}::p-{job}", look::repository(&all.stage));
    let made = look::as_another_machine(&all.stage)
        .current_dir(&half)
        .args(["create", &name, "postgresql"])
        .output()?;
    assert!(made.status.success());
    let (_, epoch) = all
        .stage
        .emit_attempt(job, 2, all.backup(json!({ "databases": ["shop"] })), Some(PASSPHRASE))
        .await?;
    let Report::Succeeded { outcome, .. } = all.stage.end_of(job, epoch).await? else { panic!("it failed") };
    let archive = &serde_json::to_value(outcome)?["result"]["archive"];
    assert!(archive["stats"]["original_size_bytes"].as_u64() > Some(50_000), "{archive}");
    all.stage.success(all.restore(archive, "postgresql/databases/shop.dump", "copy", json!({}))).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_costs_nothing_that_stands_there_unless_it_was_asked_for() -> Result<()> {
    let all = Databases::new().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let path = "postgresql/databases/shop.dump";
    all.server.sql("shop", "create table newer as select 1 as x")?;
    let newer = all.text("shop")?;
    all.stage.failure(all.restore(&archive, path, "shop", json!({})), Code::TargetExists).await?;
    assert_eq!(all.text("shop")?, newer);
    // Somebody is connected, and comes again.
    let mut busy = all
        .server
        .tool("pgbench")
        .args(["-n", "-C", "-T", "60", "-f"])
        .arg(script(&all)?)
        .env("PGDATABASE", "shop")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let done =
        all.stage.success(all.restore(&archive, path, "shop", json!({ "on_conflict": "keep_both" }))).await;
    busy.kill()?;
    busy.wait()?;
    let done = serde_json::to_value(done?)?;
    let kept = done["result"]["kept"].as_str().context("it was not kept")?;
    assert_eq!(all.text(kept)?, newer);
    assert!(!all.text("shop")?.contains("newer"));
    all.stage.success(all.restore(&archive, path, "shop", json!({ "on_conflict": "overwrite" }))).await?;
    assert_eq!(all.databases()?, format!("postgres,shop,{kept}"));
    // What is empty gives way without a word.
    all.server.sql("postgres", "create database bare")?;
    all.stage.success(all.restore(&archive, path, "bare", json!({}))).await?;
    assert_eq!(all.databases()?, format!("bare,postgres,shop,{kept}"));

    // A role is missing there: all of it, or nothing.
    for sql in ["drop database bare".to_owned(), format!("drop database \"{kept}\"")] {
        all.server.sql("postgres", &sql)?;
    }
    all.server.sql("shop", "reassign owned by owner to postgres; drop owned by owner")?;
    all.server.sql("postgres", "drop role owner")?;
    let failure =
        all.stage.failure(all.restore(&archive, path, "bare", json!({})), Code::RestoreFailed).await?;
    assert!(failure.message.contains("owner"), "{failure:?}");
    assert_eq!(all.databases()?, "postgres,shop", "a half restored one has stayed");
    all.stage.success(all.restore(&archive, path, "bare", json!({ "no_owner": true }))).await?;
    all.stage
        .failure(all.restore(&archive, "postgresql/globals.sql", "x", json!({})), Code::PathNotInArchive)
        .await?;
    all.nothing_is_left();
    Ok(())
}

fn script(all: &Databases) -> Result<std::path::PathBuf> {
    let script = all.stage.path("busy.sql");
    std::fs::write(&script, "select 1;\n")?;
    Ok(script)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_in_no_argument_and_no_environment() -> Result<()> {
    let mut all = Databases::new().await?;
    all.stage.stop().await?;
    // A borg that tells of every process, while the dump runs.
    let told = all.stage.path("told");
    let text = format!(
        "case \"$*\" in *read-special*) (sleep 0.3; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ > {0}.new 2>/dev/null; mv {0}.new {0}) & ;; esac\nexec borg \"$@\"\n",
        told.display()
    );
    let borg = all.stage.script("telling-borg", &text)?;
    all.stage.start(|c| Config { borg, ..c }).await?;
    all.archive(json!({})).await?;
    wait_until("what was told", PATIENCE, async || told.exists().then_some(())).await?;
    let told = String::from_utf8_lossy(&std::fs::read(&told)?).into_owned();
    assert!(!told.contains(POSTGRES_PASSWORD));
    Ok(())
}

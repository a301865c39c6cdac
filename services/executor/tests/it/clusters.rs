//! Whole servers: full archives, archives of changes, and servers put together from them, against a real PostgreSQL.

use crate::dump_store;
use crate::stage::{PATIENCE, Stage};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use strongroom_domain::FailureCode as Code;
use strongroom_executor::Config;
use strongroom_testkit::{POSTGRES_PASSWORD, Postgresql, wait_until};

/// A server, the executor, a repository, and a folder that may be restored into.
pub struct Clusters {
    pub stage: Stage,
    pub server: Postgresql,
    pub access: Value,
    pub roots: tempfile::TempDir,
    /// By which means changes are followed.
    pub increments: &'static str,
}

impl Clusters {
    /// With a dump store.
    pub async fn new() -> Result<Self> {
        Self::with_borg().await?.with_store().await
    }

    pub async fn with_store(self) -> Result<Self> {
        let mut clusters = self;
        let place = dump_store::folder(&clusters.stage, "store")?;
        clusters.access = dump_store::access(&clusters.stage, &place, "passphrase");
        clusters.stage.success(dump_store::init(&clusters.access)).await?;
        Ok(clusters)
    }

    pub async fn with_borg() -> Result<Self> {
        Self::of(Postgresql::start().await?).await
    }

    /// Of this server, whose programs the node has.
    pub async fn of(server: Postgresql) -> Result<Self> {
        let stage = Stage::set_with(|config| with_programs_of(&server, config)).await?;
        stage.init().await?;
        stage.secrets.lock().unwrap().insert("pg".into(), POSTGRES_PASSWORD.into());
        server.sql("postgres", "create database shop")?;
        server.sql("shop", "create table orders (id int primary key, what text)")?;
        // The system user that the server belongs to must come to it.
        let roots = tempfile::tempdir()?;
        std::fs::set_permissions(roots.path(), std::fs::Permissions::from_mode(0o755))?;
        let access = stage.access();
        Ok(Self { stage, server, access, roots, increments: "wal" })
    }

    pub fn connection(&self) -> Value {
        json!({
            "host": "127.0.0.1", "port": self.server.port(), "user": "postgres",
            "password": { "reference": "pg", "version": 1 },
        })
    }

    /// A backup on top of an archive, as the scheduler gives it away.
    pub fn backup(&self, variant: &str, base: Option<&Value>) -> Value {
        let base = base.map(|archive| {
            json!({ "archive": dump_store::target(archive), "physical": archive["dump"]["physical"] })
        });
        json!({
            "kind": "backup", "plan": "pg-1", "access": self.access, "compression": "zstd", "variant": variant,
            "base": base,
            "source": {
                "type": "postgresql", "method": "physical", "increments": self.increments, "connection": self.connection(),
            },
        })
    }

    pub async fn archive(&self, variant: &str, base: Option<&Value>) -> Result<Value> {
        dump_store::archive_of(&self.stage, self.backup(variant, base)).await
    }

    pub fn target(&self) -> PathBuf {
        self.roots.path().canonicalize().unwrap().join("back/server")
    }

    pub fn restore(&self, archive: &Value, changes: Value) -> Value {
        let mut spec = json!({
            "kind": "restore-cluster", "access": self.access, "archive": dump_store::target(archive),
            "target": self.target(), "allowed_roots": [self.roots.path()],
        });
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        spec
    }

    /// Restores, and starts a server on it.
    pub async fn back(&self, archive: &Value, changes: Value) -> Result<(Value, Postgresql)> {
        let outcome = serde_json::to_value(self.stage.success(self.restore(archive, changes)).await?)?;
        assert_eq!(outcome["completeness"], "complete", "{outcome}");
        let cluster = outcome["result"]["cluster"].clone();
        assert!(cluster["databases"].as_array().unwrap().contains(&json!("shop")), "{cluster}");
        assert!(!self.target().join("strongroom_wal").exists());
        Ok((cluster, Postgresql::on(&self.target()).await?))
    }

    /// Moves money from account to account until it is killed, and notes each time in the ledger.
    pub fn moves(&self) -> Result<std::process::Child> {
        let script = self.stage.path("moves.sql");
        std::fs::write(
            &script,
            "\\set a random(1, 1000)\n\\set b random(1001, 2000)\nbegin; update accounts set balance = balance - 1 where id = :a; update accounts set balance = balance + 1 where id = :b; insert into ledger select coalesce(max(id), 0) + 1 from ledger; commit;\n",
        )?;
        Ok(self
            .server
            .tool("pgbench")
            .args(["-n", "-c", "1", "-T", "300", "-f"])
            .arg(&script)
            .env("PGDATABASE", "shop")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?)
    }

    pub fn add(&self, from: u32, to: u32) -> Result<()> {
        let sql = format!("insert into orders select n, 'order ' || n from generate_series({from}, {to}) n");
        self.server.sql("shop", &sql).map(|_| ())
    }

    pub fn slots(&self) -> Result<String> {
        self.server.sql("postgres", "select string_agg(slot_name, ',') from pg_replication_slots")
    }

    pub fn spool(&self) -> usize {
        let spool = self.stage.path("state/spools/pg-1");
        std::fs::read_dir(spool).map(|entries| entries.count()).unwrap_or_default()
    }

    pub fn nothing_is_left(&self) {
        assert_eq!(std::fs::read_dir(self.roots.path()).unwrap().count(), 0, "something was made");
    }
}

pub fn with_programs_of(server: &Postgresql, config: Config) -> Config {
    Config { programs: vec![server.bin().to_owned()], ..config }
}

pub const ORDERS: &str = "select count(*), sum(id), max(what) from orders";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_archive_and_changes_under_load_become_the_same_server() -> Result<()> {
    let all = Clusters::with_borg().await?;
    all.server.sql(
        "shop",
        "create table accounts as select n as id, 100 as balance from generate_series(1, 2000) n;
         alter table accounts add primary key (id);
         create table ledger (id int primary key)",
    )?;
    let mut load = all.moves()?;
    let making = async {
        all.add(1, 1000)?;
        let full = all.archive("incremental", None).await?;
        assert_eq!(full["dump"]["physical"]["variant"], "full");
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
    let physical = |archive: &Value| archive["dump"]["physical"].clone();
    assert_eq!(physical(&first)["base"]["name"], full["name"]);
    assert_eq!(physical(&second)["base"]["name"], first["name"]);
    assert_eq!(physical(&second)["position"]["start_lsn"], physical(&first)["position"]["stop_lsn"]);
    assert_eq!(physical(&second)["variant"], "incremental");
    let kinds = |archive: &Value| -> Vec<String> {
        let parts = archive["dump"]["artefacts"].as_array().unwrap();
        parts.iter().map(|part| part["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&full), ["base", "settings", "settings", "settings"]);
    assert_eq!(kinds(&second), ["wal", "settings", "settings", "settings"]);
    let slot = physical(&second)["position"]["slot"].as_str().context("a slot")?.to_owned();
    assert_eq!(all.slots()?, slot);

    let (cluster, restored) = all.back(&second, json!({})).await?;
    assert_eq!(cluster["archives"], json!([full["name"], first["name"], second["name"]]));
    assert!(cluster["reached_lsn"].is_string() && cluster["reached_at"].is_string(), "{cluster}");
    assert_eq!(restored.sql("shop", ORDERS)?, all.server.sql("shop", ORDERS)?);
    assert_eq!(restored.sql("shop", "select sum(balance) from accounts")?, "200000");
    let ledger = restored.sql("shop", "select max(id) >= 1 and max(id) = count(*) from ledger")?;
    let last: u32 = restored.sql("shop", "select max(id) from ledger")?.parse()?;
    assert!(ledger == "t" && last >= known, "{ledger} {last} {known}");
    assert_eq!(restored.sql("postgres", "show archive_mode")?, "off");
    restored.sql("shop", "insert into orders values (0, 'it takes orders')")?;
    assert_eq!(restored.sql("postgres", "select pg_is_in_recovery()")?, "f");
    drop(restored);

    // What stands there is not touched.
    let again = all.stage.failure(all.restore(&second, json!({})), Code::TargetExists).await?;
    assert!(again.message.contains("not empty"), "{again:?}");
    let elsewhere = all.roots.path().join("full");
    let spec = all.restore(&full, json!({ "target": elsewhere }));
    all.stage.success(spec).await?;
    let restored = Postgresql::on(&elsewhere).await?;
    assert_eq!(restored.sql("shop", "select count(*) from orders")?, "1000");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_comes_back_as_it_was_at_a_moment() -> Result<()> {
    let all = Clusters::new().await?;
    all.add(1, 10)?;
    let before = strongroom_service::clock::now();
    let full = all.archive("incremental", None).await?;
    all.add(11, 20)?;
    let first = all.archive("incremental", Some(&full)).await?;
    all.add(21, 30)?;
    let moment = all.server.sql(
        "shop",
        "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    )?;
    let place = all.server.sql("shop", "select pg_current_wal_insert_lsn()")?;
    all.server.sql("shop", "delete from orders where id <= 25")?;
    let second = all.archive("incremental", Some(&first)).await?;
    let end = second["dump"]["physical"]["position"]["stopped_at"].as_str().unwrap().to_owned();
    let begin = full["dump"]["physical"]["position"]["stopped_at"].as_str().unwrap().to_owned();

    let later = end.parse::<jiff::Timestamp>()? + jiff::SignedDuration::from_secs(1);
    for (archive, until) in [
        (&second, json!({ "time": before })),
        (&second, json!({ "time": later })),
        (&second, json!({ "lsn": "FF/0" })),
        (&first, json!({ "time": moment })),
        (&full, json!({ "time": begin })),
    ] {
        let spec = all.restore(archive, json!({ "until": until }));
        let refused = all.stage.failure(spec, Code::UntilNotHeld).await?;
        assert!(refused.message.contains("hold"), "{refused:?}");
        all.nothing_is_left();
    }
    let spec = all.restore(&second, json!({ "until": { "time": moment }, "dry_run": true }));
    let preview = serde_json::to_value(all.stage.success(spec).await?)?["result"]["preview"].clone();
    assert_eq!((&preview["earliest"], &preview["latest"]), (&json!(begin), &json!(end)));
    assert_eq!(preview["archives"].as_array().unwrap().len(), 3);
    assert_eq!((&preview["refusal"], preview["tool"].is_string()), (&Value::Null, true), "{preview}");
    let spec = all.restore(&second, json!({ "until": { "time": later }, "dry_run": true }));
    let preview = serde_json::to_value(all.stage.success(spec).await?)?["result"]["preview"].clone();
    assert!(preview["refusal"].as_str().unwrap().contains("not in what the archives hold"), "{preview}");
    all.nothing_is_left();

    for (until, rows) in [
        (json!({ "time": moment }), "30|465|order 9"),
        (json!({ "lsn": place }), "30|465|order 9"),
        (json!({ "time": end }), "5|140|order 30"),
        (json!({ "time": begin }), "10|55|order 9"),
        (json!({ "lsn": second["dump"]["physical"]["position"]["stop_lsn"] }), "5|140|order 30"),
    ] {
        let (_, restored) = all.back(&second, json!({ "until": until })).await?;
        assert_eq!(restored.sql("shop", ORDERS)?, rows, "{until}");
        drop(restored);
        std::fs::remove_dir_all(all.target())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_gone_or_was_changed_is_told_before_anything_is_there() -> Result<()> {
    let all = Clusters::new().await?;
    let full = all.archive("incremental", None).await?;
    all.add(1, 100)?;
    let first = all.archive("incremental", Some(&full)).await?;
    all.add(101, 200)?;
    let second = all.archive("incremental", Some(&first)).await?;
    let store = all.stage.path("store").canonicalize()?.join("s/r");
    let object = first["dump"]["artefacts"][0]["stored"]["object"].as_str().unwrap();
    let bytes = std::fs::read(store.join(object))?;
    let mut changed = bytes.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(store.join(object), changed)?;
    let damaged = all.stage.failure(all.restore(&second, json!({})), Code::ArchiveDamaged).await?;
    let name = first["name"].as_str().unwrap();
    assert!(damaged.message.contains(name) && damaged.message.contains("wal.tar"), "{damaged:?}");
    all.nothing_is_left();
    // The ones below it are what they were.
    all.stage.success(all.restore(&full, json!({}))).await?;
    std::fs::remove_dir_all(all.roots.path().join("back"))?;
    std::fs::write(store.join(object), &bytes)?;

    // What others need stays.
    let delete = |needed_by: Value| {
        json!({
            "kind": "delete-archive", "access": all.access, "archive": dump_store::target(&first), "needed_by": needed_by,
        })
    };
    let kept = all.stage.failure(delete(json!([second["name"]])), Code::ArchiveIsBase).await?;
    assert!(kept.message.contains(second["name"].as_str().unwrap()), "{kept:?}");
    all.stage.success(all.restore(&second, json!({ "dry_run": true }))).await?;
    all.stage.success(delete(json!([]))).await?;
    let missing = all.stage.failure(all.restore(&second, json!({})), Code::ArchiveMissing).await?;
    assert!(missing.message.contains(name), "{missing:?}");
    all.nothing_is_left();
    // And nothing is made on what can never be restored.
    let broken = all.stage.failure(all.backup("incremental", Some(&second)), Code::ChainBroken).await?;
    assert!(broken.message.contains(name), "{broken:?}");

    // Nothing is put where it was not allowed.
    let outside = json!({ "target": all.stage.path("outside") });
    all.stage.failure(all.restore(&full, outside), Code::TargetRefused).await?;
    let itself = json!({ "target": all.roots.path() });
    let refused = all.stage.failure(all.restore(&full, itself), Code::TargetRefused).await?;
    assert!(refused.message.contains("below it"), "{refused:?}");
    // A copy of changes alone would be nothing.
    let copy = json!({
        "kind": "copy-archive", "from": all.access, "archive": dump_store::target(&second), "access": all.access,
    });
    all.stage.failure(copy, Code::SourceUnfit).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_was_broken_is_told_and_a_full_archive_mends_it() -> Result<()> {
    let mut all = Clusters::new().await?;
    let full = all.archive("incremental", None).await?;
    let slot = all.slots()?;
    all.server.sql("postgres", &format!("select pg_drop_replication_slot('{slot}')"))?;
    all.add(1, 10)?;
    let broken = all.stage.failure(all.backup("incremental", Some(&full)), Code::ChainBroken).await?;
    assert!(broken.message.contains("slot") && broken.advice.contains("full"), "{broken:?}");
    let full = all.archive("incremental", None).await?;
    assert_eq!(all.slots()?, slot);
    all.add(11, 20)?;
    let first = all.archive("incremental", Some(&full)).await?;

    // The server could not keep what the slot was to keep.
    all.server.sql("postgres", "alter system set max_slot_wal_keep_size = '1MB'")?;
    all.server.sql("postgres", "select pg_reload_conf()")?;
    let status = format!("select wal_status from pg_replication_slots where slot_name = '{slot}'");
    wait_until("the slot to be lost", PATIENCE, async || {
        all.server
            .sql(
                "shop",
                "create table filler as select sha512(n::text::bytea) from generate_series(1, 50000) n",
            )
            .ok()?;
        all.server.sql("shop", "drop table filler; select pg_switch_wal()").ok()?;
        all.server.sql("shop", "checkpoint").ok()?;
        (all.server.sql("postgres", &status).ok()? == "lost").then_some(())
    })
    .await?;
    all.server.sql("postgres", "alter system reset max_slot_wal_keep_size")?;
    all.server.sql("postgres", "select pg_reload_conf()")?;
    all.stage.failure(all.backup("incremental", Some(&first)), Code::ChainBroken).await?;
    // What was made before is whole.
    let (_, restored) = all.back(&first, json!({})).await?;
    assert_eq!(restored.sql("shop", "select count(*) from orders")?, "20");
    drop(restored);
    let full = all.archive("incremental", None).await?;

    // The spool went with a disk.
    std::fs::remove_dir_all(all.stage.path("state/spools/pg-1"))?;
    all.stage.failure(all.backup("incremental", Some(&full)), Code::ChainBroken).await?;
    let full = all.archive("incremental", None).await?;
    let next = all.archive("incremental", Some(&full)).await?;
    assert_eq!(next["dump"]["physical"]["variant"], "incremental");

    // Another server answers at the same place; and one that went back to what it was before.
    let old = std::mem::replace(&mut all.server, Postgresql::start().await?);
    let foreign = all.stage.failure(all.backup("incremental", Some(&next)), Code::ChainBroken).await?;
    assert!(foreign.message.contains("another cluster"), "{foreign:?}");
    drop(old);
    all.server = Postgresql::on(&all.target()).await?;
    let restored = all.stage.failure(all.backup("incremental", Some(&next)), Code::ChainBroken).await?;
    assert!(restored.message.contains("timeline"), "{restored:?}");
    let full = all.archive("incremental", None).await?;
    all.archive("incremental", Some(&full)).await?;

    // A plan that makes full archives alone leaves nothing behind that would fill the server's disk.
    assert!(all.spool() > 0);
    let alone = all.archive("full", None).await?;
    assert_eq!((all.slots()?, all.spool()), (String::new(), 0));
    assert_eq!(alone["dump"]["physical"]["position"]["slot"], Value::Null);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_differential_archive_needs_the_full_one_alone() -> Result<()> {
    let all = Clusters::new().await?;
    let full = all.archive("differential", None).await?;
    let mut last = Value::Null;
    for n in 0..3 {
        all.add(n * 10 + 1, n * 10 + 10)?;
        let made = all.archive("differential", Some(&full)).await?;
        assert_eq!(made["dump"]["physical"]["variant"], "differential");
        if !last.is_null() {
            let delete = json!({ "kind": "delete-archive", "access": all.access, "archive": dump_store::target(&last) });
            all.stage.success(delete).await?;
        }
        last = made;
    }
    let (cluster, restored) = all.back(&last, json!({})).await?;
    assert_eq!(cluster["archives"], json!([full["name"], last["name"]]));
    assert_eq!(restored.sql("shop", "select count(*), sum(id) from orders")?, "30|465");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_or_a_server_lacks_is_told_by_a_test() -> Result<()> {
    let all = Clusters::new().await?;
    let test = |user: &str| {
        let mut connection = all.connection();
        connection["user"] = json!(user);
        json!({ "kind": "test-source", "source": { "type": "postgresql", "method": "physical", "connection": connection } })
    };
    let told = serde_json::to_value(all.stage.success(test("postgres")).await?)?;
    let probe = &told["result"]["probe"];
    assert!(probe["tool"].as_str().unwrap().contains("pg_basebackup"), "{probe}");
    assert_eq!((&probe["parts"][0]["kind"], &told["benign_total"]), (&json!("base"), &json!(0)), "{told}");
    assert!(probe["size_bytes"].as_u64().unwrap() > 1 << 20, "{probe}");
    assert_eq!(all.slots()?, "", "nothing is made by a test");

    let password = POSTGRES_PASSWORD.replace('\'', "''");
    all.server.sql(
        "postgres",
        &format!("create role backup login password E'{}'", password.replace('\\', "\\\\")),
    )?;
    let denied = all.stage.failure(test("backup"), Code::AccessDenied).await?;
    assert!(denied.message.contains("REPLICATION"), "{denied:?}");
    all.server.sql("postgres", "alter role backup replication")?;
    let told = serde_json::to_value(all.stage.success(test("backup")).await?)?;
    let message = told["findings"][0]["message"].as_str().unwrap();
    assert!(message.contains("GRANT EXECUTE ON FUNCTION pg_switch_wal()"), "{told}");
    let kept = told["findings"][1]["message"].as_str().unwrap();
    assert!(kept.contains("only where they lie in the data folder"), "{told}");
    // What is a remark where all archives are full is a failure where some are not.
    let mut followed = test("backup");
    followed["variant"] = json!("incremental");
    let denied = all.stage.failure(followed, Code::AccessDenied).await?;
    assert!(denied.message.contains("GRANT EXECUTE ON FUNCTION pg_switch_wal()"), "{denied:?}");
    let mut backup = all.backup("incremental", None);
    backup["source"]["connection"]["user"] = json!("backup");
    all.stage.failure(backup.clone(), Code::AccessDenied).await?;
    all.server.sql("postgres", "grant execute on function pg_switch_wal() to backup")?;
    let full = serde_json::to_value(all.stage.success(backup.clone()).await?)?["result"]["archive"].clone();
    all.add(1, 10)?;
    backup["base"] = json!({ "archive": dump_store::target(&full), "physical": full["dump"]["physical"] });
    let first = serde_json::to_value(all.stage.success(backup).await?)?["result"]["archive"].clone();
    let (_, restored) = all.back(&first, json!({})).await?;
    assert_eq!(restored.sql("shop", "select count(*) from orders")?, "10");

    let place = tempfile::tempdir_in(all.server.socket())?;
    std::os::unix::fs::chown(place.path(), Some(owner(&all)?), None)?;
    let sql = format!("create tablespace elsewhere location '{}'", place.path().display());
    all.server.sql("postgres", &sql)?;
    for spec in [test("postgres"), all.backup("full", None)] {
        let unfit = all.stage.failure(spec, Code::SourceUnfit).await?;
        assert!(unfit.message.contains("tablespaces"), "{unfit:?}");
    }
    Ok(())
}

/// Who owns the server.
fn owner(all: &Clusters) -> Result<u32> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(all.server.socket())?.uid())
}

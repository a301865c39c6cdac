//! Whole MariaDB servers: full archives, archives of changes, and servers put together from them.

use crate::dump_store;
use crate::stage::Stage;
use anyhow::Result;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strongroom_domain::FailureCode as Code;
use strongroom_testkit::{MYSQL_PASSWORD, Mysql};

struct Clusters {
    stage: Stage,
    server: Arc<Mysql>,
    access: Value,
    roots: tempfile::TempDir,
}

const ORDERS: &str = "select count(*), sum(id), max(what) from orders";

impl Clusters {
    /// With a dump store, or with borg.
    async fn new(borg: bool) -> Result<Self> {
        let server = Arc::new(Mysql::start().await?);
        let stage = Stage::set().await?;
        stage.secrets.lock().unwrap().insert("my".into(), MYSQL_PASSWORD.into());
        server.sql("", "create database shop")?;
        server.sql("shop", "create table orders (id int primary key, what text) engine=innodb")?;
        let roots = tempfile::tempdir()?;
        std::fs::set_permissions(roots.path(), std::fs::Permissions::from_mode(0o755))?;
        let access = if borg {
            stage.init().await?;
            stage.access()
        } else {
            let access = dump_store::access(&stage, &dump_store::folder(&stage, "store")?, "passphrase");
            stage.success(dump_store::init(&access)).await?;
            access
        };
        Ok(Self { stage, server, access, roots })
    }

    fn source(&self, connection: Value) -> Value {
        let mut all = json!({
            "host": "127.0.0.1", "port": self.server.port(), "user": "root",
            "password": { "reference": "my", "version": 1 },
        });
        all.as_object_mut().unwrap().extend(connection.as_object().unwrap().clone());
        json!({ "type": "mysql", "method": "physical", "connection": all })
    }

    fn backup(&self, variant: &str, base: Option<&Value>) -> Value {
        let base = base.map(|archive| {
            json!({ "archive": dump_store::target(archive), "physical": archive["dump"]["physical"] })
        });
        json!({
            "kind": "backup", "plan": "my-1", "access": self.access, "compression": "zstd", "variant": variant,
            "base": base, "source": self.source(json!({})),
        })
    }

    async fn archive(&self, variant: &str, base: Option<&Value>) -> Result<Value> {
        dump_store::archive_of(&self.stage, self.backup(variant, base)).await
    }

    fn target(&self) -> PathBuf {
        self.roots.path().canonicalize().unwrap().join("back/server")
    }

    fn restore(&self, archive: &Value, changes: Value) -> Value {
        let mut spec = json!({
            "kind": "restore-cluster", "access": self.access, "archive": dump_store::target(archive),
            "target": self.target(), "allowed_roots": [self.roots.path()],
        });
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        spec
    }

    async fn back(&self, archive: &Value) -> Result<(Value, Mysql)> {
        let outcome = serde_json::to_value(self.stage.success(self.restore(archive, json!({}))).await?)?;
        assert_eq!(outcome["completeness"], "complete", "{outcome}");
        Ok((outcome["result"]["cluster"].clone(), Mysql::on(&self.target()).await?))
    }

    fn add(&self, from: u32, to: u32) -> Result<()> {
        let sql = format!("insert into orders select seq, concat('order ', seq) from seq_{from}_to_{to}");
        self.server.sql("shop", &sql).map(|_| ())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_archive_and_changes_under_load_become_the_same_server() -> Result<()> {
    let all = Clusters::new(true).await?;
    all.server.sql(
        "shop",
        "create table accounts (id int primary key, balance int) engine=innodb;
         insert into accounts select seq, 100 from seq_1_to_2000;
         create table ledger (id int auto_increment primary key) engine=innodb",
    )?;
    // Money moves all the time, and its sum stays.
    let (going, server) = (Arc::new(AtomicBool::new(true)), all.server.clone());
    let more = going.clone();
    let load = std::thread::spawn(move || {
        while more.load(Ordering::Relaxed) {
            let moves = "begin; update accounts set balance = balance - 1 where id = 7; \
                         update accounts set balance = balance + 1 where id = 1007; insert into ledger values (); commit;";
            server.sql("shop", &moves.repeat(20)).unwrap();
        }
    });
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
    going.store(false, Ordering::Relaxed);
    load.join().unwrap();
    let (full, first, second, known) = made?;
    let kind = |archive: &Value| archive["dump"]["artefacts"][0]["kind"].clone();
    assert_eq!([kind(&full), kind(&first), kind(&second)], ["base", "changes", "changes"].map(|k| json!(k)));
    let size = |archive: &Value| archive["dump"]["artefacts"][0]["size_bytes"].as_u64().unwrap();
    assert!(size(&second) < size(&full), "{} {}", size(&second), size(&full));
    assert_eq!(second["dump"]["physical"]["base"]["name"], first["name"]);

    let (cluster, restored) = all.back(&second).await?;
    assert_eq!(cluster["archives"], json!([full["name"], first["name"], second["name"]]));
    assert_eq!(cluster["databases"], json!(["shop"]));
    assert_eq!(restored.sql("shop", ORDERS)?, all.server.sql("shop", ORDERS)?);
    assert_eq!(restored.sql("shop", "select sum(balance) from accounts")?, "200000");
    let last: u32 = restored.sql("shop", "select max(id) from ledger")?.parse()?;
    assert!(last >= known, "{last} {known}");
    assert_eq!(restored.sql("shop", "check table orders, accounts, ledger")?.matches("OK").count(), 3);
    restored.sql("shop", "insert into orders values (0, 'it takes orders')")?;
    drop(restored);
    all.stage.failure(all.restore(&second, json!({})), Code::TargetExists).await?;

    // What is restored in the place of the server has the same words, and another history.
    let foreign = {
        let mut spec = all.backup("incremental", Some(&second));
        let restored = Mysql::on(&all.target()).await?;
        spec["source"]["connection"]["port"] = json!(restored.port());
        all.stage.failure(spec, Code::ChainBroken).await?
    };
    assert!(foreign.message.contains("data folder") && foreign.advice.contains("full"), "{foreign:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_changed_is_told_and_a_differential_archive_needs_the_full_one_alone() -> Result<()> {
    let all = Clusters::new(false).await?;
    all.add(1, 10)?;
    let full = all.archive("differential", None).await?;
    all.add(11, 20)?;
    let first = all.archive("differential", Some(&full)).await?;
    all.add(21, 30)?;
    let second = all.archive("differential", Some(&full)).await?;
    assert_eq!(second["dump"]["physical"]["variant"], "differential");
    let third = all.archive("incremental", Some(&first)).await?;
    let until = all.restore(&second, json!({ "until": { "time": "2026-03-01T00:00:00Z" } }));
    all.stage.failure(until, Code::UntilNotHeld).await?;
    let object = first["dump"]["artefacts"][0]["stored"]["object"].as_str().unwrap();
    let object = all.stage.path("store").join("s/r").join(object);
    let mut bytes = std::fs::read(&object)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&object, bytes)?;
    let damaged = all.stage.failure(all.restore(&third, json!({})), Code::ArchiveDamaged).await?;
    assert!(damaged.message.contains(first["name"].as_str().unwrap()), "{damaged:?}");
    assert_eq!(std::fs::read_dir(all.roots.path())?.count(), 0);
    let preview = all.stage.success(all.restore(&second, json!({ "dry_run": true }))).await?;
    let preview = serde_json::to_value(preview)?["result"]["preview"].clone();
    assert_eq!(
        (&preview["archives"], &preview["refusal"]),
        (&json!([full["name"], second["name"]]), &Value::Null)
    );
    let (_, restored) = all.back(&second).await?;
    assert_eq!(restored.sql("shop", "select count(*), sum(id) from orders")?, "30\t465");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_or_a_server_lacks_is_told_by_a_test() -> Result<()> {
    let all = Clusters::new(false).await?;
    let test = |connection: Value| json!({ "kind": "test-source", "source": all.source(connection) });
    let told = serde_json::to_value(all.stage.success(test(json!({}))).await?)?;
    let probe = &told["result"]["probe"];
    assert!(probe["tool"].as_str().unwrap().contains("mariadb-backup"), "{probe}");
    assert_eq!(probe["parts"][0]["kind"], "base");
    let password = MYSQL_PASSWORD.replace('\\', "\\\\").replace('\'', "\\'");
    all.server.sql("", &format!("create user backup@127.0.0.1 identified by '{password}'"))?;
    let denied = all.stage.failure(test(json!({ "user": "backup" })), Code::AccessDenied).await?;
    assert!(denied.message.contains("RELOAD"), "{denied:?}");
    all.server.sql("", "grant reload, process, lock tables, binlog monitor on *.* to backup@127.0.0.1")?;
    all.stage.success(test(json!({ "user": "backup" }))).await?;
    let mut backup = all.backup("full", None);
    backup["source"]["connection"]["user"] = json!("backup");
    all.stage.success(backup).await?;
    // By another name it is not seen that the server is on this machine.
    let far = all.stage.failure(test(json!({ "host": "127.1" })), Code::SourceUnfit).await?;
    assert!(far.message.contains("not on this node"), "{far:?}");
    Ok(())
}

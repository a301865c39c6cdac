//! MongoDB, by programs that behave as its own were seen to behave: no server of MongoDB is at hand. The archives are
//! recorded, and so is what is said of failures (`docs/databases.md` says of which programs).

use crate::dump_store::{access, archive_of, damage, files, folder, init, target};
use crate::stage::{Stage, script};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use strongroom_domain::FailureCode as Code;

/// No other test has this one.
const PASSWORD: &str = "p@ss \"w\\ord'";
pub const SHOP: &[u8] = include_bytes!("../../src/core/mongodb/archive/recorded.archive");
const ALL: &[u8] = include_bytes!("mongodb/all.archive");
pub const PATH: &str = "mongodb/databases/shop.archive";

const DUMPED: &str = "2026-11-21T14:54:55.666+0000\tdone dumping `shop.orders` (3 documents)";
const CUT: &str = "2026-11-21T14:55:46.351+0000\tFailed: error writing data for collection `shop.orders` to disk: error reading collection:  connection(localhost:27017[-4]) incomplete read of message header: connection closed unexpectedly by the other side: EOF";
const DENIED: &str = "2026-11-21T14:54:55.893+0000\tFailed: can't create session: failed to connect to mongodb://localhost:27017/: connection() error occurred during connection handshake: auth error: unable to authenticate using mechanism \"SCRAM-SHA-256\": (AuthenticationFailed) Authentication failed.";

pub const IN_SET: &str = r#"{"version":"7.0.12","set":"rs0","router":false,"databases":[{"name":"admin","bytes":8192},{"name":"shop","bytes":24576},{"name":"wiki","bytes":8192}]}"#;
const THERE: &str = r#"[{"name":"orders","kind":"collection","documents":3},{"name":"Käufe","kind":"collection","documents":1},{"name":"empty","kind":"collection","documents":0},{"name":"newest","kind":"view","documents":null}]"#;

struct Mongo {
    stage: Stage,
    place: PathBuf,
    access: Value,
    /// Where the programs lie, and what they note.
    programs: PathBuf,
}

impl Mongo {
    async fn new() -> Result<Self> {
        let programs = tempfile::tempdir()?.keep();
        let folders = vec![programs.clone()];
        let stage =
            Stage::set_with(|config| strongroom_executor::Config { programs: folders, ..config }).await?;
        stage.secrets.lock().unwrap().insert("mongo".into(), PASSWORD.into());
        let place = folder(&stage, "store")?;
        let access = access(&stage, &place, "passphrase");
        stage.success(init(&access)).await?;
        let all = Self { stage, place, access, programs };
        all.dumps(SHOP, DUMPED, 0)?;
        all.restores("4 document(s) restored successfully. 0 document(s) failed to restore.", 0)?;
        all.note("survey", IN_SET)?;
        // Before a restore, and after it.
        all.note("before", "[]")?;
        all.note("after", THERE)?;
        let at = all.programs.display();
        all.program(
            "mongosh",
            &format!(
                "for script; do :; done; cat \"$script\" >> {at}/asked; stat -c %a \"$script\" > {at}/asked.mode
if grep -q listDatabases \"$script\"; then echo \"strongroom:$(cat {at}/survey)\"
elif grep -q listCollections \"$script\"; then [ -e {at}/restored ] && echo \"strongroom:$(cat {at}/after)\" || echo \"strongroom:$(cat {at}/before)\"
else echo strongroom:true; fi"
            ),
        )?;
        Ok(all)
    }

    fn program(&self, name: &str, text: &str) -> Result<()> {
        script(&self.programs.join(name), &format!("#!/bin/sh\n{text}\n"))?;
        Ok(())
    }

    fn note(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.programs.join(name), text)?)
    }

    fn noted(&self, name: &str) -> String {
        std::fs::read_to_string(self.programs.join(name)).unwrap_or_default()
    }

    /// What mongodump prints, says, and ends with.
    fn dumps(&self, archive: &[u8], said: &str, code: u8) -> Result<()> {
        std::fs::write(self.programs.join("archive"), archive)?;
        self.note("dump.said", said)?;
        let at = self.programs.display();
        self.program(
            "mongodump",
            &format!(
                "[ \"$1\" = --version ] && {{ echo 'mongodump version: 100.9.4'; exit 0; }}
printf '%s\\n' \"$@\" > {at}/dump.arguments; env > {at}/dump.environment
for a; do case $a in --config=*) cat \"${{a#--config=}}\" > {at}/config; stat -c %a \"${{a#--config=}}\" > {at}/config.mode;; esac; done
cat {at}/archive; cat {at}/dump.said >&2; exit {code}"
            ),
        )
    }

    fn restores(&self, said: &str, code: u8) -> Result<()> {
        self.note("restore.said", &format!("2026-11-21T14:56:46.790+0000\t{said}\n"))?;
        let at = self.programs.display();
        self.program(
            "mongorestore",
            &format!(
                "[ \"$1\" = --version ] && {{ echo 'mongorestore version: 100.9.4'; exit 0; }}
printf '%s\\n' \"$@\" > {at}/restore.arguments; cat > {at}/restored; cat {at}/restore.said >&2; exit {code}"
            ),
        )
    }

    fn connection(&self) -> Value {
        json!({ "user": "keeper", "password": { "reference": "mongo", "version": 1 } })
    }

    fn backup(&self, source: Value) -> Value {
        let mut whole = json!({ "type": "mongodb", "connection": self.connection() });
        whole.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        json!({ "kind": "backup", "plan": "p", "access": self.access, "compression": "zstd,3", "source": whole })
    }

    fn shop(&self) -> Value {
        self.backup(json!({ "databases": ["shop"] }))
    }

    fn restore(&self, archive: &Value, path: &str, names: (&str, &str), changes: Value) -> Value {
        let (database, from) = names;
        let mut spec = json!({
            "kind": "restore-database", "access": self.access, "path": path, "archive": target(archive),
            "into": { "type": "mongodb", "connection": self.connection(), "database": database, "from": from },
        });
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        spec
    }

    /// Nothing was made of it, and no private file is left.
    fn nothing_is_kept(&self) {
        let kept = files(&self.place);
        assert!(kept.iter().all(|(name, _)| !name.contains("archives")), "{kept:?}");
        assert_eq!(std::fs::read_dir(self.stage.path("state/streams")).unwrap().count(), 0);
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.programs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_comes_back_under_another_name_and_is_counted() -> Result<()> {
    let mongo = Mongo::new().await?;
    let archive = archive_of(&mongo.stage, mongo.shop()).await?;
    let dump = &archive["dump"];
    assert_eq!(
        (&dump["server_version"], &dump["tool"]),
        (&json!("7.0.12"), &json!("mongodump version: 100.9.4"))
    );
    let part = &dump["artefacts"][0];
    assert_eq!((&part["path"], &part["size_bytes"]), (&json!(PATH), &json!(SHOP.len())));
    // Of the view nothing is to be counted.
    assert_eq!((&part["census"]["tables_total"], &part["census"]["rows_total"]), (&json!(3), &json!(4)));
    let arguments = mongo.noted("dump.arguments");
    for word in [
        "--host=localhost:27017",
        "--username=keeper",
        "--authenticationDatabase=admin",
        "--archive",
        "--db=shop",
    ] {
        assert!(arguments.lines().any(|line| line == word), "{arguments}");
    }
    assert_eq!(
        (mongo.noted("config").as_str(), mongo.noted("config.mode").trim()),
        ("password: \"p@ss \\\"w\\\\ord'\"\n", "600")
    );
    assert_eq!(mongo.noted("asked.mode").trim(), "600");
    for (of, all) in [("arguments", &arguments), ("environment", &mongo.noted("dump.environment"))] {
        assert!(!all.contains("p@ss"), "the {of} tell the password");
    }
    let done = serde_json::to_value(
        mongo.stage.success(mongo.restore(&archive, PATH, ("shop*2", "shop"), json!({}))).await?,
    )?;
    assert_eq!(std::fs::read(mongo.programs.join("restored"))?, SHOP);
    let arguments = mongo.noted("restore.arguments");
    for word in ["--nsInclude=shop.*", "--nsFrom=shop.*", "--nsTo=shop\\*2.*", "--stopOnError"] {
        assert!(arguments.lines().any(|line| line == word), "{arguments}");
    }
    assert!(!arguments.contains("--drop"));
    let result = &done["result"];
    assert_eq!((&result["database"], &result["tables"]), (&json!("shop*2"), &json!(3)));
    assert_eq!(
        (&result["check"]["tables_equal"], &done["completeness"]),
        (&json!(3), &json!("complete")),
        "{done}"
    );
    assert_eq!(std::fs::read_dir(mongo.stage.path("state/streams"))?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_databases_of_a_replica_set_are_one_dump_with_its_oplog() -> Result<()> {
    let mongo = Mongo::new().await?;
    mongo.dumps(ALL, DUMPED, 0)?;
    let connection = json!({ "host": "::1", "port": 27018, "replica_set": "rs0", "tls": "require" });
    let archive = archive_of(&mongo.stage, mongo.backup(json!({ "connection": connection }))).await?;
    let arguments = mongo.noted("dump.arguments");
    assert_eq!(arguments.trim(), "--host=rs0/[::1]:27018\n--ssl\n--tlsInsecure\n--archive\n--oplog");
    let part = &archive["dump"]["artefacts"][0];
    assert_eq!((&part["path"], &part["format"]), (&json!("mongodb/all.archive"), &json!("archive+oplog")));
    assert_eq!(part["database"], Value::Null);
    let path = "mongodb/all.archive";
    // One of them comes out of it, but not at one moment.
    let done = serde_json::to_value(
        mongo.stage.success(mongo.restore(&archive, path, ("copy", "shop"), json!({}))).await?,
    )?;
    assert!(done["findings"][0]["message"].as_str().unwrap().contains("one moment"), "{done}");
    assert!(!mongo.noted("restore.arguments").contains("--oplogReplay"));
    let failure = mongo.restore(&archive, path, ("copy", "nosuch"), json!({}));
    mongo.stage.failure(failure, Code::PathNotInArchive).await?;
    // Or all of them, where none stands.
    mongo.note("survey", &IN_SET.replace("shop", "other").replace("wiki", "another"))?;
    std::fs::remove_file(mongo.programs.join("restored"))?;
    let done =
        serde_json::to_value(mongo.stage.success(mongo.restore(&archive, path, ("", ""), json!({}))).await?)?;
    let arguments = mongo.noted("restore.arguments");
    assert!(arguments.contains("--oplogReplay") && !arguments.contains("--ns"), "{arguments}");
    assert_eq!(done["result"]["database"], "all databases");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_not_whole_is_no_archive() -> Result<()> {
    let mongo = Mongo::new().await?;
    // The server goes away: mongodump ends all blocks and the archive, and says so by its end alone.
    mongo.dumps(SHOP, &format!("{DUMPED}\n{CUT}"), 1)?;
    let failure = mongo.stage.failure(mongo.shop(), Code::ServerUnreachable).await?;
    assert!(failure.message.contains("incomplete read of message header"), "{failure:?}");
    mongo.nothing_is_kept();
    // A program that ends early and well.
    for end in [0, 3, SHOP.len() / 2, SHOP.len() - 1] {
        mongo.dumps(&SHOP[..end], "", 0)?;
        let failure = mongo.stage.failure(mongo.shop(), Code::DumpFailed).await?;
        assert!(failure.message.contains("mongodump printed is no whole dump"), "{failure:?}");
        mongo.nothing_is_kept();
    }
    // A database that there is not: an archive to its end, and nothing in it.
    let end = SHOP.windows(4).position(|w| w == [0xff; 4]).unwrap();
    let header = 4 + u32::from_le_bytes(SHOP[4..8].try_into()?) as usize;
    assert!(header < end);
    mongo.dumps(&[&SHOP[..header], &[0xff; 4]].concat(), "", 0)?;
    mongo.stage.failure(mongo.shop(), Code::DatabaseMissing).await?;
    mongo.nothing_is_kept();
    // Through borg as well.
    mongo.stage.init().await?;
    let mut into_borg = mongo.shop();
    into_borg["access"] = mongo.stage.access();
    into_borg["compression"] = json!("lz4");
    mongo.dumps(&SHOP[..SHOP.len() / 2], "", 0)?;
    mongo.stage.failure(into_borg.clone(), Code::DumpFailed).await?;
    let scan = json!({ "kind": "scan-repository", "access": mongo.stage.access() });
    assert_eq!(serde_json::to_value(mongo.stage.success(scan.clone()).await?)?["result"]["archives"], 0);
    mongo.dumps(SHOP, DUMPED, 0)?;
    mongo.stage.success(into_borg).await?;
    assert_eq!(serde_json::to_value(mongo.stage.success(scan).await?)?["result"]["archives"], 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_wrong_is_told_by_its_name() -> Result<()> {
    let mongo = Mongo::new().await?;
    mongo.dumps(b"", DENIED, 1)?;
    let failure = mongo.stage.failure(mongo.shop(), Code::AccessDenied).await?;
    assert!(failure.message.contains("Authentication failed"), "{failure:?}");
    let nobody = json!({ "databases": ["shop"], "connection": { "user": "keeper" } });
    mongo.stage.failure(mongo.backup(nobody), Code::AccessDenied).await?;
    mongo.stage.failure(mongo.backup(json!({ "databases": ["none"] })), Code::DatabaseMissing).await?;
    mongo.note("survey", &IN_SET.replace("\"rs0\"", "null"))?;
    let failure = mongo.stage.failure(mongo.backup(json!({ "oplog": "always" })), Code::DumpFailed).await?;
    assert!(failure.message.contains("replica set"), "{failure:?}");
    // Without a shell all can be dumped, and whoever tests is told what lacks.
    std::fs::remove_file(mongo.programs.join("mongosh"))?;
    mongo.dumps(SHOP, DUMPED, 0)?;
    let source = mongo.shop()["source"].clone();
    let tested = mongo.stage.success(json!({ "kind": "test-source", "source": source })).await?;
    assert!(serde_json::to_string(&tested)?.contains("mongodb-mongosh"), "{tested:?}");
    let archive = archive_of(&mongo.stage, mongo.shop()).await?;
    let failure = mongo
        .stage
        .failure(mongo.restore(&archive, PATH, ("a", "shop"), json!({})), Code::ToolMissing)
        .await?;
    assert!(failure.message.contains("mongodb-mongosh"), "{failure:?}");
    mongo.program("mongodump", "echo 'mongodump version: r4.2.25'")?;
    let failure = mongo.stage.failure(mongo.shop(), Code::ToolMissing).await?;
    assert!(failure.message.contains("too old"), "{failure:?}");
    std::fs::remove_file(mongo.programs.join("mongodump"))?;
    let failure = mongo.stage.failure(mongo.shop(), Code::ToolMissing).await?;
    assert!(failure.message.contains("mongodb-database-tools"), "{failure:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_there_is_dropped_only_when_that_was_asked_for() -> Result<()> {
    let mongo = Mongo::new().await?;
    let archive = archive_of(&mongo.stage, mongo.shop()).await?;
    let restored = || mongo.programs.join("restored").exists();
    let into = |on_conflict: &str| {
        mongo.restore(&archive, PATH, ("shop", "shop"), json!({ "on_conflict": on_conflict }))
    };
    mongo.note("before", THERE)?;
    mongo.stage.failure(into("fail"), Code::TargetExists).await?;
    assert!(!restored());
    let mut preview = into("overwrite");
    preview["dry_run"] = json!(true);
    let told = serde_json::to_value(mongo.stage.success(preview).await?)?;
    let told = &told["result"]["preview"];
    assert_eq!((&told["action"], &told["standing"]["tables"]), (&json!("overwrite"), &json!(4)), "{told}");
    assert!(told["note"].as_str().unwrap().contains("--drop"), "{told}");
    assert!(!restored());
    mongo.stage.success(into("overwrite")).await?;
    assert!(mongo.noted("restore.arguments").lines().any(|line| line == "--drop"));
    assert!(!mongo.noted("asked").contains("dropDatabase"));
    // Documents that are there already are no error for mongorestore.
    mongo.restores("0 document(s) restored successfully. 4 document(s) failed to restore.", 0)?;
    let failure = mongo.stage.failure(into("overwrite"), Code::RestoreFailed).await?;
    assert!(
        failure.message.contains("4 documents failed") && failure.message.contains("half restored"),
        "{failure:?}"
    );
    assert!(!failure.advice.contains("Nothing that stood there was changed"), "{failure:?}");
    assert!(!mongo.noted("asked").contains("dropDatabase"));
    // Where nothing stood, nothing stays.
    mongo
        .stage
        .failure(mongo.restore(&archive, PATH, ("new", "shop"), json!({})), Code::RestoreFailed)
        .await?;
    assert!(mongo.noted("asked").contains("getSiblingDB(\"new\").runCommand({ dropDatabase: 1 })"));
    // What is damaged drops nothing.
    std::fs::remove_file(mongo.programs.join("restored"))?;
    damage(&mongo.place)?;
    mongo.stage.failure(into("overwrite"), Code::ArchiveDamaged).await?;
    assert!(!Path::new(&mongo.programs.join("restored")).exists());
    Ok(())
}

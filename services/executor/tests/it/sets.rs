//! An application: its databases and its files as one archive, against real servers and borg.

use crate::databases::Databases;
use crate::hooks::with_hooks;
use crate::look;
use crate::sqlite::{accounts, sum};
use crate::stage::Stage;
use anyhow::Result;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use strongroom_domain::{FailureCode as Code, JobId};
use uuid::Uuid;

/// Folders of an application, with what would keep borg busy for ever.
fn folders(stage: &Stage) -> Result<PathBuf> {
    let app = stage.folder.path().canonicalize()?.join("app {x}");
    std::fs::create_dir_all(app.join("uploads/de ep"))?;
    std::fs::create_dir_all(app.join("logs"))?;
    std::fs::write(app.join(".env"), "SECRET=1\n")?;
    std::fs::write(app.join("uploads/de ep/é\n.png"), vec![7; 100_000])?;
    std::fs::write(app.join("uploads/left.tmp"), "x")?;
    std::fs::write(app.join("uploads/own.sql"), "kept? no: *.sql is excluded")?;
    std::os::unix::fs::symlink(".env", app.join("link"))?;
    std::os::unix::fs::symlink("/dev/zero", app.join("logs/endless"))?;
    mknodat(CWD, app.join("logs/pipe [1]*"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    Ok(app)
}

fn application(stage: &Stage, members: Value) -> Value {
    let mut source = json!({ "type": "application" });
    source.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    json!({ "kind": "backup", "plan": "p", "access": stage.access(), "compression": "lz4", "source": source })
}

fn files(app: &Path) -> Value {
    // The last two would leave out dumps, if they were asked first.
    json!({ "paths": [app], "excludes": ["*.tmp", "*.sql", "*.json"], "exclude_caches": true })
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_and_files_come_into_one_archive_and_each_comes_back() -> Result<()> {
    let all = Databases::new().await?;
    let stage = &all.stage;
    let app = folders(stage)?;
    let database = app.join("app.db");
    drop(accounts(&database, "wal")?);
    let before = all.text("shop")?;
    let mut postgresql = all.backup(json!({ "databases": ["shop"], "format": "plain" }))["source"].clone();
    postgresql.as_object_mut().unwrap().remove("type");
    let members =
        json!({ "files": files(&app), "postgresql": postgresql, "sqlite": { "paths": [database] } });
    let done = serde_json::to_value(stage.success(application(stage, members)).await?)?;
    assert_eq!((&done["completeness"], &done["benign_total"]), (&json!("complete"), &json!(2)), "{done}");
    let told = done["findings"].to_string();
    assert!(told.contains("endless") && told.contains("pipe [1]*"), "{told}");
    let archive = &done["result"]["archive"];
    let dump = &archive["dump"];
    assert_eq!((&dump["source"], &dump["paths"]), (&json!("application"), &json!([app])));
    assert!(dump["server_version"].as_str().unwrap().contains("; sqlite "), "{dump}");
    let name = archive["name"].as_str().unwrap();
    let there = look::borg(stage, &["list", "--short", &format!("{}::{name}", look::repository(stage))])?;
    let inside = app.strip_prefix("/")?.display().to_string();
    for path in [
        "postgresql/databases/shop.sql",
        "postgresql/globals.sql",
        "strongroom.json",
        &format!("{inside}/.env"),
    ] {
        assert!(there.lines().any(|line| line == path), "{path}: {there}");
    }
    for gone in ["left.tmp", "own.sql", "endless", "pipe"] {
        assert!(!there.contains(gone), "{gone}: {there}");
    }
    // What the manifest says is what is there.
    let manifest = look::borg(
        stage,
        &["extract", "--stdout", &format!("{}::{name}", look::repository(stage)), "strongroom.json"],
    )?;
    let manifest: Value = serde_json::from_str(&manifest)?;
    assert_eq!((&manifest["dump"], &manifest["archive"]["name"]), (dump, &json!(name)));
    assert!(manifest["properties"]["postgresql"]["shop"]["owner"].is_string(), "{manifest}");

    stage.success(all.restore(archive, "postgresql/databases/shop.sql", "copy", json!({}))).await?;
    assert_eq!(all.text("copy")?.replace("copy", "shop"), before);
    let owner = "select pg_get_userbyid(datdba) from pg_database where datname = 'copy'";
    assert_eq!(all.server.sql("postgres", owner)?, "owner");
    let roots = stage.folder.path().canonicalize()?.join("roots");
    std::fs::create_dir(&roots)?;
    let restore = json!({
        "kind": "restore", "access": stage.access(), "allowed_roots": [roots],
        "archive": { "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] },
        "paths": [format!("{inside}/uploads"), format!("{inside}/link"), format!("sqlite{}", database.display())],
        "target": { "type": "folder", "path": roots },
    });
    stage.success(restore).await?;
    let back = roots.join(&inside);
    assert_eq!(std::fs::read(back.join("uploads/de ep/é\n.png"))?, vec![7; 100_000]);
    assert_eq!(std::fs::read_link(back.join("link"))?, Path::new(".env"));
    assert_eq!(
        sum(&roots.join("sqlite").join(database.strip_prefix("/")?))?,
        (20000, 2_000_000, "ok".into())
    );
    // A dump of one system goes into no other.
    let mut wrong = all.restore(archive, &format!("sqlite{}", database.display()), "x", json!({}));
    wrong["into"]["database"] = json!("x");
    stage.failure(wrong, Code::RestoreFailed).await?;
    all.nothing_is_left();
    Ok(())
}

/// One quiesce for all of it, and no archive when a part of it is not there.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_whole_or_not_there() -> Result<()> {
    let (stage, hooks) = with_hooks().await?;
    let app = folders(&stage)?;
    let good = app.join("good.db");
    drop(accounts(&good, "delete")?);
    for name in ["stop", "start"] {
        crate::hooks::noting(&hooks, name, "")?;
    }
    let quiesce = json!([{ "stop": { "command": [hooks.join("stop")] }, "start": { "command": [hooks.join("start")] } }]);
    let of = |paths: Value, members: Value| {
        let mut backup = application(&stage, json!({ "files": { "paths": paths }, "sqlite": members }));
        backup["quiesce"] = quiesce.clone();
        backup
    };
    let missing = of(json!([app, "/not/there"]), json!({ "paths": [good] }));
    stage.failure(missing, Code::SourceMissing).await?;
    assert_eq!(crate::hooks::notes(&hooks).len(), 0, "it was stopped for nothing");
    let bad = of(json!([app]), json!({ "paths": [good, app.join("none.db")] }));
    stage.failure(bad, Code::SourceMissing).await?;
    assert_eq!(look::archives(&stage)?, Vec::<String>::new());
    assert_eq!(crate::hooks::notes(&hooks).len(), 2);
    // A second attempt at what the first has made finds it, and stops nothing.
    let job = JobId(Uuid::now_v7());
    let backup = of(json!([app]), json!({ "paths": [good] }));
    for attempt in [1, 2] {
        let (_, epoch) =
            stage.emit_attempt(job, attempt, backup.clone(), Some(crate::stage::PASSPHRASE)).await?;
        let ended = stage.end_of(job, epoch).await?;
        let text = serde_json::to_value(ended)?.to_string();
        assert!(text.contains(&format!("\"recovered\":{}", attempt == 2)), "{text}");
    }
    assert_eq!(crate::hooks::notes(&hooks).len(), 2);
    Ok(())
}

//! An application: stopped, backed up with its database and its files as one archive, started again, and brought back.

use anyhow::Result;
use rusqlite::Connection;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use strongroom_e2e::Single;

fn program(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_kept_as_one_and_its_service_runs_again() -> Result<()> {
    let ground = tempfile::tempdir()?;
    let hooks = ground.path().join("hooks");
    std::fs::create_dir(&hooks)?;
    let (allowed, notes) = (hooks.display().to_string(), hooks.join("notes").display().to_string());
    program(&hooks.join("service"), &format!("echo \"$1 $2 $STRONGROOM_PLAN\" >> '{notes}'"))?;
    program(&hooks.join("tell"), &format!("echo \"told $STRONGROOM_OUTCOME\" >> '{notes}'"))?;
    let single = Single::start_with(|up| up.arg("--allow-hooks").arg(&allowed)).await?;
    single.api.node_joined().await?;
    let app = single.folder().canonicalize()?.join("app");
    std::fs::create_dir_all(app.join("uploads"))?;
    std::fs::write(app.join(".env"), "KEY=1\n")?;
    std::fs::write(app.join("uploads/a.png"), "picture")?;
    let database = app.join("app.db");
    Connection::open(&database)?.execute_batch("create table t (x); insert into t values (42)")?;
    let quiesce = json!([{
        "stop": { "command": [hooks.join("service"), "stop", "app"] },
        "start": { "command": [hooks.join("service"), "start", "app"] },
    }]);
    let (quiesce_file, hooks_file) = (ground.path().join("quiesce.json"), ground.path().join("hooks.json"));
    std::fs::write(&quiesce_file, quiesce.to_string())?;
    std::fs::write(&hooks_file, json!({ "after": [{ "command": [hooks.join("tell")] }] }).to_string())?;
    let text = |path: &Path| path.display().to_string();
    let run = |arguments: &[&str]| single.run(arguments);
    let back = single.folder().canonicalize()?.join("back");
    std::fs::create_dir(&back)?;
    run(&["servers", "set", "web", "--node", "local", "--restore-root", &text(&back)])?;
    run(&["destinations", "set", "disk", "--path", &text(&single.folder().join("repositories"))])?;
    run(&["repositories", "create", "main", "--server", "web", "--destination", "disk", "--wait"])?;
    run(&[
        "plans",
        "set",
        "app",
        "--server",
        "web",
        "--repository",
        "main",
        "--application",
        "--path",
        &text(&app),
        "--exclude",
        "*.db",
        "--sqlite",
        &text(&database),
        "--quiesce",
        &text(&quiesce_file),
        "--hooks",
        &text(&hooks_file),
    ])?;
    let told = run(&["plans", "run", "app", "--wait"])?;
    assert!(told.contains("complete"), "{told}");
    assert_eq!(std::fs::read_to_string(&notes)?, "stop app app\nstart app app\ntold complete\n");
    let archives = single.client_json(&["archives", "list"])?;
    assert_eq!(archives[0]["facts"]["dump"]["source"], "application", "{archives}");
    let archive = archives[0]["id"].as_str().unwrap();

    std::fs::remove_dir_all(&app)?;
    run(&["archives", "restore", archive, "--to", &text(&back), "--wait"])?;
    let inside = |path: &Path| back.join(path.strip_prefix("/").unwrap());
    assert_eq!(std::fs::read_to_string(inside(&app.join("uploads/a.png")))?, "picture");
    let restored = Connection::open(back.join("sqlite").join(database.strip_prefix("/")?))?;
    assert_eq!(restored.query_row("select x from t", [], |row| row.get::<_, i64>(0))?, 42);
    Ok(())
}

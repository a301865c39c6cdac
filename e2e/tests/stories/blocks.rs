//! Changed blocks: a plan of a whole PostgreSQL 18 changes from its log to its blocks, and the server comes back.

use anyhow::Result;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use strongroom_e2e::Single;
use strongroom_testkit::{POSTGRES_PASSWORD, Postgresql, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_goes_over_to_changed_blocks_and_the_server_comes_back() -> Result<()> {
    let server = Postgresql::start_18().await?;
    server.sql("postgres", "create database shop")?;
    server.sql("shop", "create table orders (id int primary key)")?;
    let add = |from: u32, to: u32| {
        server.sql("shop", &format!("insert into orders select generate_series({from}, {to})"))
    };
    let bin = server.bin().display().to_string();
    let single = Single::start_with(|up| up.arg("--programs").arg(bin)).await?;
    single.api.node_joined().await?;
    let run = |line: &str| single.run_line(line);
    let refused = |line: &str, code: i32| -> Result<String> {
        let (ended, out, err) = single.client(&line.split(' ').collect::<Vec<_>>())?;
        assert_eq!(ended, code, "{line}: {out}{err}");
        Ok(out + &err)
    };
    let roots = tempfile::tempdir()?;
    std::fs::set_permissions(roots.path(), std::fs::Permissions::from_mode(0o755))?;
    let place = single.folder().join("dumps");
    std::fs::create_dir(&place)?;
    let password = single.folder().join("password");
    std::fs::write(&password, format!("{POSTGRES_PASSWORD}\n"))?;
    run(&format!("servers set db --node local --restore-root {}", roots.path().display()))?;
    run(&format!("destinations set disk --path {}", place.display()))?;
    run("repositories create dumps --server db --destination disk --kind dump-store --wait")?;
    let source = format!(
        "--postgresql --db-method physical --db-host 127.0.0.1 --db-port {} --db-user postgres --db-password-file {}",
        server.port(),
        password.display()
    );
    // What makes no sense is said at once.
    let set = format!("plans set db --server db --repository dumps {source}");
    let said = refused(&format!("{set} --db-increments blocks"), 4)?;
    assert!(said.contains("source.increments") && said.contains("incremental"), "{said}");
    run(&format!("{set} --variant incremental"))?;
    run("plans run db --wait")?;
    add(1, 100)?;
    run("plans run db --wait")?;

    // The server does not take notes so far: that is said before anything depends on it.
    run("plans set db --db-increments blocks")?;
    let said = refused("plans test db", 10)?;
    assert!(said.contains("summarize_wal = on"), "{said}");
    server.sql("postgres", "alter system set summarize_wal = on")?;
    server.sql("postgres", "select pg_reload_conf()")?;
    wait_until("the server to take note", Duration::from_secs(30), async || {
        (server.sql("postgres", "show summarize_wal").ok()? == "on").then_some(())
    })
    .await?;
    run("plans test db")?;
    for from in [101, 201, 301] {
        run("plans run db --wait")?;
        add(from, from + 99)?;
    }
    let mut made = single.client_json(&["archives", "list"])?.as_array().cloned().unwrap_or_default();
    made.reverse();
    let physical = |n: usize| made[n]["facts"]["dump"]["physical"].clone();
    let variants: Vec<Value> = (0..made.len()).map(|n| physical(n)["variant"].clone()).collect();
    // What is followed by other means is no base.
    assert_eq!(json!(variants), json!(["full", "incremental", "full", "incremental", "incremental"]));
    assert_eq!(physical(4)["base"]["id"], made[3]["id"]);
    assert_eq!(physical(4)["position"]["blocks"]["since_lsn"], physical(3)["position"]["start_lsn"]);
    assert_eq!(server.sql("postgres", "select count(*) from pg_replication_slots")?, "0");
    let id = |n: usize| made[n]["id"].as_str().unwrap_or_default().to_owned();
    assert!(refused(&format!("archives delete {} --yes", id(3)), 4)?.contains("needed by"));

    let target = roots.path().canonicalize()?.join("back");
    let restore = format!("archives restore-cluster {} --to {}", id(4), target.display());
    let between = physical(3)["position"]["stopped_at"].as_str().unwrap_or_default().to_owned();
    let said = refused(&format!("{restore} --until {between}"), 4)?;
    assert!(said.contains("one moment each"), "{said}");
    let told = run(&format!("{restore} --dry-run"))?;
    assert!(told.contains("would become") && !target.exists(), "{told}");
    run(&format!("{restore} --wait"))?;
    let back = Postgresql::on(&target).await?;
    assert_eq!(back.sql("shop", "select count(*), max(id) from orders")?, "300|300");
    Ok(())
}

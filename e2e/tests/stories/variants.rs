//! Variants: a plan of a whole server, three runs, a mistake, and the server as it was a moment before.

use anyhow::Result;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use strongroom_e2e::Single;
use strongroom_testkit::{POSTGRES_PASSWORD, Postgresql};

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_undone_by_the_server_as_it_was_a_moment_before() -> Result<()> {
    let server = Postgresql::start().await?;
    server.sql("postgres", "create database shop")?;
    server.sql("shop", "create table orders (id int primary key)")?;
    let add = |from: u32, to: u32| {
        server.sql("shop", &format!("insert into orders select generate_series({from}, {to})"))
    };
    let single = Single::start().await?;
    single.api.node_joined().await?;
    let run = |line: &str| single.run_line(line);
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
    // What cannot be done is said at once.
    let (code, _, err) = single.client(
        &format!(
            "plans set db --server db --repository dumps --variant incremental {}",
            source.replace("physical", "dump")
        )
        .split(' ')
        .collect::<Vec<_>>(),
    )?;
    assert!(code == 4 && err.contains("variant") && err.contains("physical"), "{err}");
    run(&format!(
        "plans set db --server db --repository dumps --variant incremental --full-every 9 {source}"
    ))?;
    let found = run("plans test db")?;
    assert!(found.contains("pg_basebackup"), "{found}");

    let archives = || -> Result<Vec<Value>> {
        let mut archives = single.client_json(&["archives", "list"])?.as_array().cloned().unwrap_or_default();
        archives.reverse();
        Ok(archives)
    };
    add(1, 100)?;
    run("plans run db --wait")?;
    add(101, 200)?;
    run("plans run db --wait")?;
    add(201, 300)?;
    let moment = server.sql(
        "shop",
        "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    )?;
    server.sql("shop", "drop table orders")?;
    run("plans run db --wait")?;
    let made = archives()?;
    let physical = |n: usize| made[n]["facts"]["dump"]["physical"].clone();
    assert_eq!(made.len(), 3);
    assert_eq!(
        [0, 1, 2].map(|n| physical(n)["variant"].clone()),
        [json!("full"), json!("incremental"), json!("incremental")]
    );
    assert_eq!(physical(1)["base"]["id"], made[0]["id"]);
    assert_eq!(physical(2)["base"]["id"], made[1]["id"]);
    let id = |n: usize| made[n]["id"].as_str().unwrap_or_default().to_owned();

    // What is needed stays.
    let (code, _, err) = single.client(&["archives", "delete", &id(1), "--yes"])?;
    assert!(code == 4 && err.contains("needed by"), "{err}");

    let target = roots.path().canonicalize()?.join("before");
    let restore = format!("archives restore-cluster {} --to {} --until {moment}", id(2), target.display());
    let told = run(&format!("{restore} --dry-run"))?;
    assert!(told.contains("would become") && !target.exists(), "{told}");
    let told = run(&format!("{restore} --wait"))?;
    assert!(told.contains("complete") && told.contains("shop"), "{told}");
    let back = Postgresql::on(&target).await?;
    assert_eq!(back.sql("shop", "select count(*), max(id) from orders")?, "300|300");
    let beyond = format!("{restore} --wait").replace(&moment, "2999-01-01T00:00:00Z");
    let (code, _, err) = single.client(&beyond.split(' ').collect::<Vec<_>>())?;
    assert!(code == 4 && err.contains("until"), "{err}");

    // Without a moment it is as it was when the last archive was made.
    let target = roots.path().canonicalize()?.join("after");
    run(&format!("archives restore-cluster {} --to {} --wait", id(2), target.display()))?;
    let after = Postgresql::on(&target).await?;
    assert!(after.sql("shop", "select 1 from orders").is_err());

    // The server lets go of what it kept: the next run says so, and the one after it mends the chain.
    let slot = physical(2)["position"]["slot"].as_str().unwrap_or_default().to_owned();
    server.sql("postgres", &format!("select pg_drop_replication_slot('{slot}')"))?;
    let (code, out, _) = single.client(&["plans", "run", "db", "--wait"])?;
    assert!(code == 10 && out.contains("chain_broken"), "{out}");
    run("plans run db --wait")?;
    run("plans run db --wait")?;
    run("plans run db --variant full --wait")?;
    let variants: Vec<Value> =
        archives()?.iter().map(|a| a["facts"]["dump"]["physical"]["variant"].clone()).collect();
    assert_eq!(json!(variants), json!(["full", "incremental", "incremental", "full", "incremental", "full"]));

    // What nobody needs any more goes, from the end on.
    for n in [2, 1, 0] {
        run(&format!("archives delete {} --yes --wait", id(n)))?;
    }
    assert_eq!(archives()?.len(), 3);
    Ok(())
}

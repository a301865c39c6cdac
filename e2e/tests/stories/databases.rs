//! Databases: a plan, a backup, a mistake, and the database back, with the client.

use anyhow::Result;
use serde_json::{Value, json};
use strongroom_e2e::Single;
use strongroom_testkit::{MYSQL_PASSWORD, Mysql, POSTGRES_PASSWORD, Postgresql};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_spoilt_comes_back_under_its_name_and_the_spoilt_one_is_kept() -> Result<()> {
    let server = Postgresql::start().await?;
    server.sql("postgres", "create role shop login")?;
    server.sql("postgres", "create database shop owner shop")?;
    server.sql(
        "shop",
        "create table orders as select n as id, 'order ' || n as what from generate_series(1, 5000) n",
    )?;
    let single = Single::start().await?;
    single.api.node_joined().await?;
    let run = |arguments: &[&str]| single.run(arguments);
    let password = single.folder().join("password");
    std::fs::write(&password, format!("{POSTGRES_PASSWORD}\n"))?;
    let (password, port) = (password.display().to_string(), server.port().to_string());
    run(&["servers", "set", "db", "--node", "local"])?;
    run(&[
        "destinations",
        "set",
        "disk",
        "--path",
        &single.folder().join("repositories").display().to_string(),
    ])?;
    run(&["repositories", "create", "main", "--server", "db", "--destination", "disk", "--wait"])?;
    run(&[
        "plans",
        "set",
        "db",
        "--server",
        "db",
        "--repository",
        "main",
        "--postgresql",
        "--db-host",
        "127.0.0.1",
        "--db-port",
        &port,
        "--db-user",
        "postgres",
        "--db-password-file",
        &password,
    ])?;
    let plan = single.client_json(&["plans", "show", "db"])?;
    assert_eq!((&plan["has_password"], &plan["source"]["type"]), (&json!(true), &json!("postgresql")));
    let told = run(&["plans", "run", "db", "--wait"])?;
    assert!(told.contains("complete"), "{told}");
    let archives = single.client_json(&["archives", "list"])?;
    let archive = archives[0]["id"].as_str().unwrap();
    let databases = |archive: &Value| -> Vec<String> {
        let artefacts = archive["facts"]["dump"]["artefacts"].as_array().unwrap();
        artefacts.iter().filter_map(|a| Some(a["database"].as_str()?.to_owned())).collect()
    };
    assert_eq!(databases(&archives[0]), ["postgres", "shop"]);
    assert!(run(&["archives", "show", archive])?.contains("shop"));

    server.sql("shop", "delete from orders")?;
    // What is there is not lost by a slip.
    let (code, _, err) = single.client(&["archives", "restore-database", archive, "shop", "--wait"])?;
    assert!(code != 0 && server.sql("shop", "select count(*) from orders")? == "0", "{err}");
    // What would be done is told first, and nothing is touched.
    let keep_both = ["archives", "restore-database", archive, "shop", "--on-conflict", "keep_both"];
    let told = run(&[&keep_both[..], &["--dry-run"]].concat())?;
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["would keep_both", "tables in it 1", "rows in it 5000", "connected there 0", "shop_before_"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(server.sql("shop", "select count(*) from orders")?, "0");
    let check = ["--check", "select count(*) from orders", "--expect", "5000", "--wait"];
    let told = run(&[&keep_both[..], &check[..]].concat())?;
    for words in ["complete", "tables as dumped", "check answered"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(server.sql("shop", "select count(*), max(what) from orders")?, "5000|order 999");
    let kept = server.sql("postgres", "select datname from pg_database where datname like 'shop_before%'")?;
    assert_eq!(server.sql(&kept, "select count(*) from orders")?, "0");
    let copy = ["archives", "restore-database", archive, "shop", "--as", "copy", "--no-owner", "--jobs", "3"];
    let told = run(&[&copy[..], &["--dry-run"]].concat())?;
    assert!(told.contains("file on the node"), "{told}");
    run(&[&copy[..], &["--wait"]].concat())?;
    assert_eq!(server.sql("copy", "select count(*) from orders")?, "5000");

    // A dump that somebody else has made, in a file of a name that says nothing.
    let dumps = single.folder().join("dumps");
    std::fs::create_dir(&dumps)?;
    let dumped = server.tool("pg_dump").args(["-C", "--compress=6"]).env("PGDATABASE", "shop").output()?;
    std::fs::write(dumps.join("old"), dumped.stdout)?;
    let (file, root) = (dumps.join("old").display().to_string(), dumps.display().to_string());
    let restore = ["servers", "restore-dump", "db", &file, "--system", "postgresql", "--as", "old"];
    let role = ["--db-host", "127.0.0.1", "--db-port", &port, "--db-user", "postgres"];
    let restore = [&restore[..], &role[..], &["--db-password-file", &password, "--wait"]].concat();
    let (code, _, err) = single.client(&restore)?;
    assert!(code != 0 && err.contains("dump_roots"), "{err}");
    run(&["servers", "set", "db", "--dump-root", &root])?;
    let told = run(&restore)?;
    assert!(told.contains("a dump of PostgreSQL as SQL, in gzip"), "{told}");
    assert_eq!(server.sql("old", "select count(*) from orders")?, "5000");

    // Everything that was written anywhere.
    for entry in walkdir::WalkDir::new(single.folder()).into_iter().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let holds = bytes.windows(POSTGRES_PASSWORD.len()).any(|w| w == POSTGRES_PASSWORD.as_bytes());
        assert!(!holds || entry.path().display().to_string() == password, "{}", entry.path().display());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_database_that_was_spoilt_is_replaced_by_what_was_backed_up() -> Result<()> {
    let server = Mysql::start().await?;
    server.sql("", "create database shop")?;
    server.sql(
        "shop",
        "create table orders as select seq as id, concat('order ', seq) as what from seq_1_to_5000",
    )?;
    let single = Single::start().await?;
    single.api.node_joined().await?;
    let run = |line: &str| single.run_line(line);
    let password = single.folder().join("password");
    std::fs::write(&password, format!("{MYSQL_PASSWORD}\n"))?;
    let (password, port) = (password.display(), server.port());
    run("servers set db --node local")?;
    run(&format!("destinations set disk --path {}", single.folder().join("repositories").display()))?;
    run("repositories create main --server db --destination disk --wait")?;
    run(&format!(
        "plans set db --server db --repository main --mysql --db-host 127.0.0.1 --db-port {port} --db-user root --db-password-file {password}"
    ))?;
    let plan = single.client_json(&["plans", "show", "db"])?;
    assert_eq!((&plan["has_password"], &plan["source"]["type"]), (&json!(true), &json!("mysql")));
    let told = run("plans run db --wait")?;
    assert!(told.contains("complete"), "{told}");
    let archives = single.client_json(&["archives", "list"])?;
    let archive = archives[0]["id"].as_str().unwrap();
    server.sql("shop", "delete from orders")?;
    // What is there is not lost by a slip.
    for slip in ["", " --on-conflict keep_both"] {
        let slip = format!("archives restore-database {archive} shop --wait{slip}");
        let (code, _, err) = single.client(&slip.split(' ').collect::<Vec<_>>())?;
        assert!(code != 0 && server.sql("shop", "select count(*) from orders")? == "0", "{err}");
        assert_eq!(err.contains("on_conflict (--on-conflict): "), slip.contains("keep_both"), "{err}");
    }
    run(&format!("archives restore-database {archive} shop --on-conflict overwrite --wait"))?;
    assert_eq!(server.sql("shop", "select count(*), max(what) from orders")?, "5000\torder 999");
    run(&format!("archives restore-database {archive} shop --as copy --wait"))?;
    assert_eq!(server.sql("copy", "select count(*) from orders")?, "5000");
    Ok(())
}

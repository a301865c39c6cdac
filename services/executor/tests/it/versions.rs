//! Several versions of PostgreSQL's programs side by side on a node: the distribution's (15 in Debian 12), and 18.

use crate::stage::Stage;
use anyhow::Result;
use serde_json::{Value, json};
use strongroom_domain::FailureCode as Code;
use strongroom_executor::Config;
use strongroom_testkit::{POSTGRES_PASSWORD, Postgresql, skipped};

fn connection(server: &Postgresql) -> Value {
    json!({
        "host": "127.0.0.1", "port": server.port(), "user": "postgres",
        "password": { "reference": "pg", "version": 1 },
    })
}

async fn stage(programs: &[&Postgresql]) -> Result<Stage> {
    let programs = programs.iter().map(|server| server.bin().to_owned()).collect();
    let stage = Stage::set_with(|config| Config { programs, ..config }).await?;
    stage.init().await?;
    stage.secrets.lock().unwrap().insert("pg".into(), POSTGRES_PASSWORD.into());
    Ok(stage)
}

fn backup(stage: &Stage, server: &Postgresql) -> Value {
    json!({
        "kind": "backup", "plan": "p", "access": stage.access(), "compression": "lz4",
        "source": { "type": "postgresql", "databases": ["shop"], "connection": connection(server) },
    })
}

fn no_older(major: u32) -> Result<()> {
    skipped("versions side by side", &format!("the distribution has version {major}"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_two_versions_of_the_programs_when_a_server_is_dumped_then_its_own_is_taken() -> Result<()> {
    let (old, new) = (Postgresql::start().await?, Postgresql::start_18().await?);
    let own = old.major()?;
    if own >= 18 {
        return no_older(own);
    }
    let both = stage(&[&new]).await?;
    for (server, major) in [(&old, own), (&new, 18)] {
        server.sql("postgres", "create database shop")?;
        server.sql("shop", "create table orders as select n as id from generate_series(1, 100) n")?;
        let test = json!({ "kind": "test-source", "source": backup(&both, server)["source"] });
        let told = serde_json::to_value(both.success(test).await?)?;
        let dumped =
            serde_json::to_value(both.success(backup(&both, server)).await?)?["result"]["archive"].clone();
        let wanted = format!("pg_dump (PostgreSQL) {major}.");
        for tool in [&told["result"]["probe"]["tool"], &dumped["dump"]["tool"]] {
            assert!(tool.as_str().unwrap().starts_with(&wanted), "{tool} for {major}");
        }
        // And back, by the pg_restore that knows the dump.
        let restore = json!({
            "kind": "restore-database", "access": both.access(), "path": "postgresql/databases/shop.dump",
            "archive": crate::dump_store::target(&dumped),
            "into": { "type": "postgresql", "connection": connection(server), "database": "back" },
        });
        both.success(restore).await?;
        assert_eq!(server.sql("back", "select count(*), sum(id) from orders")?, "100|5050");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_only_older_programs_when_a_server_is_dumped_then_the_package_is_named() -> Result<()> {
    let (old, new) = (Postgresql::start().await?, Postgresql::start_18().await?);
    if old.major()? >= 18 {
        return no_older(old.major()?);
    }
    let alone = stage(&[]).await?;
    new.sql("postgres", "create database shop")?;
    let missing = alone.failure(backup(&alone, &new), Code::ToolMissing).await?;
    let said = missing.message;
    assert!(said.contains("the server has version 18") && said.contains("postgresql-client-18"), "{said}");
    Ok(())
}

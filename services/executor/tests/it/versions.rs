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

/// A server that lets nobody in without TLS, and one more version of the programs, that was built without it.
#[tokio::test(flavor = "multi_thread")]
async fn given_newer_programs_without_tls_when_tls_is_asked_for_then_those_that_speak_it_are_taken()
-> Result<()> {
    let (old, new) = (Postgresql::start().await?, Postgresql::start_18().await?);
    if old.major()? >= 18 {
        return no_older(old.major()?);
    }
    let bare = new.tool("psql").env("PGHOST", "/nonexistent").env("PGSSLMODE", "require").output()?;
    if !String::from_utf8_lossy(&bare.stderr).contains("SSL support is not compiled in") {
        skipped("programs without TLS", "those of version 18 here speak TLS");
        return Ok(());
    }
    only_by_tls(&old)?;
    old.sql("postgres", "create database shop")?;
    let both = stage(&[&new]).await?;
    for tls in ["prefer", "require"] {
        let mut spec = backup(&both, &old);
        spec["source"]["connection"]["tls"] = json!(tls);
        let test = json!({ "kind": "test-source", "source": spec["source"] });
        let told = serde_json::to_value(both.success(test).await?)?;
        assert_eq!(told["completeness"], "complete", "{told}");
        both.success(spec).await?;
    }
    // A file that is not there is no server that cannot be reached.
    let mut spec = backup(&both, &old);
    spec["source"]["connection"]["tls"] = json!("verify-full");
    spec["source"]["connection"]["tls_root"] = json!("/nonexistent/ca.pem");
    let said = both.failure(spec, Code::SourceMissing).await?.message;
    assert!(said.contains("/nonexistent/ca.pem") && said.contains("tls_root"), "{said}");
    Ok(())
}

/// Gives a server a certificate, and shuts its door to whoever comes without TLS.
fn only_by_tls(server: &Postgresql) -> Result<()> {
    let data = server.data();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .arg("-keyout")
        .arg(data.join("server.key"))
        .arg("-out")
        .arg(data.join("server.crt"))
        .output()?;
    anyhow::ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    for (name, mode) in [("server.key", 0o600), ("server.crt", 0o644)] {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let folder = std::fs::metadata(data)?;
        chown(data.join(name), Some(folder.uid()), Some(folder.gid()))?;
        std::fs::set_permissions(data.join(name), std::fs::Permissions::from_mode(mode))?;
    }
    server.sql("postgres", "alter system set ssl = on")?;
    server.sql("postgres", "select pg_reload_conf()")?;
    let hba = std::fs::read_to_string(data.join("pg_hba.conf"))?.replace("\nhost ", "\nhostssl ");
    std::fs::write(data.join("pg_hba.conf"), hba)?;
    server.sql("postgres", "select pg_reload_conf()")?;
    Ok(())
}

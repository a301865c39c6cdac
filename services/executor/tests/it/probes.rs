//! What a look at a source must tell before a backup fails of it, or lacks something in silence.

use crate::{databases, mysql, stage::Stage};
use anyhow::Result;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use strongroom_domain::FailureCode as Code;
use strongroom_testkit::Postgresql;

/// What is found, as text.
fn said(found: &Value) -> String {
    found["findings"].to_string()
}

fn look(source: &Value) -> Value {
    json!({ "kind": "test-source", "source": source })
}

/// A source that a role with this password reads, and nothing that only a superuser may.
fn of_role(all: &databases::Databases, role: &str) -> Value {
    let connection = json!({
        "host": "127.0.0.1", "port": all.server.port(), "user": role, "password": { "reference": "low", "version": 1 },
    });
    json!({ "connection": connection, "databases": ["shop"], "globals": "never", "settings": "never" })
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_role_that_may_read_nothing_when_it_is_tested_then_each_grant_that_helps_is_named()
-> Result<()> {
    let all = databases::Databases::new().await?;
    all.stage.secrets.lock().unwrap().insert("low".into(), "l".into());
    all.server.sql(
        "shop",
        "create role low login password 'l'; create schema closed; create table closed.t (x int);
         create table rows (owner name); insert into rows values ('a'); alter table rows enable row level security;
         create unlogged table cache (x int); create view w as select 1 as x",
    )?;
    let spec = all.backup(of_role(&all, "low"));
    let test = look(&spec["source"]);
    let mut helps = Vec::new();
    for (words, grant) in [
        ("may not read 4 tables of database 'shop'", "grant pg_read_all_data to low"),
        ("row security", "alter role low bypassrls"),
        (
            "1 large objects of database 'shop'",
            "do $$ declare o oid; begin for o in select oid from pg_largeobject_metadata
            loop execute format('grant select on large object %s to low', o); end loop; end $$",
        ),
    ] {
        let found = serde_json::to_value(all.stage.success(test.clone()).await?)?;
        assert_eq!(found["completeness"], "incomplete", "{found}");
        assert!(said(&found).contains(words), "{words}: {found}");
        // It is true: a backup fails of it.
        all.stage.failure(spec.clone(), Code::AccessDenied).await?;
        all.server.sql("shop", grant)?;
        helps.push(said(&found));
    }
    let first = helps.first().unwrap();
    for words in ["GRANT pg_read_all_data TO \\\"low\\\"", "closed.t", "1 sequences", "public.s"] {
        assert!(first.contains(words), "{words}: {first}");
    }
    assert!(
        helps[1].contains("ALTER ROLE \\\"low\\\" BYPASSRLS") && helps[1].contains("public.rows"),
        "{helps:?}"
    );
    assert!(helps[2].contains("GRANT SELECT ON LARGE OBJECT"), "{helps:?}");
    let found = serde_json::to_value(all.stage.success(test).await?)?;
    assert_eq!(found["completeness"], "complete", "{found}");
    all.stage.success(spec).await?;
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_the_owner_of_a_database_when_it_is_tested_then_nothing_is_found() -> Result<()> {
    let all = databases::Databases::new().await?;
    all.stage.secrets.lock().unwrap().insert("low".into(), "l".into());
    all.server.sql("postgres", "create role low login password 'l'")?;
    all.server.sql("postgres", "create database mine owner low")?;
    all.server.sql(
        "mine",
        "set role low; create schema a; create table a.t (x int, s serial); insert into a.t values (1);
         alter table a.t enable row level security; select lo_from_bytea(0, 'x')",
    )?;
    let mut source = of_role(&all, "low");
    source["databases"] = json!(["mine"]);
    let spec = all.backup(source);
    let found = serde_json::to_value(all.stage.success(look(&spec["source"])).await?)?;
    assert_eq!((&found["completeness"], &found["findings"]), (&json!("complete"), &json!([])), "{found}");
    all.stage.success(spec).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_mariadb_user_that_sees_some_tables_when_it_is_tested_then_the_others_are_spoken_of()
-> Result<()> {
    let all = mysql::Databases::new().await?;
    all.stage.secrets.lock().unwrap().insert("low".into(), "l".into());
    all.server
        .sql("", "create user low@'%' identified by 'l'; create user low@localhost identified by 'l'")?;
    let rights = "trigger, execute on shop.* to low@";
    for host in ["'%'", "localhost"] {
        all.server.sql("", &format!("grant select on shop.log to low{}", &format!("@{host}")))?;
        all.server.sql("", &format!("grant {rights}{host}; grant select on mysql.proc to low@{host}"))?;
    }
    let connection = all.with(json!({ "user": "low", "password": { "reference": "low", "version": 1 } }));
    let spec = all.backup(json!({ "connection": connection, "databases": ["shop"], "globals": "never" }));
    let found = serde_json::to_value(all.stage.success(look(&spec["source"])).await?)?;
    assert_eq!(found["completeness"], "incomplete", "{found}");
    assert!(said(&found).contains("grant it SELECT on it"), "{found}");
    assert!(said(&found).contains("grant it EVENT on it"), "{found}");
    all.stage.failure(spec.clone(), Code::AccessDenied).await?;
    for host in ["'%'", "localhost"] {
        all.server.sql("", &format!("grant event on shop.* to low@{host}"))?;
    }
    // A right on the database shows all its tables, and the program stumbles over those that it may not read.
    all.stage.failure(spec.clone(), Code::AccessDenied).await?;
    for host in ["'%'", "localhost"] {
        all.server.sql("", &format!("grant select on shop.* to low@{host}"))?;
    }
    let found = serde_json::to_value(all.stage.success(look(&spec["source"])).await?)?;
    assert!(said(&found).contains("SHOW VIEW"), "{found}");
    all.stage.failure(spec.clone(), Code::AccessDenied).await?;
    for host in ["'%'", "localhost"] {
        all.server.sql("", &format!("grant show view on shop.* to low@{host}"))?;
    }
    let found = serde_json::to_value(all.stage.success(look(&spec["source"])).await?)?;
    assert_eq!(found["completeness"], "complete", "{found}");
    let done = serde_json::to_value(all.stage.success(spec).await?)?;
    assert_eq!(done["completeness"], "complete", "{done}");
    Ok(())
}

/// However a server of the node is reached, all that run there are told; wherever their sockets are.
#[tokio::test(flavor = "multi_thread")]
async fn given_two_servers_on_a_node_when_one_is_tested_then_both_are_listed() -> Result<()> {
    let all = databases::Databases::new().await?;
    let other = Postgresql::start().await?;
    let ports = [all.server.port(), other.port()];
    let mut by_socket = all.connection();
    by_socket["host"] = json!(all.server.socket());
    by_socket["os_user"] = json!("postgres");
    for connection in [all.connection(), by_socket] {
        let test = look(&all.backup(json!({ "connection": connection }))["source"]);
        let found = serde_json::to_value(all.stage.success(test).await?)?;
        let listed = found["result"]["probe"]["clusters"].as_array().cloned().unwrap_or_default();
        for port in ports {
            assert!(listed.iter().any(|cluster| cluster["port"] == port), "{port}: {found}");
        }
    }
    for host in ["127.0.0.1", "localhost", "::1"] {
        let connection = json!({ "host": host, "port": 1, "user": "postgres" });
        let test = look(&all.backup(json!({ "connection": connection }))["source"]);
        let failure = all.stage.failure(test, Code::ServerUnreachable).await?;
        for port in ports {
            assert!(failure.message.contains(&format!("on port {port}, socket in ")), "{host}: {failure:?}");
        }
    }
    // Of another machine's servers those of this one say nothing.
    let connection = json!({ "host": "192.0.2.1", "port": 1, "user": "postgres" });
    let test = look(&all.backup(json!({ "connection": connection }))["source"]);
    let failure = all.stage.failure(test, Code::ServerUnreachable).await?;
    assert!(!failure.message.contains("on this node run"), "{failure:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_counted_as_a_backup_would_take_them() -> Result<()> {
    let stage = Stage::set().await?;
    let root = stage.path("source");
    for folder in ["kept", "left/out", "cache", "deep/node_modules"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    let write = |name: &str, bytes: usize| std::fs::write(root.join(name), vec![b'x'; bytes]);
    write("kept/a", 1000)?;
    write("kept/b.log", 20_000)?;
    write("left/out/c", 300_000)?;
    write("cache/d", 4_000_000)?;
    write("deep/node_modules/e", 50_000_000)?;
    std::fs::write(root.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n# x")?;
    std::fs::hard_link(root.join("kept/a"), root.join("kept/again"))?;
    symlink("/etc", root.join("kept/link"))?;
    let alone = stage.path("alone");
    std::fs::write(&alone, "12345")?;
    let tag = std::fs::metadata(root.join("cache/CACHEDIR.TAG"))?.len();
    let left = format!("{}/left", root.display());
    for (changes, bytes) in [
        (json!({}), 54_321_005 + tag),
        (json!({ "exclude_caches": true }), 50_321_005),
        (
            json!({ "exclude_caches": true, "excludes": ["*/node_modules", "sh:**/*.log", format!("pp:{left}")] }),
            1005,
        ),
        (json!({ "excludes": ["re:.*"] }), 54_321_005 + tag),
    ] {
        let mut source = json!({ "type": "files", "paths": [root, alone] });
        source.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let found = serde_json::to_value(stage.success(look(&source)).await?)?;
        let probe = &found["result"]["probe"];
        assert_eq!(probe["size_bytes"], bytes, "{changes}: {found}");
        assert_eq!(probe["parts"][1]["size_bytes"], 5, "{found}");
        assert_eq!(found["completeness"], "complete", "{found}");
        assert_eq!(said(&found).contains("re:.*"), changes["excludes"][0] == "re:.*", "{found}");
    }
    Ok(())
}

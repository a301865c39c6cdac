//! The ways to a MariaDB server: who is let in, by what, and what others see of it.

use crate::look;
use crate::mysql::{Databases, a_dump_that_waits, password};
use crate::stage::PATIENCE;
use anyhow::{Context, Result};
use serde_json::json;
use strongroom_domain::FailureCode as Code;
use strongroom_domain::job::Report;
use strongroom_executor::Config;
use strongroom_testkit::{MYSQL_PASSWORD, Mysql, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_and_the_system_user_are_enough() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        // Nobody else is root there.
        return Ok(());
    }
    let all = Databases::new().await?;
    let socket = json!({ "host": all.server.socket() });
    let archive =
        all.archive(json!({ "connection": socket, "databases": ["shop"], "globals": "always" })).await?;
    let into = json!({ "type": "mysql", "connection": socket, "database": "copy" });
    all.stage
        .success(all.restore(&archive, "mysql/databases/shop.sql", "copy", json!({ "into": into })))
        .await?;
    assert_eq!(all.text("shop")?, all.text("copy")?);
    let nobody = json!({ "host": all.server.socket(), "user": "nobody" });
    all.stage.failure(all.backup(json!({ "connection": nobody })), Code::AccessDenied).await?;
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_nobody_else_is_taken_for_the_server() -> Result<()> {
    let all = Databases::on(Mysql::start_with_tls().await?).await?;
    // Whoever comes without is sent away, also the program that dumps.
    all.server.sql("", "set global require_secure_transport = on")?;
    let of_server = all.server.authority().display().to_string();
    let other = all.stage.path("other.pem");
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=other",
        ])
        .args(["-keyout", "/dev/null", "-out"])
        .arg(&other)
        .output()?;
    assert!(made.status.success());
    let other = other.display().to_string();
    for (host, tls, root, refused) in [
        ("localhost", "prefer", None, None),
        ("127.0.0.1", "require", None, None),
        ("localhost", "verify-ca", Some(&of_server), None),
        ("localhost", "verify-full", Some(&of_server), None),
        ("localhost", "disable", None, Some("1045")),
        // Nobody that is known vouches for it; and not for this name.
        ("localhost", "verify-full", None, Some("2026")),
        ("localhost", "verify-full", Some(&other), Some("2026")),
        ("127.0.0.1", "verify-full", Some(&of_server), Some("2026")),
    ] {
        let connection = all.with(json!({ "host": host, "tls": tls, "tls_root": root }));
        let spec = all.backup(json!({ "connection": connection, "databases": ["shop"], "globals": "never" }));
        let context = format!("{host} {tls} {root:?}");
        let Some(words) = refused else {
            let done = serde_json::to_value(all.stage.success(spec).await.context(context)?)?;
            let into = json!({ "type": "mysql", "connection": connection, "database": "copy" });
            let changes = json!({ "into": into, "on_conflict": "overwrite" });
            let archive = &done["result"]["archive"];
            all.stage.success(all.restore(archive, "mysql/databases/shop.sql", "copy", changes)).await?;
            continue;
        };
        let code = if tls == "disable" { Code::AccessDenied } else { Code::ServerUnreachable };
        let failure = all.stage.failure(spec, code).await.context(context)?;
        assert!(failure.message.contains(words), "{failure:?}");
    }
    all.nothing_is_left();
    Ok(())
}

/// With the rights that the documentation names.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_for_backups_needs_no_more_than_is_said() -> Result<()> {
    let all = Databases::new().await?;
    all.stage.secrets.lock().unwrap().insert("b".into(), "b".into());
    all.server.sql(
        "",
        "create user backup identified by 'b';
         grant select, show view, trigger, event, lock tables, process, reload, replication client, show databases on *.* to backup",
    )?;
    let connection = all.with(json!({ "user": "backup", "password": password("b") }));
    let archive = all.archive(json!({ "connection": connection, "globals": "always" })).await?;
    let whole = format!("{}::{}", look::repository(&all.stage), archive["name"].as_str().unwrap());
    let shop = look::borg(&all.stage, &["extract", "--stdout", &whole, "mysql/databases/shop.sql"])?;
    for words in ["CHANGE MASTER TO", "PROCEDURE `p`", "trigger tr"] {
        assert!(shop.contains(words), "{words}");
    }
    let events = look::borg(&all.stage, &["extract", "--stdout", &whole, "mysql/events/shop.sql"])?;
    assert!(events.contains("EVENT `e`") && !shop.contains("EVENT `e`"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_in_no_argument_and_no_environment() -> Result<()> {
    let mut all = Databases::new().await?;
    all.stage.stop().await?;
    // A borg that tells of every process, while the dump waits for a table.
    let told = all.stage.path("told");
    let dumps = format!("{}/streams/[^ ]*[.]cnf --single", all.stage.path("state").display());
    let text = format!(
        "case \"$*\" in *read-special*) (\nuntil cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -q '{dumps}'; do sleep 0.1; done\n\
         cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ > {0}.new 2>/dev/null; mv {0}.new {0}) & ;; esac\nexec borg \"$@\"\n",
        told.display()
    );
    let borg = all.stage.script("telling-borg", &text)?;
    all.stage.start(|c| Config { borg, ..c }).await?;
    let (job, epoch) = a_dump_that_waits(&all).await?;
    wait_until("what was told", PATIENCE, async || told.exists().then_some(())).await?;
    all.let_go()?;
    let Report::Succeeded { .. } = all.stage.end_of(job, epoch).await? else { panic!("it failed") };
    let told = String::from_utf8_lossy(&std::fs::read(&told)?).into_owned();
    assert!(told.contains("/mariadb.cnf\0--single-transaction"), "the dump was not seen");
    assert!(!told.contains(MYSQL_PASSWORD));
    Ok(())
}

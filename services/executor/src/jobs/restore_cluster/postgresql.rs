//! A PostgreSQL server, put together and recovered by its own program.
//!
//! That program is run once, as a single process that nobody can connect to: it replays the log up to where it is to, says
//! what it has, and ends as a server that was shut down. None of the settings of the server that was backed up count
//! meanwhile: they could have it send its log where the old one does.

use super::chain::Chain;
use super::place::DATA;
use super::work::{as_user, failed, give, make, plan, unpack};
use crate::child::{Input, User};
use crate::control::NoOutcome;
use crate::core::blocks::combine;
use crate::core::findings::Findings;
use crate::core::postgresql::{major_of, words};
use crate::core::wal;
use crate::jobs::Bench;
use crate::jobs::restore::blocking;
use crate::postgresql::tools::folders;
use crate::program::{self, Said};
use crate::scratch::Scratch;
use std::fs;
use std::path::{Path, PathBuf};
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::{Cluster, RestoreClusterSpec};
use strongroom_domain::{Failure, FailureCode};

/// As whom it runs where nothing is said.
const OS_USER: &str = "postgres";
/// Settings that the server has written itself.
const WRITTEN: &str = "postgresql.auto.conf";

/// What makes one server of archives of changed blocks.
const COMBINER: &str = "pg_combinebackup";

/// What recovers it, and as whom.
pub struct Server {
    major: u32,
    program: Option<PathBuf>,
    /// What puts archives of changed blocks together, where there are such.
    combiner: Option<PathBuf>,
    user: Option<User>,
}

impl Server {
    /// Finds it on the node.
    pub async fn find(
        bench: &Bench<'_>,
        spec: &RestoreClusterSpec,
        chain: &Chain<'_>,
    ) -> Result<Self, NoOutcome> {
        let version = &chain.full().dump.server_version;
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        let major = digits.parse().map_err(|_| {
            Failure::new(FailureCode::ArchiveDamaged, format!("'{version}' is no version of a server"))
        })?;
        let found = own(bench, "postgres", major).await?;
        let combiner = if chain.is_of_blocks() && !chain.more().is_empty() {
            let missing = || {
                let message = format!(
                    "there is no {COMBINER} of version {major} on this node, which puts changed blocks on the files that they belong to; install the package postgresql-{major}"
                );
                Failure::new(FailureCode::ToolMissing, message)
            };
            Some(own(bench, COMBINER, major).await?.ok_or_else(missing)?)
        } else {
            None
        };
        let user = match &spec.os_user {
            Some(name) => Some(as_user(bench, name).await?),
            // PostgreSQL does not run as root.
            None if rustix::process::geteuid().is_root() => match as_user(bench, OS_USER).await {
                Ok(user) => Some(user),
                Err(why) if found.is_some() => return Err(why),
                Err(_) => None,
            },
            None => None,
        };
        Ok(Self { major, program: found, combiner, user })
    }

    /// The program, for people.
    pub fn tool(&self) -> Option<String> {
        self.program.as_ref().map(|program| program.display().to_string())
    }

    /// Puts it together in a scratch folder.
    pub async fn restore(
        &self,
        bench: &Bench<'_>,
        spec: &RestoreClusterSpec,
        chain: &Chain<'_>,
        scratch: &Scratch,
    ) -> Result<(Cluster, Findings), NoOutcome> {
        // A program of another user can be given no way to it but its real one.
        let folder = fs::read_link(scratch.path()).map_err(|e| failed(&scratch.path(), &e))?;
        let data = folder.join(DATA);
        let log = data.join(wal::FOLDER);
        let aside = folder.join(wal::FOLDER);
        self.make(&data)?;
        self.make(&aside)?;
        // The changes first: they are smaller, and what is wrong with them is told sooner.
        bench.step("changes");
        if let Some(combiner) = &self.combiner {
            self.combine(bench, chain, combiner, &folder).await?;
        } else {
            for link in chain.more() {
                self.unpack(bench, link, &aside).await?;
            }
            bench.step("base");
            self.unpack(bench, chain.full(), &data).await?;
        }
        fs::rename(&aside, &log).map_err(|e| failed(&log, &e))?;
        self.write(&data.join("recovery.signal"), b"")?;
        let mut cluster = Cluster {
            target: spec.target.clone(),
            archives: chain.names(),
            size_bytes: chain.size_bytes(),
            recovered: false,
            reached_lsn: None,
            reached_at: None,
            databases: Vec::new(),
        };
        let mut findings = Findings::default();
        let Some(program) = &self.program else {
            let path = data.join(WRITTEN);
            let mut settings = fs::read(&path).unwrap_or_default();
            settings.extend_from_slice(wal::lines(&wal::recovery(spec.until)).as_bytes());
            self.write(&path, &settings)?;
            findings.add(by_hand(self.major, &spec.target));
            return Ok((cluster, findings));
        };
        bench.step("recover");
        let reached = self.recover(bench, spec, program, &folder).await?;
        fs::remove_dir_all(&log).map_err(|e| failed(&log, &e))?;
        cluster.recovered = true;
        cluster.reached_lsn = reached.lsn;
        cluster.reached_at = reached.at;
        cluster.databases = reached.databases;
        Ok((cluster, findings))
    }

    /// Puts changed blocks on the files that they belong to.
    async fn combine(
        &self,
        bench: &Bench<'_>,
        chain: &Chain<'_>,
        combiner: &Path,
        folder: &Path,
    ) -> Result<(), NoOutcome> {
        let mut parts = vec!["full".to_owned()];
        for (n, link) in chain.more().iter().enumerate() {
            let part = format!("changes-{n}");
            self.make(&folder.join(&part))?;
            self.unpack(bench, link, &folder.join(&part)).await?;
            parts.push(part);
        }
        bench.step("base");
        let full = folder.join("full");
        self.make(&full)?;
        self.unpack(bench, chain.full(), &full).await?;
        bench.step("combine");
        let mut combining = plan(bench, combiner, &[], self.user, Some(folder));
        combining.arguments = combine(self.major, &parts, DATA);
        let Said { status, tail, .. } = program::ask(combining, bench.control.clone()).await?;
        if !status.success() {
            let space = tail.iter().any(|line| line.contains("No space left on device"));
            let code = if space { FailureCode::NoSpace } else { FailureCode::RestoreFailed };
            let message = format!("the archives could not be put together ({status}): {}", words(&tail));
            return Err(Failure::new(code, message).with_log(tail).into());
        }
        // Before the server writes: it may share files with these.
        let parts: Vec<PathBuf> = parts.iter().map(|part| folder.join(part)).collect();
        blocking(move || {
            parts.iter().try_for_each(|part| fs::remove_dir_all(part).map_err(|e| failed(part, &e)))
        })
        .await?;
        Ok(())
    }

    /// Replays the log.
    async fn recover(
        &self,
        bench: &Bench<'_>,
        spec: &RestoreClusterSpec,
        program: &Path,
        folder: &Path,
    ) -> Result<wal::Reached, NoOutcome> {
        let data = folder.join(DATA);
        let (written, aside) = (data.join(WRITTEN), folder.join(WRITTEN));
        // An old server may have had none.
        let has_written = fs::rename(&written, &aside).is_ok();
        let config = folder.join("postgresql.conf");
        self.write(&config, b"")?;
        let control = program.with_file_name("pg_controldata");
        let asked = plan(bench, &control, &["."], self.user, Some(&data));
        let said = program::ask(asked, bench.control.clone()).await?;
        let mut settings = wal::room(&String::from_utf8_lossy(&said.stdout));
        settings.extend(wal::recovery(spec.until));
        settings.extend([
            ("config_file", config.display().to_string()),
            ("listen_addresses", String::new()),
            ("archive_mode", "off".to_owned()),
            ("hot_standby", "off".to_owned()),
            ("log_destination", "stderr".to_owned()),
            ("logging_collector", "off".to_owned()),
            ("lc_messages", "C".to_owned()),
        ]);
        let mut arguments = vec!["--single".to_owned(), "-D".into(), data.display().to_string()];
        for (name, value) in settings {
            arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        arguments.push("template1".into());
        let mut recovering = plan(bench, program, &[], self.user, Some(&data));
        recovering.arguments = arguments;
        recovering.input = Input::Words(format!("{}\n", wal::REACHED).into_bytes());
        let Said { status, stdout, tail } = program::ask(recovering, bench.control.clone()).await?;
        let reached = wal::reached(&String::from_utf8_lossy(&stdout)).filter(|_| status.success());
        let reached = reached.ok_or_else(|| {
            let message = format!("the server could not be recovered ({status}): {}", words(&tail));
            Failure::new(FailureCode::RestoreFailed, message).with_log(tail)
        })?;
        if has_written {
            fs::rename(&aside, &written).map_err(|e| failed(&written, &e))?;
        }
        Ok(reached)
    }

    /// Unpacks what an archive holds.
    async fn unpack(
        &self,
        bench: &Bench<'_>,
        link: &super::chain::Link<'_>,
        into: &Path,
    ) -> Result<(), NoOutcome> {
        let arguments = [
            "--extract",
            "--file=-",
            "--no-same-owner",
            "--preserve-permissions",
            "--delay-directory-restore",
        ];
        unpack(bench, link, plan(bench, Path::new("tar"), &arguments, self.user, Some(into))).await
    }

    fn make(&self, folder: &Path) -> Result<(), Failure> {
        make(folder, self.user)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        fs::write(path, bytes).map_err(|e| failed(path, &e))?;
        give(path, self.user)
    }
}

/// A program of just this version on the node.
async fn own(bench: &Bench<'_>, name: &str, major: u32) -> Result<Option<PathBuf>, NoOutcome> {
    for program in program::find(name, &folders(bench.programs)) {
        let asked = plan(bench, &program, &["--version"], None, None);
        let said = program::ask(asked, bench.control.clone()).await?;
        if major_of(&String::from_utf8_lossy(&said.stdout)) == Some(major) {
            return Ok(Some(program));
        }
    }
    Ok(None)
}

/// What is left to be done where the program is not.
fn by_hand(major: u32, target: &str) -> Finding {
    let message = format!(
        "there is no postgres of version {major} on this node, so the log was not replayed: start a server of that version on {target}, with its own settings, as the user that owns it; it replays the log from {}, which can be removed when it is up, as can the lines with restore_command and recovery_target in {WRITTEN}",
        wal::FOLDER
    );
    Finding { severity: Severity::Incomplete, path: None, message }
}

//! Docker's engine of its own for one test, on a socket in its folder, and images that are made of programs of this machine:
//! nothing is fetched.

use crate::{lasting, wait_until};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// How long the engine may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to end in order, with what runs in it.
const DOWN_WITHIN: Duration = Duration::from_secs(30);

/// An engine. Dropped, it is ended and removed with all that runs in it.
pub struct Docker {
    folder: tempfile::TempDir,
    program: PathBuf,
    daemon: Option<Child>,
}

impl Docker {
    /// Starts one for this test. Where none can be started, the test is told as [skipped](crate::skipped) and gets nothing.
    pub async fn start(test: &str) -> Result<Option<Self>> {
        match Self::try_start().await {
            Ok(docker) => Ok(Some(docker)),
            Err(why) => {
                crate::skipped(test, &format!("no Docker engine can be started here: {why:#}"));
                Ok(None)
            }
        }
    }

    async fn try_start() -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "this is not root");
        let folder = tempfile::Builder::new().prefix("dk").tempdir()?;
        let mut docker = Self { folder, program: PathBuf::new(), daemon: None };
        docker.run_daemon().await?;
        // It may answer, and not be allowed to run anything.
        docker.image("probe:1", &[Path::new("/usr/bin/true")])?;
        let probe =
            ["run", "--rm", "--network=host", "--cap-drop=ALL", "--read-only", "probe:1", "/usr/bin/true"];
        docker.run(&probe).with_context(|| docker.last_words())?;
        docker.run(&["image", "rm", "probe:1"])?;
        Ok(docker)
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// Starts the engine, also once more after [`Self::halt`], with the images that it had.
    pub async fn run_daemon(&mut self) -> Result<()> {
        let daemon = find("dockerd").first().cloned().context("there is no dockerd (package docker.io)")?;
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new("setpriv");
        command
            // Told to end, it takes along what runs in it; killed, it does not.
            .args(["--pdeathsig", "TERM", "--"])
            .arg(daemon)
            // Containers share the network of the machine: no rule of its firewall is touched.
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--log-level=warn"])
            .args([format!("--data-root={}", at("data")), format!("--exec-root={}", at("exec"))])
            .args([format!("--pidfile={}", at("pid")), format!("--host=unix://{}", at("docker.sock"))])
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(at("log"))?);
        let daemon = lasting::run(move || command.spawn())??;
        self.daemon = Some(daemon);
        let programs = find("docker");
        let up = wait_until("Docker's engine to answer", UP_WITHIN, async || {
            if let Some(Ok(Some(ended))) = self.daemon.as_mut().map(Child::try_wait) {
                return Some(Err(anyhow::anyhow!("it ended with {ended}")));
            }
            // Some are too new for the engine.
            let answers = |program: &&PathBuf| {
                self.command(program).arg("version").output().is_ok_and(|done| done.status.success())
            };
            programs.iter().find(answers).cloned().map(Ok)
        });
        let up = up.await.and_then(|up| up);
        self.program = up.with_context(|| self.last_words())?;
        Ok(())
    }

    /// Where it listens, as `DOCKER_HOST` says it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// What it answers.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        said(arguments, &self.command(&self.program).args(arguments).output()?)
    }

    /// The ids of all containers, those that have ended too.
    pub fn containers(&self) -> Result<Vec<String>> {
        let all = self.run(&["ps", "--all", "--quiet", "--no-trunc"])?;
        Ok(all.lines().map(str::to_owned).collect())
    }

    /// Makes an image of programs of this machine, and what they are linked with. It says of itself that it has a volume, as
    /// the official ones do.
    pub fn image(&self, name: &str, programs: &[&Path]) -> Result<()> {
        let mut files = BTreeSet::new();
        for program in programs {
            let program = program.canonicalize().with_context(|| program.display().to_string())?;
            let linked = Command::new("ldd").arg(&program).output()?;
            let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
            let paths = linked.split_whitespace().filter(|word| word.starts_with('/'));
            files.extend(paths.map(|path| path.trim_end_matches(':').to_owned()));
        }
        let tree = tempfile::Builder::new().prefix("image").tempdir_in(self.folder.path())?;
        for file in files {
            let to = tree.path().join(file.trim_start_matches('/'));
            std::fs::create_dir_all(to.parent().context("it has no folder")?)?;
            std::fs::copy(&file, to).with_context(|| file.clone())?;
        }
        for program in programs {
            let name = program.file_name().context("it has no name")?;
            let bin = tree.path().join("usr/bin");
            std::fs::create_dir_all(&bin)?;
            std::fs::copy(program, bin.join(name)).with_context(|| program.display().to_string())?;
        }
        for folder in ["tmp", "etc", "proc", "sys", "dev"] {
            std::fs::create_dir_all(tree.path().join(folder))?;
        }
        std::os::unix::fs::symlink("usr/bin", tree.path().join("bin"))?;
        // The users of the official images are not those of this machine.
        std::fs::write(tree.path().join("etc/passwd"), "somebody:x:4999:4999::/:/bin/false\n")?;
        let mut tar = Command::new("tar")
            .args(["--create", "--file=-", "--directory"])
            .arg(tree.path())
            .arg(".")
            .stdout(Stdio::piped())
            .spawn()?;
        let packed = tar.stdout.take().context("it prints nothing")?;
        let words = ["import", "--change=ENV PATH=/usr/bin", "--change=VOLUME /var/lib/data", "-", name];
        let imported = self.command(&self.program).args(words).stdin(packed).output()?;
        ensure!(tar.wait()?.success(), "tar failed");
        said(&words, &imported)?;
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg(format!("--config={}", self.folder.path().join("none").display()));
        command.arg(format!("--host={}", self.host())).stdin(Stdio::null());
        command
    }

    /// Ends the engine in order, as its administrator does, with all that runs in it.
    pub fn halt(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = Pid::from_child(&daemon);
            let (tell, told) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let _ = tell.send(daemon.wait());
            });
            let _ = kill_process(pid, Signal::TERM);
            if told.recv_timeout(DOWN_WITHIN).is_err() {
                let _ = kill_process(pid, Signal::KILL);
                let _ = told.recv();
            }
        }
    }

    fn end(&mut self) {
        self.halt();
        // What it has mounted and could not unmount would keep the folder from being removed.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let below = self.folder.path().display().to_string();
        for place in
            mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|at| at.starts_with(&below))
        {
            let _ = Command::new("umount").args(["--lazy", place]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.end();
    }
}

fn said(words: &[&str], done: &Output) -> Result<String> {
    ensure!(done.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
}

/// Programs of this name.
fn find(name: &str) -> Vec<PathBuf> {
    let path = path();
    std::env::split_paths(&path).map(|folder| folder.join(name)).filter(|file| file.is_file()).collect()
}

/// Not every user has the folders of the system's own programs on the `PATH`.
fn path() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Says that a test was not made here, and why. `cargo xtask test` counts it so, and not among those that passed.
pub fn skipped(test: &str, why: &str) {
    let line = why.lines().collect::<Vec<_>>().join(" ");
    // Past what is kept of a test's own output, which is shown of those that fail only; in one piece, among the words of others.
    let _ = std::io::stderr().write_all(format!("\ntest-skipped: {test}: {line}\n").as_bytes());
}

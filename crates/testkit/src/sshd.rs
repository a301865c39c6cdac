//! An SSH server of its own for one test: on a free port, with keys of its own, which lets in one key and gives SFTP only.

use crate::port::Port;
use crate::{lasting, wait_until};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The server. Dropped, it is ended and its folder goes.
pub struct Sshd {
    folder: tempfile::TempDir,
    port: Port,
    program: PathBuf,
    server: Option<Child>,
}

impl Sshd {
    /// Makes keys and starts it.
    pub async fn start() -> Result<Self> {
        let program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().map(PathBuf::from);
        let program = program
            .into_iter()
            .find(|program| program.is_file())
            .context("the tests need an SSH server; 'cargo xtask test' installs one")?;
        if rustix::process::geteuid().is_root() {
            // Where it locks itself in; packages make it when their own server starts.
            std::fs::create_dir_all("/run/sshd")?;
        }
        let folder = tempfile::tempdir()?;
        let sshd = Self { folder, port: Port::claim()?, program, server: None };
        std::fs::create_dir(sshd.root())?;
        keygen(&sshd.file("client"))?;
        keygen(&sshd.file("stranger"))?;
        std::fs::copy(sshd.file("client.pub"), sshd.file("authorized"))?;
        let mut sshd = sshd;
        sshd.new_host_key()?;
        sshd.run().await?;
        Ok(sshd)
    }

    /// Starts it again.
    pub async fn run(&mut self) -> Result<()> {
        let config = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             MaxStartups 100\nSubsystem sftp internal-sftp\nForceCommand internal-sftp\n",
            self.port(),
            self.file("host").display(),
            self.file("authorized").display(),
        );
        std::fs::write(self.file("config"), config)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(["-D", "-e", "-f"])
            .arg(self.file("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.file("log"))?);
        self.server = Some(lasting::run(move || command.spawn())??);
        let port = self.port();
        let answers = wait_until("sshd to answer", Duration::from_secs(30), async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        });
        answers.await.with_context(|| std::fs::read_to_string(self.file("log")).unwrap_or_default())?;
        Ok(())
    }

    /// Ends it and all its connections at once.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            let parts = descendants(server.id());
            server.kill()?;
            server.wait()?;
            for pid in parts {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    // It may have ended with the server.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
        Ok(())
    }

    /// Gives it another key, by which it is another machine from its next start on.
    pub fn new_host_key(&mut self) -> Result<()> {
        let _ = std::fs::remove_file(self.file("host"));
        keygen(&self.file("host"))
    }

    /// The key by which it is known: a kind and a key.
    pub fn host_key(&self) -> Result<String> {
        let line = std::fs::read_to_string(self.file("host.pub"))?;
        Ok(line.split(' ').take(2).collect::<Vec<_>>().join(" "))
    }

    /// The private key that is let in.
    pub fn private_key(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.file("client"))?)
    }

    /// One that is not.
    pub fn stranger(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.file("stranger"))?)
    }

    /// Who is let in: who runs the test.
    pub fn user(&self) -> Result<String> {
        let said = Command::new("id").arg("-un").output()?;
        Ok(String::from_utf8(said.stdout)?.trim().to_owned())
    }

    /// A folder that is there.
    pub fn root(&self) -> PathBuf {
        self.file("root")
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// What it has said since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn keygen(file: &Path) -> Result<()> {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .context("ssh-keygen")?;
    ensure!(made.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// All that a process has started, and what that has started.
fn descendants(of: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

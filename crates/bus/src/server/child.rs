//! Starting one nats-server as a child that dies with its parent and is never the second one on its store.
//!
//! The accident that this file prevents: two servers that write into the same store destroy it. One whose parent was
//! killed lives on for a moment, and a new parent starts the next one. So a child is given a locked file as its standard
//! input: the lock is held for as long as the child lives, however its parents died.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What a child is started with.
#[derive(Debug, Clone)]
pub struct ChildPlan {
    /// The nats-server.
    pub binary: PathBuf,
    /// Its configuration.
    pub config_file: PathBuf,
    /// The folder of its streams.
    pub store_dir: PathBuf,
    /// Where it logs to, when not to its output.
    pub log_file: Option<PathBuf>,
    /// The signal that the kernel sends it when its parent is gone: `TERM` lets it end in order.
    pub death_signal: &'static str,
}

/// What one nats-server alone can hold.
#[derive(Debug)]
pub struct StoreLock(File);

impl ChildPlan {
    /// The store for one server; nothing while another one runs there.
    pub fn lock_store(&self) -> std::io::Result<Option<StoreLock>> {
        if let Some(parent) = self.store_dir.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let path = with_ending(&self.store_dir, "lock");
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(StoreLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// Starts the server. The death signal fires when the *thread* that calls this ends, so it must live on.
    pub fn spawn(&self, store: StoreLock) -> std::io::Result<Child> {
        use std::os::unix::process::CommandExt;
        let output = OpenOptions::new().create(true).append(true).open(self.output_file())?;
        // setpriv (util-linux) asks the kernel for the death signal and becomes the server. Its own process group keeps
        // a Ctrl-C at the terminal from ending the log before its writers.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", self.death_signal, "--"])
            .arg(&self.binary)
            .arg("-c")
            .arg(&self.config_file);
        command.stdin(Stdio::from(store.0)).stdout(output.try_clone()?).stderr(output).process_group(0);
        command.spawn().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                std::io::Error::new(e.kind(), "there is no 'setpriv'; install the package util-linux")
            }
            _ => e,
        })
    }

    /// What the server prints: its log when it has no file for it, and why it does not start.
    pub fn output_file(&self) -> PathBuf {
        self.config_file.with_extension("out")
    }

    /// The last lines that the server printed and logged.
    pub fn last_words(&self) -> String {
        const LINES: usize = 5;
        let mut words = Vec::new();
        for file in std::iter::once(self.output_file()).chain(self.log_file.clone()) {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            words.extend(lines.iter().skip(lines.len().saturating_sub(LINES)).map(|l| (*l).to_owned()));
        }
        words.join(" | ")
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

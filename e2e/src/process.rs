//! One of the product's binaries as a child that can be killed and started again.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use strongroom_testkit::lasting;

/// Where cargo has put a binary of this workspace: beside whoever asks, or one folder above for a test.
pub fn binary(name: &str) -> Result<PathBuf> {
    let asks = std::env::current_exe()?;
    let folders = asks.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built; 'cargo build --workspace --bins' does that"))
}

/// A process and how it is started.
pub struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    output: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// A process of this program; its output goes to `output`.
    pub fn new(program: PathBuf, output: PathBuf) -> Self {
        Self { program, arguments: Vec::new(), environment: BTreeMap::new(), output, child: None }
    }

    /// With an argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With a variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Starts it. The kernel ends it with the test binary.
    pub fn start(&mut self) -> Result<()> {
        anyhow::ensure!(self.child.is_none(), "{} runs already", self.program.display());
        let output: File = OpenOptions::new().create(true).append(true).open(&self.output)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(&self.arguments)
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let started = lasting::run(move || command.spawn())?;
        self.child = Some(started.with_context(|| self.program.display().to_string())?);
        Ok(())
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let pid = self.pid().context("it does not run")?;
        let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status()?;
        anyhow::ensure!(status.success(), "it could not be told to end");
        let output = self.output.clone();
        strongroom_testkit::wait_until("the process to end", crate::PATIENCE, async || self.ended())
            .await
            .with_context(|| tail(&output))
    }

    /// How it ended, when it did by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The end of what it has printed.
    pub fn tail(&self) -> String {
        tail(&self.output)
    }

    /// All that it has printed.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What cannot be killed here is ended by the kernel with the test binary.
        let _ = self.kill();
    }
}

fn tail(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(40)).copied().collect::<Vec<_>>().join("\n")
}

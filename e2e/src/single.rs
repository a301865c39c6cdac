//! `strongroom up` as one process, and the client beside it.

use crate::process::{Process, binary};
use crate::{Api, PATIENCE, wait_until};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A system in one process, in a folder that goes with it.
pub struct Single {
    /// The process.
    pub process: Process,
    /// A client with the administrator's token.
    pub api: Api,
    // Last, so that the folder goes after what works in it.
    folder: tempfile::TempDir,
}

impl Single {
    /// Starts one with everything as it comes.
    pub async fn start() -> Result<Self> {
        Self::start_with(|process| process).await
    }

    /// Starts one with more arguments or variables.
    pub async fn start_with(more: impl FnOnce(Process) -> Process) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let process = Process::new(binary("strongroom")?, folder.path().join("output"))
            .arg("up")
            .arg("--data")
            .arg(data.display().to_string())
            .arg("--listen")
            .arg("127.0.0.1:0");
        let mut single =
            Self { process: more(process), api: Api::new(String::new(), String::new())?, folder };
        single.process.start()?;
        single.wait_until_up().await?;
        Ok(single)
    }

    /// Waits until it answers, after a start.
    pub async fn wait_until_up(&mut self) -> Result<()> {
        let (address, token) = (self.data().join("address"), self.data().join("gateway/token"));
        let process = &mut self.process;
        let found = wait_until("strongroom to be up", PATIENCE, async || {
            if let Some(status) = process.ended() {
                return Some(Err(anyhow::anyhow!("it ended at once with {status}")));
            }
            let url = std::fs::read_to_string(&address).ok()?.trim().to_owned();
            let token = std::fs::read_to_string(&token).ok()?.trim().to_owned();
            let api = Api::new(url, token).ok()?;
            let ready = api.send(api.bare(reqwest::Method::GET, "/readyz")).await.ok()?;
            (ready.status == 200).then_some(Ok(api))
        })
        .await;
        self.api = found.and_then(|api| api).with_context(|| self.process.tail())?;
        Ok(())
    }

    /// kill -9 of everything, and a new start.
    pub async fn kill_and_start(&mut self) -> Result<()> {
        self.process.kill()?;
        // A new address may be chosen; the old one must not be taken for it.
        let _ = std::fs::remove_file(self.data().join("address"));
        self.process.start()?;
        self.wait_until_up().await
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder for the test's own files, beside the data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the client; gives its exit code and what it printed.
    pub fn client(&self, arguments: &[&str]) -> Result<(i32, String, String)> {
        let output = strongroom()?
            .args(arguments)
            .env("STRONGROOM_DATA", self.data())
            .env("STRONGROOM_URL", &self.api.url)
            .output()?;
        Ok((
            output.status.code().context("killed")?,
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }

    /// Runs the client; it must succeed. What it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let (code, out, err) = self.client(arguments)?;
        assert_eq!(code, 0, "{arguments:?}: {err}{out}");
        Ok(out)
    }

    /// The same, of words with spaces in between.
    pub fn run_line(&self, line: &str) -> Result<String> {
        self.run(&line.split(' ').collect::<Vec<_>>())
    }

    /// Runs the client with `--output json`; it must succeed.
    pub fn client_json(&self, arguments: &[&str]) -> Result<Value> {
        let (code, out, err) = self.client(&[arguments, &["--output", "json"]].concat())?;
        anyhow::ensure!(code == 0, "strongroom {arguments:?} ended with {code}: {err}{out}");
        serde_json::from_str(&out).with_context(|| out)
    }
}

/// The binary, with nothing of the tester's own environment that it would listen to.
pub fn strongroom() -> Result<Command> {
    let mut command = Command::new(binary("strongroom")?);
    for name in ["STRONGROOM_URL", "STRONGROOM_TOKEN", "STRONGROOM_TOKEN_FILE", "STRONGROOM_DATA"] {
        command.env_remove(name);
    }
    Ok(command)
}

//! A real borg repository in a folder that goes with it, and borg itself to look into it behind the product's back.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether borg is installed; the tests that need it fail with a word on how to get it.
pub fn borg_is_there() -> Result<()> {
    let found =
        Command::new("borg").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    anyhow::ensure!(found, "the tests need borg; 'cargo xtask test' installs it");
    Ok(())
}

/// A repository, and where borg keeps what it knows about it: nothing of the user's own borg is touched.
pub struct ScratchRepository {
    passphrase: Option<String>,
    folder: tempfile::TempDir,
}

impl ScratchRepository {
    /// A new repository, encrypted when there is a passphrase.
    pub fn new(passphrase: Option<&str>) -> Result<Self> {
        let scratch = Self::empty(passphrase)?;
        let encryption = if passphrase.is_some() { "repokey-blake2" } else { "none" };
        scratch.borg(&["init", "--encryption", encryption, &scratch.url()])?;
        Ok(scratch)
    }

    /// Only the place for one, for the product to make it.
    pub fn empty(passphrase: Option<&str>) -> Result<Self> {
        borg_is_there()?;
        Ok(Self { passphrase: passphrase.map(ToOwned::to_owned), folder: tempfile::tempdir()? })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Where it is, as borg is told.
    pub fn url(&self) -> String {
        self.path().display().to_string()
    }

    /// Backs up `source` as this archive, with paths from `source` on.
    pub fn create(&self, archive: &str, source: &Path) -> Result<()> {
        let name = format!("{}::{archive}", self.url());
        self.run(Command::new("borg").args(["create", &name, "."]).current_dir(source)).map(|_| ())
    }

    /// The names of all archives, oldest first.
    pub fn archives(&self) -> Result<Vec<String>> {
        let names = self.borg(&["list", "--short", &self.url()])?;
        Ok(names.lines().map(ToOwned::to_owned).collect())
    }

    /// Runs borg on it, and gives what it printed.
    pub fn borg(&self, arguments: &[&str]) -> Result<String> {
        self.run(Command::new("borg").args(arguments))
    }

    fn run(&self, command: &mut Command) -> Result<String> {
        command
            .env("BORG_BASE_DIR", self.folder.path().join("borg"))
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
            .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
            .env_remove("BORG_PASSPHRASE")
            .stdin(Stdio::null());
        if let Some(passphrase) = &self.passphrase {
            command.env("BORG_PASSPHRASE", passphrase);
        }
        let output = command.output().context("starting borg")?;
        let problem = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "borg ended with {}: {problem}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_backed_up_can_be_listed_and_not_without_the_passphrase() {
        let source = tempfile::tempdir().unwrap();
        std::fs::write(source.path().join("file"), "text").unwrap();
        let mut scratch = ScratchRepository::new(Some("secret")).unwrap();
        scratch.create("one", source.path()).unwrap();
        assert_eq!(scratch.archives().unwrap(), ["one"]);
        let files = scratch.borg(&["list", "--short", &format!("{}::one", scratch.url())]).unwrap();
        assert!(files.lines().any(|l| l == "file"), "{files}");
        scratch.passphrase = Some("wrong".into());
        assert!(scratch.archives().is_err());
    }
}

//! OpenPGP by the real gpg: what is stored is for who has the key, and for nobody else, the node included.

use crate::dump_store::{access, archive_of, backup, damage, files, folder, init, restore};
use crate::sqlite::{accounts, sum};
use crate::stage::{PATIENCE, Stage};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use strongroom_domain::FailureCode as Code;
use strongroom_testkit::wait_until;

/// A keyring of somebody.
pub struct Person {
    home: tempfile::TempDir,
}

impl Person {
    pub fn new(name: &str) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        // The agent has a socket in it, whose name must not be long.
        let home = tempfile::Builder::new().prefix("g").tempdir_in("/tmp")?;
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700))?;
        let person = Self { home };
        person.gpg(&["--passphrase", "", "--quick-gen-key", name, "default", "default", "never"], b"")?;
        Ok(person)
    }

    pub fn gpg(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        use std::io::Write;
        let mut child = Command::new("gpg")
            .args(["--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--homedir"])
            .arg(self.home.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("its input")?;
        let input = input.to_vec();
        let writing = std::thread::spawn(move || stdin.write_all(&input));
        let done = child.wait_with_output()?;
        let _ = writing.join();
        anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(done.stdout)
    }

    pub fn public(&self) -> Result<String> {
        Ok(String::from_utf8(self.gpg(&["--armor", "--export"], b"")?)?)
    }

    pub fn secret(&self) -> Result<String> {
        Ok(String::from_utf8(self.gpg(&["--armor", "--export-secret-keys"], b"")?)?)
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ =
            Command::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).status();
    }
}

fn to(stage: &Stage, place: &Path, recipients: &[&Person]) -> Result<Value> {
    let mut access = access(stage, place, "gpg");
    access["recipients"] = recipients.iter().map(|p| p.public()).collect::<Result<Vec<_>>>()?.into();
    Ok(access)
}

/// The same, for who has a key.
fn with(stage: &Stage, access: &Value, person: &Person) -> Result<Value> {
    stage.secrets.lock().unwrap().insert("gpg".into(), person.secret()?);
    let mut access = access.clone();
    access["identity"] = json!({ "reference": "gpg", "version": 1 });
    Ok(access)
}

async fn nothing_is_left(stage: &Stage) -> Result<()> {
    let streams = stage.path("state/streams");
    assert_eq!(std::fs::read_dir(&streams).unwrap().count(), 0);
    wait_until("the end of the agent", PATIENCE, async || {
        crate::stage::processes(&streams).is_empty().then_some(())
    })
    .await
}

fn object(place: &Path, name: &str) -> PathBuf {
    let found = files(place).into_iter().find(|(path, _)| path.contains(name));
    found.map(|(_, path)| path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_for_people_is_read_by_them_alone() -> Result<()> {
    let stage = Stage::set().await?;
    let (place, roots) = (folder(&stage, "store")?, folder(&stage, "back")?);
    let (one, other, stranger) = (Person::new("one")?, Person::new("other")?, Person::new("stranger")?);
    let access = to(&stage, &place, &[&one, &other])?;
    stage.success(init(&access)).await?;
    let source = stage.path("app.db");
    drop(accounts(&source, "delete")?);
    let before = sum(&source)?;
    for compression in ["none", "zstd,3"] {
        let archive = archive_of(&stage, backup(&access, compression, &[&source])).await?;
        let stored = &archive["dump"]["artefacts"][0]["stored"];
        assert_eq!(stored["encryption"], "gpg", "{archive}");
        assert!(stored["object"].as_str().unwrap().ends_with(".gpg"), "{archive}");
        nothing_is_left(&stage).await?;
        // The node alone cannot, nor can somebody else.
        stage.failure(restore(&access, &archive, &roots), Code::SecretMissing).await?;
        let failure = stage
            .failure(restore(&with(&stage, &access, &stranger)?, &archive, &roots), Code::WrongPassphrase);
        assert!(failure.await?.message.contains("No secret key"));
        for (n, person) in [&one, &other].into_iter().enumerate() {
            let roots = folder(&stage, &format!("back/{n}-{}", &compression[..4]))?;
            stage.success(restore(&with(&stage, &access, person)?, &archive, &roots)).await?;
            let back = files(&roots).into_iter().find(|(path, _)| path.ends_with("app.db")).unwrap().1;
            assert_eq!(sum(&back)?, before);
        }
        nothing_is_left(&stage).await?;
    }
    // With gpg and zstd alone as well.
    let stored = std::fs::read(object(&place, "app.db.zst.gpg"))?;
    let plain = zstd::decode_all(one.gpg(&["--decrypt"], &stored)?.as_slice())?;
    assert!(plain.starts_with(b"SQLite format 3\0"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_no_key_is_told() -> Result<()> {
    let stage = Stage::set().await?;
    let (place, roots) = (folder(&stage, "store")?, folder(&stage, "back")?);
    let one = Person::new("one")?;
    let mut odd = to(&stage, &place, &[&one])?;
    let armor = |kind: &str| {
        format!("-----BEGIN PGP {kind} KEY BLOCK-----\n\nmQGN=\n-----END PGP {kind} KEY BLOCK-----\n")
    };
    odd["recipients"] = json!([armor("PUBLIC")]);
    let failure = stage.failure(init(&odd), Code::Unknown).await?;
    assert!(failure.message.contains("cannot encrypt to the keys"), "{failure:?}");
    assert_eq!(files(&place), []);
    let access = to(&stage, &place, &[&one])?;
    stage.success(init(&access)).await?;
    let source = stage.path("app.db");
    drop(accounts(&source, "delete")?);
    let archive = archive_of(&stage, backup(&access, "none", &[&source])).await?;
    stage.secrets.lock().unwrap().insert("gpg".into(), armor("PRIVATE"));
    let mut wrong = access.clone();
    wrong["identity"] = json!({ "reference": "gpg", "version": 1 });
    stage.failure(restore(&wrong, &archive, &roots), Code::WrongPassphrase).await?;
    damage(&place)?;
    stage.failure(restore(&with(&stage, &access, &one)?, &archive, &roots), Code::ArchiveDamaged).await?;
    assert_eq!(files(&roots), []);
    nothing_is_left(&stage).await?;
    Ok(())
}

//! Dump stores: what is put in comes out, what is not whole is no archive, and what has changed is noticed.

use crate::failures::Small;
use crate::sqlite::{accounts, sum};
use crate::stage::{PASSPHRASE, PATIENCE, Stage};
use age::secrecy::ExposeSecret;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use strongroom_domain::FailureCode as Code;
use strongroom_domain::job::Report;
use strongroom_testkit::wait_until;

/// A store in a folder, of this encryption.
pub fn access(stage: &Stage, place: &Path, encryption: &str) -> Value {
    let mut access = json!({
        "repository": "r", "location": place.join("s/r"), "encryption": encryption,
        "store": { "type": "local", "path": place },
    });
    if encryption == "passphrase" {
        access["passphrase"] = stage.access()["passphrase"].clone();
    }
    access
}

pub fn init(access: &Value) -> Value {
    json!({ "kind": "init-repository", "access": access })
}

pub fn backup(access: &Value, compression: &str, paths: &[&Path]) -> Value {
    json!({
        "kind": "backup", "plan": "p", "access": access, "compression": compression,
        "source": { "type": "sqlite", "paths": paths },
    })
}

pub fn restore(access: &Value, archive: &Value, roots: &Path) -> Value {
    json!({
        "kind": "restore", "access": access, "allowed_roots": [roots], "archive": target(archive),
        "target": { "type": "folder", "path": roots },
    })
}

pub fn target(archive: &Value) -> Value {
    json!({ "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] })
}

pub async fn archive_of(stage: &Stage, backup: Value) -> Result<Value> {
    let outcome = serde_json::to_value(stage.success(backup).await?)?;
    assert_eq!(outcome["completeness"], "complete", "{outcome}");
    Ok(outcome["result"]["archive"].clone())
}

pub fn folder(stage: &Stage, name: &str) -> Result<PathBuf> {
    let folder = stage.folder.path().canonicalize()?.join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// All files below a folder, by their path in it.
pub fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(folder).unwrap().display().to_string();
                found.push((name, entry.path()));
            }
        }
    }
    found.sort();
    found
}

/// Changes a byte in the middle of the largest object.
pub fn damage(place: &Path) -> Result<()> {
    let size = |path: &PathBuf| path.metadata().map(|m| m.len()).unwrap_or_default();
    let largest = files(&place.join("s/r/archives")).into_iter().map(|(_, p)| p).max_by_key(size).unwrap();
    let mut bytes = std::fs::read(&largest)?;
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    Ok(std::fs::write(largest, bytes)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_in_comes_out_and_common_tools_can_read_it() -> Result<()> {
    let stage = Stage::set().await?;
    let key = age::x25519::Identity::generate();
    stage.secrets.lock().unwrap().insert("key".into(), key.to_string().expose_secret().to_owned());
    let data = folder(&stage, "data")?.join("it's a {db}\u{e9}.db");
    drop(accounts(&data, "delete")?);
    let bytes = std::fs::read(&data)?;
    for (encryption, compression, suffix) in [
        ("none", "none", "db"),
        ("none", "zip", "db.zip"),
        ("passphrase", "zstd,3", "db.zst.age"),
        ("age", "gzip", "db.gz.age"),
    ] {
        let place = folder(&stage, &format!("store-{suffix}"))?;
        let mut access = access(&stage, &place, encryption);
        if encryption == "age" {
            access["recipients"] = json!([key.to_public().to_string()]);
        }
        let made = serde_json::to_value(stage.success(init(&access)).await?)?;
        assert_eq!(made["result"]["existed"], false, "{made}");
        let again = serde_json::to_value(stage.success(init(&access)).await?)?;
        assert_eq!(again["result"]["existed"], true, "{again}");
        assert_eq!(again["result"]["borg_repository_id"], made["result"]["borg_repository_id"]);
        let archive = archive_of(&stage, backup(&access, compression, &[&data])).await?;
        let artefact = &archive["dump"]["artefacts"][0];
        assert_eq!(artefact["size_bytes"], bytes.len() as u64);
        let object = artefact["stored"]["object"].as_str().context("it says where it is")?;
        assert!(object.ends_with(suffix), "{object}");
        let stored = std::fs::read(place.join("s/r").join(object))?;
        let listed = archive["dump"]["artefacts"][1]["stored"]["size_bytes"].as_u64().unwrap();
        assert_eq!(archive["stats"]["compressed_size_bytes"], stored.len() as u64 + listed);
        // All of it, with nothing of ours.
        let plain = match encryption {
            "none" if compression == "zip" => {
                let file = place.join("s/r").join(object);
                let unzipped = std::process::Command::new("unzip").arg("-p").arg(file).output()?;
                assert!(unzipped.status.success(), "{unzipped:?}");
                unzipped.stdout
            }
            "none" => stored,
            _ => {
                let identity = if encryption == "age" {
                    key.to_string().expose_secret().to_owned()
                } else {
                    let sealed = std::fs::read(place.join("s/r/key.age"))?;
                    let opener = age::scrypt::Identity::new(PASSPHRASE.to_owned().into());
                    String::from_utf8(age::decrypt(&opener, &sealed)?)?
                };
                let identity: age::x25519::Identity = identity.parse().map_err(anyhow::Error::msg)?;
                let packed = age::decrypt(&identity, &stored)?;
                let mut plain = Vec::new();
                if encryption == "age" {
                    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut plain)?;
                } else {
                    plain = zstd::decode_all(packed.as_slice())?;
                }
                plain
            }
        };
        assert!(plain == bytes, "{encryption}");

        let roots = folder(&stage, &format!("roots-{suffix}"))?;
        if encryption == "age" {
            let failure = stage.failure(restore(&access, &archive, &roots), Code::SecretMissing).await?;
            assert!(failure.message.contains("no key"), "{failure:?}");
            access["identity"] = json!({ "reference": "key", "version": 1 });
        }
        stage.success(restore(&access, &archive, &roots)).await?;
        let restored = roots.join("sqlite").join(data.strip_prefix("/")?);
        assert!(std::fs::read(&restored)? == bytes);
        assert_eq!(sum(&restored)?, (20000, 2_000_000, "ok".into()));

        let scanned = serde_json::to_value(
            stage.success(json!({ "kind": "scan-repository", "access": access })).await?,
        )?;
        assert_eq!(scanned["result"]["archives"], 1, "{scanned}");
        let index = json!({ "kind": "index-archive", "access": access, "archive": target(&archive) });
        let index = serde_json::to_value(stage.success(index).await?)?;
        assert_eq!(index["result"]["index"]["entries"], 2);
        let delete = json!({ "kind": "delete-archive", "access": access, "archive": target(&archive) });
        assert_eq!(serde_json::to_value(stage.success(delete.clone()).await?)?["result"]["was_gone"], false);
        assert_eq!(serde_json::to_value(stage.success(delete).await?)?["result"]["was_gone"], true);
        let left: Vec<_> = files(&place.join("s/r")).into_iter().map(|(name, _)| name).collect();
        let key = (encryption == "passphrase").then_some("key.age");
        assert_eq!(left, key.into_iter().chain(["strongroom-store.json"]).collect::<Vec<_>>());
    }
    assert_eq!(std::fs::read_dir(stage.path("state/streams"))?.count(), 0);
    assert_eq!(std::fs::read_dir(stage.path("state/unfinished"))?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_changed_is_refused_by_its_digest_and_nothing_is_restored() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("a.db");
    drop(accounts(&data, "delete")?);
    for encryption in ["none", "passphrase"] {
        let place = folder(&stage, &format!("store-{encryption}"))?;
        let access = access(&stage, &place, encryption);
        stage.success(init(&access)).await?;
        let archive = archive_of(&stage, backup(&access, "none", &[&data])).await?;
        let roots = folder(&stage, &format!("roots-{encryption}"))?;
        let restore = restore(&access, &archive, &roots);
        for (name, path) in files(&place.join("s/r/archives")) {
            let whole = std::fs::read(&path)?;
            let mut other = whole.clone();
            // In the manifest, a digit of a digest, so that it is one still.
            let at = match name.ends_with("strongroom.json") {
                true => String::from_utf8(whole.clone())?.find("\"sha256\": \"").context("a digest")? + 12,
                false => whole.len() / 2,
            };
            other[at] = if other[at] == b'1' { b'2' } else { b'1' };
            std::fs::write(&path, &other)?;
            let failure = stage.failure(restore.clone(), Code::ArchiveDamaged).await?;
            if encryption == "none" {
                let digest = if name.ends_with("strongroom.json") {
                    &archive["borg_id"]
                } else {
                    let parts = archive["dump"]["artefacts"].as_array().unwrap();
                    let is_it = |a: &&Value| a["stored"]["object"].as_str().unwrap().ends_with(&name);
                    &parts.iter().find(is_it).unwrap()["stored"]["sha256"]
                };
                assert!(failure.message.contains(digest.as_str().unwrap()), "{failure:?}");
            }
            assert_eq!(std::fs::read_dir(&roots)?.count(), 0, "{name}");
            // One that is gone, and one that is short.
            std::fs::write(&path, whole.get(..whole.len() - 1).unwrap())?;
            stage.failure(restore.clone(), Code::ArchiveDamaged).await?;
            std::fs::remove_file(&path)?;
            let code =
                if name.ends_with("strongroom.json") { Code::ArchiveMissing } else { Code::ArchiveDamaged };
            stage.failure(restore.clone(), code).await?;
            let scan = json!({ "kind": "scan-repository", "access": access });
            let scanned = serde_json::to_value(stage.success(scan).await?)?;
            assert_eq!(scanned["result"]["archives"], 0, "what is not whole is no archive: {scanned}");
            std::fs::write(&path, &whole)?;
        }
        stage.success(restore).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_store_a_wrong_passphrase_and_a_folder_of_others_are_told_apart() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("a.db");
    drop(accounts(&data, "delete")?);
    let place = folder(&stage, "store")?;
    let none = access(&stage, &place, "none");
    stage.failure(backup(&none, "none", &[&data]), Code::RepositoryMissing).await?;
    let access = access(&stage, &place, "passphrase");
    stage.success(init(&access)).await?;
    stage.failure(init(&none), Code::RepositoryExists).await?;
    stage.failure(backup(&none, "none", &[&data]), Code::RepositoryExists).await?;
    let mut wrong = access.clone();
    wrong["passphrase"] = json!({ "reference": "wrong", "version": 1 });
    stage.secrets.lock().unwrap().insert("wrong".into(), "not it".into());
    stage.failure(init(&wrong), Code::WrongPassphrase).await?;
    stage.failure(backup(&wrong, "none", &[&data]), Code::WrongPassphrase).await?;
    // An init that was killed after it had made a key: nothing is in the store that needs it.
    let half = folder(&stage, "half/s/r")?;
    std::fs::copy(place.join("s/r/key.age"), half.join("key.age"))?;
    let mut other = access.clone();
    other["location"] = json!(half);
    other["passphrase"] = wrong["passphrase"].clone();
    stage.success(init(&other)).await?;
    stage.success(backup(&other, "none", &[&data])).await?;
    stage.failure(backup(&access, "lzma", &[&data]), Code::Unknown).await?;
    assert_eq!(files(&place.join("s/r/archives")), []);
    Ok(())
}

/// Backs up slowly, so that there is time to do something in the middle of it.
fn slowly(access: &Value, paths: &[&Path]) -> Value {
    let mut backup = backup(access, "none", paths);
    backup["limits"] = json!({ "upload_rate_kib_per_s": 1024 });
    backup
}

async fn something_is_stored(place: &Path) -> Result<()> {
    let some = async || files(&place.join("s/r/archives")).first().map(|_| ());
    wait_until("something is stored", PATIENCE, some).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_leaves_no_archive_and_what_it_left_is_removed() -> Result<()> {
    let mut stage = Stage::set().await?;
    let data = folder(&stage, "data")?;
    let (good, bad) = (data.join("good.db"), data.join("bad.db"));
    drop(accounts(&good, "delete")?);
    let mut bytes = std::fs::read(&good)?;
    let at = bytes.len() / 2;
    bytes[at..at + 9000].fill(0x55);
    std::fs::write(&bad, bytes)?;
    let place = folder(&stage, "store")?;
    let access = access(&stage, &place, "none");
    stage.success(init(&access)).await?;

    // The source fails late.
    stage.failure(backup(&access, "none", &[&good, &bad]), Code::SourceDamaged).await?;
    assert_eq!(files(&place.join("s/r/archives")), []);

    // Somebody cancels.
    let (job, epoch) = stage.emit(slowly(&access, &[&good])).await?;
    something_is_stored(&place).await?;
    stage.leases.lock().unwrap().insert(job, strongroom_domain::wire::LeaseAnswer::CancelRequested);
    assert!(matches!(stage.end_of(job, epoch).await?, Report::Cancelled));
    assert_eq!(files(&place.join("s/r/archives")), []);

    // The executor dies; its next life makes another archive, and removes what the first has left.
    let (job, _) = stage.emit(slowly(&access, &[&good])).await?;
    stage.begun(job).await?;
    something_is_stored(&place).await?;
    stage.abort().await;
    assert!(!files(&place.join("s/r/archives")).is_empty());
    stage.leases.lock().unwrap().insert(job, strongroom_domain::wire::LeaseAnswer::Stale);
    stage.start(|config| config).await?;
    let archive = archive_of(&stage, backup(&access, "none", &[&good])).await?;
    let names: Vec<_> = files(&place.join("s/r/archives")).into_iter().map(|(name, _)| name).collect();
    let name = archive["name"].as_str().unwrap();
    assert!(names.len() == 3 && names.iter().all(|n| n.starts_with(name)), "{names:?}");

    // The executor dies, and the same job is tried again.
    let spec = slowly(&access, &[&good]);
    let (job, _) = stage.emit(spec.clone()).await?;
    stage.begun(job).await?;
    wait_until("it stores", PATIENCE, async || (files(&place.join("s/r/archives")).len() > 3).then_some(()))
        .await?;
    stage.abort().await;
    stage.start(|config| config).await?;
    let (job, epoch) = stage.emit_attempt(job, 2, spec.clone(), None).await?;
    let outcome = loop {
        // The first attempt comes once more, and is told the same as the second.
        match stage.report().await? {
            strongroom_domain::wire::NodeReport::Ended { epoch: e, how, .. } if e == epoch => break how,
            _ => {}
        }
    };
    assert!(matches!(outcome, Report::Succeeded { .. }), "{outcome:?}");
    assert_eq!(files(&place.join("s/r/archives")).len(), 6);
    // Its word was lost: it is found.
    let (_, epoch) = stage.emit_attempt(job, 3, spec, None).await?;
    let outcome = stage.end_of(job, epoch).await?;
    let Report::Succeeded { outcome, .. } = outcome else { anyhow::bail!("{outcome:?}") };
    assert_eq!(serde_json::to_value(&outcome)?["result"]["recovered"], true);
    assert_eq!(files(&place.join("s/r/archives")).len(), 6);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_leaves_room() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("a.db");
    drop(accounts(&data, "delete")?);
    let disk = Small::new("2m")?;
    let access = access(&stage, disk.path(), "none");
    stage.success(init(&access)).await?;
    stage.failure(backup(&access, "none", &[&data]), Code::NoSpace).await?;
    let archives = disk.path().join("s/r/archives");
    assert_eq!(files(&archives), []);
    assert_eq!(std::fs::read_dir(&archives)?.count(), 0, "an empty folder has stayed");
    Ok(())
}

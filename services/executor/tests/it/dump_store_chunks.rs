//! Dump stores that are deduplicated: what archives have in common is there once, none takes away what another needs, and
//! what is not the very thing is refused.

use crate::dump_store::{access, archive_of, backup, files, folder, init, restore, target};
use crate::failures::Small;
use crate::sqlite::{accounts, sum};
use crate::stage::{PASSPHRASE, PATIENCE, Stage};
use anyhow::{Context, Result};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use strongroom_domain::FailureCode as Code;
use strongroom_domain::job::Report;
use strongroom_domain::wire::LeaseAnswer;
use strongroom_testkit::wait_until;

/// A store in a folder that keeps once what its archives have in common.
pub fn once(stage: &Stage, place: &Path, encryption: &str) -> Value {
    let mut access = access(stage, place, encryption);
    access["deduplicate"] = json!(true);
    access
}

/// A database of some 40 MB that cannot be compressed.
pub fn large(path: &Path) -> Result<()> {
    accounts(path, "delete")?.execute_batch(
        "create table filling as with recursive c(n) as (select 1 union all select n + 1 from c where n < 350)
         select randomblob(100000) as b from c",
    )?;
    Ok(())
}

pub fn delete(access: &Value, archive: &Value) -> Value {
    json!({ "kind": "delete-archive", "access": access, "archive": target(archive) })
}

fn scan(access: &Value) -> Value {
    json!({ "kind": "scan-repository", "access": access })
}

pub fn chunks(place: &Path) -> Vec<(String, PathBuf)> {
    files(&place.join("s/r/chunks"))
}

pub fn bytes(archive: &Value, name: &str) -> u64 {
    archive["stats"][name].as_u64().unwrap()
}

/// What a restore gives of one database.
pub async fn restored(stage: &Stage, access: &Value, archive: &Value, data: &Path) -> Result<Vec<u8>> {
    let roots = tempfile::tempdir_in(stage.folder.path().canonicalize()?)?;
    stage.success(restore(access, archive, roots.path())).await?;
    let restored = roots.path().join("sqlite").join(data.strip_prefix("/")?);
    assert_eq!(sum(&restored)?.2, "ok");
    Ok(std::fs::read(restored)?)
}

pub async fn outcome(stage: &Stage, spec: Value) -> Result<Value> {
    Ok(serde_json::to_value(stage.success(spec).await?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hardly_changes_takes_hardly_any_room_and_each_archive_is_whole_by_itself() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("it's a {db}\u{e9}.db");
    for (encryption, compression) in [("none", "none"), ("passphrase", "zstd,3"), ("passphrase", "gzip")] {
        let _ = std::fs::remove_file(&data);
        large(&data)?;
        let place = folder(&stage, &format!("store-{encryption}-{compression}"))?;
        let access = once(&stage, &place, encryption);
        stage.success(init(&access)).await?;
        let text = std::fs::read_to_string(place.join("s/r/strongroom-store.json"))?;
        let description: Value = serde_json::from_str(&text)?;
        assert_eq!(
            (&description["strongroom_store"], &description["deduplicate"]),
            (&json!(2), &json!(true))
        );

        let first = archive_of(&stage, backup(&access, compression, &[&data])).await?;
        let before = std::fs::read(&data)?;
        assert_eq!(bytes(&first, "deduplicated_size_bytes"), bytes(&first, "compressed_size_bytes"));
        Connection::open(&data)?.execute_batch(
            "update a set balance = balance + 1 where id = 7; update a set balance = balance - 1 where id = 8;
             insert into a values (20001, 5, randomblob(200))",
        )?;
        let after = std::fs::read(&data)?;
        assert_ne!(before, after);
        let second = archive_of(&stage, backup(&access, compression, &[&data])).await?;
        let third = archive_of(&stage, backup(&access, compression, &[&data])).await?;
        let share = |archive: &Value| {
            let (new, all) =
                (bytes(archive, "deduplicated_size_bytes"), bytes(archive, "compressed_size_bytes"));
            all / new.max(1)
        };
        assert!(share(&second) >= 4, "few pages have changed: {}", second["stats"]);
        assert!(share(&third) >= 500, "nothing has changed: {}", third["stats"]);
        // What is said of the sizes is what lies there, but for what says what the store and its archives are.
        let size = |path: &Path| path.metadata().map(|m| m.len()).unwrap_or_default();
        let there: u64 = files(&place.join("s/r")).iter().map(|(_, path)| size(path)).sum();
        let told = bytes(&third, "repository_size_bytes");
        assert!(told <= there && there - told < 20_000, "{told} of {there}");
        let added: u64 = [&first, &second, &third].iter().map(|a| bytes(a, "deduplicated_size_bytes")).sum();
        assert!(added <= there && there - added < 20_000, "{added} of {there}");
        let part = &first["dump"]["artefacts"][0];
        assert_eq!(part["size_bytes"], before.len() as u64);
        assert!(part["stored"]["chunked"]["chunks"].as_u64() > Some(3), "{part}");
        assert!(part["stored"]["object"].as_str().unwrap().contains(".db.chunks"), "{part}");

        assert!(restored(&stage, &access, &first, &data).await? == before);
        assert!(restored(&stage, &access, &second, &data).await? == after);
        let scanned = outcome(&stage, scan(&access)).await?;
        assert_eq!(
            (&scanned["result"]["archives"], &scanned["completeness"]),
            (&json!(3), &json!("complete"))
        );
        // Without the first the others are whole, and each is deleted as often as anybody likes.
        for (archive, was_gone) in [(&first, false), (&first, true), (&third, false)] {
            let deleted = outcome(&stage, delete(&access, archive)).await?;
            assert_eq!(
                (&deleted["result"]["was_gone"], &deleted["findings"]),
                (&json!(was_gone), &json!([]))
            );
            assert!(restored(&stage, &access, &second, &data).await? == after);
        }
        let of_one: u64 = chunks(&place).iter().map(|(_, path)| size(path)).sum();
        let stored: u64 = second["dump"]["artefacts"]
            .as_array()
            .context("parts")?
            .iter()
            .map(|a| a["stored"]["chunked"]["stored_bytes"].as_u64().unwrap())
            .sum();
        assert_eq!(of_one, stored, "what the first alone needed is gone");
        stage.success(delete(&access, &second)).await?;
        let left: Vec<_> = files(&place.join("s/r")).into_iter().map(|(name, _)| name).collect();
        let key = (encryption == "passphrase").then_some("key.age");
        assert_eq!(left, key.into_iter().chain(["strongroom-store.json"]).collect::<Vec<_>>());
    }
    assert_eq!(std::fs::read_dir(stage.path("state/streams"))?.count(), 0);
    assert_eq!(std::fs::read_dir(stage.path("state/unfinished"))?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_not_what_it_was_is_named_and_the_next_backup_stores_it_anew() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("a.db");
    large(&data)?;
    let whole_data = std::fs::read(&data)?;
    for encryption in ["none", "passphrase"] {
        let place = folder(&stage, &format!("store-{encryption}"))?;
        let access = once(&stage, &place, encryption);
        stage.success(init(&access)).await?;
        let archive = archive_of(&stage, backup(&access, "zstd", &[&data])).await?;
        let roots = folder(&stage, &format!("roots-{encryption}"))?;
        let there = chunks(&place);
        let (name, path) = &there[there.len() / 2];
        let (_, other) = &there[0];
        let whole = std::fs::read(path)?;
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        let short = whole[..whole.len() / 2].to_vec();
        let cases: [(&str, Option<Vec<u8>>); 5] = [
            ("changed", Some(changed)),
            ("short", Some(short)),
            ("empty", Some(Vec::new())),
            ("another", Some(std::fs::read(other)?)),
            ("gone", None),
        ];
        for (what, bytes) in cases {
            match &bytes {
                Some(bytes) => std::fs::write(path, bytes)?,
                None => std::fs::remove_file(path)?,
            }
            let failure = stage.failure(restore(&access, &archive, &roots), Code::ArchiveDamaged).await?;
            assert!(failure.message.contains(name), "{what}: {failure:?}");
            assert_eq!(std::fs::read_dir(&roots)?.count(), 0, "{what}");
            let same_size = bytes.as_ref().is_some_and(|bytes| bytes.len() == whole.len());
            if !same_size {
                // A listing tells it, so nothing relies on it.
                let scanned = outcome(&stage, scan(&access)).await?;
                assert_eq!(scanned["result"]["archives"], 0, "{what}: {scanned}");
                let message = scanned["findings"][0]["message"].as_str().unwrap_or_default();
                assert!(message.contains(name), "{what}: {scanned}");
                let next = archive_of(&stage, backup(&access, "zstd", &[&data])).await?;
                assert!(restored(&stage, &access, &next, &data).await? == whole_data, "{what}");
                let new = self::bytes(&next, "deduplicated_size_bytes");
                assert!(new * 2 < self::bytes(&next, "compressed_size_bytes"), "{what}: one was stored anew");
                if encryption == "none" {
                    // It has the same name again, so that the first archive is whole again as well.
                    assert!(restored(&stage, &access, &archive, &data).await? == whole_data, "{what}");
                }
                stage.success(delete(&access, &next)).await?;
            }
            std::fs::write(path, &whole)?;
        }
        // The list of them as well.
        let (_, list) = files(&place.join("s/r/archives"))
            .into_iter()
            .find(|(name, _)| name.contains(".db.chunks"))
            .context("the list")?;
        let whole = std::fs::read(&list)?;
        std::fs::write(&list, whole.get(..whole.len() - 1).unwrap())?;
        stage.failure(restore(&access, &archive, &roots), Code::ArchiveDamaged).await?;
        std::fs::write(&list, &whole)?;
        assert!(restored(&stage, &access, &archive, &data).await? == whole_data);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_while_it_is_not_known_what_an_archive_needs() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("a.db");
    large(&data)?;
    let place = folder(&stage, "store")?;
    let access = once(&stage, &place, "passphrase");
    stage.success(init(&access)).await?;
    let first = archive_of(&stage, backup(&access, "zstd", &[&data])).await?;
    std::fs::remove_file(&data)?;
    large(&data)?;
    let second = archive_of(&stage, backup(&access, "zstd", &[&data])).await?;
    // Its manifest, and one of its lists.
    let folder = place.join("s/r/archives").join(second["name"].as_str().unwrap());
    let (_, list) =
        files(&folder).into_iter().find(|(name, _)| name.contains(".db.chunks")).context("the list")?;
    let mut archives = vec![first];
    for (n, broken) in [folder.join("strongroom.json"), list].into_iter().enumerate() {
        let all = chunks(&place);
        let whole = std::fs::read(&broken)?;
        std::fs::write(&broken, whole.get(..whole.len() / 2).unwrap())?;
        let archive = archives.pop().context("an archive")?;
        let deleted = outcome(&stage, delete(&access, &archive)).await?;
        let message = deleted["findings"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains("nothing was removed"), "{deleted}");
        let name = second["name"].as_str().unwrap();
        assert!(message.contains(name), "{deleted}");
        assert!(all.iter().all(|(_, path)| path.exists()));
        std::fs::write(&broken, &whole)?;
        assert_eq!(outcome(&stage, scan(&access)).await?["completeness"], "complete");
        // It is remembered, and made up for by the next backup.
        assert!(std::fs::read_dir(stage.path("state/unfinished"))?.count() > 0);
        archives.push(archive_of(&stage, backup(&access, "zstd", &[&data])).await?);
        assert_eq!(std::fs::read_dir(stage.path("state/unfinished"))?.count(), 0);
        // Only the first had something that no other one needs.
        assert_eq!(chunks(&place).len() < all.len(), n == 0);
        assert!(!restored(&stage, &access, &second, &data).await?.is_empty());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_leaves_no_archive_and_its_chunks_serve_the_next_or_go() -> Result<()> {
    let mut stage = Stage::set().await?;
    let data = folder(&stage, "data")?;
    let (good, bad) = (data.join("good.db"), data.join("bad.db"));
    large(&good)?;
    let mut damaged = std::fs::read(&good)?;
    damaged[2_000_000..2_009_000].fill(0x55);
    std::fs::write(&bad, damaged)?;
    let place = folder(&stage, "store")?;
    let access = once(&stage, &place, "passphrase");
    stage.success(init(&access)).await?;
    let slow = |path: &Path| {
        let mut backup = backup(&access, "none", &[path]);
        backup["limits"] = json!({ "upload_rate_kib_per_s": 6 << 10 });
        backup
    };
    let stored = async |more_than: usize| {
        let some = async || (chunks(&place).len() > more_than).then_some(());
        wait_until("chunks are stored", PATIENCE, some).await
    };

    // The source fails late; nothing looks like an archive.
    stage.failure(backup(&access, "none", &[&good, &bad]), Code::SourceDamaged).await?;
    assert_eq!(files(&place.join("s/r/archives")), []);

    // Somebody cancels: nobody wants what was stored.
    let cancelled = data.join("cancelled.db");
    large(&cancelled)?;
    let (job, epoch) = stage.emit(slow(&cancelled)).await?;
    stage.begun(job).await?;
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    assert!(matches!(stage.end_of(job, epoch).await?, Report::Cancelled));
    assert_eq!(files(&place.join("s/r/archives")), []);

    // The executor dies; what it has stored is not stored again, and what nobody needs goes.
    let other = data.join("other.db");
    large(&other)?;
    let (job, _) = stage.emit(slow(&other)).await?;
    stage.begun(job).await?;
    stored(4).await?;
    stage.abort().await;
    // Half of one, as a power cut leaves it.
    std::fs::write(place.join("s/r/chunks/00.partial"), "half")?;
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::Stale);
    stage.start(|config| config).await?;
    assert!(std::fs::read_dir(stage.path("state/unfinished"))?.count() > 0);
    let archive = archive_of(&stage, backup(&access, "none", &[&good])).await?;
    let needed: u64 = archive["dump"]["artefacts"]
        .as_array()
        .context("parts")?
        .iter()
        .map(|a| a["stored"]["chunked"]["chunks"].as_u64().unwrap())
        .sum();
    assert_eq!(chunks(&place).len() as u64, needed, "what the killed one has left is gone");
    assert_eq!(std::fs::read_dir(stage.path("state/unfinished"))?.count(), 0);

    // The same job is tried again, and goes on where it was.
    let spec = slow(&other);
    let (job, _) = stage.emit(spec.clone()).await?;
    stage.begun(job).await?;
    let before = usize::try_from(needed)?;
    stored(before + 4).await?;
    stage.abort().await;
    // What is being written in this moment has no name of its own so far.
    let is_whole = |name: &String| !name.ends_with(".partial");
    let kept: BTreeSet<String> = chunks(&place).into_iter().map(|(name, _)| name).filter(is_whole).collect();
    stage.start(|config| config).await?;
    let (job, epoch) = stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
    let end = loop {
        match stage.report().await? {
            strongroom_domain::wire::NodeReport::Ended { epoch: e, how, .. } if e == epoch => break how,
            _ => {}
        }
    };
    let Report::Succeeded { outcome, .. } = end else { anyhow::bail!("{job}: {end:?}") };
    let second = serde_json::to_value(outcome)?["result"]["archive"].clone();
    let (new, all) = (bytes(&second, "deduplicated_size_bytes"), bytes(&second, "compressed_size_bytes"));
    assert!(new + 1_000_000 < all, "{new} of {all} were stored again");
    let names: BTreeSet<String> = chunks(&place).into_iter().map(|(name, _)| name).collect();
    assert!(kept.is_subset(&names));
    assert!(restored(&stage, &access, &second, &other).await? == std::fs::read(&other)?);
    for archive in [&archive, &second] {
        stage.success(delete(&access, archive)).await?;
    }
    assert_eq!((chunks(&place), files(&place.join("s/r/archives"))), (Vec::new(), Vec::new()));
    Ok(())
}

/// What a backup has left that came to nothing need not wait for the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_along_what_failed_and_killed_backups_have_left() -> Result<()> {
    let mut stage = Stage::set().await?;
    let data = folder(&stage, "data")?;
    let (small, kept, other, bad) =
        (data.join("small.db"), data.join("kept.db"), data.join("other.db"), data.join("bad.db"));
    for path in [&small, &kept] {
        drop(accounts(path, "delete")?);
    }
    large(&other)?;
    let mut damaged = std::fs::read(&other)?;
    damaged[2_000_000..2_009_000].fill(0x55);
    std::fs::write(&bad, damaged)?;
    let place = folder(&stage, "store")?;
    let access = once(&stage, &place, "passphrase");
    stage.success(init(&access)).await?;
    let first = archive_of(&stage, backup(&access, "none", &[&small])).await?;
    let second = archive_of(&stage, backup(&access, "none", &[&kept])).await?;
    let needed = chunks(&place).len();
    // One fails, and one is killed.
    stage.failure(backup(&access, "none", &[&other, &bad]), Code::SourceDamaged).await?;
    let failed = chunks(&place).len();
    assert!(failed > needed, "nothing was left");
    let another = data.join("another.db");
    large(&another)?;
    let mut slow = backup(&access, "none", &[&another]);
    slow["limits"] = json!({ "upload_rate_kib_per_s": 6 << 10 });
    let (job, _) = stage.emit(slow).await?;
    stage.begun(job).await?;
    wait_until("chunks are stored", PATIENCE, async || (chunks(&place).len() > failed + 2).then_some(()))
        .await?;
    stage.abort().await;
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::Stale);
    stage.start(|config| config).await?;
    assert!(std::fs::read_dir(stage.path("state/unfinished"))?.count() > 1);
    let deleted = outcome(&stage, delete(&access, &first)).await?;
    assert_eq!(deleted["findings"], json!([]), "{deleted}");
    let chunked = second["dump"]["artefacts"].as_array().context("parts")?;
    let of_second: u64 =
        chunked.iter().map(|part| part["stored"]["chunked"]["chunks"].as_u64().unwrap()).sum();
    assert_eq!(chunks(&place).len() as u64, of_second);
    let name = second["name"].as_str().unwrap();
    let left = files(&place.join("s/r/archives"));
    assert!(left.iter().all(|(path, _)| path.starts_with(name)), "{left:?}");
    assert_eq!(std::fs::read_dir(stage.path("state/unfinished"))?.count(), 0);
    assert!(restored(&stage, &access, &second, &kept).await? == std::fs::read(&kept)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_leaves_room() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("a.db");
    large(&data)?;
    let disk = Small::new("6m")?;
    let access = once(&stage, disk.path(), "none");
    stage.success(init(&access)).await?;
    stage.failure(backup(&access, "none", &[&data]), Code::NoSpace).await?;
    assert_eq!(files(&disk.path().join("s/r/archives")), []);
    let small = data.with_file_name("small.db");
    drop(accounts(&small, "delete")?);
    let archive = archive_of(&stage, backup(&access, "zstd", &[&small])).await?;
    assert!(restored(&stage, &access, &archive, &small).await? == std::fs::read(&small)?);
    assert_eq!(std::fs::read_dir(stage.path("state/unfinished"))?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_what_it_was_made_as() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("a.db");
    drop(accounts(&data, "delete")?);
    for made_as_one in [true, false] {
        let place = folder(&stage, &format!("store-{made_as_one}"))?;
        let (mut one, mut other) = (access(&stage, &place, "none"), access(&stage, &place, "none"));
        one["deduplicate"] = json!(made_as_one);
        other["deduplicate"] = json!(!made_as_one);
        stage.success(init(&one)).await?;
        for spec in [init(&other), backup(&other, "none", &[&data]), scan(&other)] {
            let failure = stage.failure(spec, Code::RepositoryExists).await?;
            assert!(failure.message.contains("deduplicated"), "{failure:?}");
        }
        assert_eq!(files(&place.join("s/r")).len(), 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_go_from_any_store_into_any_other() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("a.db");
    large(&data)?;
    let store = |name: &str, encryption: &str, deduplicate: bool| -> Result<Value> {
        let mut access = access(&stage, &folder(&stage, name)?, encryption);
        access["repository"] = json!(name);
        access["deduplicate"] = json!(deduplicate);
        Ok(access)
    };
    // The last two have no key, so that what is in one could be read in the other.
    let stores = [
        store("one", "passphrase", true)?,
        store("two", "passphrase", false)?,
        store("three", "none", true)?,
        store("four", "none", false)?,
        store("five", "none", true)?,
    ];
    for access in &stores {
        stage.success(init(access)).await?;
    }
    let mut archive = archive_of(&stage, backup(&stores[0], "zstd", &[&data])).await?;
    for (n, to) in stores.iter().enumerate().skip(1) {
        let from = &stores[n - 1];
        let copy = json!({ "kind": "copy-archive", "from": from, "archive": target(&archive), "plan": "p", "access": to });
        let copied = outcome(&stage, copy.clone()).await?["result"]["archive"].clone();
        assert_eq!(copied["dump"]["artefacts"][0]["sha256"], archive["dump"]["artefacts"][0]["sha256"]);
        let chunked = &copied["dump"]["artefacts"][0]["stored"]["chunked"];
        assert_eq!(chunked.is_object(), to["deduplicate"] == json!(true), "{copied}");
        assert_eq!(copied["stats"]["repository_size_bytes"].is_u64(), to["deduplicate"] == json!(true));
        assert_eq!(outcome(&stage, copy).await?["result"]["recovered"], true);
        assert!(restored(&stage, to, &copied, &data).await? == std::fs::read(&data)?);
        archive = copied;
    }
    // What is damaged is not copied.
    let place = PathBuf::from(stores[4]["location"].as_str().unwrap());
    let (_, chunk) = files(&place.join("chunks")).into_iter().next().context("a chunk")?;
    std::fs::write(&chunk, vec![0; usize::try_from(chunk.metadata()?.len())?])?;
    let six = store("six", "none", true)?;
    stage.success(init(&six)).await?;
    let copy = json!({ "kind": "copy-archive", "from": stores[4], "archive": target(&archive), "plan": "p", "access": six });
    stage.failure(copy, Code::ArchiveDamaged).await?;
    assert_eq!(files(&PathBuf::from(six["location"].as_str().unwrap()).join("archives")), []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_only_read_are_the_same_the_next_day() -> Result<()> {
    let stage = Stage::set().await?;
    let (app, place) = (folder(&stage, "app")?, folder(&stage, "store")?);
    for n in 0..400_u32 {
        let bytes: Vec<u8> = (0..5000_u32).map(|m| (n.wrapping_mul(m + 7) >> 3) as u8).collect();
        std::fs::write(app.join(n.to_string()), bytes)?;
    }
    let access = once(&stage, &place, "none");
    stage.success(init(&access)).await?;
    let source = json!({ "type": "files", "paths": [app] });
    let backup =
        json!({ "kind": "backup", "plan": "p", "access": access, "compression": "none", "source": source });
    let first = archive_of(&stage, backup.clone()).await?;
    assert!(bytes(&first, "deduplicated_size_bytes") > 2_000_000, "{first}");
    for entry in std::fs::read_dir(&app)? {
        let file = std::fs::File::open(entry?.path())?;
        let read_at = file.metadata()?.modified()? + std::time::Duration::from_secs(90_000);
        file.set_times(std::fs::FileTimes::new().set_accessed(read_at))?;
    }
    let second = archive_of(&stage, backup).await?;
    let (whole, new) = (bytes(&second, "original_size_bytes"), bytes(&second, "deduplicated_size_bytes"));
    assert!(new < whole / 100, "{new} of {whole} were stored anew");
    Ok(())
}

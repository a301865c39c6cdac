//! Downloads: what a node sends of an archive, to who waits for it.

use crate::dump_store::{access, archive_of, folder, init};
use crate::stage::{Stage, tree};
use anyhow::Result;
use futures::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use strongroom_domain::FailureCode as Code;
use strongroom_domain::job::{JobResult, Report};
use strongroom_domain::wire::PieceAnswer;
use strongroom_domain::{JobId, NodeId};

pub fn download(access: &Value, archive: &Value, form: &str, paths: &[&str]) -> Value {
    json!({
        "kind": "download", "access": access, "form": form, "paths": paths,
        "archive": { "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] },
    })
}

/// What somebody who waits for it gets, when it is whole, and how the job ended.
async fn taken(stage: &Stage, spec: Value) -> Result<(Option<Vec<u8>>, Report)> {
    let (node, job): (NodeId, JobId) = ("n".parse()?, JobId(uuid::Uuid::now_v7()));
    let mut pieces = stage.nats.bus("gateway").await?.take_pieces(&node, job).await?;
    let epoch = stage.emit_as(job, spec).await?;
    let (tell, told) = tokio::sync::oneshot::channel();
    let taking = tokio::spawn(async move {
        let mut tell = Some(tell);
        let mut early = BTreeMap::new();
        let (mut all, mut next) = (Vec::new(), 0);
        while let Some(delivery) = pieces.next().await {
            early.insert(delivery.piece.n, delivery.piece.clone());
            delivery.answer(PieceAnswer::Taken).await;
            while let Some(piece) = early.remove(&next) {
                next += 1;
                all.extend(piece.bytes);
                if let Some(whole) = piece.whole {
                    let sha256: String = Sha256::digest(&all).iter().map(|b| format!("{b:02x}")).collect();
                    assert_eq!((whole.size_bytes, whole.sha256), (all.len() as u64, sha256));
                    // It goes on to answer: an answer may be lost.
                    let _ = tell.take().map(|tell| tell.send(std::mem::take(&mut all)));
                }
            }
        }
    });
    let end = stage.end_of(job, epoch).await?;
    taking.abort();
    Ok((told.await.ok(), end))
}

pub async fn bytes(stage: &Stage, spec: Value) -> Result<Vec<u8>> {
    let (all, end) = taken(stage, spec).await?;
    let Report::Succeeded { outcome, .. } = &end else { panic!("{end:?}") };
    let all = all.expect("all of it");
    let JobResult::Download { size_bytes, .. } = outcome.result else { panic!("{outcome:?}") };
    assert_eq!(size_bytes, all.len() as u64);
    Ok(all)
}

pub async fn failure(stage: &Stage, spec: Value) -> Result<Code> {
    match taken(stage, spec).await? {
        (None, Report::Failed { failure }) => Ok(failure.code),
        other => panic!("{other:?}"),
    }
}

const UNZIP: &str = "
import os, stat, sys, zipfile
packed = zipfile.ZipFile(sys.argv[1])
for entry in packed.infolist():
    path = os.path.join(sys.argv[2], entry.filename)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if stat.S_ISLNK(entry.external_attr >> 16):
        os.symlink(packed.read(entry), path)
    elif not entry.is_dir():
        open(path, 'wb').write(packed.read(entry))
";

/// Unpacks with the programs that people have.
fn unpacked(folder: &Path, form: &str, bytes: &[u8]) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let file = folder.with_extension(form);
    std::fs::write(&file, bytes)?;
    let done = match form {
        "tar" => Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(folder).output()?,
        _ => {
            let tested = Command::new("unzip").arg("-tq").arg(&file).output()?;
            assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
            // It writes line breaks in names otherwise, and would not say so.
            Command::new("python3").args(["-c", UNZIP]).arg(&file).arg(folder).output()?
        }
    };
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

fn odd(stage: &Stage) -> Result<std::path::PathBuf> {
    let app = folder(stage, "odd")?;
    std::fs::create_dir_all(app.join("a b/empty"))?;
    std::fs::write(app.join("a b/é\nx.sql"), vec![9; 1_300_000])?;
    std::fs::write(app.join("small"), "small")?;
    std::fs::hard_link(app.join("small"), app.join("small again"))?;
    symlink("small", app.join("link"))?;
    std::fs::write(app.join(format!("{}.txt", "long".repeat(50))), "long")?;
    Ok(app)
}

/// What has to be there of it.
fn is_odd(found: &Path, form: &str) -> Result<()> {
    assert_eq!(std::fs::read(found.join("a b/é\nx.sql"))?, vec![9; 1_300_000]);
    assert!(found.join("a b/empty").is_dir());
    assert_eq!(std::fs::read_link(found.join("link"))?, Path::new("small"));
    assert_eq!(std::fs::read_to_string(found.join(format!("{}.txt", "long".repeat(50))))?, "long");
    if form == "tar" {
        assert_eq!(std::fs::read_to_string(found.join("small again"))?, "small");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_borg_come_as_they_are_as_a_tar_and_as_a_zip() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let app = odd(&stage)?;
    let archive = archive_of(&stage, stage.backup(&app)).await?;
    let access = stage.access();
    let inside = app.strip_prefix("/")?.display().to_string();
    let file = format!("{inside}/a b/é\nx.sql");
    let raw = bytes(&stage, download(&access, &archive, "raw", &[&file])).await?;
    assert!(raw == vec![9; 1_300_000]);
    // A file of two names, of which borg keeps the content under the first; and paths of which one is below another.
    for name in ["small", "small again"] {
        let one = format!("{inside}/{name}");
        assert_eq!(bytes(&stage, download(&access, &archive, "raw", &[&one])).await?, b"small", "{name}");
    }
    let both = bytes(&stage, download(&access, &archive, "tar", &[&file, &inside])).await?;
    unpacked(&stage.path("both"), "tar", &both)?;
    is_odd(&stage.path("both").join(&inside), "tar")?;
    for form in ["tar", "zip"] {
        let back = stage.path(&format!("back-{form}"));
        let all = bytes(&stage, download(&access, &archive, form, &[])).await?;
        unpacked(&back, form, &all)?;
        is_odd(&back.join(&inside), form)?;
        let left_out = std::fs::read_to_string(back.join("LEFT-OUT.txt"));
        assert_eq!(left_out.is_ok_and(|text| text.contains("a hard link")), form == "zip");
        let part = stage.path(&format!("part-{form}"));
        let folder = format!("{inside}/a b");
        unpacked(&part, form, &bytes(&stage, download(&access, &archive, form, &[&folder])).await?)?;
        assert!(part.join(&file).exists() && !part.join(&inside).join("small").exists());
    }
    for (form, path, code) in [
        ("raw", "not/there", Code::PathNotInArchive),
        ("tar", "not/there", Code::PathNotInArchive),
        ("raw", &inside, Code::WrongForm),
    ] {
        assert_eq!(failure(&stage, download(&access, &archive, form, &[path])).await?, code, "{form} {path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_dump_store_come_in_the_same_forms() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let app = odd(&stage)?;
    let place = folder(&stage, "place")?;
    let access = access(&stage, &place, "passphrase");
    stage.success(init(&access)).await?;
    let source = json!({ "type": "files", "paths": [app] });
    let backup =
        json!({ "kind": "backup", "plan": "p", "access": access, "compression": "zstd", "source": source });
    let archive = archive_of(&stage, backup).await?;
    let inside = app.strip_prefix("/")?.display().to_string();
    for form in ["tar", "zip"] {
        let back = stage.path(&format!("back-{form}"));
        unpacked(&back, form, &bytes(&stage, download(&access, &archive, form, &[])).await?)?;
        is_odd(&back.join(&inside), form)?;
        let part = stage.path(&format!("part-{form}"));
        let small = format!("{inside}/small");
        unpacked(&part, form, &bytes(&stage, download(&access, &archive, form, &[&small])).await?)?;
        assert_eq!(std::fs::read_to_string(part.join(&small))?, "small");
        assert!(!part.join(&inside).join("a b").exists());
    }
    for name in ["small", "small again"] {
        let one = format!("{inside}/{name}");
        assert_eq!(bytes(&stage, download(&access, &archive, "raw", &[&one])).await?, b"small", "{name}");
        for form in ["tar", "zip"] {
            let alone = stage.path(&format!("{name}-{form}"));
            unpacked(&alone, form, &bytes(&stage, download(&access, &archive, form, &[&one])).await?)?;
            assert_eq!(std::fs::read_to_string(alone.join(&one))?, "small", "{name} {form}");
            assert!(!alone.join("LEFT-OUT.txt").exists());
        }
    }
    let file = format!("{inside}/a b/é\nx.sql");
    assert!(bytes(&stage, download(&access, &archive, "raw", &[&file])).await? == vec![9; 1_300_000]);
    for none in [format!("{inside}/a b"), format!("{inside}/link")] {
        assert_eq!(failure(&stage, download(&access, &archive, "raw", &[&none])).await?, Code::WrongForm);
    }
    let packed = stage.path("packed");
    unpacked(&packed, "tar", &bytes(&stage, download(&access, &archive, "raw", &["files.tar"])).await?)?;
    is_odd(&packed.join(&inside), "tar")?;
    for (form, path) in [("raw", "not/there"), ("tar", "not/there"), ("zip", "not/there")] {
        assert_eq!(
            failure(&stage, download(&access, &archive, form, &[path])).await?,
            Code::PathNotInArchive
        );
    }
    // One byte that is not what was stored: nothing that looks whole comes of it.
    let object = Command::new("find").arg(&place).args(["-name", "*files.tar*"]).output()?;
    let object = String::from_utf8(object.stdout)?.trim().to_owned();
    let mut stored = std::fs::read(&object)?;
    let middle = stored.len() / 2;
    stored[middle] ^= 1;
    std::fs::write(&object, stored)?;
    for form in ["raw", "tar", "zip"] {
        let paths: &[&str] = if form == "raw" { &["files.tar"] } else { &[] };
        let code = failure(&stage, download(&access, &archive, form, paths)).await?;
        assert_eq!(code, Code::ArchiveDamaged, "{form}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_ends_the_work() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(3)?;
    std::fs::write(source.path().join("large"), vec![1; 40 << 20])?;
    let archive = archive_of(&stage, stage.backup(source.path())).await?;
    let (node, job): (NodeId, JobId) = ("n".parse()?, JobId(uuid::Uuid::now_v7()));
    let mut pieces = stage.nats.bus("gateway").await?.take_pieces(&node, job).await?;
    let epoch = stage.emit_as(job, download(&stage.access(), &archive, "tar", &[])).await?;
    let refusing = tokio::spawn(async move {
        let mut n = 0;
        while let Some(delivery) = pieces.next().await {
            n += 1;
            let answer = if n > 3 { PieceAnswer::Stop } else { PieceAnswer::Taken };
            delivery.answer(answer).await;
        }
    });
    assert_eq!(stage.end_of(job, epoch).await?, Report::Cancelled);
    refusing.abort();
    Ok(())
}

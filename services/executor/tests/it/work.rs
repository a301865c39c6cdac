//! Work that goes well.

use crate::stage::{Stage, tree};
use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use strongroom_domain::view::Entry;
use strongroom_domain::wire::NodeReport;

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_has_its_numbers_its_index_and_its_checkpoints_are_gone() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(40)?;
    let done = serde_json::to_value(stage.success(stage.backup(source.path())).await?)?;
    assert_eq!(done["completeness"], "complete", "{done}");
    let archive = &done["result"]["archive"];
    assert_eq!(archive["stats"]["files"], 40);
    let comment: Value = serde_json::from_str(archive["comment"].as_str().unwrap())?;
    assert_eq!(comment["plan"], "p");

    assert_eq!(archive["index"], Value::Null, "an index is a job of its own");
    let stats = &archive["stats"];
    assert!(
        stats["original_size_bytes"].as_u64() > Some(0) && stats["repository_size_bytes"].as_u64() > Some(0)
    );
    let indexed = serde_json::to_value(stage.success(index_of(&stage, archive)).await?)?;
    let index = &indexed["result"]["index"];

    // As the catalog reads it.
    let chunks = u32::try_from(index["chunks"].as_u64().unwrap())?;
    let parts =
        stage.nats.bus("catalog").await?.read_index("n", archive["id"].as_str().unwrap(), chunks).await?;
    let mut hash = Sha256::new();
    let mut entries: Vec<Entry> = Vec::new();
    for part in &parts {
        hash.update(part);
        entries.extend(rmp_serde::from_slice::<Vec<Entry>>(&zstd::decode_all(part.as_ref())?)?);
    }
    let sha256: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(index["sha256"], sha256.as_str());
    assert_eq!(index["entries"], entries.len());
    let file = entries.iter().find(|e| e.path.ends_with("d1/f6")).unwrap();
    assert_eq!(file.size_bytes, std::fs::metadata(source.path().join("d1/f6"))?.len());
    assert!(file.modified_at.parse::<jiff::Timestamp>().is_ok(), "{}", file.modified_at);
    Ok(())
}

/// The job that makes the index of an archive.
pub fn index_of(stage: &Stage, archive: &Value) -> Value {
    json!({
        "kind": "index-archive", "access": stage.access(),
        "archive": { "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_files_is_recorded_as_they_were_when_the_archive_was_made() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tempfile::tempdir()?;
    for (name, words) in [("same", "as it was"), ("other", "before"), ("gone", "soon")] {
        std::fs::write(source.path().join(name), words)?;
    }
    std::os::unix::fs::symlink("/etc/passwd", source.path().join("link"))?;
    // Borg tells when an archive was begun to the second: what was changed within that is not drawn.
    let made = strongroom_service::clock::now().as_second();
    strongroom_testkit::wait_until("the next second", crate::stage::PATIENCE, async || {
        (strongroom_service::clock::now().as_second() > made).then_some(())
    })
    .await?;
    let done = serde_json::to_value(stage.success(stage.backup(source.path())).await?)?;
    let archive = &done["result"]["archive"];
    // The same size and, set back, the same time: that somebody was there is seen all the same.
    let other = source.path().join("other");
    let modified = std::fs::metadata(&other)?.modified()?;
    std::fs::write(&other, "behind")?;
    std::fs::File::options().write(true).open(&other)?.set_modified(modified)?;
    std::fs::remove_file(source.path().join("gone"))?;

    let mut asked = index_of(&stage, archive);
    let without = serde_json::to_value(stage.success(asked.clone()).await?)?;
    assert_eq!(without["result"]["index"]["sample"], Value::Null, "long after, nobody knows: {without}");
    asked["sample"] = json!(true);
    let done = serde_json::to_value(stage.success(asked).await?)?;
    let path = source.path().join("same").display().to_string();
    let digest: String = Sha256::digest("as it was").iter().map(|b| format!("{b:02x}")).collect();
    let same = json!([{ "path": path.trim_start_matches('/'), "size_bytes": 9, "sha256": digest }]);
    assert_eq!(done["result"]["index"]["sample"], same, "{done}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_nothing_but_links_is_no_empty_one_and_brings_its_index() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tempfile::tempdir()?;
    std::os::unix::fs::symlink("/nowhere", source.path().join("link"))?;
    let done = serde_json::to_value(stage.success(stage.backup(source.path())).await?)?;
    assert_eq!(done["result"]["archive"]["stats"]["files"], 0);
    assert!(done["result"]["archive"]["index"]["entries"].as_u64() >= Some(2), "{done}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_scanned_and_what_is_deleted_is_gone_twice() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(3)?;
    let mut archives = Vec::new();
    for _ in 0..2 {
        let done = serde_json::to_value(stage.success(stage.backup(source.path())).await?)?;
        archives.push(done["result"]["archive"].clone());
    }
    let scan = json!({ "kind": "scan-repository", "access": stage.access() });
    let (job, _) = stage.emit(scan).await?;
    stage.begun(job).await?;
    let NodeReport::Scanned { archives: seen, last, page, .. } = stage.report().await? else {
        panic!("no page")
    };
    assert_eq!((seen.len(), page, last), (2, 0, true));
    assert_eq!(serde_json::to_value(seen[0].id)?, archives[0]["id"]);
    assert!(matches!(stage.report().await?, NodeReport::Ended { .. }));

    let first = &archives[0];
    let delete = json!({
        "kind": "delete-archive", "access": stage.access(),
        "archive": { "id": first["id"], "name": first["name"], "borg_id": first["borg_id"] },
    });
    for was_gone in [false, true] {
        let done = serde_json::to_value(stage.success(delete.clone()).await?.result)?;
        assert_eq!(done["was_gone"], was_gone);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_comes_twice_is_done_once() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(3)?;
    let (job, epoch) = stage.emit(stage.backup(source.path())).await?;
    stage.end_of(job, epoch).await?;
    let item = strongroom_domain::wire::WorkItem {
        job,
        epoch,
        attempt: 1,
        spec: crate::stage::read(stage.backup(source.path())),
        borg_repository_id: None,
        expected_bytes: None,
        secrets: Vec::new(),
    };
    // Under another message id: the window in which the server itself drops duplicates is no protection.
    let raw = strongroom_bus::nats::Connection::open(&stage.nats.settings("scheduler")).await?;
    let payload = strongroom_domain::event::encode_payload(&item)?;
    raw.client_for_tests().request("strongroom.work.n".to_owned(), payload.into()).await?;
    let (next, epoch) = stage.emit(stage.backup(source.path())).await?;
    assert!(matches!(stage.end_of(next, epoch).await?, strongroom_domain::job::Report::Succeeded { .. }));
    Ok(())
}

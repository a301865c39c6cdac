//! Archives that a plan's retention keeps no longer: exactly those that were named are gone, and what is gone is told,
//! however the removal ends.

use crate::dump_store::{archive_of, backup, folder, init, target};
use crate::dump_store_chunks::{chunks, large, once};
use crate::look;
use crate::stage::{PASSPHRASE, PATIENCE, Stage, tree};
use anyhow::Result;
use serde_json::{Value, json};
use strongroom_domain::job::Report;
use strongroom_domain::wire::LeaseAnswer;
use strongroom_domain::{ArchiveId, FailureCode, JobId};
use strongroom_executor::Config;
use strongroom_testkit::wait_until;
use uuid::Uuid;

fn prune(access: &Value, archives: &[&Value], spared: Value) -> Value {
    let archives: Vec<_> = archives.iter().map(|archive| target(archive)).collect();
    json!({
        "kind": "prune", "plan": "p", "access": access, "policy": { "keep_last": 1 }, "archives": archives,
        "spared": spared,
    })
}

async fn archives(stage: &Stage, count: usize) -> Result<Vec<Value>> {
    let source = tree(5)?;
    let mut made = Vec::new();
    for n in 0..count {
        // Something of each that nothing else needs.
        std::fs::write(source.path().join("changing"), look::noise(n as u64 + 1, 300_000))?;
        let done = serde_json::to_value(stage.success(stage.backup(source.path())).await?)?;
        made.push(done["result"]["archive"].clone());
    }
    Ok(made)
}

fn ids(archives: &[&Value]) -> Value {
    archives.iter().map(|archive| archive["id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_was_named_is_gone_and_the_room_that_it_took_is_told() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let all = archives(&stage, 4).await?;
    // Somebody has made one by hand, and its name could be taken for an option and for a pattern.
    let place = stage.access()["location"].as_str().unwrap().to_owned();
    look::borg(&stage, &["create", &format!("{place}::-x{{{{now}}}}*"), "/etc/hostname"])?;
    let listed: Value = serde_json::from_str(&look::borg(&stage, &["list", "--json", "--last=1", &place])?)?;
    let (name, borg_id) = (&listed["archives"][0]["name"], listed["archives"][0]["id"].as_str().unwrap());
    assert_eq!(name, "-x{now}*");
    let repository = stage.access()["repository"].as_str().unwrap().parse()?;
    let odd = json!({ "id": ArchiveId::of(&repository, borg_id), "name": name, "borg_id": borg_id });
    let held = json!([{ "archive": all[1]["id"], "why": "held by anna: audit" }]);
    let done = serde_json::to_value(
        stage.success(prune(&stage.access(), &[&all[2], &odd, &all[1], &all[0]], held)).await?,
    )?;
    assert_eq!(done["result"]["deleted"], ids(&[&all[2], &odd, &all[0]]), "{done}");
    assert!(done["result"]["freed_bytes"].as_u64() > Some(250_000), "{done}");
    assert_eq!(done["completeness"], "complete");
    assert!(
        done["findings"][0]["message"].as_str().unwrap().ends_with("stays: held by anna: audit"),
        "{done}"
    );
    let left = look::archives(&stage)?;
    assert_eq!(left.len(), 2, "{left:?}");
    // What is gone already is as good as removed.
    let done =
        serde_json::to_value(stage.success(prune(&stage.access(), &[&all[2], &all[1]], json!([]))).await?)?;
    assert_eq!(done["result"]["deleted"], ids(&[&all[2], &all[1]]), "{done}");
    assert_eq!(look::archives(&stage)?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_ended_half_way_tells_what_is_gone_and_what_is_not() -> Result<()> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    let all = archives(&stage, 3).await?;
    stage.stop().await?;
    let word = |how: &str| format!("case \"$*\" in *\" delete \"*) {how};; esac\nexec borg \"$@\"\n");
    // Borg is killed before it has removed anything: nothing is gone, and that is what is said.
    let dead = stage.script("dead-borg", &word("kill -9 $$"))?;
    stage.start(|c| Config { borg: dead, ..c }).await?;
    let both = prune(&stage.access(), &[&all[1], &all[0]], json!([]));
    stage.failure(both.clone(), FailureCode::Killed).await?;
    assert_eq!(look::archives(&stage)?.len(), 3);
    stage.stop().await?;
    // It is killed when one of two is gone.
    let place = stage.access()["location"].as_str().unwrap().to_owned();
    let one = format!("borg delete '{place}::{}'; kill -9 $$", all[1]["name"].as_str().unwrap());
    let half = stage.script("half-borg", &word(&one))?;
    stage.start(|c| Config { borg: half, ..c }).await?;
    let done = serde_json::to_value(stage.success(both.clone()).await?)?;
    assert_eq!(done["result"]["deleted"], ids(&[&all[1]]), "{done}");
    assert_eq!(
        (&done["completeness"], &done["incomplete_total"]),
        (&json!("incomplete"), &json!(1)),
        "{done}"
    );
    assert!(
        done["findings"][0]["message"].as_str().unwrap().contains("1 archives that were to go"),
        "{done}"
    );
    stage.stop().await?;
    // Somebody cancels when all are gone: that cannot be undone, and is told.
    let marker = stage.path("deleted");
    let slow = word(&format!("borg \"$@\"; touch '{}'; sleep 1000", marker.display()));
    let slow = stage.script("slow-borg", &slow)?;
    stage.start(|c| Config { borg: slow, ..c }).await?;
    let (job, epoch) = stage.emit(both).await?;
    wait_until("the deletion", PATIENCE, async || marker.exists().then_some(())).await?;
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    let Report::Succeeded { outcome, .. } = stage.end_of(job, epoch).await? else { panic!("they are gone") };
    assert_eq!(serde_json::to_value(outcome.result)?["deleted"], ids(&[&all[1], &all[0]]));
    assert_eq!(look::archives(&stage)?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_store_that_keeps_everything_once_what_others_need_stays() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("a.db");
    large(&data)?;
    let place = folder(&stage, "store")?;
    let access = once(&stage, &place, "passphrase");
    stage.success(init(&access)).await?;
    let mut all = Vec::new();
    for n in 0..3 {
        rusqlite::Connection::open(&data)?.execute("insert into filling values (randomblob(5000000))", [])?;
        all.push(archive_of(&stage, backup(&access, "zstd,3", &[&data])).await?);
        assert_eq!(all.len(), n + 1);
    }
    let before = chunks(&place).len();
    let done = serde_json::to_value(stage.success(prune(&access, &[&all[1], &all[0]], json!([]))).await?)?;
    assert_eq!(done["result"]["deleted"], ids(&[&all[1], &all[0]]), "{done}");
    // Of the first two, the third holds nearly all.
    assert!(chunks(&place).len() <= before);
    let bytes = std::fs::read(&data)?;
    assert!(crate::dump_store_chunks::restored(&stage, &access, &all[2], &data).await? == bytes);
    let done = serde_json::to_value(stage.success(prune(&access, &[&all[2]], json!([]))).await?)?;
    assert!(done["result"]["freed_bytes"].as_u64() > Some(40_000_000), "{done}");
    assert_eq!(chunks(&place), []);
    assert_eq!(std::fs::read_dir(stage.path("state/unfinished"))?.count(), 0);
    Ok(())
}

/// An attempt was ended after it had removed one of two, and before it could say so; the next one is told to spare both.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_attempt_has_removed_whose_word_was_lost_is_told_by_the_next_also_when_it_is_spared_by_then()
-> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let in_borg = archives(&stage, 2).await?;
    let data = folder(&stage, "data")?.join("a.db");
    drop(crate::sqlite::accounts(&data, "delete")?);
    let access = once(&stage, &folder(&stage, "store")?, "none");
    stage.success(init(&access)).await?;
    let mut in_store = Vec::new();
    for _ in 0..2 {
        in_store.push(archive_of(&stage, backup(&access, "none", &[&data])).await?);
    }
    for (access, all) in [(stage.access(), in_borg), (access, in_store)] {
        stage.success(prune(&access, &[&all[1]], json!([]))).await?;
        let spared: Value = all
            .iter()
            .map(|archive| json!({ "archive": archive["id"], "why": "the plan is paused" }))
            .collect();
        let spec = prune(&access, &[&all[1], &all[0]], spared);
        let (job, epoch) =
            stage.emit_attempt(JobId(Uuid::now_v7()), 2, spec.clone(), Some(PASSPHRASE)).await?;
        let Report::Succeeded { outcome, .. } = stage.end_of(job, epoch).await? else { panic!("it is done") };
        let done = serde_json::to_value(outcome)?;
        assert_eq!(done["result"]["deleted"], ids(&[&all[1]]), "{done}");
        assert_eq!(done["findings"].as_array().map(Vec::len), Some(1), "only the other one stays: {done}");
        // Of a first attempt it is not said: what is not there then, a scan tells.
        let done = serde_json::to_value(stage.success(spec).await?)?;
        assert_eq!(done["result"]["deleted"], json!([]), "{done}");
    }
    Ok(())
}

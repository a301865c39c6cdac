//! What attempts that did not come to their end leave behind, and that nothing is stopped by it.

use crate::look;
use crate::stage::{PATIENCE, Stage, tree};
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;
use strongroom_domain::FailureCode;
use strongroom_domain::job::Report;
use strongroom_domain::wire::LeaseAnswer;
use strongroom_executor::Config;
use strongroom_testkit::wait_until;

/// P4: whatever a killed borg leaves behind does not stop the next one for ever. Borg makes the folder of its cache
/// first and what belongs into it later; killed in between, it never opens that cache again.
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_half_made_is_made_anew() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(3)?;
    stage.success(stage.backup(source.path())).await?;
    let caches = stage.path("state/borg/.cache/borg");
    let is_cache = |path: &PathBuf| path.join("config").exists();
    let cache = std::fs::read_dir(&caches)?.flatten().map(|e| e.path()).find(is_cache).unwrap();
    std::fs::remove_dir_all(&cache)?;
    std::fs::create_dir(&cache)?;
    stage.success(stage.backup(source.path())).await?;
    Ok(())
}

/// A borg that writes a checkpoint each second instead of every five minutes.
async fn with_hasty_borg() -> Result<Stage> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    stage.stop().await?;
    let text = "n=$#; before=\n\
        while [ $n -gt 0 ]; do word=$1; shift; [ \"$before\" = --checkpoint-interval ] && word=1\n\
        set -- \"$@\" \"$word\"; before=$word; n=$((n-1)); done\nexec borg \"$@\"\n";
    let borg = stage.script("hasty-borg", text)?;
    stage.start(|c| Config { borg, ..c }).await?;
    Ok(stage)
}

/// Nobody goes on from the checkpoint of a cancelled job. So it must be gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_backup_removes_the_checkpoint_that_it_made() -> Result<()> {
    let stage = with_hasty_borg().await?;
    let source = look::large_tree(&stage)?;
    let (job, epoch) = stage.emit(look::slow(&stage, &source)).await?;
    stage.begun(job).await?;
    let repository = look::repository(&stage);
    let checkpoint = format!("p-{job}.checkpoint");
    wait_until("a checkpoint", PATIENCE, async || {
        // The repository is being written: a look at it may fail, and is taken again.
        let list = ["--bypass-lock", "list", "--short", "--consider-checkpoints", &repository];
        look::borg(&stage, &list).ok()?.lines().any(|name| name.starts_with(&checkpoint)).then_some(())
    })
    .await?;
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    assert_eq!(stage.end_of(job, epoch).await?, Report::Cancelled);
    assert_eq!(look::archives(&stage)?, Vec::<String>::new());
    Ok(())
}

/// What was stored until the time was up is not stored again, and then goes.
#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_of_a_backup_whose_time_was_up_stays_until_one_is_whole() -> Result<()> {
    let stage = with_hasty_borg().await?;
    let source = look::large_tree(&stage)?;
    let mut spec = look::slow(&stage, &source);
    spec["limits"]["max_duration_s"] = json!(5);
    stage.failure(spec, FailureCode::TimedOut).await?;
    let left = look::archives(&stage)?;
    assert!(matches!(left.as_slice(), [name] if name.contains(".checkpoint")), "{left:?}");
    stage.success(stage.backup(&source)).await?;
    let left = look::archives(&stage)?;
    assert!(matches!(left.as_slice(), [name] if !name.contains(".checkpoint")), "{left:?}");
    assert_eq!(std::fs::read_dir(stage.path("state/unfinished"))?.count(), 0);
    Ok(())
}

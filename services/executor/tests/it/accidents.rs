//! What happened to others, and must not happen here.

use crate::restores::archive;
use crate::stage::{PASSPHRASE, PATIENCE, Stage, processes, tree};
use crate::work::index_of;
use anyhow::Result;
use serde_json::json;
use std::process::Command;
use std::time::Duration;
use strongroom_domain::job::{Completeness, Report};
use strongroom_domain::wire::LeaseAnswer;
use strongroom_domain::{FailureCode, JobId};
use strongroom_executor::Config;
use strongroom_testkit::wait_until;
use uuid::Uuid;

async fn with_slow_borg(seconds: u32) -> Result<Stage> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    stage.stop().await?;
    let slow = stage.slow_borg(seconds)?;
    stage.start(|c| Config { borg: slow, ..c }).await?;
    Ok(stage)
}

/// The process ids of children that are noted.
fn children(stage: &Stage) -> Vec<String> {
    let notes = std::fs::read_dir(stage.path("state/children")).into_iter().flatten().flatten();
    notes.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// P1: phantom success. P4: the lock that a killed borg leaves does not stop the next one for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_borg_that_is_killed_is_no_success_and_the_next_attempt_is() -> Result<()> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    stage.stop().await?;
    // Killed by its own hand while it holds the lock of the repository, once. Waited for: a dead process that nobody has
    // waited for still has its number, and borg would take its lock for that of a living one.
    let marker = stage.path("killed-once");
    let text = format!(
        "case \"$*\" in *create*) if [ ! -e {m} ]; then touch {m}; borg \"$@\" & pid=$!; \
         while [ ! -e {l} ]; do kill -0 $pid || exit 9; done; kill -9 $pid; wait $pid; kill -9 $$; fi;; esac\nexec borg \"$@\"\n",
        m = marker.display(),
        l = stage.path("repository/lock.exclusive").display(),
    );
    let borg = stage.script("dying-borg", &text)?;
    stage.start(|c| Config { borg, ..c }).await?;
    let source = tree(200)?;
    let failure = stage.failure(stage.backup(source.path()), FailureCode::Killed).await?;
    assert!(!failure.advice.is_empty());
    assert!(marker.exists());
    stage.success(stage.backup(source.path())).await?;
    Ok(())
}

/// P2: a plan that names a link to a folder stores the link and nothing of the folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_stored_in_place_of_its_folder_makes_a_backup_incomplete() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(5)?;
    let link = stage.path("current");
    std::os::unix::fs::symlink(source.path(), &link)?;
    let outcome = stage.success(stage.backup(&link)).await?;
    assert_eq!((outcome.completeness, outcome.incomplete_total), (Completeness::Incomplete, 1));
    assert_eq!(outcome.findings[0].path.as_deref(), link.to_str());
    let mut both = stage.backup(&link);
    both["source"]["paths"] = json!([link, source.path()]);
    assert_eq!(stage.success(both).await?.completeness, Completeness::Complete);
    Ok(())
}

/// An archive that is gone while the catalog goes on promising it: borg is killed, or somebody cancels, just after borg has
/// deleted it.
#[tokio::test(flavor = "multi_thread")]
async fn what_borg_had_deleted_when_it_was_ended_is_told_as_deleted() -> Result<()> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(5)?;
    let mut deletions = Vec::new();
    for _ in 0..3 {
        let archive = archive(&stage, source.path()).await?;
        let access = stage.access();
        deletions.push(json!({ "kind": "delete-archive", "access": access, "archive": archive }));
    }
    stage.stop().await?;
    let word = |how: &str| format!("case \"$*\" in *\" delete \"*) {how};; esac\nexec borg \"$@\"\n");
    let dying = stage.script("dying-borg", &word("borg \"$@\"; kill -9 $$"))?;
    stage.start(|c| Config { borg: dying, ..c }).await?;
    stage.success(deletions.remove(0)).await?;
    stage.stop().await?;
    let killed_before = stage.script("dead-borg", &word("kill -9 $$"))?;
    stage.start(|c| Config { borg: killed_before, ..c }).await?;
    stage.failure(deletions[0].clone(), FailureCode::Killed).await?;
    stage.stop().await?;
    let marker = stage.path("deleted");
    let slow = word(&format!("borg \"$@\"; touch '{}'; sleep 1000", marker.display()));
    let slow = stage.script("slow-borg", &slow)?;
    stage.start(|c| Config { borg: slow, ..c }).await?;
    let (job, epoch) = stage.emit(deletions.remove(0)).await?;
    wait_until("the deletion", PATIENCE, async || marker.exists().then_some(())).await?;
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    let ended = stage.end_of(job, epoch).await?;
    assert!(matches!(ended, Report::Succeeded { .. }), "{ended:?}");
    assert_eq!(crate::look::archives(&stage)?.len(), 1);
    Ok(())
}

/// P2: an incomplete backup that is called complete.
#[tokio::test(flavor = "multi_thread")]
async fn one_unreadable_file_makes_a_backup_incomplete() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut stage = Stage::set().await?;
    stage.stop().await?;
    // To root every file is readable, so borg is run without that right.
    let rights = "-dac_override,-dac_read_search";
    let text = format!("exec setpriv --bounding-set {rights} --inh-caps {rights} -- borg \"$@\"\n");
    let borg = stage.script("humble-borg", &text)?;
    stage.start(|c| Config { borg, ..c }).await?;
    stage.init().await?;
    let source = tree(10)?;
    let secret = source.path().join("d2/f2");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000))?;
    let done = serde_json::to_value(stage.success(stage.backup(source.path())).await?)?;
    assert_eq!(
        (&done["completeness"], &done["incomplete_total"]),
        (&json!("incomplete"), &json!(1)),
        "{done}"
    );
    assert_eq!(done["findings"][0]["path"], secret.display().to_string());
    assert_eq!(done["findings"][0]["severity"], "incomplete");
    Ok(())
}

/// P7: zombies. An attempt that was overtaken ends within seconds, and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_stale_kills_its_child_and_says_nothing() -> Result<()> {
    let stage = with_slow_borg(60).await?;
    let source = tree(3)?;
    let (job, _) = stage.emit(stage.backup(source.path())).await?;
    stage.begun(job).await?;
    wait_until("its child", PATIENCE, async || (!processes(source.path()).is_empty()).then_some(())).await?;
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::Stale);
    wait_until("its child to be gone", PATIENCE, async || processes(source.path()).is_empty().then_some(()))
        .await?;
    // The next word is about another job.
    let (next, epoch) = stage.emit(json!({ "kind": "scan-repository", "access": stage.access() })).await?;
    assert!(matches!(stage.end_of(next, epoch).await?, Report::Succeeded { .. }));
    Ok(())
}

/// P7: an executor that dies takes its children with it, and the next one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_ends_in_the_middle_leaves_no_child() -> Result<()> {
    let mut stage = with_slow_borg(60).await?;
    let source = tree(3)?;
    let (job, _) = stage.emit(stage.backup(source.path())).await?;
    stage.begun(job).await?;
    wait_until("its child", PATIENCE, async || (!children(&stage).is_empty()).then_some(())).await?;
    stage.abort().await;
    wait_until("its child to be gone", PATIENCE, async || processes(source.path()).is_empty().then_some(()))
        .await?;
    stage.start(|c| c).await?;
    let (_, epoch) = stage.emit_attempt(job, 2, stage.backup(source.path()), Some(PASSPHRASE)).await?;
    loop {
        // The old delivery may come again as well; to a lease that stands it is the same job once more.
        match stage.report().await? {
            strongroom_domain::wire::NodeReport::Ended { epoch: e, how, .. } if e == epoch => {
                assert!(matches!(how, Report::Succeeded { .. }), "{how:?}");
                return Ok(());
            }
            _ => {}
        }
    }
}

/// An orderly end interrupts, and another attempt finishes the job.
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_told_to_end_says_that_it_was_interrupted() -> Result<()> {
    let mut stage = with_slow_borg(60).await?;
    let source = tree(3)?;
    let (job, epoch) = stage.emit(stage.backup(source.path())).await?;
    stage.begun(job).await?;
    wait_until("its child", PATIENCE, async || (!processes(source.path()).is_empty()).then_some(())).await?;
    stage.stop().await?;
    assert!(matches!(stage.end_of(job, epoch).await?, Report::Interrupted { .. }));
    assert!(processes(source.path()).is_empty());
    Ok(())
}

/// A cancelled job leaves no archive, not even a checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_backup_leaves_nothing_behind() -> Result<()> {
    let stage = with_slow_borg(60).await?;
    let source = tree(3)?;
    let (job, epoch) = stage.emit(stage.backup(source.path())).await?;
    stage.begun(job).await?;
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    assert!(matches!(stage.end_of(job, epoch).await?, Report::Cancelled));
    let listed = Command::new("borg")
        .args(["list", "--short", "--consider-checkpoints"])
        .arg(stage.path("repository"))
        .envs([("BORG_PASSPHRASE", PASSPHRASE), ("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")])
        .env("BORG_BASE_DIR", stage.path("looking"))
        .output()?;
    assert!(
        listed.status.success() && listed.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&listed.stdout)
    );
    Ok(())
}

/// An archive whose report was lost is found again, and what could not be read is not forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_a_lost_report_is_recovered_and_not_called_complete_unseen() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(5)?;
    let job = JobId(Uuid::now_v7());
    let (_, first) = stage.emit_attempt(job, 1, stage.backup(source.path()), Some(PASSPHRASE)).await?;
    stage.end_of(job, first).await?;
    let (_, second) = stage.emit_attempt(job, 2, stage.backup(source.path()), Some(PASSPHRASE)).await?;
    let Report::Succeeded { outcome, .. } = stage.end_of(job, second).await? else { panic!("it failed") };
    let done = serde_json::to_value(outcome)?;
    assert_eq!(done["result"]["recovered"], true);
    assert_eq!(done["result"]["archive"]["stats"]["files"], 5);
    assert_eq!(done["completeness"], "incomplete", "nobody knows any more: {done}");
    Ok(())
}

/// P8: a job that is longer than the wait for an ack is not done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_job_is_done_once_whatever_the_server_thinks_of_its_delivery() -> Result<()> {
    let stage = with_slow_borg(9).await?;
    let source = tree(3)?;
    // Here the server takes a delivery for lost after 5 s, which is sooner than the executor tells of it: it comes again
    // while the job runs, and is known.
    let (job, epoch) = stage.emit(stage.backup(source.path())).await?;
    let Report::Succeeded { outcome, .. } = stage.end_of(job, epoch).await? else { panic!("it failed") };
    assert_eq!(serde_json::to_value(outcome)?["result"]["recovered"], false);
    let quiet = stage.scheduler.next_report(Duration::from_secs(6)).await?;
    assert!(quiet.is_none(), "it was done twice: {:?}", quiet.map(|d| d.report));
    Ok(())
}

/// P9: a large archive does not make a large executor.
#[tokio::test(flavor = "multi_thread")]
async fn many_files_are_indexed_in_parts() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tempfile::tempdir()?;
    for n in 0..20_000 {
        let below = source.path().join(format!("d{}", n % 100));
        if n < 100 {
            std::fs::create_dir(&below)?;
        }
        std::fs::write(below.join(format!("a file with a rather long name {n}")), "")?;
    }
    let done = serde_json::to_value(stage.success(stage.backup(source.path())).await?)?;
    let indexed = serde_json::to_value(stage.success(index_of(&stage, &done["result"]["archive"])).await?)?;
    let index = &indexed["result"]["index"];
    assert_eq!(index["entries"], 20_101);
    assert!(index["chunks"].as_u64() >= Some(3), "{index}");
    Ok(())
}

/// P10: the passphrase is nowhere to be read while borg works.
#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_is_in_no_argument_and_no_environment() -> Result<()> {
    let stage = with_slow_borg(3).await?;
    let source = tree(3)?;
    let (job, epoch) = stage.emit(stage.backup(source.path())).await?;
    stage.begun(job).await?;
    wait_until("its child", PATIENCE, async || (!children(&stage).is_empty()).then_some(())).await?;
    let mut seen = 0;
    for pid in children(&stage) {
        for file in ["cmdline", "environ"] {
            let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            seen += usize::from(!text.is_empty());
            assert!(!String::from_utf8_lossy(&text).contains(PASSPHRASE), "{pid}/{file}");
        }
    }
    assert!(seen > 0);
    let report = stage.end_of(job, epoch).await?;
    assert!(!serde_json::to_string(&report)?.contains(PASSPHRASE));
    Ok(())
}

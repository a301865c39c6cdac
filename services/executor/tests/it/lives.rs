//! Executors and their borgs that are killed, stopped, overtaken and cut off in the middle of real work.

use crate::look::{self, in_the_act, large_tree, lives, slow};
use crate::stage::{PASSPHRASE, PATIENCE, Stage, tree};
use anyhow::Result;
use futures::StreamExt;
use serde_json::json;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strongroom_domain::FailureCode;
use strongroom_domain::job::Report;
use strongroom_domain::wire::{LeaseAnswer, NodeReport, Status};
use strongroom_executor::Config;
use strongroom_testkit::wait_until;

/// P1 and P4: borg is killed while it writes; that is no success, and its lock stops nobody.
#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_our_own_killed_borg_is_got_past() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = large_tree(&stage)?;
    let (job, epoch) = stage.emit(slow(&stage, &source)).await?;
    stage.begun(job).await?;
    look::kill(in_the_act(&stage).await?)?;
    let Report::Failed { failure } = stage.end_of(job, epoch).await? else { panic!("it went well") };
    assert_eq!(failure.code, FailureCode::Killed, "{failure:?}");
    assert!(stage.path("repository/lock.exclusive").exists(), "nothing was left to get past");
    let (_, epoch) = stage.emit_attempt(job, 2, stage.backup(&source), Some(PASSPHRASE)).await?;
    assert!(matches!(stage.end_of(job, epoch).await?, Report::Succeeded { .. }));
    assert_eq!(look::archives(&stage)?, [format!("p-{job}")]);
    Ok(())
}

/// P4: a lock of another machine is not ours to break, living or dead: from here its death cannot be seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_machine_is_respected() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(3)?;
    let mut holder: Child = look::as_another_machine(&stage)
        .args(["with-lock", &look::repository(&stage), "sleep", "1000"])
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let lock = stage.path("repository/lock.exclusive");
    let held = || std::fs::read_dir(&lock).ok()?.flatten().next().map(|e| e.file_name());
    let by = wait_until("the lock", PATIENCE, async || held()).await?;
    stage.failure(stage.backup(source.path()), FailureCode::RepositoryLocked).await?;
    assert_eq!(held().as_ref(), Some(&by), "the lock of a living borg was broken");
    let group = rustix::process::Pid::from_child(&holder);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
    holder.wait()?;
    stage.failure(stage.backup(source.path()), FailureCode::RepositoryLocked).await?;
    assert_eq!(held().as_ref(), Some(&by), "the lock of a borg that may live was broken");
    Ok(())
}

/// Told to end in order, borg writes a checkpoint, the next attempt goes on from it, and then it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_of_an_interrupted_backup_does_not_stay() -> Result<()> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    let source = large_tree(&stage)?;
    let (job, epoch) = stage.emit(slow(&stage, &source)).await?;
    stage.begun(job).await?;
    let pid = in_the_act(&stage).await?;
    // Without anything stored yet there would be nothing to check.
    let data = stage.path("repository/data/0");
    wait_until("something to be stored", PATIENCE, async || {
        let sizes = std::fs::read_dir(&data).ok()?.flatten().filter_map(|e| e.metadata().ok());
        (sizes.map(|m| m.len()).sum::<u64>() > 1 << 20).then_some(())
    })
    .await?;
    stage.stop().await?;
    assert!(!lives(pid));
    assert!(matches!(stage.end_of(job, epoch).await?, Report::Interrupted { .. }));
    assert!(!stage.path("repository/lock.exclusive").exists());
    assert_eq!(look::archives(&stage)?, [format!("p-{job}.checkpoint")], "there is nothing to go on from");
    stage.start(|c| c).await?;
    let (_, epoch) = stage.emit_attempt(job, 2, stage.backup(&source), Some(PASSPHRASE)).await?;
    assert!(matches!(stage.end_of(job, epoch).await?, Report::Succeeded { .. }));
    assert_eq!(look::archives(&stage)?, [format!("p-{job}")], "the checkpoint has stayed");
    Ok(())
}

/// P7: an attempt that was overtaken in the middle of its work, and the next one at the same job right behind it.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_overtaken_makes_way_for_the_next() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = large_tree(&stage)?;
    let (job, _) = stage.emit(slow(&stage, &source)).await?;
    stage.begun(job).await?;
    let pid = in_the_act(&stage).await?;
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::Stale);
    wait_until("borg to end", PATIENCE, async || (!lives(pid)).then_some(())).await?;
    stage.leases.lock().unwrap().remove(&job);
    let (_, epoch) = stage.emit_attempt(job, 2, stage.backup(&source), Some(PASSPHRASE)).await?;
    // `end_of` takes no word of the first one.
    assert!(matches!(stage.end_of(job, epoch).await?, Report::Succeeded { .. }));
    Ok(())
}

/// The executor's own binary.
pub struct Process(Child);

impl Process {
    fn start(stage: &Stage) -> Result<Self> {
        Self::start_with(stage, &[])
    }

    /// With this in its environment besides.
    pub fn start_with(stage: &Stage, more: &[(&str, &OsStr)]) -> Result<Self> {
        let child = Command::new(env!("CARGO_BIN_EXE_strongroom-executor"))
            .env("STRONGROOM_NATS_URL", stage.nats.urls())
            .env("STRONGROOM_NKEY_FILE", stage.nats.seed_file("node-n"))
            .env("STRONGROOM_STATE_DIR", stage.path("state"))
            .env("STRONGROOM_NODE", "n")
            .envs(more.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    pub fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

pub async fn joined(stage: &Stage) -> Result<strongroom_domain::node::Joined> {
    match stage.report().await? {
        NodeReport::Joined(joined) => Ok(joined),
        other => anyhow::bail!("it did not join first: {other:?}"),
    }
}

/// P7: kill -9 of the executor takes its borg along; the delivery comes back, and the next life does the work.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_executor_takes_its_borg_along_and_its_next_life_does_the_work() -> Result<()> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    stage.stop().await?;
    let mut process = Process::start(&stage)?;
    let first = joined(&stage).await?;
    let source = large_tree(&stage)?;
    let (job, epoch) = stage.emit(slow(&stage, &source)).await?;
    stage.begun(job).await?;
    let pid = in_the_act(&stage).await?;
    process.kill()?;
    wait_until("borg to end", PATIENCE, async || (!lives(pid)).then_some(())).await?;
    // The same delivery comes again; this time it has less to do.
    for n in 0..8 {
        std::fs::write(source.join(format!("f{n}")), format!("small now: {n}"))?;
    }
    let _process = Process::start(&stage)?;
    let second = joined(&stage).await?;
    assert_ne!(first.boot, second.boot);
    assert_eq!(first.age_recipient, second.age_recipient, "secrets must stay readable");
    let Report::Succeeded { outcome, .. } = stage.end_of(job, epoch).await? else { panic!("it failed") };
    assert_eq!(serde_json::to_value(outcome.result)?["archive"]["stats"]["files"], 8);
    assert_eq!(std::fs::read_dir(stage.path("state/children"))?.count(), 0);
    Ok(())
}

/// P8: in-progress acks keep a delivery that takes longer than the server waits for an ack.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_longer_than_the_ack_wait_stays_with_whoever_does_it() -> Result<()> {
    let ack_wait = Duration::from_secs(17);
    let mut stage = Stage::set_on(strongroom_testkit::Nats::start(1, &["n"], ack_wait).await?, |c| c).await?;
    stage.init().await?;
    stage.stop().await?;
    let borg = look::gated(&stage, "create")?;
    // With room for one, it pulls nothing while it works: what comes again would come to us.
    stage.start(|c| Config { borg, capacity: 1, ..c }).await?;
    let source = tree(3)?;
    let begun = Instant::now();
    let (job, epoch) = stage.emit(stage.backup(source.path())).await?;
    look::until_gate(&stage).await?;
    let other = stage.nats.node("n").await?;
    while begun.elapsed() < ack_wait + Duration::from_secs(6) {
        let again = other.next_work(Duration::from_secs(2)).await?;
        assert!(again.is_none(), "the delivery came again after {:?}", begun.elapsed());
    }
    std::fs::remove_file(stage.path("gate"))?;
    assert!(matches!(stage.end_of(job, epoch).await?, Report::Succeeded { .. }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_without_the_log_and_is_told_when_it_is_back() -> Result<()> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    stage.stop().await?;
    let borg = look::gated(&stage, "create")?;
    stage.start(|c| Config { borg, ..c }).await?;
    let source = tree(3)?;
    let (job, epoch) = stage.emit(stage.backup(source.path())).await?;
    stage.begun(job).await?;
    look::until_gate(&stage).await?;
    stage.nats.kill(0)?;
    std::fs::remove_file(stage.path("gate"))?;
    wait_until("the archive", PATIENCE, async || {
        look::archives(&stage).ok().filter(|a| *a == [format!("p-{job}")])
    })
    .await?;
    stage.nats.start_member(0)?;
    let end = async {
        // The scheduler that is played has to come back too.
        loop {
            match stage.scheduler.next_report(Duration::from_secs(1)).await {
                Ok(Some(delivery)) => {
                    delivery.done().await?;
                    if let Ok(NodeReport::Ended { job: j, epoch: e, how }) = delivery.report {
                        assert_eq!((j, e), (job, epoch));
                        return anyhow::Ok(how);
                    }
                }
                Ok(None) => {}
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let Report::Succeeded { outcome, .. } = tokio::time::timeout(PATIENCE, end).await?? else {
        panic!("it failed")
    };
    let done = serde_json::to_value(outcome)?;
    assert_eq!(done["completeness"], "complete", "{done}");
    assert_eq!(done["result"]["archive"]["stats"]["files"].as_u64().map(|n| n >= 3), Some(true), "{done}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_that_it_lives_what_it_works_on_and_how_far_it_is() -> Result<()> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    stage.stop().await?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut statuses = stage.scheduler.watch_status().await?;
    let watching = tokio::spawn({
        let seen = seen.clone();
        async move {
            while let Some((node, status)) = statuses.next().await {
                assert_eq!(node.as_str(), "n");
                seen.lock().unwrap().push(status);
            }
        }
    });
    stage.start(|c| Config { heartbeat_every: Duration::from_millis(100), ..c }).await?;
    let source = large_tree(&stage)?;
    let (job, epoch) = stage.emit(slow(&stage, &source)).await?;
    stage.begun(job).await?;
    let is_far = |status: &Status| match status {
        Status::Progress(p) if p.step == "create" && p.rate_bytes_per_s > 0 => Some(p.clone()),
        _ => None,
    };
    let far = async || seen.lock().unwrap().iter().find_map(is_far);
    let progress = wait_until("progress", PATIENCE, far).await?;
    assert_eq!((progress.job, progress.epoch), (job, epoch));
    assert!(progress.original_size_bytes > 0 && progress.path.contains("large/f"), "{progress:?}");
    let beats = |busy: bool| {
        let is_one = |status: &&Status| match status {
            Status::Heartbeat { running, .. } => (*running == [(job, epoch)]) == busy,
            Status::Progress(_) => false,
        };
        seen.lock().unwrap().iter().filter(is_one).count()
    };
    assert!(beats(true) > 0);
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    assert!(matches!(stage.end_of(job, epoch).await?, Report::Cancelled));
    seen.lock().unwrap().clear();
    wait_until("an idle heartbeat", PATIENCE, async || (beats(false) > 1).then_some(())).await?;
    watching.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn as_much_is_done_at_once_as_there_is_room_for_and_no_state_is_shared() -> Result<()> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    stage.stop().await?;
    let borg = look::gated(&stage, "list")?;
    stage.start(|c| Config { borg, capacity: 2, ..c }).await?;
    let scan = json!({ "kind": "scan-repository", "access": stage.access() });
    for _ in 0..3 {
        stage.emit(scan.clone()).await?;
    }
    let mut begun = 0;
    let (mut ended, mut most) = (0, 0);
    let notes = stage.path("state/children");
    wait_until("two to work", PATIENCE, async || {
        (std::fs::read_dir(&notes).ok()?.count() == 2).then_some(())
    })
    .await?;
    let config = Config::new("n".parse()?, stage.path("state"));
    let refused = strongroom_executor::run(config, stage.nats.node("n").await?, Default::default()).await;
    let refused = format!("{:#}", refused.unwrap_err());
    assert!(refused.contains("in use by another process"), "{refused}");
    std::fs::remove_file(stage.path("gate"))?;
    while ended < 3 {
        match stage.report().await? {
            NodeReport::Started { .. } => begun += 1,
            NodeReport::Ended { .. } => ended += 1,
            _ => {}
        }
        most = most.max(begun - ended);
    }
    assert_eq!((begun, most), (3, 2));
    Ok(())
}

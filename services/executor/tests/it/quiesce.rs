//! What is stopped while a backup reads: it runs again afterwards, whatever became of the backup.

use crate::hooks::{allowing, with_hooks};
use crate::look;
use crate::stage::{PATIENCE, Stage, script, tree};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use strongroom_domain::FailureCode;
use strongroom_domain::job::{Completeness, Report};
use strongroom_domain::wire::LeaseAnswer;
use strongroom_executor::Config;
use strongroom_testkit::wait_until;

/// Something that can be stopped and started, and writes down what became of it.
struct App {
    folder: PathBuf,
}

impl App {
    fn new(folder: &Path) -> Result<Self> {
        let app = Self { folder: folder.to_owned() };
        app.write("stop", "stopped", "")?;
        app.write("start", "runs", "")?;
        Ok(app)
    }

    /// Its program for one of the two; `first` is run before it does its work.
    fn write(&self, name: &str, state: &str, first: &str) -> Result<()> {
        let folder = self.folder.display();
        let text = format!(
            "{first}\necho \"{state} $1\" >> '{folder}/history'\necho {state} > \"{folder}/state-$1\"\necho {name} was said\n"
        );
        script(&self.folder.join(name), &text)?;
        Ok(())
    }

    fn pair(&self, name: &str) -> Value {
        json!({
            "stop": { "command": [self.folder.join("stop"), name] },
            "start": { "command": [self.folder.join("start"), name] },
        })
    }

    fn state(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("state-{name}")))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    fn history(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join("history")).unwrap_or_default();
        let _ = std::fs::remove_file(self.folder.join("history"));
        text.lines().map(str::to_owned).collect()
    }

    async fn waits_to_be(&self, name: &str, state: &str) -> Result<()> {
        wait_until("the state", PATIENCE, async || (self.state(name) == state).then_some(())).await
    }
}

fn notes(stage: &Stage) -> usize {
    std::fs::read_dir(stage.path("state/stopped")).unwrap().count()
}

fn quiesced(mut backup: Value, quiesce: Value) -> Value {
    backup["quiesce"] = quiesce;
    backup
}

/// With a borg that is slow to begin.
async fn slow(seconds: u32) -> Result<(Stage, App)> {
    let (mut stage, folder) = with_hooks().await?;
    stage.stop().await?;
    let borg = stage.slow_borg(seconds)?;
    stage.start(|c| Config { borg, ..allowing(c) }).await?;
    Ok((stage, App::new(&folder)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_is_so_while_data_is_read_and_runs_again_after_it() -> Result<()> {
    let (mut stage, folder) = with_hooks().await?;
    let app = App::new(&folder)?;
    stage.stop().await?;
    let text = format!(
        "case \"$*\" in *create*) echo create >> '{}';; esac\nexec borg \"$@\"\n",
        folder.join("history").display()
    );
    let borg = stage.script("telling-borg", &text)?;
    stage.start(|c| Config { borg, ..allowing(c) }).await?;
    let source = tree(3)?;
    let both = json!([app.pair("web"), app.pair("worker")]);
    let (job, epoch) = stage.emit(quiesced(stage.backup(source.path()), both.clone())).await?;
    let Report::Succeeded { outcome, log_tail } = stage.end_of(job, epoch).await? else {
        panic!("no success")
    };
    assert_eq!(outcome.completeness, Completeness::Complete);
    let expected = ["stopped web", "stopped worker", "create", "runs worker", "runs web"];
    assert_eq!(app.history(), expected);
    assert!(log_tail.iter().any(|line| line.starts_with("stopped for ")), "{log_tail:?}");
    // A dump is no other case.
    let database = stage.path("a.db");
    drop(crate::sqlite::accounts(&database, "delete")?);
    let mut dump = quiesced(stage.backup(source.path()), both.clone());
    dump["source"] = json!({ "type": "sqlite", "paths": [database] });
    stage.success(dump).await?;
    assert_eq!(app.history(), expected);
    // A source that is not there stops nothing.
    let backup = quiesced(stage.backup(Path::new("/not/there")), both);
    stage.failure(backup, FailureCode::SourceMissing).await?;
    assert_eq!((app.history(), notes(&stage)), (Vec::new(), 0));
    Ok(())
}

/// U10: containers that stayed stopped because the backup was killed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_runs_again_when_the_executor_was_killed_in_the_middle() -> Result<()> {
    let (mut stage, app) = slow(1000).await?;
    let source = tree(3)?;
    let backup = quiesced(stage.backup(source.path()), json!([app.pair("web")]));
    let (job, _) = stage.emit(backup.clone()).await?;
    app.waits_to_be("web", "stopped").await?;
    stage.begun(job).await?;
    stage.abort().await;
    assert_eq!((app.state("web").as_str(), notes(&stage)), ("stopped", 1));
    // Before it takes work, and although the node allows no hooks any more: it was allowed to stop it.
    stage.start(|c| c).await?;
    assert_eq!((app.state("web").as_str(), notes(&stage)), ("runs", 0));
    stage.stop().await?;
    stage.start(allowing).await?;
    let (_, epoch) = stage.emit_attempt(job, 2, backup, Some(crate::stage::PASSPHRASE)).await?;
    let ended = stage.end_of(job, epoch).await?;
    assert!(matches!(ended, Report::Succeeded { .. }), "{ended:?}");
    assert_eq!(app.history(), ["stopped web", "runs web", "stopped web", "runs web"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_cancel_nor_a_time_limit_nor_a_stale_epoch_leaves_it_stopped() -> Result<()> {
    let (stage, app) = slow(1000).await?;
    let source = tree(3)?;
    let backup = quiesced(stage.backup(source.path()), json!([app.pair("web")]));
    for answer in [LeaseAnswer::CancelRequested, LeaseAnswer::Stale] {
        let (job, epoch) = stage.emit(backup.clone()).await?;
        app.waits_to_be("web", "stopped").await?;
        stage.leases.lock().unwrap().insert(job, answer);
        app.waits_to_be("web", "runs").await?;
        match answer {
            LeaseAnswer::Stale => stage.begun(job).await?,
            _ => assert!(matches!(stage.end_of(job, epoch).await?, Report::Cancelled)),
        }
    }
    let mut limited = backup;
    limited["limits"] = json!({ "max_duration_s": 2 });
    stage.failure(limited, FailureCode::TimedOut).await?;
    assert_eq!((app.state("web").as_str(), notes(&stage)), ("runs", 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_is_tried_again_and_told_loudly_when_it_goes_on_failing() -> Result<()> {
    let (stage, folder) = with_hooks().await?;
    let app = App::new(&folder)?;
    let source = tree(3)?;
    let backup = quiesced(stage.backup(source.path()), json!([app.pair("web")]));
    let marker = folder.join("once");
    let once = format!("if [ ! -e '{m}' ]; then touch '{m}'; echo not yet; exit 5; fi", m = marker.display());
    app.write("start", "runs", &once)?;
    let (job, epoch) = stage.emit(backup.clone()).await?;
    let Report::Succeeded { outcome, log_tail } = stage.end_of(job, epoch).await? else {
        panic!("no success")
    };
    assert_eq!((outcome.completeness, app.state("web").as_str()), (Completeness::Complete, "runs"));
    assert!(log_tail.iter().any(|line| line == "not yet"), "{log_tail:?}");

    app.write("start", "runs", "echo never; exit 5")?;
    let done = stage.success(backup.clone()).await?;
    assert_eq!(done.completeness, Completeness::Incomplete);
    assert!(done.findings[0].message.contains("is still stopped: it ended with exit status: 5"), "{done:?}");
    assert_eq!((app.state("web").as_str(), notes(&stage), look::archives(&stage)?.len()), ("stopped", 1, 2));
    // A backup that fails as well says first what is worse.
    let mut both = backup.clone();
    both["source"] = json!({ "type": "sqlite", "paths": [stage.path("none.db")] });
    let failure = stage.failure(both, FailureCode::StillStopped).await?;
    assert!(failure.message.contains("still stopped") && failure.message.contains("none.db"), "{failure:?}");
    // The next attempt starts what the others have left.
    app.write("start", "runs", "")?;
    app.history();
    assert_eq!(stage.success(backup).await?.completeness, Completeness::Complete);
    assert_eq!((app.state("web").as_str(), notes(&stage)), ("runs", 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_stop_is_not_backed_up_and_the_rest_runs_again() -> Result<()> {
    let (stage, folder) = with_hooks().await?;
    let app = App::new(&folder)?;
    script(&folder.join("no"), "echo it does not want to; exit 1")?;
    let source = tree(3)?;
    let bad = json!({ "stop": { "command": [folder.join("no")] }, "start": { "command": [folder.join("start"), "db"] } });
    let quiesce = json!([app.pair("web"), bad, app.pair("never")]);
    let failure =
        stage.failure(quiesced(stage.backup(source.path()), quiesce), FailureCode::QuiesceFailed).await?;
    assert!(failure.log_tail.iter().any(|line| line == "it does not want to"), "{failure:?}");
    // What did not stop may have stopped in part.
    assert_eq!(app.history(), ["stopped web", "runs db", "runs web"]);
    assert_eq!((look::archives(&stage)?, notes(&stage)), (Vec::new(), 0));
    let elsewhere = json!([{ "stop": { "command": ["/bin/true"] }, "start": { "command": ["/bin/true"] } }]);
    stage.failure(quiesced(stage.backup(source.path()), elsewhere), FailureCode::HooksNotAllowed).await?;
    Ok(())
}

/// One must not start what another reads.
#[tokio::test(flavor = "multi_thread")]
async fn two_backups_that_stop_the_same_take_turns() -> Result<()> {
    let (stage, app) = slow(1).await?;
    let source = tree(3)?;
    let one = quiesced(stage.backup(source.path()), json!([app.pair("web")]));
    let mut other = one.clone();
    other["access"] = stage.access_at(&stage.path("other"));
    stage.success(json!({ "kind": "init-repository", "access": other["access"] })).await?;
    let (first, second) = (stage.emit(one).await?, stage.emit(other).await?);
    let mut ended = 0;
    while ended < 2 {
        match stage.report().await? {
            strongroom_domain::wire::NodeReport::Ended { job, how: Report::Succeeded { .. }, .. } => {
                assert!(job == first.0 || job == second.0);
                ended += 1;
            }
            strongroom_domain::wire::NodeReport::Started { .. } => {}
            report => panic!("{report:?}"),
        }
    }
    assert_eq!(app.history(), ["stopped web", "runs web", "stopped web", "runs web"]);
    Ok(())
}

/// What stops and starts containers finds them where the administrator of the node says that they are, also when it is started
/// by the next life of an executor that was killed.
#[tokio::test(flavor = "multi_thread")]
async fn the_engine_that_was_named_is_known_to_whatever_stops_and_starts() -> Result<()> {
    let (mut stage, app) = slow(300).await?;
    stage.stop().await?;
    let borg = stage.slow_borg(300)?;
    let host = "unix:///run/other/docker.sock".to_owned();
    let named = |c: Config| {
        let containers =
            strongroom_executor::ContainerSettings { host: host.clone(), ..c.containers.clone() };
        Config { borg: borg.clone(), containers, ..allowing(c) }
    };
    stage.start(named).await?;
    let told = app.folder.join("history");
    let first = format!("echo \"$STRONGROOM_PHASE on $DOCKER_HOST\" >> '{}'", told.display());
    app.write("stop", "stopped", &first)?;
    app.write("start", "runs", &first)?;
    let source = tree(3)?;
    let (job, _) = stage.emit(quiesced(stage.backup(source.path()), json!([app.pair("a")]))).await?;
    stage.begun(job).await?;
    app.waits_to_be("a", "stopped").await?;
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::Stale);
    stage.abort().await;
    assert_eq!(app.history(), [format!("stop on {host}"), "stopped a".to_owned()]);
    stage.start(named).await?;
    app.waits_to_be("a", "runs").await?;
    assert_eq!(app.history(), [format!("start on {host}"), "runs a".to_owned()]);
    assert_eq!(notes(&stage), 0);
    Ok(())
}

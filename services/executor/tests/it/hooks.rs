//! Programs of the plan, before and after a backup.

use crate::look;
use crate::stage::{PATIENCE, Stage, processes, script, tree};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use strongroom_domain::FailureCode;
use strongroom_domain::job::{Completeness, Report};
use strongroom_domain::wire::LeaseAnswer;
use strongroom_executor::Config;
use strongroom_testkit::wait_until;

/// A stage whose executor runs what lies in the folder `hooks`.
pub async fn with_hooks() -> Result<(Stage, PathBuf)> {
    let stage = Stage::set_with(allowing).await?;
    let hooks = stage.path("hooks");
    std::fs::create_dir(&hooks)?;
    stage.init().await?;
    Ok((stage, hooks))
}

/// The same executor, started again.
pub fn allowing(config: Config) -> Config {
    let hooks = config.state_dir.with_file_name("hooks");
    Config { allow_hooks: vec![hooks], ..config }
}

fn with(mut backup: Value, hooks: Value) -> Value {
    backup["hooks"] = hooks;
    backup
}

/// A program that writes down that it ran, with which words and why.
pub fn noting(folder: &Path, name: &str, more: &str) -> Result<PathBuf> {
    let text = format!(
        "echo \"{name} $* $STRONGROOM_PHASE $STRONGROOM_PLAN $STRONGROOM_SERVER $STRONGROOM_OUTCOME\" >> '{}'\necho said by {name}\n{more}\n",
        folder.join("notes").display()
    );
    script(&folder.join(name), &text)
}

/// What was written down.
pub fn notes(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("notes")).unwrap_or_default();
    let lines = text.lines().map(|line| line.trim().to_owned()).collect();
    let _ = std::fs::remove_file(folder.join("notes"));
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_around_a_backup_and_their_words_are_in_its_log() -> Result<()> {
    let (stage, folder) = with_hooks().await?;
    let (a, b) = (noting(&folder, "a", "")?, noting(&folder, "b", "")?);
    let source = tree(3)?;
    let server = stage.folder.path().file_name().unwrap().to_string_lossy().into_owned();
    let hooks = json!({
        "before": [{ "command": [a, "x y", "$HOME"] }, { "command": [b] }],
        "after": [
            { "command": [a, "always"] }, { "command": [b, "success"], "when": "success" },
            { "command": [b, "failure"], "when": "failure" },
        ],
    });
    let (job, epoch) = stage.emit(with(stage.backup(source.path()), hooks.clone())).await?;
    let Report::Succeeded { outcome, log_tail } = stage.end_of(job, epoch).await? else {
        panic!("no success")
    };
    assert_eq!(outcome.completeness, Completeness::Complete);
    assert_eq!(
        notes(&folder),
        [
            format!("a x y $HOME before p {server}"),
            format!("b  before p {server}"),
            format!("a always after p {server} complete"),
            format!("b success after p {server} complete"),
        ]
    );
    assert!(log_tail.iter().filter(|line| *line == "said by a").count() == 2, "{log_tail:?}");
    // A backup that fails has its own.
    stage.failure(with(stage.backup(Path::new("/not/there")), hooks), FailureCode::SourceMissing).await?;
    let ran = notes(&folder);
    assert_eq!(
        ran[2..],
        [format!("a always after p {server} failed"), format!("b failure after p {server} failed")]
    );
    Ok(())
}

/// Nothing is backed up that was not prepared; where it is all the same, it does not look complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_fails_is_never_passed_over_in_silence() -> Result<()> {
    let (stage, folder) = with_hooks().await?;
    let (bad, good) = (noting(&folder, "bad", "exit 3")?, noting(&folder, "good", "")?);
    let source = tree(3)?;
    let after = json!([{ "command": [good], "when": "failure" }]);
    let hooks = json!({ "before": [{ "command": [bad] }, { "command": [good, "second"] }], "after": after });
    let failure = stage.failure(with(stage.backup(source.path()), hooks), FailureCode::HookFailed).await?;
    assert!(failure.message.contains("/bad before the backup ended with exit status: 3"), "{failure:?}");
    assert!(failure.log_tail.iter().any(|line| line == "said by bad"), "{failure:?}");
    assert_eq!(look::archives(&stage)?, Vec::<String>::new());
    assert_eq!(notes(&folder).len(), 2, "the second before it must not run, the one after it must");

    let hooks = json!({ "before": [{ "command": [bad], "on_failure": "continue" }], "after": [{ "command": [bad] }] });
    let done = stage.success(with(stage.backup(source.path()), hooks)).await?;
    assert_eq!((done.completeness, done.incomplete_total), (Completeness::Incomplete, 2), "{done:?}");
    assert!(done.findings[0].message.contains("before the backup ended with"), "{done:?}");
    assert_eq!(look::archives(&stage)?.len(), 1);

    let slow = noting(&folder, "slow", "sleep 1000")?;
    let hooks = json!({ "before": [{ "command": [slow], "timeout_s": 1 }] });
    let failure = stage.failure(with(stage.backup(source.path()), hooks), FailureCode::HookFailed).await?;
    assert!(failure.message.contains("was ended after 1 s"), "{failure:?}");
    assert_eq!(processes(&slow), Vec::<String>::new());
    Ok(())
}

/// Who may define plans does not thereby become the executor's user.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_runs_nothing_that_it_was_not_told_to_allow() -> Result<()> {
    let (mut stage, folder) = with_hooks().await?;
    let good = noting(&folder, "good", "")?;
    let source = tree(3)?;
    let hooks =
        json!({ "before": [{ "command": [good] }], "after": [{ "command": ["/bin/sh", "-c", "id"] }] });
    let backup = with(stage.backup(source.path()), hooks);
    let failure = stage.failure(backup, FailureCode::HooksNotAllowed).await?;
    assert!(failure.message.contains("/bin/sh") && failure.advice.contains("--allow-hooks"), "{failure:?}");
    assert_eq!(notes(&folder), Vec::<String>::new(), "the one that is allowed ran without the other");
    stage.stop().await?;
    stage.start(|c| c).await?;
    let backup = with(stage.backup(source.path()), json!({ "before": [{ "command": [good] }] }));
    stage.failure(backup, FailureCode::HooksNotAllowed).await?;
    assert_eq!((notes(&folder), look::archives(&stage)?), (Vec::new(), Vec::new()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_the_hook_that_runs_and_those_after_it_hear_of_it() -> Result<()> {
    let (stage, folder) = with_hooks().await?;
    let (slow, good) = (noting(&folder, "slow", "sleep 1000")?, noting(&folder, "good", "")?);
    let source = tree(3)?;
    let hooks =
        json!({ "before": [{ "command": [slow] }], "after": [{ "command": [good], "when": "failure" }] });
    let (job, epoch) = stage.emit(with(stage.backup(source.path()), hooks)).await?;
    wait_until("the hook", PATIENCE, async || folder.join("notes").exists().then_some(())).await?;
    stage.leases.lock().unwrap().insert(job, LeaseAnswer::CancelRequested);
    let ended = stage.end_of(job, epoch).await?;
    assert!(matches!(ended, Report::Cancelled), "{ended:?}");
    assert_eq!(processes(&slow), Vec::<String>::new());
    assert!(notes(&folder)[1].ends_with("cancelled"));
    Ok(())
}

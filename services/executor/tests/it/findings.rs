//! Accident P2: an archive that is called complete although something is missing in it.

use crate::look;
use crate::stage::{PASSPHRASE, PATIENCE, Stage, tree};
use anyhow::Result;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use strongroom_domain::job::{Outcome, Report};
use strongroom_domain::{FailureCode, JobId};
use strongroom_executor::Config;
use strongroom_testkit::wait_until;
use uuid::Uuid;

/// Root reads everything, so borg is run without that right.
fn humble_borg(stage: &Stage) -> Result<PathBuf> {
    let rights = "-dac_override,-dac_read_search";
    let drop = if rustix::process::geteuid().is_root() {
        format!("setpriv --bounding-set {rights} --inh-caps {rights} -- ")
    } else {
        String::new()
    };
    stage.script("humble-borg", &format!("exec {drop}borg \"$@\"\n"))
}

async fn with_borg(make: impl FnOnce(&Stage) -> Result<PathBuf>) -> Result<Stage> {
    let mut stage = Stage::set().await?;
    stage.init().await?;
    stage.stop().await?;
    let borg = make(&stage)?;
    stage.start(|c| Config { borg, ..c }).await?;
    Ok(stage)
}

fn read(outcome: Outcome) -> Value {
    serde_json::to_value(outcome).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_missing_even_when_its_name_is_no_utf8() -> Result<()> {
    let stage = with_borg(humble_borg).await?;
    let source = tree(5)?;
    // Names are bytes; this one comes from an old machine.
    let odd = source.path().join(OsStr::from_bytes(b"caf\xe9"));
    std::fs::write(&odd, "x")?;
    std::fs::set_permissions(&odd, std::fs::Permissions::from_mode(0o000))?;
    let done = read(stage.success(stage.backup(source.path())).await?);
    assert_eq!(
        (&done["completeness"], &done["incomplete_total"]),
        (&json!("incomplete"), &json!(1)),
        "{done}"
    );
    let path = done["findings"][0]["path"].as_str().unwrap();
    assert!(path.ends_with("/caf\u{fffd}"), "{path}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_the_plan_that_goes_away_while_borg_begins_is_missing() -> Result<()> {
    let (kept, gone) = (tree(3)?, tree(3)?);
    let place = gone.path().display().to_string();
    let stage = with_borg(|stage| {
        let text = format!("case \" $* \" in *\" create \"*) rm -r '{place}';; esac\nexec borg \"$@\"\n");
        stage.script("unmounting-borg", &text)
    })
    .await?;
    let mut spec = stage.backup(kept.path());
    spec["source"]["paths"] = json!([kept.path(), format!("{place}/")]);
    let done = read(stage.success(spec).await?);
    assert_eq!(
        (&done["completeness"], &done["incomplete_total"]),
        (&json!("incomplete"), &json!(1)),
        "{done}"
    );
    assert_eq!(done["findings"][0]["path"], place);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_benign_finding_speaks_for_no_other_and_exit_1_without_a_word_is_not_passed_over() -> Result<()> {
    let stage = with_borg(|stage| {
        let words = stage.path("words").display().to_string();
        let text = format!(
            "case \" $* \" in *\" create \"*) borg \"$@\" || exit; cat '{words}' >&2; exit 1;; esac\nexec borg \"$@\"\n"
        );
        stage.script("warning-borg", &text)
    })
    .await?;
    let source = tree(3)?;
    let warning = |text: &str| {
        let line = json!({ "type": "log_message", "levelname": "WARNING", "name": "borg.archiver", "message": text });
        format!("{line}\n")
    };
    let changed = warning("/x: file changed while we backed it up");
    let skipped = warning("/y: file inode changed (race condition), skipping file");
    for (words, incomplete, benign) in
        [(changed.clone(), 0, 1), (format!("{changed}{skipped}"), 1, 1), (String::new(), 1, 0)]
    {
        std::fs::write(stage.path("words"), &words)?;
        let done = read(stage.success(stage.backup(source.path())).await?);
        let totals = (&done["incomplete_total"], &done["benign_total"]);
        assert_eq!(totals, (&json!(incomplete), &json!(benign)), "{words}: {done}");
        assert_eq!(done["completeness"], if incomplete == 0 { "complete" } else { "incomplete" });
    }
    Ok(())
}

/// The archive was made, the executor was told to end before it could say so: the very file is known to the next life.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_is_known_to_the_next_life() -> Result<()> {
    let mut stage = with_borg(|stage| {
        humble_borg(stage)?;
        let gated = std::fs::read_to_string(look::gated(stage, "list")?)?;
        stage.script(
            "standing-borg",
            &gated.replace("exec borg", &format!("exec '{}'", stage.path("humble-borg").display())),
        )
    })
    .await?;
    let source = tree(4)?;
    let secret = source.path().join("d2/f2");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000))?;
    let job = JobId(Uuid::now_v7());
    let spec = stage.backup(source.path());
    let (_, epoch) = stage.emit_attempt(job, 1, spec.clone(), Some(PASSPHRASE)).await?;
    look::until_gate(&stage).await?;
    stage.stop().await?;
    assert!(matches!(stage.end_of(job, epoch).await?, Report::Interrupted { .. }));
    std::fs::remove_file(stage.path("gate"))?;
    let borg = stage.path("standing-borg");
    stage.start(|c| Config { borg, ..c }).await?;
    let (_, epoch) = stage.emit_attempt(job, 2, spec, Some(PASSPHRASE)).await?;
    let Report::Succeeded { outcome, .. } = stage.end_of(job, epoch).await? else { panic!("it failed") };
    let done = read(outcome);
    assert_eq!(
        (&done["result"]["recovered"], &done["incomplete_total"]),
        (&json!(true), &json!(1)),
        "{done}"
    );
    assert_eq!(done["findings"][0]["path"], secret.display().to_string());
    assert_eq!(std::fs::read_dir(stage.path("state/findings"))?.count(), 0, "it was told, and is still kept");
    Ok(())
}

/// P7: what was made is told, whatever became of its source since.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_was_made_is_told_even_when_its_source_is_gone() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(5)?;
    let job = JobId(Uuid::now_v7());
    let spec = stage.backup(source.path());
    let (_, first) = stage.emit_attempt(job, 1, spec.clone(), Some(PASSPHRASE)).await?;
    stage.end_of(job, first).await?;
    std::fs::remove_dir_all(source.path())?;
    let (_, second) = stage.emit_attempt(job, 2, spec.clone(), Some(PASSPHRASE)).await?;
    let Report::Succeeded { outcome, .. } = stage.end_of(job, second).await? else { panic!("it failed") };
    assert_eq!(read(outcome)["result"]["recovered"], true);
    let (other, third) = stage.emit_attempt(JobId(Uuid::now_v7()), 2, spec, Some(PASSPHRASE)).await?;
    let Report::Failed { failure } = stage.end_of(other, third).await? else { panic!("it went well") };
    assert_eq!(failure.code, FailureCode::SourceMissing);
    Ok(())
}

/// P1: a link is something; nothing at all is not, and does not stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_alone_is_an_archive_and_what_is_excluded_whole_is_none() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(3)?;
    let link = source.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link)?;
    stage.success(stage.backup(&link)).await?;
    let mut spec = stage.backup(source.path());
    spec["source"]["excludes"] = json!([format!("{}/*", source.path().display())]);
    stage.failure(spec, FailureCode::ArchiveEmpty).await?;
    assert_eq!(look::archives(&stage)?.len(), 1);
    Ok(())
}

/// What others wrote into their archives is told, within bounds.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_tells_what_is_written_in_archives_and_no_checkpoint() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(2)?;
    let ours = read(stage.success(stage.backup(source.path())).await?)["result"]["archive"].clone();
    let (place, path) = (look::repository(&stage), source.path().display().to_string());
    look::borg(&stage, &["create", &format!("{place}::p-1.checkpoint"), &path])?;
    // A comment of any length has to fit into a report.
    let long = "ä".repeat(60_000);
    look::borg(&stage, &["create", "--comment", &long, &format!("{place}::talkative"), &path])?;
    let (job, _) = stage.emit(json!({ "kind": "scan-repository", "access": stage.access() })).await?;
    stage.begun(job).await?;
    let page = stage.report().await?;
    let strongroom_domain::wire::NodeReport::Scanned { archives, last: true, .. } = page else {
        panic!("{page:?}")
    };
    let names: Vec<&str> = archives.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, [ours["name"].as_str().unwrap(), "talkative"]);
    assert_eq!(archives[0].comment, ours["comment"].as_str().unwrap());
    assert_eq!(archives[0].hostname, ours["hostname"].as_str().unwrap());
    assert_eq!(serde_json::to_value(archives[0].ended_at)?, ours["ended_at"]);
    assert!((100..5000).contains(&archives[1].comment.len()), "{}", archives[1].comment.len());
    wait_until("the end", PATIENCE, async || stage.report().await.ok().map(|_| ())).await
}

/// P2: what vanishes while borg works is life, and no missing data.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanishes_while_borg_works_is_named_and_benign() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = stage.path("source");
    std::fs::create_dir(&source)?;
    for n in 0..3 {
        std::fs::write(source.join(format!("f{n}")), look::noise(n + 1, 8 << 20))?;
    }
    let (job, epoch) = stage.emit(look::slow(&stage, &source)).await?;
    stage.begun(job).await?;
    let pid = look::in_the_act(&stage).await?;
    // Borg has read the folder, and reads the first of its files. It takes them in the order of their inodes.
    let fds = format!("/proc/{}/fd", pid.as_raw_nonzero());
    wait_until("borg to read", PATIENCE, async || {
        let mut open =
            std::fs::read_dir(&fds).ok()?.flatten().filter_map(|f| std::fs::read_link(f.path()).ok());
        open.any(|f| f.parent() == Some(&source)).then_some(())
    })
    .await?;
    let last =
        std::fs::read_dir(&source)?.flatten().max_by_key(|e| e.metadata().unwrap().ino()).unwrap().path();
    std::fs::remove_file(&last)?;
    let Report::Succeeded { outcome, .. } = stage.end_of(job, epoch).await? else { panic!("it failed") };
    let done = serde_json::to_value(outcome)?;
    assert_eq!(
        (&done["completeness"], &done["incomplete_total"], &done["benign_total"]),
        (&json!("complete"), &json!(0), &json!(1)),
        "{done}"
    );
    assert_eq!(done["findings"][0]["path"], last.display().to_string());
    assert_eq!(done["result"]["archive"]["stats"]["files"], 2);
    Ok(())
}

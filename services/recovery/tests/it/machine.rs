//! The machine as it is, and as it is without its parts.

use crate::{PATIENCE, Stage};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use strongroom_bus::{AskError, Head, NewEvent, Position};
use strongroom_domain::{Aggregate, Event, EventId, Kind};
use strongroom_recovery::Config;
use strongroom_service::clock;
use strongroom_testkit::{borg_is_there, wait_until};
use uuid::Uuid;

fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_machine_is_told_as_it_is() {
    borg_is_there().unwrap();
    let stage = Stage::new(Config::default()).await;
    let seen = stage.capabilities().await;
    assert!(seen.borg.version.is_some(), "{seen:?}");
    let has_socket = Path::new("/var/run/docker.sock").exists();
    assert!(has_socket || !seen.docker.usable, "{seen:?}");
    assert!(Path::new("/dev/fuse").exists() || !seen.fuse.usable, "{seen:?}");
    for part in [&seen.docker, &seen.fuse, &seen.borg] {
        assert_eq!(part.usable, part.problem.is_none(), "what cannot be used says why");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    // A device that can be opened, so that it is the program that is missing.
    let device = folder.path().join("fuse");
    std::fs::write(&device, "").unwrap();
    let config =
        Config { borg: none.clone(), fuse_device: device, fusermount: none.clone(), ..Config::default() };
    let stage = Stage::new(config).await;
    let seen = stage.capabilities().await;
    assert!(seen.borg.problem.unwrap().contains("'borgbackup'"));
    assert!(seen.fuse.problem.unwrap().contains("'fuse3'"));
    stage.end().await;

    let mountless = script(
        folder.path(),
        "borg",
        "case $1 in --version) echo borg 1.4.1;; *) echo 'borg mount not available: no FUSE support' >&2; exit 2;; esac",
    );
    let fusermount = script(folder.path(), "fusermount3", "echo fusermount3 version: 3.14.0");
    let stage =
        Stage::new(Config { borg: mountless, fuse_device: none, fusermount, ..Config::default() }).await;
    let seen = stage.capabilities().await;
    assert_eq!(seen.borg.version.as_deref(), Some("1.4.1"));
    assert!(seen.borg.problem.unwrap().contains("pyfuse3"));
    assert!(seen.fuse.problem.unwrap().contains("is not there"));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hangs_holds_nothing_up_and_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let hangs = format!("echo $$ >> {}; exec sleep 600", pid_file.display());
    let borg = script(folder.path(), "borg", &hangs);
    let device = folder.path().join("fuse");
    std::fs::write(&device, "").unwrap();
    let fusermount = script(folder.path(), "fusermount3", "echo fusermount3 version: 3.14.0");
    let stage = Stage::new(Config { borg, fuse_device: device, fusermount, ..Config::default() }).await;
    let seen = stage.capabilities().await;
    assert!(seen.borg.problem.unwrap().contains("no answer within 4 s"));
    assert_eq!((seen.fuse.usable, seen.fuse.version.as_deref()), (true, Some("3.14.0")));
    let pids = std::fs::read_to_string(&pid_file).unwrap();
    wait_until("the children are gone", PATIENCE, async || {
        pids.lines().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    })
    .await
    .unwrap();
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_the_log_and_lets_others_mistakes_be() {
    let stage = Stage::new(Config::default()).await;
    let ask = async |sequence| -> Result<Position, AskError> {
        let at_least = Some(stage.gateway.position(sequence));
        let (_, position): (strongroom_domain::view::Health, _) =
            stage.gateway.ask("recovery", "health", &(), at_least, None).await?;
        Ok(position)
    };
    assert!(matches!(ask(1).await, Err(AskError::Behind(_))));
    let plan = Aggregate::new(Kind::Plan, Uuid::now_v7());
    let event = Event::PlanPaused(strongroom_domain::plan::Paused { reason: "x".into() });
    let new = NewEvent { id: EventId(Uuid::now_v7()), at: clock::now(), event };
    let journal = stage.gateway.journal();
    journal.append(&plan, &Head::default(), &new, &strongroom_bus::Context::service("test")).await.unwrap();
    assert_eq!(ask(1).await.unwrap().sequence, 1);
    // A message of others that it cannot read is theirs to set aside, and one of its own is its.
    for kind in [Kind::Server, Kind::Session] {
        let subject = strongroom_bus::subjects::event(&Aggregate::new(kind, Uuid::now_v7()));
        journal.store().publish(&subject, Vec::new(), "junk".into(), 0).await;
    }
    assert_eq!(ask(3).await.unwrap().sequence, 3);
    let aside = stage.nats.bus("gateway").await.unwrap().quarantined().await.unwrap();
    let of_ours: Vec<_> = aside.iter().filter(|q| q.consumer == "recovery").map(|q| q.sequence).collect();
    assert_eq!(of_ours, [3]);
    stage.end().await;
}

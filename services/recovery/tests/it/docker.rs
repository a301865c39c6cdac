//! Engines of every sort, behind a socket.

use crate::{PATIENCE, Stage};
use std::path::PathBuf;
use strongroom_domain::view::Usable;
use strongroom_recovery::Config;
use strongroom_testkit::wait_until;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// An engine that speaks this version of the API and no newer one.
struct Engine {
    folder: tempfile::TempDir,
}

impl Engine {
    fn start(newest_minor: u32) -> Self {
        let engine = Self { folder: tempfile::tempdir().unwrap() };
        let listener = UnixListener::bind(engine.socket()).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, newest_minor));
            }
        });
        engine
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }
}

async fn serve(stream: UnixStream, newest_minor: u32) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut header) = (String::new(), String::new());
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        while header.trim() != "" || header.is_empty() {
            header.clear();
            stream.read_line(&mut header).await.ok()?;
        }
        let path = line.split_whitespace().nth(1)?;
        let minor = path.strip_prefix("/v1.").and_then(|rest| rest.split('/').next()?.parse::<u32>().ok());
        let (status, kind, body) = if minor.is_some_and(|minor| minor > newest_minor) {
            ("400 Bad Request", "application/json", r#"{"message":"client version is too new"}"#)
        } else if path.ends_with("/_ping") {
            ("200 OK", "text/plain", "OK")
        } else {
            ("200 OK", "application/json", r#"{"Version":"27.1.0","ApiVersion":"1.46"}"#)
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn docker(socket: PathBuf) -> Usable {
    let stage = Stage::new(Config { docker_socket: socket, ..Config::default() }).await;
    let docker = stage.capabilities().await.docker;
    let health = stage.health().await.unwrap();
    assert!(health.ready);
    assert_eq!(health.numbers["recovery_docker_usable"], f64::from(u8::from(docker.usable)));
    if let Some(problem) = &docker.problem {
        assert!(health.problems.contains(problem), "{health:?}");
    }
    stage.end().await;
    docker
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_answers_is_usable_be_it_new_or_old() {
    for newest_minor in [60, 46, 30] {
        let engine = Engine::start(newest_minor);
        let docker = docker(engine.socket()).await;
        assert!(docker.usable, "{docker:?}");
        assert_eq!(docker.version.as_deref(), Some("27.1.0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_engine_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let problem = async |socket: PathBuf| docker(socket).await.problem.unwrap();
    let absent = problem(folder.path().join("none")).await;
    assert!(absent.contains("is not running") && absent.contains("Install Docker"), "{absent}");
    // One that was left behind by an engine that is gone.
    let stale = folder.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let stale = problem(stale).await;
    assert!(stale.contains("refused"), "{stale}");
    let hanging = folder.path().join("hanging");
    let _listener = UnixListener::bind(&hanging).unwrap();
    let hanging = problem(hanging).await;
    assert!(hanging.contains("no answer within 3 s"), "{hanging}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_comes_up_later_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let check_every = std::time::Duration::from_millis(100);
    let stage = Stage::new(Config { docker_socket: socket.clone(), check_every, ..Config::default() }).await;
    assert!(!stage.capabilities().await.docker.usable);
    let engine = Engine::start(60);
    std::os::unix::fs::symlink(engine.socket(), &socket).unwrap();
    let numbers = wait_until("Docker is usable", PATIENCE, async || {
        Some(stage.health().await?.numbers).filter(|n| n["recovery_docker_usable"] == 1.0)
    })
    .await
    .unwrap();
    assert_eq!(numbers["recovery_docker_usable"], 1.0);
    stage.end().await;
}

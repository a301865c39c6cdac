//! Downloads: pieces of a node, passed on as they come, whole or not at all.

use crate::archives::stage;
use crate::stage::{PATIENCE, Stage, failed, job_id, send, succeeded};
use futures::StreamExt;
use reqwest::{Method, Response};
use sha2::{Digest, Sha256};
use strongroom_bus::NodeBus;
use strongroom_domain::job::{DownloadForm, DownloadSpec, JobSpec};
use strongroom_domain::wire::{PIECE_BYTES, Piece, PieceAnswer, Whole};
use strongroom_domain::{Event, JobId, Kind};
use strongroom_testkit::wait_until;
use tokio::task::JoinHandle;

fn ask(stage: &Stage, path: &str) -> JoinHandle<Response> {
    let request = stage.client.request(Method::GET, path);
    tokio::spawn(async move { request.send().await.unwrap() })
}

/// The download that was asked for last.
async fn asked(stage: &Stage) -> (JobId, DownloadSpec) {
    wait_until("the download is asked for", PATIENCE, async || {
        let log = stage.log().await;
        log.iter().rev().find_map(|recorded| match &recorded.event {
            Event::JobRequested(requested) => match &requested.spec {
                JobSpec::Download(spec) => Some((job_id(&recorded.aggregate.id), spec.clone())),
                _ => None,
            },
            _ => None,
        })
    })
    .await
    .unwrap()
}

fn whole(bytes: &[u8]) -> Whole {
    let sha256 = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    Whole { size_bytes: bytes.len() as u64, sha256 }
}

fn piece(n: u64, bytes: &[u8]) -> Piece {
    Piece { epoch: 7, n, bytes: bytes.to_vec(), whole: None }
}

/// Sends a piece until it is taken, as a node does.
async fn give(node: &NodeBus, job: JobId, piece: &Piece) -> PieceAnswer {
    loop {
        match node.send_piece(job, piece).await.unwrap() {
            PieceAnswer::Wait => {}
            answer => return answer,
        }
    }
}

async fn is_cancelled(stage: &Stage, job: JobId) {
    wait_until("the job is cancelled", PATIENCE, async || {
        let history = stage.history(Kind::Job, &job.to_string()).await;
        history.iter().any(|e| matches!(e.event, Event::JobCancelRequested(_))).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_come_in_their_order_and_once_whatever_order_they_were_sent_in() {
    let (stage, id) = stage().await;
    let answer = ask(&stage, &format!("/archives/{id}/download?path=srv/a%20b/%C3%A9.sql"));
    let (job, spec) = asked(&stage).await;
    assert_eq!((spec.form, spec.paths), (DownloadForm::Raw, vec!["srv/a b/é.sql".to_owned()]));
    let all: Vec<u8> = (0..5 * PIECE_BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let parts: Vec<Piece> = all.chunks(PIECE_BYTES).zip(0..).map(|(bytes, n)| piece(n, bytes)).collect();
    let mut sending = tokio::task::JoinSet::new();
    for n in [3, 0, 2, 2, 1, 0, 4] {
        let (node, part) = (stage.node.clone(), parts[n].clone());
        sending.spawn(async move { give(&node, job, &part).await });
    }
    let response = answer.await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-disposition"), "attachment; filename=\"_.sql\"; filename*=UTF-8''%C3%A9.sql");
    assert_eq!(
        (header("strongroom-job"), header("content-type")),
        (job.to_string(), "application/octet-stream".into())
    );
    let reading = tokio::spawn(response.bytes());
    while let Some(answered) = sending.join_next().await {
        assert_eq!(answered.unwrap(), PieceAnswer::Taken);
    }
    let last = Piece { whole: Some(whole(&all)), ..piece(5, &[]) };
    assert_eq!(give(&stage.node, job, &last).await, PieceAnswer::Taken);
    stage.end(&job.to_string(), succeeded()).await;
    assert!(reading.await.unwrap().unwrap() == all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_has_no_end() {
    let (stage, id) = stage().await;
    let path = format!("/archives/{id}/download?format=zip");
    let begin = async || {
        let before = stage.log().await.len();
        let answer = ask(&stage, &path);
        wait_until("it is asked for", PATIENCE, async || (stage.log().await.len() > before).then_some(()))
            .await
            .unwrap();
        let (job, _) = asked(&stage).await;
        assert_eq!(give(&stage.node, job, &piece(0, b"half")).await, PieceAnswer::Taken);
        (job, answer.await.unwrap())
    };
    // A job that fails in the middle.
    let (job, response) = begin().await;
    assert_eq!(response.status(), 200);
    stage.end(&job.to_string(), failed()).await;
    assert!(response.bytes().await.is_err(), "half of it looks whole");
    // One that is not what was sent.
    let (job, response) = begin().await;
    let other = Piece { whole: Some(whole(b"other")), ..piece(1, &[]) };
    assert_eq!(give(&stage.node, job, &other).await, PieceAnswer::Stop);
    assert!(response.bytes().await.is_err());
    is_cancelled(&stage, job).await;
    // A second attempt, that begins anew.
    let (job, response) = begin().await;
    let anew = Piece { epoch: 8, ..piece(0, b"half") };
    assert_eq!(give(&stage.node, job, &anew).await, PieceAnswer::Stop);
    assert!(response.bytes().await.is_err());
    is_cancelled(&stage, job).await;
    // And one that nobody reads any more.
    let (job, response) = begin().await;
    drop(response);
    is_cancelled(&stage, job).await;
    let stopped = wait_until("the node is told", PATIENCE, async || {
        match stage.node.send_piece(job, &piece(1, b"rest")).await {
            Ok(PieceAnswer::Stop) | Err(_) => Some(()),
            Ok(_) => None,
        }
    });
    stopped.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_slow_holds_up_the_node_and_loses_nothing() {
    let (stage, id) = stage().await;
    let answer = ask(&stage, &format!("/archives/{id}/download"));
    let (job, spec) = asked(&stage).await;
    assert_eq!((spec.form, spec.paths.len()), (DownloadForm::Tar, 0));
    let count = 60_u64;
    let part = vec![7_u8; PIECE_BYTES];
    let (node, sent) = (stage.node.clone(), part.clone());
    let sending = tokio::spawn(async move {
        for n in 0..count {
            assert_eq!(give(&node, job, &piece(n, &sent)).await, PieceAnswer::Taken);
        }
        let all = sent.repeat(usize::try_from(count).unwrap());
        let last = Piece { whole: Some(whole(&all)), ..piece(count, &[]) };
        give(&node, job, &last).await
    });
    let mut body = answer.await.unwrap().bytes_stream();
    let mut read = body.next().await.unwrap().unwrap().len();
    // All of it would have gone into a gateway that keeps what nobody reads.
    let overtaken = wait_until("the node is done", std::time::Duration::from_secs(7), async || {
        sending.is_finished().then_some(())
    });
    assert!(overtaken.await.is_err(), "the node is held up by nothing");
    while let Some(bytes) = body.next().await {
        read += bytes.unwrap().len();
    }
    assert_eq!(read, part.len() * usize::try_from(count).unwrap());
    assert_eq!(sending.await.unwrap(), PieceAnswer::Taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_downloaded_is_said_instead_of_it() {
    let (stage, id) = stage().await;
    let refused = async |query: &str| {
        let answer = stage.client.get(&format!("/archives/{id}/download?{query}")).await;
        answer.problem(422, "invalid").fields().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(refused("format=rar").await, ["format"]);
    assert_eq!(refused("format=raw").await, ["path"]);
    assert_eq!(refused("format=raw&path=a&path=b").await, ["path"]);
    assert_eq!(refused("path=/etc&path=..").await, ["path[0]", "path[1]"]);
    let head = stage.client.request(Method::HEAD, &format!("/archives/{id}/download"));
    assert_eq!(send(head).await.status, 405);
    stage.client.get("/archives/nonsense/download").await.problem(404, "not_found");
    assert!(
        !stage
            .log()
            .await
            .iter()
            .any(|e| matches!(&e.event, Event::JobRequested(r) if matches!(r.spec, JobSpec::Download(_))))
    );
    // The job fails before its first byte: that is the answer, and it cannot be asked for anew without a reader.
    let answer = ask(&stage, &format!("/archives/{id}/download"));
    let (job, _) = asked(&stage).await;
    stage.end(&job.to_string(), failed()).await;
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 502);
    let text = answer.text().await.unwrap();
    assert!(text.contains("no_space") && text.contains(&job.to_string()), "{text}");
    let retried = stage.client.post(&format!("/jobs/{job}/retry"), serde_json::json!({})).await;
    retried.problem(409, "not_retryable");
}

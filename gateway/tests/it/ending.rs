//! How it ends, and how it does not begin.

use crate::stage::{PATIENCE, Stage, send};
use reqwest::Method;
use serde_json::json;
use std::net::SocketAddr;
use strongroom_domain::Event;
use strongroom_gateway::Config;
use strongroom_service::Shutdown;
use strongroom_testkit::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_soon_whatever_is_open_and_begins_again_in_the_same_process() {
    let mut stage = Stage::new().await;
    stage.define().await;
    // A stream, a request that waits for its job, a request that has not all been sent, one whose body does not come, and
    // a connection that says nothing.
    let mut stream = stage.client.request(Method::GET, "/events").send().await.unwrap();
    let request = stage.client.request(Method::POST, "/plans/web/run").header("prefer", "wait=120");
    let waiting = tokio::spawn(send(request.json(&json!({}))));
    wait_until("the job is asked for", PATIENCE, async || {
        let log = stage.log().await;
        let is_asked = |e: &strongroom_bus::Recorded| matches!(&e.event, Event::JobRequested(r) if r.spec.plan().is_some());
        log.iter().any(is_asked).then_some(())
    })
    .await
    .unwrap();
    let address = stage.client.address;
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /healthz HT").await.unwrap();
    let mut bodiless = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "PUT /api/v1/servers/late HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n",
        stage.client.token
    );
    bodiless.write_all(head.as_bytes()).await.unwrap();
    let silent = TcpStream::connect(address).await.unwrap();

    let ending = stage.tell_to_end();
    tokio::time::timeout(PATIENCE, ending).await.expect("it ends soon").unwrap().unwrap();
    // What waited is told of its job, so that it is not asked for twice.
    let told = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().expect(202);
    assert_eq!(told.str("/phase"), "waiting");
    while let Ok(Some(_)) = tokio::time::timeout(PATIENCE, stream.chunk()).await.expect("the stream ends") {}
    for mut open in [half, bodiless, silent] {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, open.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a connection outlives what served it");
    }
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
    stage.start().await;
    stage.client.get("/servers/web").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_address_is_named_and_so_is_a_folder_in_use() {
    let stage = Stage::new().await;
    let start = async |listen: SocketAddr, state_dir: &std::path::Path| {
        let config =
            Config { listen, state_dir: state_dir.to_owned(), nats_monitor: None, on_listening: None };
        let bus = stage.nats.bus("gateway").await.unwrap();
        let running = strongroom_gateway::run(config, bus, Shutdown::new());
        let error = tokio::time::timeout(PATIENCE, running).await.expect("it fails at once").unwrap_err();
        format!("{error:#}")
    };
    let folder = tempfile::tempdir().unwrap();
    let busy = start(stage.client.address, folder.path()).await;
    assert!(busy.contains(&stage.client.address.to_string()) && busy.contains("choose another"), "{busy}");
    let used = start(SocketAddr::from(([127, 0, 0, 1], 0)), stage.state_dir()).await;
    assert!(used.contains(&stage.state_dir().display().to_string()) && used.contains("in use"), "{used}");
    stage.client.get("/servers").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_may_be_away_for_a_while() {
    let mut stage = Stage::new().await;
    stage.define().await;
    stage.nats.kill(0).unwrap();
    let write = stage
        .client
        .request(Method::PUT, "/servers/web")
        .json(&json!({ "node": "local", "description": "x" }));
    let waiting = tokio::spawn(send(write));
    stage.nats.start_member(0).unwrap();
    let reply = tokio::time::timeout(2 * PATIENCE, waiting).await.unwrap().unwrap();
    if reply.status == 503 {
        reply.problem(503, "unavailable");
    } else {
        reply.expect(200);
    }
    wait_until("it writes again", 2 * PATIENCE, async || {
        let body = json!({ "node": "local", "description": "y" });
        (stage.client.put("/servers/web", body).await.status == 200).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(stage.client.get("/servers/web").await.expect(200).str("/description"), "y");
}

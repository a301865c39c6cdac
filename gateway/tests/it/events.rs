//! The stream of events: exact, resumable, and only for those who may still listen.

use crate::stage::{Client, PATIENCE, Stage, job_id, send};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use strongroom_domain::wire::{Progress, Status};
use strongroom_testkit::wait_until;

/// One frame.
#[derive(Debug, Clone, PartialEq)]
struct Frame {
    id: Option<u64>,
    event: String,
    data: Value,
}

/// An open stream.
struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    async fn open(client: &Client, query: &str, last: Option<u64>) -> Self {
        let mut request = client.request(Method::GET, &format!("/events{query}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next frame; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Frame> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            while let Some((frame, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = frame.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
                    line.map(|l| l.trim_start().to_owned())
                };
                let parsed = field("data").map(|data| Frame {
                    id: field("id").map(|id| id.parse().unwrap()),
                    event: field("event").unwrap(),
                    data: serde_json::from_str(&data).unwrap(),
                });
                self.text = rest.to_owned();
                if parsed.is_some() {
                    return parsed;
                }
            }
            let chunk = tokio::time::timeout_at(end, self.response.chunk()).await.expect("a frame in time");
            match chunk {
                Ok(Some(chunk)) => self.text.push_str(&String::from_utf8_lossy(&chunk)),
                Ok(None) => return None,
                Err(e) if e.is_timeout() => panic!("the stream is open still"),
                Err(_) => return None,
            }
        }
    }

    async fn take(&mut self, count: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        while frames.len() < count {
            frames.push(self.next().await.expect("the stream goes on"));
        }
        frames
    }

    /// Reads to its end.
    async fn rest(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_the_log_and_goes_on_exactly_where_it_was_cut() {
    let stage = Stage::new().await;
    for n in 0..30 {
        stage.client.put(&format!("/servers/s{n}"), json!({ "node": "local" })).await.expect(201);
    }
    let log = stage.log().await;
    let all = Stream::open(&stage.client, "?after=0", None).await.take(log.len()).await;
    for (frame, recorded) in all.iter().zip(&log) {
        assert_eq!(frame.id, Some(recorded.sequence));
        assert_eq!(frame.event, recorded.event.type_name());
        assert_eq!(frame.data["aggregate"], recorded.aggregate.to_string());
        assert_eq!(
            (&frame.data["version"], &frame.data["actor"]),
            (&json!(recorded.version), &json!(recorded.context.actor))
        );
    }
    assert!(!all[0].data.to_string().contains("sha256"), "a token's digest is of no use to anybody");
    let middle = all[13].id.unwrap();
    // The header is what a browser sends by itself after a cut, so it goes before the address.
    let mut resumed = Stream::open(&stage.client, "?after=0", Some(middle)).await;
    assert_eq!(resumed.take(log.len() - 14).await, all[14..]);
    // From the past into the present without a gap and without a repetition, while others write.
    let writing = {
        let client = stage.client.clone();
        tokio::spawn(async move {
            for n in 30..60 {
                client.put(&format!("/servers/s{n}"), json!({ "node": "local" })).await.expect(201);
            }
        })
    };
    let mut joined = Stream::open(&stage.client, "", Some(middle)).await;
    let ids: Vec<u64> = joined.take(log.len() - 14 + 30).await.iter().map(|f| f.id.unwrap()).collect();
    assert!(ids.windows(2).all(|w| w[1] == w[0] + 1), "{ids:?}");
    writing.await.unwrap();
    for bad in ["soon", "-1", "999999"] {
        let refused = stage.client.get(&format!("/events?after={bad}")).await.problem(422, "invalid");
        assert_eq!(refused.fields(), ["after"], "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_can_be_about_one_job_or_some_kinds_and_shows_progress() {
    let stage = Stage::new().await;
    stage.define().await;
    let job = stage.client.post("/plans/web/run", json!({})).await.expect(202).str("/id").to_owned();
    let other = stage.client.post("/plans/web/run", json!({})).await.expect(202).str("/id").to_owned();
    let mut about = Stream::open(&stage.client, &format!("?after=0&job={job}"), None).await;
    let first = about.next().await.unwrap();
    assert_eq!(
        (first.event.as_str(), &first.data["aggregate"]),
        ("strongroom.job.requested.v1", &json!(format!("job.{job}")))
    );
    let progress = |job: &str| Progress {
        job: job_id(job),
        epoch: 7,
        step: "create".into(),
        files: 1,
        original_size_bytes: 2,
        compressed_size_bytes: 2,
        deduplicated_size_bytes: 2,
        path: String::new(),
        rate_bytes_per_s: 0,
        expected_bytes: None,
        remaining_s: None,
        log_tail: Vec::new(),
        at: strongroom_service::clock::now(),
    };
    let saying = async {
        loop {
            for job in [&other, &job] {
                stage.node.status(job, &Status::Progress(progress(job))).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let heard = tokio::select! {
        frame = about.next() => frame.unwrap(),
        () = saying => unreachable!("it says it for ever"),
    };
    assert_eq!((heard.id, heard.event.as_str(), &heard.data["job"]), (None, "progress", &json!(job)));

    let mut kinds = Stream::open(&stage.client, "?after=0&kinds=server,plan", None).await;
    let events: Vec<String> = kinds.take(2).await.into_iter().map(|f| f.event).collect();
    assert_eq!(events, ["strongroom.server.defined.v1", "strongroom.plan.defined.v1"]);
    for (query, field) in [("kinds=server,moon", "kinds"), ("job=nonsense", "job")] {
        let refused = stage.client.get(&format!("/events?{query}")).await.problem(422, "invalid");
        assert_eq!(refused.fields(), [field], "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_position_a_stream_begins_now() {
    let stage = Stage::new().await;
    stage.define().await;
    let end = stage.log().await.last().unwrap().sequence;
    let mut live = Stream::open(&stage.client, "", None).await;
    stage.client.put("/servers/new", json!({ "node": "local" })).await.expect(201);
    let frame = live.next().await.unwrap();
    assert_eq!((frame.id, &frame.data["aggregate"]), (Some(end + 1), &json!("server.new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_any_more_hears_nothing_more() {
    let stage = Stage::new().await;
    let client = &stage.client;
    let issue = async |id: &str, more: Value| {
        let mut body = json!({ "id": id, "scope": "read" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.with_token(client.post("/tokens", body).await.expect(201).str("/token"))
    };
    let ci = issue("ci", json!({})).await;
    let stream = Stream::open(&ci, "", None).await;
    client.delete("/tokens/ci").await.expect(204);
    let heard = stream.rest().await;
    assert!(heard.iter().all(|f| f.data["aggregate"] == "token.ci"), "{heard:?}");
    // One whose time is over, and about whom the log says nothing.
    let end = strongroom_service::clock::now() + std::time::Duration::from_millis(1500);
    let brief = issue("brief", json!({ "expires_at": end })).await;
    assert_eq!(Stream::open(&brief, "", None).await.rest().await, []);
    assert!(strongroom_service::clock::now() >= end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_issued_anew_reads_the_time_before_as_well() {
    let stage = Stage::new().await;
    let client = &stage.client;
    let body = json!({ "id": "ci", "scope": "read" });
    client.post("/tokens", body.clone()).await.expect(201);
    client.delete("/tokens/ci").await.expect(204);
    let ci = client.with_token(client.post("/tokens", body).await.expect(201).str("/token"));
    let log = stage.log().await;
    let mut stream = Stream::open(&ci, "?after=0", None).await;
    let ids: Vec<_> = stream.take(log.len()).await.iter().map(|f| f.id.unwrap()).collect();
    assert_eq!(ids, log.iter().map(|e| e.sequence).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_does_not_read_costs_nobody_anything() {
    let stage = Stage::new().await;
    let idle = Stream::open(&stage.client, "?after=0", None).await;
    let mut other = Stream::open(&stage.client, "", None).await;
    for n in 0..50 {
        let body = json!({ "node": "local", "description": "x".repeat(400) });
        stage.client.put(&format!("/servers/s{n}"), body).await.expect(201);
    }
    assert_eq!(other.take(50).await.len(), 50);
    drop(idle);
    // There is room for so many, and a place that was left is free again.
    let mut open = vec![other];
    let refused = loop {
        let request = stage.client.request(Method::GET, "/events");
        let response = request.send().await.unwrap();
        if response.status() != 200 {
            break response;
        }
        open.push(Stream { response, text: String::new() });
        assert!(open.len() < 1000);
    };
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "5");
    stage.client.get("/servers/s1").await.expect(200);
    drop(open);
    wait_until("a place is free", PATIENCE, async || {
        let response = stage.client.request(Method::GET, "/events").send().await.unwrap();
        (response.status() == 200).then_some(())
    })
    .await
    .unwrap();
    let head = send(stage.client.request(Method::HEAD, "/events")).await;
    assert_eq!(head.status, 200);
}

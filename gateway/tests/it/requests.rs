//! Requests that are none, or not allowed, or too much: each has an answer that says so.

use crate::stage::{PATIENCE, Stage, send};
use bytes::Bytes;
use reqwest::{Body, Method};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_object_is_malformed() {
    let stage = Stage::new().await;
    let put = |body: &'static [u8], kind: Option<&str>| {
        let mut request = stage.client.request(Method::PUT, "/servers/web").body(body);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        send(request)
    };
    const JSON: Option<&str> = Some("application/json");
    let cut = put(b"{\n \"node\": ", JSON).await.problem(400, "malformed_json");
    assert!(cut.str("/detail").contains("line 2"), "it says where: {}", cut.text);
    for body in [&b"[]"[..], b"7", b"null", b"\xff\xfe", b"{} {}", b"{'node':'local'}"] {
        put(body, JSON).await.problem(400, "malformed_json");
    }
    // A field given twice: one of the two would be passed over in silence.
    let twice = put(br#"{"node":"local","node":"other"}"#, JSON).await.problem(400, "malformed_json");
    assert!(twice.str("/detail").contains("node"), "{}", twice.text);
    let deep = br#"{"node":"local","x":[{"a":{"b":1,"b":2}}]}"#;
    put(deep, JSON).await.problem(400, "malformed_json");
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("")] {
        put(br#"{"node":"local"}"#, kind).await.problem(415, "unsupported_media_type");
    }
    put(br#"{"node":"local"}"#, Some("Application/JSON; charset=utf-8")).await.expect(201);
    let nested = "[".repeat(5000);
    let request = stage.client.request(Method::PUT, "/servers/web").body(format!("{{\"x\":{nested}"));
    send(request.header("content-type", "application/json")).await.problem(400, "malformed_json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_however_it_comes() {
    let stage = Stage::new().await;
    let put = || stage.client.request(Method::PUT, "/servers/web").header("content-type", "application/json");
    let whole = |size: usize| format!("{{\"node\":\"local\",\"description\":\"{}\"}}", "x".repeat(size));
    send(put().body(vec![b' '; 10 << 20])).await.problem(413, "too_large");
    // Without saying how long it is.
    let parts = (0..160).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 64 << 10])));
    let chunked = put().body(Body::wrap_stream(futures::stream::iter(parts)));
    send(chunked).await.problem(413, "too_large");
    // One that still fits is read, and refused for what it says.
    assert_eq!(send(put().body(whole(900 << 10))).await.problem(422, "invalid").fields(), ["description"]);
    stage.client.put("/servers/web", json!({ "node": "local" })).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_come_keep_nobody_else_waiting() {
    let stage = Stage::new().await;
    stage.client.put("/servers/web", json!({ "node": "local" })).await.expect(201);
    let head = format!(
        "PUT /api/v1/servers/web HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{",
        stage.client.token
    );
    // More than are worked on at once.
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut raw = tokio::net::TcpStream::connect(stage.client.address).await.unwrap();
        raw.write_all(head.as_bytes()).await.unwrap();
        slow.push(raw);
    }
    for _ in 0..20 {
        let answered = tokio::time::timeout(PATIENCE / 3, stage.client.get("/servers/web"));
        answered.await.expect("others are answered").expect(200);
    }
    drop(slow);
    assert_eq!(stage.history(strongroom_domain::Kind::Server, "web").await.len(), 1, "none was half read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_known_and_so_are_its_methods() {
    let stage = Stage::new().await;
    let client = &stage.client;
    for path in ["/nothing", "/plans/web/run/x", "/plans/", "/jobs/x/nothing"] {
        assert_eq!(client.get(path).await.status, 404, "{path}");
    }
    send(client.bare(Method::GET, "/").bearer_auth(&client.token)).await.problem(404, "not_found");
    for (method, path, allowed) in [
        (Method::PATCH, "/servers/web", "GET, HEAD, PUT, DELETE"),
        (Method::DELETE, "/servers", "GET, HEAD, POST"),
        (Method::GET, "/plans/web/run", "POST"),
        (Method::POST, "/jobs", "GET, HEAD"),
        (Method::PUT, "/archives/x", "GET, HEAD, DELETE"),
        (Method::OPTIONS, "/events", "GET, HEAD"),
    ] {
        let refused = send(client.request(method.clone(), path)).await.problem(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), allowed, "{method} {path}");
    }
    client.put("/servers/web", json!({ "node": "local" })).await.expect(201);
    let head = send(client.request(Method::HEAD, "/servers/web")).await.expect(200);
    assert!(head.text.is_empty() && head.header("etag") == "\"1\"");
    let answer = client.get("/servers/web").await.expect(200);
    assert_eq!(
        (answer.header("content-type"), answer.header("cache-control")),
        ("application/json", "no-store")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_nobody_knows_are_named_wherever_they_are() {
    let stage = Stage::new().await;
    stage.define().await;
    for (pointer, field) in [
        ("/colour", "colour"),
        ("/source/colour", "source.colour"),
        ("/limits", "limits.colour"),
        ("/schedule", "schedule.colour"),
    ] {
        let mut body = crate::stage::plan();
        match pointer {
            "/limits" => body["limits"] = json!({ "colour": 1 }),
            "/schedule" => body["schedule"] = json!({ "cron": "@daily", "colour": 1 }),
            "/colour" => body["colour"] = json!(1),
            _ => body["source"]["colour"] = json!(1),
        }
        let refused = stage.client.put("/plans/web", body).await.problem(422, "invalid");
        assert_eq!(refused.fields(), [field]);
    }
    // Absent and null are the same for what may be absent.
    let mut body = crate::stage::plan();
    (body["schedule"], body["limits"]) = (json!(null), json!({ "max_duration_s": null }));
    stage.client.put("/plans/web", body).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_answered_or_dropped_and_stops_nothing() {
    let stage = Stage::new().await;
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
    {
        let mut raw = tokio::net::TcpStream::connect(stage.client.address).await.unwrap();
        raw.write_all(bytes).await.unwrap();
        raw.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, raw.read_to_end(&mut answer)).await.expect("it is closed");
        if read.is_ok() && !answer.is_empty() {
            assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
        }
    }
    let long = "x".repeat(1 << 20);
    let request = stage.client.request(Method::GET, "/servers/web").header("x-long", long);
    if let Ok(response) = request.send().await {
        assert!(response.status().is_client_error(), "{}", response.status());
    }
    stage.client.get("/servers").await.expect(200);
}

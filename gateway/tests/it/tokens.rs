//! Who may come in, and how far.

use crate::stage::{Client, Stage, send};
use reqwest::Method;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use strongroom_domain::Kind;
use strongroom_testkit::wait_until;

async fn issue(stage: &Stage, id: &str, scope: &str) -> Client {
    let issued = stage.client.post("/tokens", json!({ "id": id, "scope": scope })).await.expect(201);
    stage.client.with_token(issued.str("/token"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_token_that_fits() {
    let stage = Stage::new().await;
    let client = &stage.client;
    let bare = |path: &str| client.bare(Method::GET, path);
    for path in ["/api/v1", "/api/v1/plans", "/api/v1/events", "/api/v1/tokens", "/metrics"] {
        let refused = send(bare(path)).await.problem(401, "unauthorized");
        assert!(refused.header("www-authenticate").starts_with("Bearer"), "{path}");
        let queried = send(bare(&format!("{path}?access_token={}", client.token))).await;
        assert_eq!(queried.status, 401, "{path}: a token in an address ends in logs");
    }
    let whole = client.token.clone();
    let (short, longer) = (&whole[..whole.len() - 1], format!("{whole}x"));
    let other = whole.replace("srt_bootstrap_", "srt_other_");
    for bad in ["", "x", "srt_bootstrap_", "srt_bootstrap", short, &longer, &other, &whole.to_uppercase()] {
        assert_eq!(client.with_token(bad).get("/plans").await.status, 401, "{bad}");
    }
    let basic = bare("/api/v1/plans").header("authorization", format!("Basic {whole}"));
    send(basic).await.problem(401, "unauthorized");
    for (name, value) in [
        ("x-api-token", whole.clone()),
        ("authorization", format!("bearer  {whole}")),
        ("authorization", format!("Bearer {whole}")),
    ] {
        send(bare("/api/v1/plans").header(name, value)).await.expect(200);
    }
    for path in ["/healthz", "/readyz"] {
        send(bare(path)).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_shown_works_however_many_ask_for_it_at_once() {
    let stage = Stage::new().await;
    for round in 0..8 {
        let id = format!("ci-{round}");
        let body = json!({ "id": id, "scope": "read" });
        let calls = (0..6).map(|_| stage.client.keyed("/tokens", &id, body.clone()));
        let replies = futures::future::join_all(calls).await;
        let (shown, others): (Vec<_>, Vec<_>) = replies.into_iter().partition(|r| r.status == 201);
        for reply in &shown {
            stage.client.with_token(reply.str("/token")).get("/plans").await.expect(200);
        }
        for other in others {
            other.problem(409, "shown_once");
        }
        stage.client.keyed("/tokens", &id, body.clone()).await.problem(409, "shown_once");
        let other = json!({ "id": id, "scope": "admin" });
        stage.client.keyed("/tokens", &id, other).await.problem(409, "idempotency_key_reused");
        stage.client.post("/tokens", body).await.problem(409, "exists");
        assert_eq!(stage.history(Kind::Token, &id).await.len(), 1);
        let stale = stage.client.request(Method::DELETE, &format!("/tokens/{id}"));
        send(stale.header("if-match", "\"2\"")).await.problem(412, "changed");
        let revoke = || {
            let path = format!("/tokens/{id}");
            send(stage.client.request(Method::DELETE, &path).header("idempotency-key", "k"))
        };
        let revoked = revoke().await.expect(204);
        assert_eq!(revoke().await.expect(204).sequence(), revoked.sequence());
        stage.client.delete(&format!("/tokens/{id}")).await.problem(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_is_a_limit() {
    let stage = Stage::new().await;
    stage.define().await;
    let (reader, operator) =
        (issue(&stage, "reader", "read").await, issue(&stage, "operator", "operate").await);
    let job = stage.client.post("/plans/web/run", json!({})).await.expect(202).str("/id").to_owned();
    let none = uuid::Uuid::now_v7();
    let (cancel, retry) = (format!("/jobs/{job}/cancel"), format!("/jobs/{job}/retry"));
    let (index, restore, archive) =
        (format!("/archives/{none}/index"), format!("/archives/{none}/restore"), format!("/archives/{none}"));
    let (copy, download) = (format!("/archives/{none}/copy"), format!("/archives/{none}/download"));
    let operate = [
        (Method::POST, "/plans/web/run"),
        (Method::POST, "/plans/web/pause"),
        (Method::POST, "/plans/web/resume"),
        (Method::POST, "/repositories/site/init"),
        (Method::POST, "/repositories/site/scan"),
        (Method::POST, "/channels/ops/test"),
        (Method::POST, "/destinations/disk/test"),
        (Method::POST, copy.as_str()),
        (Method::GET, download.as_str()),
        (Method::POST, cancel.as_str()),
        (Method::POST, retry.as_str()),
        (Method::POST, index.as_str()),
        (Method::POST, restore.as_str()),
    ];
    let admin = [
        (Method::POST, "/servers"),
        (Method::PUT, "/servers/web"),
        (Method::DELETE, "/servers/web"),
        (Method::PUT, "/plans/web"),
        (Method::DELETE, "/plans/web"),
        (Method::DELETE, archive.as_str()),
        (Method::POST, "/tokens"),
        (Method::POST, "/sources/test"),
        (Method::DELETE, "/tokens/reader"),
        (Method::POST, "/quarantine/catalog.job.x/redrive"),
    ];
    let ask = async |client: &Client, (method, path): &(Method, &str)| {
        send(client.request(method.clone(), path).json(&json!({ "odd": 1 }))).await
    };
    for call in &operate {
        let refused = ask(&reader, call).await.problem(403, "forbidden");
        assert!(refused.str("/detail").contains("operate"), "{call:?}");
        assert_ne!(ask(&operator, call).await.status, 403, "{call:?}");
    }
    for call in &admin {
        ask(&reader, call).await.problem(403, "forbidden");
        ask(&operator, call).await.problem(403, "forbidden");
    }
    for path in [
        "/servers",
        "/plans/web",
        "/jobs",
        "/archives",
        "/nodes",
        "/quarantine",
        "/recovery/capabilities",
        "/tokens",
    ] {
        reader.get(path).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_ends_the_moment_it_is_revoked() {
    let stage = Stage::new().await;
    let client = &stage.client;
    let body = json!({ "id": "ci", "scope": "read", "description": "the build" });
    let issued = client.post("/tokens", body.clone()).await.expect(201);
    let text = issued.str("/token").to_owned();
    assert!(text.starts_with("srt_ci_"));
    let ci = client.with_token(&text);
    ci.get("/plans").await.expect(200);
    client.post("/tokens", body.clone()).await.problem(409, "exists");
    for path in ["/tokens", "/tokens/ci"] {
        let shown = client.get(path).await.expect(200).text;
        assert!(
            shown.contains("the build") && !shown.contains("sha256") && !shown.contains(&text),
            "{shown}"
        );
    }
    let log: String = stage.log().await.iter().map(|e| e.event.to_json().to_string()).collect();
    assert!(!log.contains(&text) && !log.contains(&client.token));

    client.delete("/tokens/ci").await.expect(204);
    ci.get("/plans").await.problem(401, "unauthorized");
    client.get("/tokens/ci").await.problem(404, "not_found");
    client.delete("/tokens/ci").await.problem(404, "not_found");
    // Under the same name again: the new text comes in, the old one does not.
    let anew = client.post("/tokens", body).await.expect(201);
    ci.get("/plans").await.problem(401, "unauthorized");
    client.with_token(anew.str("/token")).get("/plans").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_another_gateway_revokes_ends_here_as_well() {
    let stage = Stage::new().await;
    let ci = issue(&stage, "ci", "read").await;
    ci.get("/plans").await.expect(200);
    let revoked = strongroom_domain::Event::TokenRevoked(strongroom_domain::token::Revoked::default());
    let bus = stage.nats.bus("gateway").await.unwrap();
    let aggregate = strongroom_domain::Aggregate::new(Kind::Token, "ci");
    let head = bus.journal().load(&aggregate).await.unwrap().head;
    let new = strongroom_bus::NewEvent {
        id: strongroom_domain::EventId(uuid::Uuid::now_v7()),
        at: strongroom_service::clock::now(),
        event: revoked,
    };
    bus.journal().append(&aggregate, &head, &new, &strongroom_bus::Context::service("test")).await.unwrap();
    wait_until("it is refused", crate::stage::PATIENCE, async || {
        (ci.get("/plans").await.status == 401).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_wrongly_asked_for_is_not_issued() {
    let stage = Stage::new().await;
    let refused = async |body: Value, field: &str| {
        let refused = stage.client.post("/tokens", body.clone()).await.problem(422, "invalid");
        assert_eq!(refused.fields(), [field], "{body}");
    };
    refused(json!({ "id": "x" }), "scope").await;
    refused(json!({ "id": "x", "scope": "root" }), "scope").await;
    refused(json!({ "scope": "read" }), "id").await;
    refused(json!({ "id": "a.b", "scope": "read" }), "id").await;
    refused(json!({ "id": "x", "scope": "read", "expires_at": "2001-01-01T00:00:00Z" }), "expires_at").await;
    refused(json!({ "id": "x", "scope": "read", "expires_at": "soon" }), "expires_at").await;
    refused(json!({ "id": "x", "scope": "read", "sha256": "00" }), "sha256").await;
    let end = strongroom_service::clock::now() + std::time::Duration::from_millis(1500);
    let body = json!({ "id": "x", "scope": "read", "expires_at": end });
    let short = stage.client.post("/tokens", body).await.expect(201);
    let short = stage.client.with_token(short.str("/token"));
    wait_until("it ends", crate::stage::PATIENCE, async || {
        (short.get("/plans").await.status == 401).then_some(())
    })
    .await
    .unwrap();
    assert!(strongroom_service::clock::now() >= end, "and not before its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_is_issued_once_whatever_happens_in_between() {
    // A gateway that died after it had written the file, and before the log had heard of it.
    let mut stage = Stage::without_gateway().await;
    let file = stage.state_dir().join("token");
    std::fs::write(&file, "srt_bootstrap_written-before-the-crash\n").unwrap();
    stage.start().await;
    assert_eq!(stage.client.token, "srt_bootstrap_written-before-the-crash");
    stage.client.get("/plans").await.expect(200);
    // The next start changes nothing.
    stage.stop().await;
    stage.start().await;
    stage.client.get("/plans").await.expect(200);
    assert_eq!(stage.history(Kind::Token, "bootstrap").await.len(), 1);
    // Once revoked, it does not come again by itself.
    let other = issue(&stage, "other", "admin").await;
    other.delete("/tokens/bootstrap").await.expect(204);
    stage.stop().await;
    stage.start().await;
    stage.client.get("/plans").await.problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_is_for_its_owner_alone_and_fits() {
    let mut stage = Stage::without_gateway().await;
    let file = stage.state_dir().join("token");
    // What stands there is the token of something else: with it, nobody could ever come in.
    std::fs::write(&file, "srt_other_text\n").unwrap();
    stage.start().await;
    stage.client.get("/plans").await.expect(200);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

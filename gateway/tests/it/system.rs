//! What is about the system itself.

use crate::stage::{PATIENCE, Stage, send};
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use strongroom_domain::view::Quarantined;
use strongroom_domain::wire::Status;
use strongroom_testkit::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_of_every_part_and_health_of_the_process() {
    let mut stage = Stage::new().await;
    let client = stage.client.clone();
    let ask = async |path: &str| send(client.bare(Method::GET, path)).await;
    let ready = ask("/readyz").await.expect(200);
    let parts: BTreeSet<&str> = ready.body["parts"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(parts, BTreeSet::from(["log", "scheduler", "catalog", "notifier", "recovery"]));
    assert!(!ready.text.contains("numbers"), "numbers belong to /metrics: {}", ready.text);

    stage.facts.ailing.store(true, Ordering::SeqCst);
    let ailing = ask("/readyz").await.expect(503);
    assert_eq!(
        (&ailing.body["ready"], ailing.str("/parts/scheduler/problems/0")),
        (&json!(false), "it is being read")
    );
    assert_eq!(ailing.body["parts"]["catalog"]["ready"], true);
    stage.facts.ailing.store(false, Ordering::SeqCst);
    ask("/readyz").await.expect(200);

    stage.nats.kill(0).unwrap();
    let away = ask("/readyz").await.expect(503);
    assert_eq!(away.body["parts"]["log"]["ready"], false, "{}", away.text);
    assert_eq!(ask("/healthz").await.expect(200).text, "alive\n");
    stage.nats.start_member(0).unwrap();
    wait_until("it is ready again", PATIENCE, async || (ask("/readyz").await.status == 200).then_some(()))
        .await
        .unwrap();
    client.put("/servers/web", json!({ "node": "local" })).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_prometheus_text_with_the_numbers_of_all() {
    let stage = Stage::new().await;
    stage.client.get("/servers/nowhere").await.problem(404, "not_found");
    let brew = Method::from_bytes(b"BREW").unwrap();
    send(stage.client.request(brew, "/servers")).await.problem(405, "method_not_allowed");
    let metrics =
        send(stage.client.bare(Method::GET, "/metrics").bearer_auth(&stage.client.token)).await.expect(200);
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4");
    let mut samples = BTreeSet::new();
    let told = |word: &str| {
        let lines = metrics.text.lines().filter_map(|l| l.strip_prefix(word)?.split_once(' '));
        lines.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let (kinds, meanings) = (told("# TYPE "), told("# HELP "));
    assert_eq!(kinds.len(), kinds.iter().collect::<BTreeSet<_>>().len(), "a name twice: {}", metrics.text);
    for line in metrics.text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (sample, value) = line.rsplit_once(' ').unwrap();
        value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
        assert!(sample.starts_with("strongroom_"), "{line}");
        assert!(samples.insert(sample.to_owned()), "twice: {line}");
        let name = sample.split('{').next().unwrap();
        let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        for said in [&kinds, &meanings] {
            assert!(said.iter().any(|s| s == name || Some(s.as_str()) == parts), "{line}: {}", metrics.text);
        }
    }
    for sample in [
        "strongroom_ready{service=\"catalog\"}",
        "strongroom_jobs{phase=\"failed\"}",
        "strongroom_scheduler_plans",
        "strongroom_notifier_position",
    ] {
        assert!(samples.contains(sample), "{sample} is missing: {}", metrics.text);
    }
    let is_counted = |s: &String| {
        s.starts_with("strongroom_http_requests_total")
            && s.contains("status=\"404\"")
            && s.contains("definitions")
    };
    assert!(samples.iter().any(is_counted), "{}", metrics.text);
    assert!(samples.iter().any(|s| s.starts_with("strongroom_build_info{version=")), "{}", metrics.text);
    assert!(!metrics.text.contains("nowhere"), "no ids in labels");
    assert!(!metrics.text.contains("BREW"), "and no words of anybody's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_shown_with_their_last_sign_of_life() {
    let stage = Stage::new().await;
    assert_eq!(stage.client.get("/nodes").await.expect(200).body["items"], json!([]));
    stage.node_joins().await;
    let shown = stage.client.get("/nodes").await.expect(200);
    assert_eq!(
        (shown.str("/items/0/id"), &shown.body["items"][0]["last_heartbeat_at"]),
        ("local", &json!(null))
    );
    let node = stage.node.node().clone();
    wait_until("it is heard", PATIENCE, async || {
        let beat = Status::Heartbeat {
            node: node.clone(),
            boot: "b1".into(),
            at: strongroom_service::clock::now(),
            running: Vec::new(),
        };
        stage.node.status("heartbeat", &beat).await;
        let shown = stage.client.get("/nodes").await.expect(200);
        shown.body["items"][0]["last_heartbeat_at"].is_string().then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_aside_is_shown_and_tried_again_by_its_consumer() {
    let stage = Stage::new().await;
    let halted = |consumer: &str| Quarantined {
        id: format!("{consumer}.job.x-1"),
        consumer: consumer.into(),
        aggregate: "job.x-1".into(),
        sequence: 9,
        reason: "it cannot be read".into(),
        at: strongroom_service::clock::now(),
    };
    *stage.facts.quarantine.lock().unwrap() = vec![halted("catalog"), halted("scheduler")];
    let shown = stage.client.get("/quarantine").await.expect(200);
    assert_eq!(shown.str("/items/1/id"), "scheduler.job.x-1");
    for id in ["catalog.job.x-1", "scheduler.job.x-1"] {
        let taken = stage.client.post(&format!("/quarantine/{id}/redrive"), json!({})).await.expect(200);
        assert_eq!(taken.str("/id"), id);
    }
    stage.client.post("/quarantine/notifier.job.x-1/redrive", json!({})).await.problem(409, "not_halted");
    for id in ["x", "gateway.job.x", "catalog"] {
        stage.client.post(&format!("/quarantine/{id}/redrive"), json!({})).await.problem(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_it_is_and_what_recovery_could_use() {
    let stage = Stage::new().await;
    let version = stage.client.get("").await.expect(200);
    assert_eq!((version.str("/api"), version.str("/version")), ("v1", env!("CARGO_PKG_VERSION")));
    let capabilities = stage.client.get("/recovery/capabilities").await.expect(200);
    assert_eq!(capabilities.body["docker"]["usable"], false);
}

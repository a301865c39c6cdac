//! Tests of sources and destinations, as jobs that nobody else is told of.

use crate::stage::{Stage, plan, repository};
use serde_json::{Value, json};
use strongroom_domain::job::JobSpec;
use strongroom_domain::source::Source;
use strongroom_domain::{Event, Kind};

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.node_joins().await;
    stage.client.put("/servers/web", json!({ "node": "local" })).await.expect(201);
    let local = json!({ "location": { "type": "local", "path": "/backups" } });
    stage.client.put("/destinations/disk", local).await.expect(201);
    stage
}

async fn asked(stage: &Stage, path: &str, body: Value) -> JobSpec {
    let asked = stage.client.post(path, body).await.expect(202);
    let history = stage.history(Kind::Job, asked.str("/id")).await;
    let Event::JobRequested(requested) = &history[0].event else { panic!("{history:?}") };
    assert_eq!((requested.node.as_str(), requested.spec.is_test()), ("local", true));
    requested.spec.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_tested_before_there_is_a_plan_and_after() {
    let stage = stage().await;
    let source = json!({ "type": "postgresql", "connection": { "host": "db", "user": "u" } });
    let body = json!({ "server": "web", "source": source, "password": "open sesame" });
    let spec = asked(&stage, "/sources/test", body.clone()).await;
    let JobSpec::TestSource { source: Source::Postgresql(found), .. } = &spec else { panic!("{spec:?}") };
    let given = found.connection.password.as_ref().unwrap();
    assert_eq!(stage.secret(given, &stage.node_key).await, "open sesame");
    assert_eq!(spec.secrets(), [given]);

    stage.client.put("/repositories/site", repository()).await.expect(201);
    let mut db = plan();
    db["source"] = source;
    db["password"] = json!("of the plan");
    stage.client.put("/plans/db", db).await.expect(201);
    let spec = asked(&stage, "/sources/test", json!({ "plan": "db" })).await;
    let JobSpec::TestSource { source: Source::Postgresql(found), .. } = &spec else { panic!("{spec:?}") };
    let kept = found.connection.password.as_ref().unwrap();
    assert_eq!(stage.secret(kept, &stage.node_key).await, "of the plan");

    for (body, code, field) in [
        (json!({}), "invalid", "plan"),
        (json!({ "plan": "db", "server": "web" }), "invalid", "plan"),
        (json!({ "server": "none", "source": { "type": "sqlite", "paths": ["/x"] } }), "invalid", "server"),
        (json!({ "server": "web", "source": { "type": "sqlite", "paths": [] } }), "invalid", "source.paths"),
        (
            json!({ "server": "web", "source": { "type": "sqlite", "paths": ["/x"] }, "password": "x" }),
            "invalid",
            "password",
        ),
    ] {
        let refused = stage.client.post("/sources/test", body.clone()).await.problem(422, code);
        assert_eq!(refused.fields(), [field], "{body}");
    }
    stage.client.post("/sources/test", json!({ "plan": "none" })).await.problem(404, "not_found");
    let log: String = stage.log().await.iter().map(|e| e.event.to_json().to_string()).collect();
    assert!(!log.contains("sesame") && !log.contains("of the plan"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_tested_by_the_node_of_a_server() {
    let stage = stage().await;
    let spec = asked(&stage, "/destinations/disk/test", json!({ "server": "web" })).await;
    assert!(matches!(spec, JobSpec::TestDestination { .. }) && spec.repository().is_none());
    let refused = stage.client.post("/destinations/disk/test", json!({})).await.problem(422, "invalid");
    assert_eq!(refused.fields(), ["server"]);
    let body = json!({ "server": "web" });
    stage.client.post("/destinations/none/test", body).await.problem(404, "not_found");
    // It is among the jobs, though on no repository.
    let jobs = stage.client.get("/jobs?server=web").await.expect(200);
    assert_eq!(jobs.body["items"][0]["kind"], "test-destination");
}

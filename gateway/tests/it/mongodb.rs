//! Plans of MongoDB: their passwords, and what of a restore MongoDB cannot do.

use crate::databases::{Made, with_archive_of};
use crate::stage::Stage;
use serde_json::{Value, json};
use strongroom_domain::job::{DatabaseTarget, JobSpec};
use strongroom_domain::{Event, Kind};

fn plan(changes: Value) -> Value {
    let mut plan = json!({
        "server": "web", "repository": "site",
        "source": { "type": "mongodb", "connection": { "host": "db", "user": "backup" } },
    });
    plan.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_mongodb_stays_with_its_server() {
    let stage = Stage::new().await;
    stage.define().await;
    stage.node_joins().await;
    let client = &stage.client;
    let made = client.put("/plans/db", plan(json!({ "password": "s3cret" }))).await.expect(201);
    assert!(!made.text.contains("s3cret"), "{}", made.text);
    assert_eq!(made.body["has_password"], true);
    assert_eq!(made.body["source"]["connection"].get("password"), None, "{}", made.text);
    let kept = client.put("/plans/db", plan(json!({ "description": "x" }))).await.expect(200);
    assert_eq!(kept.body["has_password"], true);
    let elsewhere = json!({ "type": "mongodb", "connection": { "host": "db", "user": "backup", "auth_database": "evil" } });
    let moved = client.put("/plans/db", plan(json!({ "source": elsewhere }))).await;
    assert_eq!(moved.problem(422, "invalid").fields(), ["password"]);
    let wrong = json!({ "type": "mongodb", "databases": ["shop"], "oplog": "always" });
    let wrong = client.put("/plans/db", plan(json!({ "source": wrong, "password": null }))).await;
    assert_eq!(wrong.problem(422, "invalid").fields(), ["source.oplog"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mongodb_cannot_do_is_refused_before_a_node_is_asked() {
    let made = Made { plan: plan(json!({ "password": "s3cret" })), source: "mongodb" };
    let (stage, id) = with_archive_of(made, &["shop"]).await;
    let path = format!("/archives/{id}/restore-database");
    for (body, field) in [
        (json!({ "on_conflict": "keep_both" }), "on_conflict"),
        (json!({ "no_owner": true }), "no_owner"),
        (json!({ "parallel_jobs": 2 }), "parallel_jobs"),
        (json!({ "as": "admin" }), "as"),
        (json!({ "as": "a.b" }), "as"),
        (json!({ "check": { "query": "select 1" } }), "check"),
        (json!({ "connection": { "port": 0 } }), "connection.port"),
    ] {
        let fields = stage.client.post(&path, body.clone()).await.problem(422, "invalid");
        assert!(fields.fields().contains(&field), "{body}: {:?}", fields.fields());
    }
    let asked = stage.client.post(&path, json!({ "as": "copy" })).await.expect(202);
    let history = stage.history(Kind::Job, asked.str("/id")).await;
    let Event::JobRequested(requested) = &history[0].event else { panic!("{history:?}") };
    let JobSpec::RestoreDatabase(spec) = requested.spec.clone() else { panic!("{requested:?}") };
    let DatabaseTarget::Mongodb { connection, database, from } = &spec.into else { panic!("{spec:?}") };
    assert_eq!((database.as_str(), from.as_str()), ("copy", "shop"));
    assert!(connection.password.is_some());
}

//! Plans of MySQL: their passwords, and what of a restore MySQL cannot do.

use crate::databases::{Made, with_archive_of};
use crate::stage::Stage;
use serde_json::{Value, json};
use strongroom_domain::job::{Conflict, DatabaseTarget, JobSpec};
use strongroom_domain::source::Source;
use strongroom_domain::source::mysql::Connection;
use strongroom_domain::{Event, Kind};

fn plan(changes: Value) -> Value {
    let mut plan = json!({
        "server": "web", "repository": "site",
        "source": { "type": "mysql", "connection": { "host": "db", "user": "backup" } },
    });
    plan.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    plan
}

async fn connection(stage: &Stage) -> Connection {
    let history = stage.history(Kind::Plan, "db").await;
    let Event::PlanDefined(spec) = &history.last().unwrap().event else { panic!("{history:?}") };
    let Source::Mysql(source) = &spec.source else { panic!("{spec:?}") };
    source.connection.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_mysql_stays_with_its_server() {
    let stage = Stage::new().await;
    stage.define().await;
    stage.node_joins().await;
    let (client, key) = (&stage.client, stage.node_key.clone());
    let made = client.put("/plans/db", plan(json!({ "password": "s3cret" }))).await.expect(201);
    assert!(!made.text.contains("s3cret"), "{}", made.text);
    assert_eq!(made.body["has_password"], true);
    assert_eq!(made.body["source"]["connection"].get("password"), None, "{}", made.text);
    let first = connection(&stage).await.password.unwrap();
    assert_eq!(stage.secret(&first, &key).await, "s3cret");
    client.put("/plans/db", plan(json!({ "description": "x" }))).await.expect(200);
    assert_eq!(connection(&stage).await.password.as_ref(), Some(&first));
    let elsewhere = json!({ "type": "mysql", "connection": { "host": "evil", "user": "backup" } });
    let moved = client.put("/plans/db", plan(json!({ "source": elsewhere }))).await;
    assert_eq!(moved.problem(422, "invalid").fields(), ["password"]);
    // Of another system it is another server, whatever it is called.
    let other = json!({ "type": "postgresql", "connection": { "host": "db", "user": "backup" } });
    let other = client.put("/plans/db", plan(json!({ "source": other }))).await.expect(200);
    assert_eq!(other.body["has_password"], false);
    let wrong = async |source: Value| {
        let answer = client.put("/plans/db", plan(json!({ "source": source }))).await.problem(422, "invalid");
        answer.fields().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(wrong(json!({ "type": "mysql", "databases": ["sys"] })).await, ["source.databases[0]"]);
    assert_eq!(
        wrong(json!({ "type": "mysql", "connection": { "os_user": "mysql" } })).await,
        ["source.connection.os_user"]
    );
    assert_eq!(wrong(json!({ "type": "mysql", "format": "plain" })).await, ["source.format"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mysql_cannot_do_is_refused_before_a_node_is_asked() {
    let made = Made { plan: plan(json!({ "password": "s3cret" })), source: "mysql" };
    let (stage, id) = with_archive_of(made, &["shop"]).await;
    let path = format!("/archives/{id}/restore-database");
    for (body, field) in [
        (json!({ "on_conflict": "keep_both" }), "on_conflict"),
        (json!({ "no_owner": true }), "no_owner"),
        (json!({ "parallel_jobs": 2 }), "parallel_jobs"),
        (json!({ "as": "mysql" }), "as"),
        (json!({ "as": "x".repeat(65) }), "as"),
        (json!({ "connection": { "os_user": "x" } }), "connection.os_user"),
        (json!({ "connection": { "port": 0 } }), "connection.port"),
    ] {
        let fields = stage.client.post(&path, body.clone()).await.problem(422, "invalid");
        assert!(fields.fields().contains(&field), "{body}: {:?}", fields.fields());
    }
    let asked =
        stage.client.post(&path, json!({ "as": "copy", "on_conflict": "overwrite" })).await.expect(202);
    let history = stage.history(Kind::Job, asked.str("/id")).await;
    let Event::JobRequested(requested) = &history[0].event else { panic!("{history:?}") };
    let JobSpec::RestoreDatabase(spec) = requested.spec.clone() else { panic!("{requested:?}") };
    let DatabaseTarget::Mysql { connection: to, database } = &spec.into else { panic!("{spec:?}") };
    assert_eq!((database.as_str(), spec.on_conflict), ("copy", Conflict::Overwrite));
    assert_eq!((to.host.as_deref(), to.password.clone()), (Some("db"), connection(&stage).await.password));
    assert!(to.password.is_some());
}

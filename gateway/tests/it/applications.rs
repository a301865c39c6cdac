//! Plans of applications: databases and files together, with one password, and what comes back of them.

use crate::databases::{Made, with_archive_of};
use crate::stage::Stage;
use serde_json::{Value, json};
use strongroom_domain::job::{DatabaseTarget, JobSpec};
use strongroom_domain::source::Source;
use strongroom_domain::{Event, Kind, SecretRef};

fn plan(changes: Value) -> Value {
    let mut plan = json!({
        "server": "web", "repository": "site",
        "source": {
            "type": "application",
            "postgresql": { "connection": { "host": "db", "user": "backup" } },
            "files": { "paths": ["/srv/app"], "excludes": ["*.tmp"] },
        },
    });
    plan.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    plan
}

async fn password(stage: &Stage) -> Option<SecretRef> {
    let history = stage.history(Kind::Plan, "db").await;
    let Event::PlanDefined(spec) = &history.last().unwrap().event else { panic!("{history:?}") };
    let Source::Application(source) = &spec.source else { panic!("{spec:?}") };
    source.postgresql.clone().and_then(|source| source.connection.password)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_an_application_is_that_of_its_server() {
    let stage = Stage::new().await;
    stage.define().await;
    stage.node_joins().await;
    let (client, key) = (&stage.client, stage.node_key.clone());
    let made = client.put("/plans/db", plan(json!({ "password": "s3cret" }))).await.expect(201);
    assert!(!made.text.contains("s3cret") && !made.text.contains("reference"), "{}", made.text);
    assert_eq!((&made.body["has_password"], &made.body["source"]["mysql"]), (&json!(true), &Value::Null));
    let first = password(&stage).await.unwrap();
    assert_eq!(stage.secret(&first, &key).await, "s3cret");
    // What was answered can be sent back, and the password stays.
    let mut back = plan(json!({ "description": "x" }));
    back["source"] = made.body["source"].clone();
    client.put("/plans/db", back).await.expect(200);
    assert_eq!(password(&stage).await.as_ref(), Some(&first));
    let mut moved = plan(json!({}));
    moved["source"]["postgresql"]["connection"]["host"] = json!("evil");
    assert_eq!(client.put("/plans/db", moved).await.problem(422, "invalid").fields(), ["password"]);
    let mut inner = plan(json!({}));
    inner["source"]["postgresql"]["connection"]["password"] = json!({ "reference": "x", "version": 1 });
    let refused = client.put("/plans/db", inner).await.problem(422, "invalid");
    assert_eq!(refused.fields(), ["source.postgresql.connection.password"]);
    let wrong = async |source: Value| {
        let answer = client.put("/plans/db", plan(json!({ "source": source }))).await.problem(422, "invalid");
        answer.fields().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let alone = json!({ "type": "application", "files": { "paths": ["/x"] } });
    assert_eq!(wrong(alone).await, ["source.postgresql"]);
    let odd = json!({ "type": "application", "sqlite": { "paths": ["/x"], "colour": 1 }, "paths": ["/x"] });
    assert_eq!(wrong(odd).await, ["source.paths", "source.sqlite.colour"]);
    let asked = client.post("/plans/db/run", json!({})).await.expect(202);
    let history = stage.history(Kind::Job, asked.str("/id")).await;
    let Event::JobRequested(requested) = &history[0].event else { panic!("{history:?}") };
    assert!(requested.spec.secrets().contains(&&first), "the node is given no password");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_application_comes_back_to_where_its_plan_finds_it() {
    let made = Made { plan: plan(json!({ "password": "s3cret" })), source: "application" };
    let (stage, id) = with_archive_of(made, &["shop", "wiki"]).await;
    let path = format!("/archives/{id}/restore-database");
    let told = stage.client.post(&path, json!({})).await.problem(422, "invalid");
    assert_eq!(told.fields(), ["database"]);
    let asked = stage.client.post(&path, json!({ "database": "shop", "as": "copy" })).await.expect(202);
    let history = stage.history(Kind::Job, asked.str("/id")).await;
    let Event::JobRequested(requested) = &history[0].event else { panic!("{history:?}") };
    let JobSpec::RestoreDatabase(spec) = requested.spec.clone() else { panic!("{requested:?}") };
    assert_eq!(spec.path, "postgresql/databases/shop.dump");
    let DatabaseTarget::Postgresql { connection, database } = spec.into else { panic!("{requested:?}") };
    assert_eq!((connection.host.as_deref(), database.as_str()), (Some("db"), "copy"));
    assert_eq!(connection.password, password(&stage).await);
}

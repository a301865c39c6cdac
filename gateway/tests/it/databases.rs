//! Plans of databases: their passwords, and restores of what they dumped.

use crate::stage::{Stage, send};
use reqwest::Method;
use serde_json::{Value, json};
use strongroom_domain::archive::{Artefact, Dump, Facts};
use strongroom_domain::job::{Conflict, DatabaseTarget, JobSpec, RestoreDatabaseSpec};
use strongroom_domain::source::Source;
use strongroom_domain::source::postgresql::Connection;
use strongroom_domain::view::Archive;
use strongroom_domain::{ArchiveId, Event, Kind, SecretRef};
use uuid::Uuid;

fn plan(changes: Value) -> Value {
    let mut plan = json!({
        "server": "web", "repository": "site",
        "source": { "type": "postgresql", "connection": { "host": "db", "user": "backup" } },
    });
    plan.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    plan
}

async fn connection(stage: &Stage) -> Connection {
    let history = stage.history(Kind::Plan, "db").await;
    match &history.last().unwrap().event {
        Event::PlanDefined(spec) => match &spec.source {
            Source::Postgresql(source) => source.connection.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_for_the_node_alone_and_goes_to_no_other_server() {
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

    // Kept with whatever else is changed; given again for another server.
    client.put("/plans/db", plan(json!({ "description": "x" }))).await.expect(200);
    assert_eq!(connection(&stage).await.password.as_ref(), Some(&first));
    for elsewhere in [
        json!({ "host": "evil", "user": "backup" }),
        json!({ "host": "db", "user": "other" }),
        json!({ "host": "db", "user": "backup", "port": 5433 }),
        json!({ "host": "db", "user": "backup", "tls": "disable" }),
    ] {
        let source = json!({ "type": "postgresql", "connection": elsewhere });
        let body = plan(json!({ "source": source }));
        assert_eq!(
            client.put("/plans/db", body.clone()).await.problem(422, "invalid").fields(),
            ["password"]
        );
    }
    let source = json!({ "type": "postgresql", "connection": { "host": "new", "user": "backup" } });
    let moved = plan(json!({ "source": source, "password": "another" }));
    client.put("/plans/db", moved).await.expect(200);
    let second = connection(&stage).await.password.unwrap();
    assert_eq!(stage.secret(&second, &key).await, "another");
    let none = client.put("/plans/db", plan(json!({ "source": source, "password": null }))).await.expect(200);
    assert_eq!((none.body["has_password"].clone(), connection(&stage).await.password), (json!(false), None));

    let asked = client.post("/plans/db/run", json!({})).await.expect(202);
    for path in ["/plans/db".to_owned(), "/plans".into(), format!("/jobs/{}", asked.str("/id"))] {
        let text = client.get(&path).await.expect(200).text;
        assert!(!text.contains("s3cret") && !text.contains("another"), "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_database_plan_is_named() {
    let stage = Stage::new().await;
    stage.define().await;
    stage.node_joins().await;
    let wrong = async |changes: Value| {
        let answer = stage.client.put("/plans/db", plan(changes)).await.problem(422, "invalid");
        answer.fields().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let source = |rest: Value| {
        let mut source = json!({ "type": "postgresql" });
        source.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        json!({ "source": source })
    };
    assert_eq!(wrong(source(json!({ "databases": ["a", "a"] }))).await, ["source.databases[1]"]);
    assert_eq!(wrong(source(json!({ "connection": { "prot": 1 } }))).await, ["source.connection.prot"]);
    assert_eq!(wrong(source(json!({ "connection": { "port": 0 } }))).await, ["source.connection.port"]);
    let reference = json!({ "reference": "x", "version": 1 });
    assert_eq!(
        wrong(source(json!({ "connection": { "password": reference } }))).await,
        ["source.connection.password"]
    );
    let mut peer = source(json!({ "connection": { "os_user": "postgres" } }));
    peer["password"] = json!("x");
    assert_eq!(wrong(peer).await, ["password"]);
    assert_eq!(wrong(json!({ "password": "a\nb" })).await, ["password"]);
    let mut files = crate::stage::plan();
    files["password"] = json!("x");
    assert_eq!(stage.client.put("/plans/db", files).await.problem(422, "invalid").fields(), ["password"]);
}

fn artefact(database: &str) -> Artefact {
    Artefact {
        path: format!("postgresql/databases/{database}.dump"),
        kind: "database".into(),
        database: Some(database.into()),
        format: Some("custom".into()),
        size_bytes: 1,
        sha256: "00".into(),
        stored: None,
        census: None,
    }
}

/// A plan, and the system whose databases it dumps.
pub struct Made {
    pub plan: Value,
    pub source: &'static str,
}

async fn with_archive(databases: &[&str]) -> (Stage, String) {
    with_archive_of(Made { plan: plan(json!({ "password": "s3cret" })), source: "postgresql" }, databases)
        .await
}

/// A stage with a plan and an archive of it; the archive's id.
pub async fn with_archive_of(made: Made, databases: &[&str]) -> (Stage, String) {
    let stage = Stage::new().await;
    stage.define().await;
    stage.node_joins().await;
    stage.client.put("/plans/db", made.plan).await.expect(201);
    let id = ArchiveId(Uuid::now_v7());
    let dump = Dump {
        source: made.source.into(),
        server_version: "15".into(),
        tool: "pg_dump".into(),
        artefacts: databases.iter().map(|d| artefact(d)).collect(),
        artefacts_total: databases.len() as u64,
        paths: Vec::new(),
        physical: None,
    };
    let facts = Facts {
        id,
        name: "db-1".into(),
        borg_id: "ab12".into(),
        started_at: strongroom_service::clock::now(),
        ended_at: None,
        stats: None,
        comment: String::new(),
        hostname: "h".into(),
        index: None,
        dump: (!databases.is_empty()).then_some(dump),
    };
    stage.facts.archives.lock().unwrap().push(Archive {
        id,
        repository: "site".parse().unwrap(),
        server: "web".parse().unwrap(),
        node: "local".parse().unwrap(),
        plan: Some("db".parse().unwrap()),
        job: None,
        facts,
        incomplete: false,
        missing: false,
        holds: Vec::new(),
    });
    (stage, id.to_string())
}

async fn asked(stage: &Stage, id: &str, body: Value) -> (RestoreDatabaseSpec, Connection, String) {
    let asked = stage.client.post(&format!("/archives/{id}/restore-database"), body).await.expect(202);
    let history = stage.history(Kind::Job, asked.str("/id")).await;
    let Event::JobRequested(requested) = &history[0].event else { panic!("{history:?}") };
    let JobSpec::RestoreDatabase(spec) = requested.spec.clone() else { panic!("{requested:?}") };
    let DatabaseTarget::Postgresql { connection, database } = spec.into.clone() else { panic!("{spec:?}") };
    (spec, connection, database)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_goes_back_to_where_it_came_from_or_where_it_is_told() {
    let (stage, id) = with_archive(&["shop", "wiki"]).await;
    let of_plan: SecretRef = connection(&stage).await.password.unwrap();
    let (spec, to, name) = asked(&stage, &id, json!({ "database": "shop" })).await;
    assert_eq!((spec.path.as_str(), spec.on_conflict), ("postgresql/databases/shop.dump", Conflict::Fail));
    assert_eq!(
        (to.host.as_deref(), to.password.as_ref(), name.as_str()),
        (Some("db"), Some(&of_plan), "shop")
    );

    let elsewhere = json!({ "database": "shop", "as": "copy", "connection": { "host": "other", "user": "u" },
        "password": "p", "on_conflict": "overwrite", "no_owner": true });
    let (spec, to, name) = asked(&stage, &id, elsewhere).await;
    assert_eq!((to.host.as_deref(), name.as_str(), spec.no_owner), (Some("other"), "copy", true));
    assert_eq!(stage.secret(&to.password.unwrap(), &stage.node_key).await, "p");
    // The password of the plan goes to no other server.
    let bare = json!({ "database": "shop", "connection": { "host": "other", "user": "backup" } });
    assert_eq!(asked(&stage, &id, bare).await.1.password, None);

    let check = json!({ "query": "select 1", "expected": "1" });
    let (spec, ..) = asked(&stage, &id, json!({ "database": "shop", "check": check })).await;
    assert_eq!((serde_json::to_value(spec.check).unwrap(), spec.dry_run), (check, false));
    assert!(asked(&stage, &id, json!({ "database": "shop", "dry_run": true })).await.0.dry_run);
    assert_eq!(
        asked(&stage, &id, json!({ "database": "shop", "parallel_jobs": 4 })).await.0.parallel_jobs,
        4
    );

    let refused = async |body: Value| {
        let answer = stage.client.post(&format!("/archives/{id}/restore-database"), body).await;
        answer.problem(422, "invalid").fields().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(refused(json!({})).await, ["database"]);
    assert_eq!(refused(json!({ "database": "shop", "as": "template1" })).await, ["as"]);
    for query in ["\\! id", "select 1; drop table t", "delete from t"] {
        let check = json!({ "query": query });
        assert_eq!(refused(json!({ "database": "shop", "check": check })).await, ["check.query"], "{query}");
    }
    let check = json!({ "query": "select 1", "expect": "1" });
    assert_eq!(refused(json!({ "database": "shop", "check": check })).await, ["check.expect"]);
    assert_eq!(refused(json!({ "database": "nowhere" })).await, ["database"]);
    assert_eq!(refused(json!({ "database": "shop", "as": "x".repeat(64) })).await, ["as"]);
    assert_eq!(
        refused(json!({ "database": "shop", "connection": { "port": 0 } })).await,
        ["connection.port"]
    );
    stage.client.put("/plans/db", crate::stage::plan()).await.expect(200);
    assert_eq!(refused(json!({ "database": "shop" })).await, ["connection"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dump_cannot_do_is_said_before_it_is_tried() {
    let (stage, id) = with_archive(&["shop"]).await;
    let path = format!("/archives/{id}/restore-database");
    let change = |with: &dyn Fn(&mut Dump)| {
        with(stage.facts.archives.lock().unwrap()[0].facts.dump.as_mut().unwrap());
    };
    change(&|dump| dump.artefacts[0].format = Some("plain".into()));
    let refused = stage.client.post(&path, json!({ "no_owner": true })).await.problem(422, "invalid");
    assert_eq!(refused.fields(), ["no_owner"]);
    let refused = stage.client.post(&path, json!({ "parallel_jobs": 4 })).await.problem(422, "invalid");
    assert_eq!(refused.fields(), ["parallel_jobs"]);
    change(&|dump| dump.source = "sqlite".into());
    let refused = stage.client.post(&path, json!({})).await.problem(409, "no_databases");
    assert!(refused.text.contains("/restore"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_database_needs_no_name_and_an_archive_of_files_has_none() {
    let (stage, id) = with_archive(&["shop"]).await;
    let path = format!("/archives/{id}/restore-database");
    let keyed = || stage.client.request(Method::POST, &path).header("idempotency-key", "k").json(&json!({}));
    let first = send(keyed()).await.expect(202);
    let again = send(keyed()).await.expect(202);
    assert_eq!(first.str("/id"), again.str("/id"));
    let other = stage.client.keyed(&path, "k", json!({ "as": "copy" })).await;
    other.problem(409, "idempotency_key_reused");
    let (stage, id) = with_archive(&[]).await;
    let path = format!("/archives/{id}/restore-database");
    stage.client.post(&path, json!({})).await.problem(409, "no_databases");
    stage.client.post(&path.replace(&id, "nonsense"), json!({})).await.problem(404, "not_found");
}

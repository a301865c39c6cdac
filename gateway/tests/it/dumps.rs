//! Dumps that others have made: where they may be read, and what is asked of the node.

use crate::stage::Stage;
use serde_json::{Value, json};
use strongroom_domain::job::{Conflict, DatabaseTarget, JobSpec, RestoreDumpSpec};
use strongroom_domain::{Event, Kind};

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.define().await;
    stage.node_joins().await;
    stage
}

fn body(changes: Value) -> Value {
    let mut body = json!({ "path": "/srv/dumps/x.sql", "system": "postgresql", "as": "shop" });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

async fn asked(stage: &Stage, body: Value) -> RestoreDumpSpec {
    let asked = stage.client.post("/servers/web/restore-dump", body).await.expect(202);
    let history = stage.history(Kind::Job, asked.str("/id")).await;
    let Event::JobRequested(requested) = &history[0].event else { panic!("{history:?}") };
    let JobSpec::RestoreDump(spec) = requested.spec.clone() else { panic!("{requested:?}") };
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_read_only_where_the_server_allows_it() {
    let stage = stage().await;
    let refused = async |changes: Value| {
        let answer = stage.client.post("/servers/web/restore-dump", body(changes)).await;
        answer.problem(422, "invalid").fields().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(refused(json!({})).await, ["path"], "nothing is allowed that nobody has allowed");
    let server = json!({ "node": "local", "dump_roots": ["/srv/dumps", "/mnt/old/"] });
    stage.client.put("/servers/web", server).await.expect(200);
    for path in ["/srv/dumps.sql", "/etc/shadow", "x.sql", "/srv/dumps/../x"] {
        assert_eq!(refused(json!({ "path": path })).await, ["path"], "{path}");
    }
    let secrets = json!({
        "password": "p", "identity": "AGE-SECRET-KEY-1", "member": "a/b.sql", "connection": { "host": "db" },
        "check": { "query": "select 1" }, "on_conflict": "overwrite", "no_owner": true,
        "parallel_jobs": 64,
    });
    let spec = asked(&stage, body(secrets)).await;
    assert_eq!((spec.path.as_str(), spec.member.as_deref()), ("/srv/dumps/x.sql", Some("a/b.sql")));
    assert_eq!(spec.allowed_roots, ["/srv/dumps", "/mnt/old/"]);
    assert_eq!((spec.on_conflict, spec.no_owner, spec.dry_run), (Conflict::Overwrite, true, false));
    assert_eq!(spec.parallel_jobs, 64);
    let identity = stage.secret(spec.identity.as_ref().unwrap(), &stage.node_key).await;
    assert_eq!(identity, "AGE-SECRET-KEY-1");
    let DatabaseTarget::Postgresql { connection, database } = &spec.into else { panic!("{spec:?}") };
    assert_eq!((connection.host.as_deref(), database.as_str()), (Some("db"), "shop"));
    assert_eq!(stage.secret(connection.password.as_ref().unwrap(), &stage.node_key).await, "p");
    let spec = asked(&stage, body(json!({ "dry_run": true }))).await;
    assert_eq!((spec.dry_run, spec.parallel_jobs), (true, 1));

    for (changes, field) in [
        (json!({ "as": "template1" }), "as"),
        (json!({ "system": "sqlite" }), "system"),
        (json!({ "system": "mysql", "on_conflict": "keep_both" }), "on_conflict"),
        (json!({ "system": "mysql", "no_owner": true }), "no_owner"),
        (json!({ "system": "mysql", "parallel_jobs": 2 }), "parallel_jobs"),
        (json!({ "parallel_jobs": 0 }), "parallel_jobs"),
        (json!({ "parallel_jobs": 65 }), "parallel_jobs"),
        (json!({ "connection": { "port": 0 } }), "connection.port"),
        (json!({ "connection": { "hots": "x" } }), "connection.hots"),
        (json!({ "connection": { "password": "x" } }), "connection.password"),
        (json!({ "check": { "query": "drop table x" } }), "check.query"),
        (json!({ "member": "" }), "member"),
        (json!({ "formats": "x" }), "formats"),
    ] {
        assert_eq!(refused(changes.clone()).await, [field], "{changes}");
    }
    stage.client.post("/servers/nowhere/restore-dump", body(json!({}))).await.problem(404, "not_found");
}

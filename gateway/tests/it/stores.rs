//! Destinations elsewhere and the dump stores in them: what opens them, and what they cannot hold.

use crate::stage::Stage;
use age::secrecy::ExposeSecret;
use serde_json::{Value, json};
use strongroom_domain::destination::{self, Location};
use strongroom_domain::job::JobSpec;
use strongroom_domain::{Event, Kind};

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.node_joins().await;
    let server = json!({ "node": "local", "restore_roots": ["/srv/back"] });
    stage.client.put("/servers/web", server).await.expect(201);
    stage
}

fn bucket(more: Value) -> Value {
    let mut location = json!({ "type": "s3", "bucket": "backups", "access_key_id": "AKIA" });
    location.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "location": location })
}

fn with_secret(mut body: Value, secret: Value) -> Value {
    body["secret"] = secret;
    body
}

async fn spec(stage: &Stage) -> destination::Spec {
    let history = stage.history(Kind::Destination, "cloud").await;
    let Event::DestinationDefined(spec) = &history.last().unwrap().event else { panic!("{history:?}") };
    spec.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_a_place_is_for_the_nodes_alone_and_stays_with_the_place() {
    let stage = stage().await;
    let put = async |body: Value| stage.client.put("/destinations/cloud", body).await;
    let made = put(with_secret(bucket(json!({})), json!("open sesame"))).await.expect(201);
    assert!(!made.text.contains("sesame"), "{}", made.text);
    assert_eq!((&made.body["has_secret"], &made.body["secret_for_nodes"]), (&json!(true), &json!(["local"])));
    let Location::S3(s3) = spec(&stage).await.location else { panic!("no bucket") };
    let first = s3.secret_access_key.unwrap();
    assert_eq!(stage.secret(&first, &stage.node_key).await, "open sesame");
    let shown = stage.client.get("/destinations/cloud").await.expect(200);
    assert!(!shown.text.contains("destination-cloud-"), "{}", shown.text);

    // Kept for the same place and user, and for no other: a bucket of somebody else would learn it.
    put(bucket(json!({ "storage_class": "STANDARD_IA" }))).await.expect(200);
    assert_eq!(spec(&stage).await.location.secret(), Some(&first));
    for elsewhere in [
        json!({ "bucket": "others" }),
        json!({ "endpoint": "https://evil.example" }),
        json!({ "access_key_id": "AKIB" }),
    ] {
        let refused = put(bucket(elsewhere.clone())).await.problem(422, "invalid");
        assert_eq!(refused.fields(), ["secret"], "{elsewhere}");
    }
    put(with_secret(bucket(json!({ "bucket": "others" })), json!("another"))).await.expect(200);
    put(with_secret(bucket(json!({})), json!(null))).await.expect(200);
    assert_eq!((spec(&stage).await.location.secret(), spec(&stage).await.sealed_for.len()), (None, 0));

    for (body, field) in [
        (with_secret(bucket(json!({})), json!(7)), "secret"),
        (with_secret(bucket(json!({})), json!("a\u{0}b")), "secret"),
        (with_secret(json!({ "location": { "type": "local", "path": "/x" } }), json!("x")), "secret"),
        (
            bucket(json!({ "secret_access_key": { "reference": "r", "version": 1 } })),
            "location.secret_access_key",
        ),
        (json!({ "location": { "type": "local", "path": "/x" }, "sealed_for": ["local"] }), "sealed_for"),
        (with_secret(bucket(json!({ "prefix": "/x" })), json!("x")), "location.prefix"),
    ] {
        let refused = put(body.clone()).await.problem(422, "invalid");
        assert_eq!(refused.fields(), [field], "{body}");
    }
    let log: String = stage.log().await.iter().map(|e| e.event.to_json().to_string()).collect();
    assert!(!log.contains("sesame") && !log.contains("another"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_came_later_cannot_read_what_was_sealed_before() {
    let stage = stage().await;
    let body = with_secret(bucket(json!({})), json!("open sesame"));
    stage.client.put("/destinations/cloud", body.clone()).await.expect(201);
    stage.client.put("/servers/new", json!({ "node": "other" })).await.expect(201);
    let store =
        json!({ "server": "new", "destination": "cloud", "kind": "dump-store", "encryption": "none" });
    let refused = stage.client.put("/repositories/dumps", store.clone()).await;
    assert!(refused.problem(409, "secret_not_for_node").text.contains("PUT on the destination"));
    stage.node_joins_as("other").await;
    stage.client.put("/destinations/cloud", body).await.expect(200);
    stage.client.put("/repositories/dumps", store).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_repository_takes_what_it_can() {
    let stage = stage().await;
    stage.client.put("/destinations/cloud", bucket(json!({}))).await.expect(201);
    let store = |more: Value| {
        let mut body =
            json!({ "server": "web", "destination": "cloud", "kind": "dump-store", "encryption": "none" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let put = async |body: Value| stage.client.put("/repositories/dumps", body).await;
    let someone = age::x25519::Identity::generate().to_public().to_string();
    for (more, field) in [
        (json!({ "kind": "borg" }), "destination"),
        (json!({ "encryption": "repokey", "passphrase": "x" }), "encryption"),
        (json!({ "encryption": "age" }), "recipients"),
        (json!({ "encryption": "passphrase" }), "passphrase"),
        (json!({ "identity": "AGE-SECRET-KEY-1" }), "identity"),
        (json!({ "encryption": "age", "recipients": [someone], "deduplicate": true }), "deduplicate"),
    ] {
        let refused = put(store(more.clone())).await.problem(422, "invalid");
        assert_eq!(refused.fields(), [field], "{more}");
    }
    let (key, other) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
    let secret = |key: &age::x25519::Identity| key.to_string().expose_secret().to_owned();
    let age = |identity: Value| {
        store(
            json!({ "encryption": "age", "recipients": [key.to_public().to_string()], "identity": identity }),
        )
    };
    let refused = put(age(json!(secret(&other)))).await.problem(422, "invalid");
    assert_eq!(refused.fields(), ["identity"]);
    let made = put(age(json!(secret(&key)))).await.expect(201);
    assert!(!made.text.contains("AGE-SECRET") && made.body["has_identity"] == true, "{}", made.text);
    let refused = put(store(json!({ "encryption": "none" }))).await.problem(409, "immutable");
    assert!(refused.text.contains("encryption"), "{}", refused.text);

    let once = async |deduplicate: bool| {
        stage.client.put("/repositories/once", store(json!({ "deduplicate": deduplicate }))).await
    };
    let new = once(true).await.expect(201);
    assert_eq!(new.body["deduplicate"], true);
    let history = stage.history(Kind::Job, new.str("/init_job/id")).await;
    let Event::JobRequested(requested) = &history[0].event else { panic!("{history:?}") };
    assert!(matches!(&requested.spec, JobSpec::InitRepository { access } if access.deduplicate));
    let refused = once(false).await.problem(409, "immutable");
    assert!(refused.text.contains("deduplicate"), "{}", refused.text);

    // Whoever only writes is not given what opens it.
    let init = stage.history(Kind::Job, made.str("/init_job/id")).await;
    let Event::JobRequested(requested) = &init[0].event else { panic!("{init:?}") };
    let JobSpec::InitRepository { access } = &requested.spec else { panic!("{requested:?}") };
    assert_eq!((access.location.as_str(), &access.identity), ("web/dumps", &None));
    assert_eq!(access.recipients, [key.to_public().to_string()]);

    let plan = |source: Value, compression: &str| json!({ "server": "web", "repository": "dumps", "source": source, "compression": compression });
    let sqlite = json!({ "type": "sqlite", "paths": ["/x.db"] });
    let files = |exclude: &str| json!({ "paths": ["/x"], "excludes": ["*.o", exclude] });
    let mut alone = files("sh:/x/**/y");
    alone["type"] = json!("files");
    let set = json!({ "type": "application", "files": files("re:x"), "sqlite": { "paths": ["/x.db"] } });
    for (plan, field) in [
        (plan(alone, "zstd"), "source.excludes[1]"),
        (plan(set, "zstd"), "source.files.excludes[1]"),
        (plan(sqlite.clone(), "lzma,3"), "compression"),
    ] {
        let refused = stage.client.put("/plans/db", plan.clone()).await.problem(422, "invalid");
        assert_eq!(refused.fields(), [field], "{plan}");
    }
    stage.client.put("/plans/db", plan(sqlite, "gzip,9")).await.expect(201);
    let started = stage.client.post("/plans/db/run", json!({})).await.expect(202);
    let job = stage.history(Kind::Job, started.str("/id")).await;
    let Event::JobRequested(requested) = &job[0].event else { panic!("{job:?}") };
    assert!(requested.spec.secrets().is_empty(), "{:?}", requested.spec.secrets());
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_refused_where_they_cannot_be_made() {
    let stage = stage().await;
    stage.client.put("/destinations/cloud", bucket(json!({}))).await.expect(201);
    let key = age::x25519::Identity::generate().to_public().to_string();
    let repository = async |name: &str, more: Value| {
        let mut body =
            json!({ "server": "web", "destination": "cloud", "kind": "dump-store", "encryption": "none" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stage.client.put(&format!("/repositories/{name}"), body).await.expect(201);
    };
    repository("one", json!({})).await;
    repository("two", json!({ "encryption": "passphrase", "passphrase": "x" })).await;
    repository("people", json!({ "encryption": "age", "recipients": [key] })).await;
    stage
        .client
        .put("/destinations/disk", json!({ "location": { "type": "local", "path": "/b" } }))
        .await
        .expect(201);
    repository("borg", json!({ "destination": "disk", "kind": "borg" })).await;
    stage.client.put("/servers/other", json!({ "node": "local" })).await.expect(201);
    repository("others", json!({ "server": "other" })).await;
    let plan = |repository: &str, copies: Value| json!({ "server": "web", "repository": repository, "source": { "type": "sqlite", "paths": ["/x"] }, "copies": copies });
    for (repository, copies, fields) in [
        ("one", json!(["none"]), vec!["copies[0]"]),
        ("one", json!(["two", "borg", "others"]), vec!["copies[1]", "copies[2]"]),
        ("one", json!(["one"]), vec!["copies[0]"]),
        ("one", json!(["two", "two"]), vec!["copies[1]"]),
        ("people", json!(["two"]), vec!["copies[0]"]),
    ] {
        let refused =
            stage.client.put("/plans/db", plan(repository, copies.clone())).await.problem(422, "invalid");
        assert_eq!(refused.fields(), fields, "{copies}");
    }
    stage.client.put("/plans/db", plan("one", json!(["two", "people"]))).await.expect(201);
    let used = stage.client.delete("/repositories/people").await.problem(409, "in_use");
    assert!(used.text.contains("plan 'db'"), "{}", used.text);
    let run = stage.client.post("/plans/db/run", json!({})).await.expect(202);
    let job = stage.history(Kind::Job, run.str("/id")).await;
    let Event::JobRequested(requested) = &job[0].event else { panic!("{job:?}") };
    let JobSpec::Backup(backup) = &requested.spec else { panic!("{requested:?}") };
    assert_eq!(backup.copies.iter().map(ToString::to_string).collect::<Vec<_>>(), ["two", "people"]);
}

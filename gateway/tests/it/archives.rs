//! Archives: shown, browsed, restored, deleted.

use crate::stage::{Reply, Stage, failed, send};
use reqwest::Method;
use serde_json::{Value, json};
use strongroom_domain::archive::{Facts, Stats};
use strongroom_domain::job::{Conflict, JobSpec, Outcome, RestoreTarget, Succeeded};
use strongroom_domain::view::{Archive, Entry};
use strongroom_domain::{ArchiveId, Event, Kind};
use uuid::Uuid;

/// A stage with one archive; its id.
pub async fn stage() -> (Stage, String) {
    let stage = Stage::new().await;
    stage.define().await;
    let id = ArchiveId(Uuid::now_v7());
    let stats = Stats {
        files: 4,
        original_size_bytes: 9000,
        compressed_size_bytes: 8000,
        deduplicated_size_bytes: 700,
        duration_ms: 3000,
        average_rate_bytes_per_s: 3000,
        repository_size_bytes: Some(700),
    };
    let facts = Facts {
        id,
        name: "web-1".into(),
        borg_id: "ab12".into(),
        started_at: strongroom_service::clock::now(),
        ended_at: None,
        stats: Some(stats),
        comment: String::new(),
        hostname: "h".into(),
        index: None,
        dump: None,
    };
    stage.facts.archives.lock().unwrap().push(Archive {
        id,
        repository: "site".parse().unwrap(),
        server: "web".parse().unwrap(),
        node: "local".parse().unwrap(),
        plan: Some("web".parse().unwrap()),
        job: None,
        facts,
        incomplete: false,
        missing: false,
        holds: Vec::new(),
    });
    (stage, id.to_string())
}

async fn spec(stage: &Stage, asked: &Reply) -> JobSpec {
    let history = stage.history(Kind::Job, asked.str("/id")).await;
    let Event::JobRequested(requested) = &history[0].event else { panic!("{history:?}") };
    requested.spec.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_shows_all_its_numbers() {
    let (stage, id) = stage().await;
    let shown = stage.client.get(&format!("/archives/{id}")).await.expect(200);
    assert_eq!(shown.body["facts"]["stats"]["average_rate_bytes_per_s"], 3000);
    assert_eq!(shown.body["facts"]["stats"]["deduplicated_size_bytes"], 700);
    let listed = stage.client.get("/archives?plan=web&limit=1").await.expect(200);
    assert_eq!((listed.str("/items/0/id"), &listed.body["next"]), (id.as_str(), &Value::Null));
    assert_eq!(stage.client.get("/archives?phase=failed").await.problem(422, "invalid").fields(), ["phase"]);
    for unknown in [Uuid::now_v7().to_string(), "nonsense".into()] {
        stage.client.get(&format!("/archives/{unknown}")).await.problem(404, "not_found");
        stage.client.delete(&format!("/archives/{unknown}")).await.problem(404, "not_found");
        stage.client.post(&format!("/archives/{unknown}/index"), json!({})).await.problem(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_is_told_of_the_newest_archive_and_run_of_each_plan_and_of_nothing_smaller() {
    let (stage, id) = stage().await;
    let numbers = async || {
        let request = stage.client.bare(Method::GET, "/metrics").bearer_auth(&stage.client.token);
        send(request).await.expect(200).text
    };
    for run in [true, false, true] {
        let job = stage.client.post("/plans/web/run", json!({})).await.expect(202);
        let how = if run { failed() } else { crate::stage::succeeded() };
        stage.end(job.str("/id"), how).await;
        let text = numbers().await;
        let line = format!("strongroom_plan_last_run_failed{{plan=\"web\"}} {}", u8::from(run));
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    let began = stage.client.get(&format!("/archives/{id}")).await.expect(200);
    let began: jiff::Timestamp = began.str("/facts/started_at").parse().unwrap();
    let text = numbers().await;
    for (name, value) in [
        ("timestamp_seconds", began.as_second().to_string()),
        ("original_size_bytes", stat(&stage, &id, "original_size_bytes").await),
        ("deduplicated_size_bytes", "700".into()),
        ("incomplete", "0".into()),
    ] {
        let line = format!("strongroom_plan_last_archive_{name}{{plan=\"web\"}} {value}");
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    assert!(text.contains("strongroom_plan_last_archive_duration_seconds{plan=\"web\"}"), "{text}");
    assert!(!text.contains(&id), "an archive is no label");
}

async fn stat(stage: &Stage, id: &str, name: &str) -> String {
    let shown = stage.client.get(&format!("/archives/{id}")).await.expect(200);
    shown.body["facts"]["stats"][name].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_browsed_once_there_is_an_index() {
    let (stage, id) = stage().await;
    let missing = stage.client.get(&format!("/archives/{id}/files")).await.problem(409, "no_index");
    assert!(missing.str("/detail").contains(&format!("/archives/{id}/index")), "{}", missing.text);
    let asked = stage.client.post(&format!("/archives/{id}/index"), json!({})).await.expect(202);
    let JobSpec::IndexArchive { archive, .. } = spec(&stage, &asked).await else { panic!("no index") };
    assert_eq!((archive.id.to_string(), archive.borg_id.as_str()), (id.clone(), "ab12"));

    let entry = |path: &str| Entry {
        path: path.into(),
        kind: "-".into(),
        size_bytes: 1,
        mode: "-rw-r--r--".into(),
        user: "u".into(),
        group: "g".into(),
        modified_at: String::new(),
        link_target: None,
    };
    let entries = ["srv", "srv/a", "srv/b c", "srv/d/e"].map(entry).to_vec();
    stage.facts.indexes.lock().unwrap().insert(id.clone(), entries);
    let paths = async |query: &str| {
        let page = stage.client.get(&format!("/archives/{id}/files?{query}")).await.expect(200).body;
        let paths = page["items"].as_array().unwrap().iter().map(|i| i["path"].as_str().unwrap().to_owned());
        (paths.collect::<Vec<_>>(), page["next"].clone())
    };
    assert_eq!(paths("").await.0, ["srv"]);
    assert_eq!(paths("path=srv").await.0, ["srv/a", "srv/b c"]);
    let (first, next) = paths("path=srv&limit=1").await;
    assert_eq!(first, ["srv/a"]);
    assert_eq!(paths(&format!("path=srv&limit=1&after={}", next.as_str().unwrap())).await.0, ["srv/b c"]);
    assert_eq!(paths("path=srv/d").await.0, ["srv/d/e"]);
    let refused = stage.client.get(&format!("/archives/{id}/files?limit=1001")).await;
    assert_eq!(refused.problem(422, "invalid").fields(), ["limit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_where_the_server_allows_and_nowhere_else() {
    let (stage, id) = stage().await;
    let path = format!("/archives/{id}/restore");
    let folder = |to: &str| json!({ "paths": ["srv/a"], "target": { "type": "folder", "path": to } });
    let asked = stage.client.keyed(&path, "k", folder("/srv/back/x")).await.expect(202);
    let JobSpec::Restore(restore) = spec(&stage, &asked).await else { panic!("no restore") };
    assert_eq!(restore.target, RestoreTarget::Folder { path: "/srv/back/x".into() });
    assert_eq!((restore.on_conflict, restore.allowed_roots), (Conflict::Fail, vec!["/srv/back".to_owned()]));
    assert_eq!(restore.archive.name, "web-1");
    // The same again is the same job; another target under that key would go unnoticed.
    let again = stage.client.keyed(&path, "k", folder("/srv/back/x")).await.expect(202);
    assert_eq!(again.str("/id"), asked.str("/id"));
    stage.client.keyed(&path, "k", folder("/srv/back/y")).await.problem(409, "idempotency_key_reused");

    for outside in ["/etc", "/srv/backup", "/srv/back/../x", "relative", ""] {
        let refused = stage.client.post(&path, folder(outside)).await.problem(422, "invalid");
        assert_eq!(refused.fields(), ["target.path"], "{outside}");
    }
    for (body, field) in [
        (json!({}), "target"),
        (json!({ "target": { "type": "moon" } }), "target.type"),
        (json!({ "target": { "type": "folder", "path": "/srv/back", "mode": 7 } }), "target.mode"),
        (json!({ "paths": ["../etc"], "target": { "type": "folder", "path": "/srv/back" } }), "paths[0]"),
        (json!({ "paths": ["srv/a", 7], "target": { "type": "folder", "path": "/srv/back" } }), "paths[1]"),
        (json!({ "paths": ["srv/a"], "target": { "type": "original" } }), "paths[0]"),
        (json!({ "target": { "type": "original" } }), "paths"),
        (
            json!({ "on_conflict": "merge", "target": { "type": "folder", "path": "/srv/back" } }),
            "on_conflict",
        ),
    ] {
        let refused = stage.client.post(&path, body.clone()).await.problem(422, "invalid");
        assert!(refused.fields().iter().any(|f| field.starts_with(f)), "{body}: {}", refused.text);
    }
    stage.client.put("/servers/web", json!({ "node": "local" })).await.expect(200);
    let refused = stage.client.post(&path, folder("/srv/back/x")).await.problem(422, "invalid");
    assert!(refused.text.contains("restore_roots"), "{}", refused.text);
    stage.facts.archives.lock().unwrap()[0].missing = true;
    stage.client.post(&path, folder("/srv/back/x")).await.problem(409, "archive_missing");
    // What was asked for was asked for, whatever became of what it is about, and it says how far it is.
    let again = stage.client.keyed(&path, "k", folder("/srv/back/x")).await.expect(202);
    assert_eq!((again.str("/id"), again.str("/phase")), (asked.str("/id"), "waiting"));
    assert_eq!(again.body["requested"], asked.body["requested"]);
    stage.facts.archives.lock().unwrap().clear();
    stage.end(asked.str("/id"), failed()).await;
    let again = stage.client.keyed(&path, "k", folder("/srv/back/x")).await.expect(202);
    assert_eq!((again.str("/id"), again.str("/phase")), (asked.str("/id"), "failed"));
    stage.client.keyed(&path, "k", folder("/srv/back/y")).await.problem(409, "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_deleted_by_one_job_at_a_time() {
    let (stage, id) = stage().await;
    let path = format!("/archives/{id}");
    let asked = stage.client.delete(&path).await.expect(202);
    let JobSpec::DeleteArchive { archive, .. } = spec(&stage, &asked).await else { panic!("no delete") };
    assert_eq!(archive.id.to_string(), id);
    let refused = stage.client.delete(&path).await.problem(409, "being_deleted");
    assert!(refused.str("/detail").contains(asked.str("/id")), "{}", refused.text);
    stage.end(asked.str("/id"), failed()).await;
    let keyed = || send(stage.client.request(Method::DELETE, &path).header("idempotency-key", "k"));
    let first = keyed().await.expect(202);
    // Its answer may have been lost: the same request is no second one, whatever became of the first.
    assert_eq!(keyed().await.expect(202).str("/id"), first.str("/id"));
    stage.end(first.str("/id"), failed()).await;
    let again = keyed().await.expect(202);
    assert_eq!((again.str("/id"), again.str("/phase")), (first.str("/id"), "failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_destination_holds_and_has_room_for_is_told() {
    let (stage, _) = stage().await;
    let client = &stage.client;
    client.get("/destinations/nowhere/usage").await.problem(404, "not_found");
    let usage = client.get("/destinations/disk/usage").await.expect(200);
    let of = &usage.body["repositories"][0];
    assert_eq!(
        (&of["repository"], &of["used_bytes"], &of["archives"]),
        (&json!("site"), &json!(700), &json!(1))
    );
    assert_eq!((&usage.body["used"]["bytes_per_day"], &usage.body["space"]), (&json!(700), &json!([])));
    stage.node_joins().await;
    let tested = client.post("/destinations/disk/test", json!({ "server": "web" })).await.expect(202);
    let probe = json!({ "place": "/backups", "size_bytes": 1, "write_ms": 1, "read_ms": 1,
        "space": { "total_bytes": 5000, "free_bytes": 3000 } });
    let result = serde_json::from_value(json!({ "kind": "test-destination", "probe": probe })).unwrap();
    stage.begin(tested.str("/id")).await;
    let done = Outcome::new(result, Vec::new());
    let done = Event::JobSucceeded(Succeeded { epoch: 7, outcome: done, log_tail: Vec::new() });
    stage.end(tested.str("/id"), done).await;
    let usage = client.get("/destinations/disk/usage").await.expect(200);
    let room = &usage.body["space"][0];
    assert_eq!((&room["server"], &room["free_bytes"]), (&json!("web"), &json!(3000)), "{}", usage.text);
    assert_eq!(room["total_bytes"], 5000);
}

//! Variants: what a plan may say, what a run may be asked to be, and what is not taken away.

use crate::stage::Stage;
use serde_json::{Value, json};
use strongroom_domain::archive::Facts;
use strongroom_domain::chain::{Blocks, Position, Until, Variant};
use strongroom_domain::job::JobSpec;
use strongroom_domain::view::Archive;
use strongroom_domain::{ArchiveId, Event, Kind};
use uuid::Uuid;

fn plan(changes: Value) -> Value {
    let mut plan = json!({
        "server": "web", "repository": "site", "variant": "incremental",
        "source": { "type": "postgresql", "method": "physical", "connection": { "user": "b" } },
    });
    plan.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    plan
}

async fn spec(stage: &Stage, job: &str) -> JobSpec {
    let history = stage.history(Kind::Job, job).await;
    let Event::JobRequested(requested) = &history[0].event else { panic!("{history:?}") };
    requested.spec.clone()
}

/// An archive of a whole server in the catalog.
fn add(stage: &Stage, name: &str, base: Option<&Archive>) -> Archive {
    let base =
        base.map(|base| json!({ "id": base.id, "name": base.facts.name, "borg_id": base.facts.borg_id }));
    let id = ArchiveId(Uuid::now_v7());
    let facts: Facts = serde_json::from_value(json!({
        "id": id, "name": name, "borg_id": name, "started_at": "2026-03-01T00:00:00Z",
        "dump": { "source": "postgresql", "server_version": "15.1", "tool": "t", "artefacts": [], "artefacts_total": 0,
            "physical": { "variant": if base.is_none() { "full" } else { "incremental" }, "base": base, "position": {
                "system": "postgresql", "system_identifier": "7", "timeline": 1, "segment_bytes": 16 << 20,
                "start_lsn": "0/1", "stop_lsn": "0/3000000", "stopped_at": "2026-03-02T00:00:00Z" } } },
    }))
    .unwrap();
    let archive = Archive {
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
    };
    stage.facts.archives.lock().unwrap().push(archive.clone());
    archive
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_its_source_can_do_and_a_run_may_be_a_full_one() {
    let stage = Stage::new().await;
    stage.define().await;
    let path = "/plans/db";
    let files = json!({ "type": "files", "paths": ["/srv"] });
    let sqlite = json!({ "type": "sqlite", "paths": ["/srv/a.db"] });
    for source in [files, sqlite, json!({ "type": "postgresql" }), json!({ "type": "mysql" })] {
        let refused = stage.client.put(path, plan(json!({ "source": source }))).await.problem(422, "invalid");
        assert_eq!(refused.fields(), ["variant"], "{source}");
        assert!(refused.text.contains("must be 'full': "), "{}", refused.text);
    }
    for (changes, field) in [
        (json!({ "full_every": { "archives": 0 } }), "full_every.archives"),
        (json!({ "full_every": { "days": 1000 } }), "full_every.days"),
        (json!({ "full_every": { "hours": 1 } }), "full_every.hours"),
        (json!({ "variant": "full", "full_every": { "days": 1 } }), "full_every"),
        (json!({ "variant": "some" }), "variant"),
        (
            json!({ "source": { "type": "postgresql", "method": "physical", "databases": ["a"] } }),
            "source.databases",
        ),
        (json!({ "copies": ["other"] }), "copies"),
        (json!({ "source": { "type": "postgresql", "increments": "blocks" } }), "source.increments"),
        (
            json!({ "source": { "type": "postgresql", "method": "physical", "increments": "blocks" }, "variant": "full" }),
            "source.increments",
        ),
        (
            json!({ "source": { "type": "postgresql", "method": "physical", "increments": "pages" } }),
            "source",
        ),
        (
            json!({ "source": { "type": "mysql", "method": "physical", "increments": "blocks" } }),
            "source.increments",
        ),
    ] {
        let refused = stage.client.put(path, plan(changes.clone())).await.problem(422, "invalid");
        assert!(refused.fields().contains(&field), "{changes}: {}", refused.text);
    }
    let blocks = json!({ "type": "postgresql", "method": "physical", "increments": "blocks" });
    let made = stage.client.put("/plans/blocks", plan(json!({ "source": blocks }))).await.expect(201);
    assert_eq!(made.str("/source/increments"), "blocks");
    let test = json!({ "server": "web", "source": blocks, "variant": "full" });
    let refused = stage.client.post("/sources/test", test).await.problem(422, "invalid");
    assert_eq!(refused.fields(), ["source.increments"]);
    let test = json!({ "server": "web", "source": blocks, "variant": "incremental" });
    stage.client.post("/sources/test", test).await.expect(202);
    let mariadb = json!({ "source": { "type": "mysql", "method": "physical" }, "variant": "differential" });
    stage.client.put("/plans/maria", plan(mariadb)).await.expect(201);
    let made = stage.client.put(path, plan(json!({ "full_every": { "archives": 7 } }))).await.expect(201);
    assert_eq!((made.str("/variant"), &made.body["full_every"]["archives"]), ("incremental", &json!(7)));

    let asked = stage.client.post("/plans/db/run", json!({})).await.expect(202);
    let JobSpec::Backup(backup) = spec(&stage, asked.str("/id")).await else { panic!("no backup") };
    assert_eq!((backup.variant, backup.full, backup.base), (Variant::Incremental, false, None));
    assert_eq!(backup.full_every.archives, Some(7));
    let full = json!({ "variant": "full" });
    let asked = stage.client.keyed("/plans/db/run", "k", full.clone()).await.expect(202);
    let JobSpec::Backup(backup) = spec(&stage, asked.str("/id")).await else { panic!("no backup") };
    assert_eq!((backup.variant, backup.full), (Variant::Incremental, true));
    stage.client.keyed("/plans/db/run", "k", full).await.expect(202);
    stage.client.keyed("/plans/db/run", "k", json!({})).await.problem(409, "idempotency_key_reused");
    stage.client.post("/plans/db/run", json!({ "variant": "incremental" })).await.expect(202);
    let other = stage.client.post("/plans/db/run", json!({ "variant": "differential" })).await;
    assert_eq!(other.problem(422, "invalid").fields(), ["variant"]);
    // It is asked for again as it was.
    stage.end(asked.str("/id"), crate::stage::failed()).await;
    let retry = stage.client.post(&format!("/jobs/{}/retry", asked.str("/id")), json!({})).await.expect(202);
    let JobSpec::Backup(backup) = spec(&stage, retry.str("/id")).await else { panic!("no backup") };
    assert!(backup.full);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_needs_stays_and_what_needs_another_is_not_copied() {
    let stage = Stage::new().await;
    stage.define().await;
    let full = add(&stage, "db-1", None);
    let next = add(&stage, "db-2", Some(&full));
    let kept = stage.client.delete(&format!("/archives/{}", full.id)).await.problem(409, "archive_is_base");
    assert!(kept.str("/detail").contains("db-2"), "{}", kept.text);
    let copy = stage.client.post(&format!("/archives/{}/copy", next.id), json!({ "to": "other" })).await;
    copy.problem(409, "archive_needs_base");
    stage.client.delete(&format!("/archives/{}", next.id)).await.expect(202);
    stage.facts.archives.lock().unwrap().retain(|archive| archive.id != next.id);
    stage.client.delete(&format!("/archives/{}", full.id)).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_restored_where_it_may_be_and_to_what_the_archive_holds() {
    let stage = Stage::new().await;
    stage.define().await;
    let full = add(&stage, "db-1", None);
    let next = add(&stage, "db-2", Some(&full));
    let path = format!("/archives/{}/restore-cluster", next.id);
    let wanted = |changes: Value| {
        let mut wanted = json!({ "target": "/srv/back/pg" });
        wanted.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        wanted
    };
    let until = json!({ "until": { "time": "2026-03-01T12:00:00Z" }, "os_user": "postgres" });
    let asked = stage.client.keyed(&path, "k", wanted(until)).await.expect(202);
    let JobSpec::RestoreCluster(restore) = spec(&stage, asked.str("/id")).await else { panic!("no restore") };
    assert_eq!((restore.archive.name.as_str(), restore.target.as_str()), ("db-2", "/srv/back/pg"));
    assert_eq!(restore.until, Some(Until::Time("2026-03-01T12:00:00Z".parse().unwrap())));
    assert_eq!(
        (restore.os_user.as_deref(), restore.allowed_roots),
        (Some("postgres"), vec!["/srv/back".to_owned()])
    );
    stage.client.keyed(&path, "k", wanted(json!({}))).await.problem(409, "idempotency_key_reused");
    for (changes, field) in [
        (json!({ "target": "/etc/pg" }), "target"),
        (json!({ "target": "/srv/back/../x" }), "target"),
        (json!({ "until": { "time": "2026-03-02T00:00:01Z" } }), "until"),
        (json!({ "until": { "lsn": "0/3000001" } }), "until"),
        (json!({ "until": { "lsn": "nowhere" } }), "until.lsn"),
        (json!({ "os_user": "-u" }), "os_user"),
        (json!({ "port": 1 }), "port"),
    ] {
        let refused = stage.client.post(&path, wanted(changes.clone())).await.problem(422, "invalid");
        assert!(refused.fields().iter().any(|f| field.starts_with(f)), "{changes}: {}", refused.text);
    }
    let of_full = format!("/archives/{}/restore-cluster", full.id);
    stage.client.post(&of_full, wanted(json!({ "dry_run": true }))).await.expect(202);
    let refused = stage.client.post(&of_full, wanted(json!({ "until": { "lsn": "0/1" } }))).await;
    assert_eq!(refused.problem(422, "invalid").fields(), ["until"]);
    // Of changed blocks there is nothing between the ends of archives.
    {
        let mut archives = stage.facts.archives.lock().unwrap();
        let physical = archives[1].facts.dump.as_mut().unwrap().physical.as_mut().unwrap();
        let Position::Postgresql(position) = &mut physical.position else { panic!("{physical:?}") };
        position.blocks = Some(Blocks { since_lsn: Some(position.start_lsn), manifest_sha256: "d".into() });
    }
    let refused =
        stage.client.post(&path, wanted(json!({ "until": { "time": "2026-03-01T12:00:00Z" } }))).await;
    assert!(refused.problem(422, "invalid").text.contains("one moment each"));
    let database = format!("/archives/{}/restore-database", full.id);
    let no = stage.client.post(&database, json!({})).await.problem(409, "no_databases");
    assert!(no.text.contains("restore-cluster"), "{}", no.text);
    stage.facts.archives.lock().unwrap()[0].facts.dump.as_mut().unwrap().physical = None;
    stage.client.post(&of_full, wanted(json!({}))).await.problem(409, "no_cluster");
}

//! What would become of a plan's archives, before anything does.

use crate::stage::{Reply, Stage, plan};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use strongroom_domain::retention::{Candidate, Hold};
use strongroom_domain::{ArchiveId, Event, Kind};
use strongroom_service::clock;
use uuid::Uuid;

/// Archives of a day each, the newest an hour ago; the name of the n-th begins with `name` and says how old it is.
pub fn days(name: &str, n: u32) -> Vec<Candidate> {
    let now = clock::now();
    let made = |days: u32| now.checked_sub(SignedDuration::from_hours(24 * i64::from(days) + 1)).unwrap();
    let candidate = |days: u32| Candidate {
        added_bytes: Some(1000),
        ..Candidate::new(ArchiveId(Uuid::now_v7()), format!("{name}{days}"), made(days))
    };
    (0..n).map(candidate).collect()
}

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.define().await;
    let of = ("web".parse().unwrap(), "site".parse().unwrap(), days("a", 5));
    stage.facts.kept.lock().unwrap().push(of);
    stage
}

fn with(more: Value) -> Value {
    let mut body = plan();
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn words(told: &Reply) -> Vec<String> {
    let archives = told.body["repositories"][0]["archives"].as_array().unwrap();
    let word = |archive: &Value, name: &str| archive[name].as_str().unwrap().to_owned();
    archives
        .iter()
        .map(|a| format!("{} {}: {}", word(a, "name"), word(a, "outcome"), word(a, "why")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_what_would_go_and_why_before_anything_goes() {
    let stage = stage().await;
    let client = &stage.client;
    let refused = client.get("/plans/web/retention").await.problem(409, "no_retention");
    assert!(refused.str("/detail").contains("/retention/preview"), "{}", refused.text);
    client.get("/plans/nowhere/retention").await.problem(404, "not_found");
    client.put("/plans/web", with(json!({ "retention": { "keep_daily": 3 } }))).await.expect(200);
    stage.facts.kept.lock().unwrap()[0].2[4].holds.push(Hold {
        name: "audit".into(),
        by: "token:ana".into(),
        reason: "2026".into(),
        until: None,
    });
    let told = client.get("/plans/web/retention").await.expect(200);
    assert_eq!(
        words(&told),
        [
            "a0 keep: daily 1 of 3; newest good archive; minimum 1 of 1",
            "a1 keep: daily 2 of 3",
            "a2 keep: daily 3 of 3",
            "a3 go: no rule keeps it",
            "a4 keep: held by token:ana: 2026",
        ]
    );
    let of = &told.body["repositories"][0];
    assert_eq!(
        (&of["repository"], &of["kept"], &of["going"], &of["freed_bytes"]),
        (&json!("site"), &json!(4), &json!(1), &json!(1000))
    );
    assert_eq!(
        (&told.body["kept"], &told.body["going"], &told.body["freed_bytes"]),
        (&json!(4), &json!(1), &json!(1000))
    );
    assert_eq!((&of["gate"], &told.body["policy"]["keep_daily"]), (&Value::Null, &json!(3)));
    // Typed beside the sentences.
    assert_eq!(
        of["archives"][0]["reasons"][0],
        json!({ "reason": "rule", "rule": "daily", "nth": 1, "of": 3, "oldest": false })
    );
    assert_eq!(of["archives"][3]["reasons"], json!([{ "reason": "no_rule" }]));

    // Behind a gate it is told what would go, and that nothing does.
    stage.facts.failures_in_a_row.store(2, Ordering::SeqCst);
    stage.facts.kept.lock().unwrap()[0].2[3].added_bytes = None;
    let told = client.get("/plans/web/retention").await.expect(200);
    let of = &told.body["repositories"][0];
    assert_eq!(
        (of["gate"]["gate"].as_str(), of["gate"]["failures_in_a_row"].as_u64()),
        (Some("runs_fail"), Some(2))
    );
    assert!(of["gate"]["why"].as_str().unwrap().contains("2 runs failed"), "{of}");
    assert_eq!(
        (&of["going"], &of["freed_bytes"], &told.body["freed_bytes"]),
        (&json!(1), &Value::Null, &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_policy_is_tried_without_being_taken() {
    let stage = stage().await;
    let token = stage.client.post("/tokens", json!({ "id": "reader", "scope": "read" })).await.expect(201);
    let client = stage.client.with_token(token.str("/token"));
    let before = stage.log().await.len();
    let tried = json!({ "policy": { "keep_last": 1 } });
    let told = client.post("/plans/web/retention/preview", tried).await.expect(200);
    assert_eq!((&told.body["kept"], &told.body["going"]), (&json!(1), &json!(4)));
    let replayed =
        client.post("/plans/web/retention/replay", json!({ "policy": { "keep_last": 2 } })).await.expect(200);
    let of = &replayed.body["repositories"][0];
    assert_eq!((&of["repository"], &of["kept"], &of["deleted"]), (&json!("site"), &json!(2), &json!(3)));
    assert_eq!(
        (of["archives"][1]["name"].as_str(), of["worst_gap"]["duration_s"].as_i64()),
        (Some("a1"), Some(86400))
    );
    let until = clock::now().checked_add(SignedDuration::from_hours(24 * 40)).unwrap();
    let simulated = json!({ "policy": { "keep_last": 2 }, "schedule": { "cron": "@daily" }, "until": until });
    let simulated = client.post("/plans/web/retention/simulate", simulated).await.expect(200);
    let of = &simulated.body["repositories"][0];
    assert_eq!((of["runs"].as_u64(), of["points"][0]["archives"].as_u64()), (Some(40), Some(2)), "{of}");
    assert_eq!(stage.log().await.len(), before, "nothing is written by asking");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_question_is_told_by_its_field() {
    let stage = stage().await;
    let ahead = clock::now().checked_add(SignedDuration::from_hours(1)).unwrap();
    let past = Timestamp::from_second(1_700_000_000).unwrap();
    for (word, body, fields) in [
        ("preview", json!({}), vec!["policy"]),
        ("preview", json!({ "policy": {} }), vec!["policy.keep_last"]),
        ("preview", json!({ "policy": { "keep_within": "soon" } }), vec!["policy.keep_within"]),
        ("preview", json!({ "policy": { "keep_daily": 1, "colour": 1 } }), vec!["policy.colour"]),
        ("replay", json!({ "policy": { "keep_daily": -1 } }), vec!["policy.keep_daily"]),
        ("replay", json!({ "policy": { "keep_daily": 1 }, "until": ahead }), vec!["until"]),
        ("replay", json!({ "policy": { "keep_daily": 1 }, "from": past, "until": past }), vec!["from"]),
        ("simulate", json!({ "policy": { "keep_daily": 1 }, "until": past }), vec!["until"]),
        (
            "simulate",
            json!({ "policy": { "minimum": 0, "keep_daily": 1 }, "schedule": { "cron": "x" } }),
            vec!["policy.minimum", "schedule.cron"],
        ),
    ] {
        let path = format!("/plans/web/retention/{word}");
        let refused = stage.client.post(&path, body.clone()).await.problem(422, "invalid");
        assert_eq!(refused.fields(), fields, "{word} {body}");
        stage
            .client
            .post(&path.replace("web", "nowhere"), json!({ "policy": { "keep_last": 1 } }))
            .await
            .problem(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_it_keeps_and_what_is_wrong_with_that_is_told_by_its_field() {
    let stage = stage().await;
    let client = &stage.client;
    let retention = json!({
        "keep_within": "30d", "keep_daily": 7, "keep_yearly": "all", "minimum": 2, "require_verified": true,
        "time_zone": "Europe/Paris",
    });
    let schedule = json!({ "preset": { "every": "week", "on": ["sunday"], "at": "05:00" } });
    let body = with(json!({ "retention": retention, "retention_schedule": schedule }));
    let put = client.put("/plans/web", body).await.expect(200);
    for shown in [put, client.get("/plans/web").await.expect(200)] {
        let there = &shown.body["retention"];
        for (field, value) in retention.as_object().unwrap() {
            assert_eq!(&there[field], value, "{field}");
        }
        assert_eq!(shown.body["retention_schedule"]["cron"], "0 5 * * 0");
    }
    // What a client has read, it can send back.
    let mut shown = client.get("/plans/web").await.expect(200).body;
    for field in ["id", "version", "paused", "defined_at", "changed_at", "next_run_at"] {
        shown.as_object_mut().unwrap().remove(field);
    }
    client.put("/plans/web", shown).await.expect(200);
    let history = stage.history(Kind::Plan, "web").await;
    let [.., Event::PlanDefined(before), Event::PlanDefined(after)] =
        &history.iter().map(|e| &e.event).collect::<Vec<_>>()[..]
    else {
        panic!("{history:?}")
    };
    assert_eq!(before, after);
    for (body, fields) in [
        (json!({ "retention": { "keep_within": "30 days" } }), vec!["retention.keep_within"]),
        (json!({ "retention": {} }), vec!["retention.keep_last"]),
        (json!({ "retention": { "keep_dayly": 7 } }), vec!["retention.keep_dayly"]),
        (json!({ "retention": { "keep_daily": "some" } }), vec!["retention.keep_daily"]),
        (json!({ "retention": { "keep_daily": 7, "time_zone": "X" } }), vec!["retention.time_zone"]),
        (json!({ "retention_schedule": { "cron": "@daily" } }), vec!["retention_schedule"]),
        (
            json!({ "retention": { "keep_daily": 7 }, "retention_schedule": { "cron": "x" } }),
            vec!["retention_schedule.cron"],
        ),
    ] {
        let refused = client.put("/plans/web", with(body.clone())).await.problem(422, "invalid");
        assert_eq!(refused.fields(), fields, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_at_once_is_refused_and_not_waited_for() {
    let stage = stage().await;
    stage.facts.kept.lock().unwrap()[0].2 = days("site-447151ed-27a2-51fa-a8de-b96d62ec1921", 9000);
    let tried = json!({ "policy": { "keep_last": 1 } });
    let refused =
        stage.client.post("/plans/web/retention/preview", tried).await.problem(409, "answer_too_large");
    assert!(refused.str("/detail").contains("bytes"), "{}", refused.text);
}

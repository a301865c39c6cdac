//! Schedules before they are saved.

use crate::stage::Stage;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_says_in_two_languages_when_it_runs_and_what_the_clocks_do_to_it() {
    let stage = Stage::new().await;
    let reader = stage.client.post("/tokens", json!({ "id": "reader", "scope": "read" })).await.expect(201);
    let client = stage.client.with_token(reader.str("/token"));
    let body = json!({
        "preset": { "every": "day", "at": "02:30" }, "time_zone": "Europe/Paris", "count": 3,
        "after": "2026-03-27T12:00:00Z",
        "blackout": [{ "kind": "dated", "from": "2026-03-30", "to": "2026-03-31", "reason": "stocktaking" }],
    });
    let told = client.post("/schedules/preview", body).await.expect(200);
    assert_eq!((told.str("/cron"), told.str("/time_zone")), ("30 2 * * *", "Europe/Paris"));
    let (en, fr) = (told.str("/sentence/en"), told.str("/sentence/fr"));
    assert!(en.contains("02:30") && en.contains("every day"), "{en}");
    assert!(fr.contains("tous les jours"), "{fr}");
    let runs: Vec<[&str; 3]> = told.body["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| {
            let text = |name: &str| run[name].as_str().unwrap_or_default();
            [text("at"), text("local"), text("note")]
        })
        .collect();
    assert_eq!(
        runs,
        [
            ["2026-03-28T01:30:00Z", "2026-03-28T02:30:00+01:00", ""],
            ["2026-03-29T01:00:00Z", "2026-03-29T03:00:00+02:00", "gap"],
            ["2026-03-30T00:30:00Z", "2026-03-30T02:30:00+02:00", ""],
        ]
    );
    let swallowed: Vec<&Value> =
        told.body["next"].as_array().unwrap().iter().map(|run| &run["blackout"]).collect();
    assert_eq!(swallowed[..2], [&Value::Null, &Value::Null]);
    assert_eq!(swallowed[2], &json!({ "window": 0, "reason": "stocktaking" }));
    // Five from now on, when nobody says.
    let told = client.post("/schedules/preview", json!({ "cron": "@hourly" })).await.expect(200);
    assert_eq!((told.body["next"].as_array().unwrap().len(), told.str("/time_zone")), (5, "UTC"));
    let first: jiff::Timestamp = told.str("/next/0/at").parse().unwrap();
    assert!(first > strongroom_service::clock::now());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_schedule_is_told_by_its_field() {
    let stage = Stage::new().await;
    let before = stage.log().await.len();
    for (body, fields) in [
        (json!({}), vec!["cron"]),
        (json!({ "cron": "61 * * * *" }), vec!["cron"]),
        (json!({ "cron": "@daily", "time_zone": "Europe/Atlantis" }), vec!["time_zone"]),
        (json!({ "preset": { "every": "day", "at": "25:00" } }), vec!["preset.at"]),
        (json!({ "cron": "@daily", "preset": { "every": "day", "at": "02:00" } }), vec!["preset"]),
        (
            json!({ "cron": "@daily", "blackout": [{ "kind": "weekly", "from": "x", "to": "18:00" }] }),
            vec!["blackout[0].from"],
        ),
        (json!({ "cron": "@daily", "count": 0 }), vec!["count"]),
        (json!({ "cron": "@daily", "count": 101, "priority": 10 }), vec!["priority", "count"]),
        (json!({ "cron": "@daily", "after": "soon" }), vec!["after"]),
        (json!({ "cron": "@daily", "colour": "red" }), vec!["colour"]),
    ] {
        let refused = stage.client.post("/schedules/preview", body.clone()).await.problem(422, "invalid");
        assert_eq!(refused.fields(), fields, "{body}");
    }
    assert_eq!(stage.log().await.len(), before, "nothing is written by looking");
}

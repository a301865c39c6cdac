//! What holds for the whole system, and which plans are late.

use crate::stage::Stage;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_changed_while_the_system_runs_and_wrong_ones_are_named() {
    let stage = Stage::new().await;
    let client = &stage.client;
    let none = client.get("/settings/limits").await.expect(200);
    assert_eq!((&none.body["max_jobs"], &none.body["effective"]["global"]), (&Value::Null, &json!(8)));
    let wrong =
        client.put("/settings/limits", json!({ "max_jobs": 0, "max_jobs_per_server": 1 })).await.expect(422);
    assert_eq!(wrong.str("/errors/0/field"), "max_jobs");
    let unknown = client.put("/settings/limits", json!({ "max_job": 1 })).await.expect(422);
    assert_eq!(unknown.str("/errors/0/field"), "max_job");
    let set = client
        .put("/settings/limits", json!({ "max_jobs": 3, "max_jobs_per_destination": 1 }))
        .await
        .expect(200);
    assert_eq!((&set.body["max_jobs"], &set.body["max_jobs_per_repository"]), (&json!(3), &Value::Null));
    // The same once more is no news.
    let again = client
        .put("/settings/limits", json!({ "max_jobs": 3, "max_jobs_per_destination": 1 }))
        .await
        .expect(200);
    assert_eq!(set.header("etag"), again.header("etag"));
    let shown = client.get("/settings/limits").await.expect(200);
    assert_eq!(
        (&shown.body["max_jobs_per_destination"], shown.header("etag")),
        (&json!(1), set.header("etag"))
    );
    let reader = client.post("/tokens", json!({ "id": "operator", "scope": "operate" })).await.expect(201);
    let operator = client.with_token(reader.str("/token"));
    operator.put("/settings/limits", json!({ "max_jobs": 100 })).await.expect(403);
    operator.get("/settings/limits").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn which_plans_are_late_is_asked_at_one_place() {
    let stage = Stage::new().await;
    let late = json!({ "plan": "web", "state": "overdue", "since": "2026-03-01T05:24:00Z", "target_s": 95040, "failures_in_a_row": 2 });
    *stage.facts.standings.lock().unwrap() = vec![serde_json::from_value(late).unwrap()];
    let told = stage.client.get("/lateness").await.expect(200);
    assert_eq!((told.str("/items/0/plan"), told.str("/items/0/state")), ("web", "overdue"));
    assert_eq!(told.str("/items/0/since"), "2026-03-01T05:24:00Z");
}

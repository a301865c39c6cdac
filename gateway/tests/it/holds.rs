//! Holds of archives.

use crate::archives::stage;
use crate::stage::{failed, send};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use strongroom_domain::{Event, Kind};

#[tokio::test(flavor = "multi_thread")]
async fn a_held_archive_says_by_whom_and_why_and_is_deleted_only_when_it_is_released() {
    let (stage, id) = stage().await;
    let (client, path) = (&stage.client, format!("/archives/{id}"));
    let at = format!("{path}/holds/audit");
    let made = client.put(&at, json!({ "reason": "audit of 2026" })).await.expect(201);
    assert_eq!(
        (made.str("/name"), made.str("/reason"), made.str("/archive")),
        ("audit", "audit of 2026", &*id)
    );
    let by = made.str("/by").to_owned();
    assert!(by.starts_with("token:"), "{by}");
    // Again is no second fact; other words are, in its place.
    let again = client.put(&at, json!({ "reason": "audit of 2026" })).await.expect(200);
    assert_eq!(again.sequence(), made.sequence());
    assert_eq!(stage.history(Kind::Archive, &id).await.len(), 1);
    client.put(&at, json!({ "reason": "audit of 2027" })).await.expect(200);
    let history = stage.history(Kind::Archive, &id).await;
    let Event::ArchiveHeld(held) = &history[1].event else { panic!("{history:?}") };
    assert_eq!((held.repository.as_str(), held.hold.by.as_str()), ("site", &*by));

    // To let it end earlier is to release it, which not everybody who may hold may do.
    let soon = strongroom_service::clock::now().checked_add(SignedDuration::from_secs(60)).unwrap();
    client
        .put(&at, json!({ "reason": "audit of 2027", "until": soon }))
        .await
        .problem(409, "hold_ends_later");

    let shown = client.get(&path).await.expect(200);
    assert_eq!(shown.body["holds"], json!([{ "name": "audit", "by": by, "reason": "audit of 2027" }]));
    let listed = client.get("/archives").await.expect(200);
    assert_eq!(listed.body["items"][0]["holds"], shown.body["holds"]);
    let refused = client.delete(&path).await.problem(409, "archive_held");
    for word in [&*by, "audit of 2027", &*at] {
        assert!(refused.str("/detail").contains(word), "{word}: {}", refused.text);
    }
    client.delete(&at).await.expect(204);
    client.delete(&at).await.problem(404, "not_found");
    assert_eq!(client.get(&path).await.expect(200).body["holds"], json!([]));
    client.delete(&path).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_has_ended_holds_nothing_and_is_not_shown() {
    let (stage, id) = stage().await;
    let (client, at) = (&stage.client, format!("/archives/{id}/holds/audit"));
    let soon = strongroom_service::clock::now().checked_add(SignedDuration::from_secs(2)).unwrap();
    client.put(&at, json!({ "reason": "x", "until": soon })).await.expect(201);
    client.delete(&format!("/archives/{id}")).await.problem(409, "archive_held");
    strongroom_testkit::wait_until("the hold has ended", crate::stage::PATIENCE, async || {
        let holds = client.get(&format!("/archives/{id}")).await.expect(200).body["holds"].clone();
        (holds == json!([])).then_some(())
    })
    .await
    .unwrap();
    assert!(strongroom_service::clock::now() >= soon);
    client.delete(&format!("/archives/{id}")).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_says_nothing_or_holds_nothing_is_refused() {
    let (stage, id) = stage().await;
    let put = async |name: &str, body: Value| {
        stage.client.put(&format!("/archives/{id}/holds/{name}"), body).await.problem(422, "invalid")
    };
    let past = Timestamp::from_second(1).unwrap();
    for (name, body, field) in [
        ("audit", json!({}), "reason"),
        ("audit", json!({ "reason": " " }), "reason"),
        ("audit", json!({ "reason": "two\nlines" }), "reason"),
        ("audit", json!({ "reason": "x".repeat(501) }), "reason"),
        ("audit", json!({ "reason": "x", "until": past }), "until"),
        ("audit", json!({ "reason": "x", "until": "tomorrow" }), "until"),
        ("audit", json!({ "reason": "x", "by": "somebody else" }), "by"),
        ("Audit", json!({ "reason": "x" }), "name"),
    ] {
        assert_eq!(put(name, body.clone()).await.fields(), [field], "{body}");
    }
    for unknown in [uuid::Uuid::now_v7().to_string(), "nonsense".into()] {
        let at = format!("/archives/{unknown}/holds/audit");
        stage.client.put(&at, json!({ "reason": "x" })).await.problem(404, "not_found");
        stage.client.delete(&at).await.problem(404, "not_found");
    }
    assert!(stage.history(Kind::Archive, &id).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_deleted_cannot_be_held_alone_or_among_others() {
    let (stage, id) = stage().await;
    let (client, path) = (&stage.client, format!("/archives/{id}"));
    let at = format!("{path}/holds/audit");
    let delete = client.delete(&path).await.expect(202);
    let refused = client.put(&at, json!({ "reason": "x" })).await.problem(409, "being_deleted");
    assert!(refused.str("/detail").contains(delete.str("/id")), "{}", refused.text);
    stage.end(delete.str("/id"), failed()).await;
    // Held since, it is not taken by doing again what had failed.
    client.put(&at, json!({ "reason": "x" })).await.expect(201);
    let retry = format!("/jobs/{}/retry", delete.str("/id"));
    client.post(&retry, json!({})).await.problem(409, "archive_held");
    client.delete(&at).await.expect(204);
    let again = client.post(&retry, json!({})).await.expect(202);
    stage.end(again.str("/id"), failed()).await;

    let prune = crate::cleanup::prune_of(&stage, &id).await;
    client.put(&at, json!({ "reason": "x" })).await.problem(409, "being_deleted");
    let refused = client.delete(&path).await.problem(409, "being_deleted");
    assert!(refused.str("/detail").contains(&prune), "{}", refused.text);
    stage.end(&prune, failed()).await;
    client.put(&at, json!({ "reason": "x" })).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_whose_answer_was_lost_is_answered_again_whatever_became_of_it() {
    let (stage, id) = stage().await;
    let at = format!("/archives/{id}/holds/audit");
    let keyed = async |method: Method, key: &str, body: Value| {
        send(stage.client.request(method, &at).header("idempotency-key", key).json(&body)).await
    };
    let made = keyed(Method::PUT, "k", json!({ "reason": "x" })).await.expect(201);
    let gone = keyed(Method::DELETE, "k", json!({})).await.expect(204);
    assert_eq!(
        keyed(Method::PUT, "k", json!({ "reason": "x" })).await.expect(200).sequence(),
        made.sequence()
    );
    assert_eq!(keyed(Method::DELETE, "k", json!({})).await.expect(204).sequence(), gone.sequence());
    keyed(Method::PUT, "k", json!({ "reason": "y" })).await.problem(409, "idempotency_key_reused");
    assert_eq!(stage.history(Kind::Archive, &id).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn to_hold_needs_less_than_to_release() {
    let (stage, id) = stage().await;
    let at = format!("/archives/{id}/holds/audit");
    let with = async |scope: &str| {
        let body = json!({ "id": scope, "scope": scope });
        let token = stage.client.post("/tokens", body).await.expect(201);
        stage.client.with_token(token.str("/token"))
    };
    with("read").await.put(&at, json!({ "reason": "x" })).await.problem(403, "forbidden");
    let operator = with("operate").await;
    let made = operator.put(&at, json!({ "reason": "x" })).await.expect(201);
    assert_eq!(made.str("/by"), "token:operate");
    operator.delete(&at).await.problem(403, "forbidden");
    stage.client.delete(&at).await.expect(204);
}

//! What people define: made, shown, changed, retired.

use crate::stage::{PATIENCE, Stage, plan, repository, send};
use reqwest::Method;
use serde_json::json;
use strongroom_domain::{Event, Kind};

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_made_changed_and_retired_and_may_come_again() {
    let stage = Stage::new().await;
    let client = &stage.client;
    let change = |tag: &str, text: &str| {
        let body = json!({ "node": "local", "description": text });
        send(client.request(Method::PUT, "/servers/web").header("if-match", tag).json(&body))
    };
    change("*", "zero").await.problem(412, "changed");
    let made = client.post("/servers", json!({ "id": "web", "node": "local" })).await.expect(201);
    assert_eq!((made.header("location"), made.header("etag")), ("/api/v1/servers/web", "\"1\""));
    assert_eq!(
        (made.str("/id"), &made.body["version"], &made.body["paused"]),
        ("web", &json!(1), &json!(null))
    );
    client.post("/servers", json!({ "id": "web", "node": "local" })).await.problem(409, "exists");

    let changed = change("\"1\"", "one").await.expect(200);
    assert_eq!((changed.header("etag"), changed.str("/description")), ("\"2\"", "one"));
    change("\"1\"", "two").await.problem(412, "changed");
    // One that cannot be read is refused, and not passed over.
    for bad in ["", "nonsense", "2", "\"2\" \"3\"", "*, \"2\""] {
        change(bad, "two").await.problem(400, "malformed_condition");
    }
    change("W/\"2\"", "two").await.problem(412, "changed");
    change("\"1\", \"2\"", "two").await.expect(200);
    change("\"1\",\"2\"", "three").await.problem(412, "changed");
    let lines = client.request(Method::PUT, "/servers/web").header("if-match", "\"1\"");
    let lines = lines.header("if-match", "\"3\"").json(&json!({ "node": "local", "description": "one" }));
    let changed = send(lines).await.expect(200);
    let read = |tag: &str| send(client.request(Method::GET, "/servers/web").header("if-none-match", tag));
    let same = read("\"3\", \"4\"").await.expect(304);
    assert!(same.text.is_empty() && same.header("etag") == "\"4\"");
    read("\"3\"").await.expect(200);
    let only_new = client.request(Method::PUT, "/servers/web").header("if-none-match", "*");
    send(only_new.json(&json!({ "node": "local" }))).await.problem(412, "changed");
    client.put("/servers/web", json!({ "id": "other", "node": "local" })).await.problem(422, "invalid");

    let read = client.get("/servers/web").await.expect(200);
    assert_eq!((read.header("etag"), read.str("/description")), ("\"4\"", "one"));
    assert_eq!(read.body["defined_at"], made.body["defined_at"]);
    assert_ne!(read.body["changed_at"], made.body["changed_at"]);

    let stale = client.request(Method::DELETE, "/servers/web").header("if-match", "\"1\"");
    send(stale).await.problem(412, "changed");
    let empty = client.request(Method::DELETE, "/servers/web").header("if-match", "");
    send(empty).await.problem(400, "malformed_condition");
    let gone = client.delete("/servers/web").await.expect(204);
    assert!(gone.text.is_empty() && gone.sequence() > changed.sequence());
    client.get("/servers/web").await.problem(404, "not_found");
    client.delete("/servers/web").await.problem(404, "not_found");

    // Its history goes on where it was, and it is a new one all the same.
    let again = client.post("/servers", json!({ "id": "web", "node": "local" })).await.expect(201);
    assert_eq!(again.header("etag"), "\"6\"");
    let read = client.get("/servers/web").await.expect(200);
    assert_eq!(read.body["defined_at"], again.body["defined_at"]);
    let actors: Vec<_> =
        stage.history(Kind::Server, "web").await.iter().map(|e| e.context.actor.clone()).collect();
    assert_eq!(actors, ["token:bootstrap"; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_of_many_changes_of_the_same_version_is_made() {
    let stage = Stage::new().await;
    stage.client.post("/servers", json!({ "id": "web", "node": "local" })).await.expect(201);
    let changes = (0..8).map(|n| {
        let body = json!({ "node": "local", "description": n.to_string() });
        send(stage.client.request(Method::PUT, "/servers/web").header("if-match", "\"1\"").json(&body))
    });
    let mut statuses: Vec<u16> =
        futures::future::join_all(changes).await.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    assert_eq!(stage.history(Kind::Server, "web").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_in_pages() {
    let stage = Stage::new().await;
    for n in 0..5 {
        stage.client.put(&format!("/servers/s{n}"), json!({ "node": "local" })).await.expect(201);
    }
    let (mut seen, mut path) = (Vec::new(), "/servers?limit=2".to_owned());
    loop {
        let page = stage.client.get(&path).await.expect(200);
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|i| i["id"].as_str().unwrap().to_owned()));
        match page.body["next"].as_str() {
            Some(next) => path = format!("/servers?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["s0", "s1", "s2", "s3", "s4"]);
    for bad in ["0", "501", "-1", "many"] {
        let refused = stage.client.get(&format!("/servers?limit={bad}")).await.problem(422, "invalid");
        assert_eq!(refused.fields(), ["limit"], "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_definition_refers_to_must_be_there_and_stays_while_it_does() {
    let stage = Stage::new().await;
    let client = &stage.client;
    let refused = client.put("/repositories/site", repository()).await.problem(422, "invalid");
    assert_eq!(refused.fields(), ["server"]);
    // Everything that is wrong, at once.
    let mut wrong = plan();
    wrong["schedule"] = json!({ "cron": "61 * * * *" });
    let refused = client.put("/plans/web", wrong).await.problem(422, "invalid");
    assert_eq!(refused.fields(), ["schedule.cron", "server", "repository"]);

    stage.define().await;
    for (path, user) in [
        ("/servers/web", "repository 'site'"),
        ("/destinations/disk", "repository 'site'"),
        ("/repositories/site", "plan 'web'"),
    ] {
        let refused = client.delete(path).await.problem(409, "in_use");
        assert!(refused.str("/detail").contains(user), "{}", refused.text);
    }
    let job = client.post("/plans/web/run", json!({})).await.expect(202);
    client.delete("/plans/web").await.problem(409, "in_use");
    stage.end(job.str("/id"), crate::stage::failed()).await;
    client.delete("/plans/web").await.expect(204);
    // The job that makes the repository still waits.
    client.delete("/repositories/site").await.problem(409, "in_use");
    let init = client.get("/jobs?phase=waiting").await.expect(200);
    stage.end(init.str("/items/0/id"), crate::stage::succeeded()).await;
    for path in ["/repositories/site", "/destinations/disk", "/servers/web"] {
        client.delete(path).await.expect(204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_moves_only_when_somebody_says_so() {
    let stage = Stage::new().await;
    stage.define().await;
    let moved = json!({ "location": { "type": "local", "path": "/elsewhere" } });
    let refused = stage.client.put("/destinations/disk", moved.clone()).await.problem(409, "immutable");
    assert_eq!(refused.fields(), ["location"]);
    stage.client.put("/destinations/disk?moved=true", moved).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_when_it_runs_next_and_is_paused_and_resumed() {
    let stage = Stage::new().await;
    stage.define().await;
    let client = &stage.client;
    assert!(client.get("/plans/web").await.expect(200).body["next_run_at"].is_null());
    let mut scheduled = plan();
    scheduled["schedule"] = json!({ "cron": "0 3 * * *", "time_zone": "Europe/Berlin" });
    let next = client.put("/plans/web", scheduled).await.expect(200).str("/next_run_at").to_owned();
    let next: jiff::Timestamp = next.parse().unwrap();
    assert!(next > strongroom_service::clock::now());
    assert_eq!(next.in_tz("Europe/Berlin").unwrap().hour(), 3);

    client.post("/plans/web/pause", json!({})).await.problem(422, "invalid");
    client.post("/plans/web/pause", json!({ "reason": " " })).await.problem(422, "invalid");
    client.post("/plans/nowhere/pause", json!({ "reason": "x" })).await.problem(404, "not_found");
    let paused = client.post("/plans/web/pause", json!({ "reason": "moving house" })).await.expect(200);
    assert_eq!((paused.str("/paused"), paused.header("etag")), ("moving house", "\"3\""));
    let stale = client.request(Method::POST, "/plans/web/resume").header("if-match", "\"2\"");
    send(stale).await.problem(412, "changed");
    // The same once more is no event.
    let same = client.post("/plans/web/pause", json!({ "reason": "moving house" })).await.expect(200);
    assert_eq!(same.header("etag"), "\"3\"");
    assert_eq!(client.get("/plans/web").await.expect(200).str("/paused"), "moving house");
    // A change leaves it paused, and the answer to the change says so.
    let changed = client.put("/plans/web", plan()).await.expect(200);
    assert_eq!(changed.str("/paused"), "moving house");
    assert!(client.post("/plans/web/resume", json!({})).await.expect(200).body["paused"].is_null());
    assert!(client.get("/plans/web").await.expect(200).body["paused"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_sent_again_under_its_key_is_made_once() {
    let stage = Stage::new().await;
    let client = &stage.client;
    let body = json!({ "id": "one", "node": "local", "description": "one" });
    let first = client.keyed("/servers", "k1", body.clone()).await.expect(201);
    client.put("/servers/one", json!({ "node": "local", "description": "two" })).await.expect(200);
    let again = client.keyed("/servers", "k1", body).await.expect(201);
    assert_eq!((again.header("etag"), again.header("location")), ("\"1\"", "/api/v1/servers/one"));
    assert_eq!((again.str("/description"), again.sequence()), ("one", first.sequence()));
    assert_eq!(stage.history(Kind::Server, "one").await.len(), 2);
    let other = json!({ "id": "one", "node": "local", "description": "three" });
    client.keyed("/servers", "k1", other).await.problem(409, "idempotency_key_reused");
    // Also when they are under way at once: one is made, and the others are not told that they were.
    for round in 0..4 {
        let id = format!("many-{round}");
        let calls = (0..6).map(|n| {
            let body = json!({ "id": id, "node": "local", "description": n.to_string() });
            client.keyed("/servers", &id, body)
        });
        let replies = futures::future::join_all(calls).await;
        let (made, others): (Vec<_>, Vec<_>) = replies.into_iter().partition(|r| r.status == 201);
        let there = client.get(&format!("/servers/{id}")).await.expect(200);
        assert_eq!(made.len(), 1, "{made:?}");
        assert_eq!(made[0].str("/description"), there.str("/description"));
        for other in others {
            other.problem(409, "idempotency_key_reused");
        }
    }
    // Another path is another request, also where path and key joined would read the same.
    stage.define().await;
    let mut nightly = plan();
    nightly["id"] = json!("nightly");
    client.keyed("/plans", "nightly/pause/k", nightly).await.expect(201);
    let paused = client.keyed("/plans/nightly/pause", "k", json!({ "reason": "x" })).await.expect(200);
    assert_eq!(paused.str("/paused"), "x");
    let paused = client.keyed("/plans/nightly/pause", "k", json!({ "reason": "x" })).await.expect(200);
    assert_eq!(paused.header("etag"), "\"2\"");
    client
        .keyed("/plans/nightly/pause", "k", json!({ "reason": "y" }))
        .await
        .problem(409, "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_keeps_its_secret_to_itself() {
    let stage = Stage::new().await;
    let client = &stage.client;
    let target = json!({ "type": "webhook", "url": "https://example.org/hook" });
    let made = client.post("/channels", json!({ "id": "ops", "target": target })).await.expect(201);
    let secret = made.str("/secret").to_owned();
    assert!(secret.starts_with("whsec_"));
    let key = async || {
        let history = stage.history(Kind::Channel, "ops").await;
        let Event::ChannelDefined(spec) = &history.last().unwrap().event else { panic!("{history:?}") };
        let strongroom_domain::channel::Target::Webhook { signing_key, .. } = &spec.target;
        stage.secret(signing_key.as_ref().unwrap(), &stage.notifier_key).await
    };
    assert_eq!(key().await, secret);
    // Kept over a change, replaced when another is given, never shown.
    let body = json!({ "target": target, "description": "x" });
    let changed = client.put("/channels/ops", body).await.expect(200);
    assert!(
        changed.body.get("secret").is_none() && !changed.text.contains("signing_key"),
        "{}",
        changed.text
    );
    assert_eq!(key().await, secret);
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let changed = client.put("/channels/ops", json!({ "target": target, "secret": given })).await.expect(200);
    assert!(!changed.text.contains("MfKQ9r8"), "{}", changed.text);
    assert_eq!(key().await, given);
    // One whose answer was lost: the same request is told so, also when it says that none is given.
    let drawn = json!({ "id": "lost", "target": target, "secret": null });
    client.keyed("/channels", "k", drawn.clone()).await.expect(201);
    let lost = client.keyed("/channels", "k", drawn).await.problem(409, "shown_once");
    assert!(lost.str("/detail").contains("PUT"), "{}", lost.text);
    client.put("/channels/lost", json!({ "target": target, "secret": given })).await.expect(200);
    for bad in ["", "secret", "whsec_", "whsec_c2hvcnQ="] {
        let body = json!({ "id": "bad", "target": target, "secret": bad });
        assert_eq!(
            client.post("/channels", body).await.problem(422, "invalid").fields(),
            ["secret"],
            "{bad}"
        );
    }
    let smuggled = json!({ "type": "webhook", "url": "https://example.org", "signing_key": { "reference": "channel-x", "version": 1 } });
    let refused = client.post("/channels", json!({ "id": "bad", "target": smuggled })).await;
    assert_eq!(refused.problem(422, "invalid").fields(), ["target.signing_key"]);
    let log = stage.log().await;
    assert!(log.iter().all(|e| !e.event.to_json().to_string().contains("whsec_")));

    let tested = client.post("/channels/ops/test", json!({})).await.expect(200);
    assert_eq!((&tested.body["delivered"], tested.str("/problem")), (&json!(false), "played for ops"));
    client.post("/channels/nowhere/test", json!({})).await.problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_would_be_more_than_a_name_are_refused() {
    let stage = Stage::new().await;
    let long = "a".repeat(64);
    for id in ["", "..", "a.b", "a*", ">", "A", "a b", "-a", "a/b", &long] {
        let refused = stage.client.post("/servers", json!({ "id": id, "node": "local" })).await;
        assert_eq!(refused.problem(422, "invalid").fields(), ["id"], "{id}");
    }
    for path in ["%2e%2e", "a%2Fb", "%3E", "*", "A", ""] {
        stage.client.get(&format!("/servers/{path}")).await.problem(404, "not_found");
        stage.client.delete(&format!("/servers/{path}")).await.problem(404, "not_found");
    }
    assert!(stage.log().await.iter().all(|e| e.aggregate.kind == Kind::Token), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_just_written_is_read_while_the_catalog_is_behind() {
    use std::sync::atomic::Ordering;
    let stage = Stage::new().await;
    let made = stage.client.put("/servers/web", json!({ "node": "local" })).await.expect(201);
    stage.facts.behind.store(true, Ordering::SeqCst);
    stage.client.get("/servers/web").await.expect(200);
    let list = |position: String| {
        let request = stage.client.request(Method::GET, "/servers").header("strongroom-position", position);
        async move { tokio::time::timeout(PATIENCE, send(request)).await.unwrap() }
    };
    let position = made.header("strongroom-position").to_owned();
    let behind = list(position.clone()).await.problem(503, "behind");
    assert_eq!(behind.header("retry-after"), "1");
    stage.facts.behind.store(false, Ordering::SeqCst);
    let seen = list(position.clone()).await.expect(200);
    assert_eq!(seen.str("/items/0/id"), "web");
    assert!(seen.sequence() >= made.sequence());
    let (_, sequence) = position.split_once(':').unwrap();
    list(format!("{}:{sequence}", uuid::Uuid::now_v7())).await.problem(409, "other_log");
    for bad in ["soon", "1", ":", "a:b", ""] {
        list(bad.to_owned()).await.problem(400, "malformed_position");
    }
}

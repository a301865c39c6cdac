//! Requests that are wrong: each has a clear answer, and nothing is lost or half done.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use strongroom_e2e::{Reply, Single, Tree};

fn problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{code}: {}", reply.body);
    assert_eq!(reply.body["code"], code, "{}", reply.body);
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{code}");
    for field in ["type", "title", "detail"] {
        assert!(reply.body[field].is_string(), "{code} has no {field}: {}", reply.body);
    }
}

fn fields(reply: &Reply) -> Vec<&str> {
    reply.body["errors"].as_array().into_iter().flatten().filter_map(|e| e["field"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_field_is_named() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(40, 3, 100)?;
    single.api.define("web", single.folder(), &[tree.path()]).await?;
    let good =
        json!({ "server": "web", "repository": "web", "source": { "type": "files", "paths": ["/x"] } });
    let with = |pointer: &str, value: Value| {
        let mut body = good.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(field.to_owned(), value);
        body
    };
    for (body, field) in [
        (with("/schedule", json!({ "cron": "every day" })), "schedule.cron"),
        (with("/schedule", json!({ "cron": "0 3 * * *", "time_zone": "Mars/Base" })), "schedule.time_zone"),
        (with("/source/paths", json!(["relative"])), "source.paths[0]"),
        (with("/source/paths", json!(["/a/../b"])), "source.paths[0]"),
        (with("/source/paths", json!([])), "source.paths"),
        (with("/compression", json!("zip,9")), "compression"),
        (with("/server", json!("nowhere")), "server"),
        (with("/server", json!("a.b")), "server"),
        (with("/server", json!(7)), "server"),
        (with("/colour", json!("red")), "colour"),
        (with("/source/colour", json!("red")), "source.colour"),
        (json!({ "server": "web", "repository": "web" }), "source"),
    ] {
        let reply = single.api.put("/plans/new", &body).await?;
        problem(&reply, 422, "invalid");
        assert!(fields(&reply).contains(&field), "{field} is not named: {}", reply.body);
    }
    problem(&single.api.get("/plans/new").await?, 404, "not_found");
    for id in ["..", "a.b", "a*", ">", "A", "", "a b"] {
        let mut body = good.clone();
        body["id"] = json!(id);
        let reply = single.api.post("/plans", &body).await?;
        problem(&reply, 422, "invalid");
        assert!(fields(&reply).contains(&"id"), "{id}: {}", reply.body);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_no_request_is_a_problem() -> Result<()> {
    let single = Single::start().await?;
    let api = &single.api;
    let put = |body: Vec<u8>, kind: &str| {
        api.request(Method::PUT, "/servers/web").header("content-type", kind).body(body)
    };
    problem(&api.send(put(b"{\"node\": ".to_vec(), "application/json")).await?, 400, "malformed_json");
    problem(&api.send(put(vec![0xff, 0xfe], "application/json")).await?, 400, "malformed_json");
    problem(&api.send(put(b"{}".to_vec(), "text/plain")).await?, 415, "unsupported_media_type");
    problem(&api.send(put(vec![b' '; 10 << 20], "application/json")).await?, 413, "too_large");
    problem(&api.get("/no/such/path").await?, 404, "not_found");
    for id in ["%2e%2e", "a%2fb", "%3e", "*"] {
        let reply = api.get(&format!("/servers/{id}")).await?;
        assert_eq!(reply.status, 404, "{id}: {}", reply.body);
    }
    let reply = api.send(api.request(Method::PATCH, "/servers/web")).await?;
    problem(&reply, 405, "method_not_allowed");
    assert!(reply.header("allow").is_some_and(|a| a.contains("PUT")), "{:?}", reply.headers);
    for (path, status) in [("/jobs?limit=0", 422), ("/jobs?limit=ten", 422), ("/jobs/not-a-uuid", 404)] {
        assert_eq!(api.get(path).await?.status, status, "{path}");
    }
    let request = api.request(Method::GET, "/plans").header("strongroom-position", "soon");
    assert_eq!(api.send(request).await?.status, 400);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_what_has_changed_is_refused() -> Result<()> {
    let single = Single::start().await?;
    let api = &single.api;
    let body = json!({ "node": "local" });
    let first = api.put("/servers/web", &body).await?.expect(201)?;
    let version = first.header("etag").unwrap().to_owned();
    problem(&api.post("/servers", &json!({ "id": "web", "node": "local" })).await?, 409, "exists");
    let change = |version: &str, text: &str| {
        let body = json!({ "node": "local", "description": text });
        api.request(Method::PUT, "/servers/web").header("if-match", version).json(&body)
    };
    let second = api.send(change(&version, "one")).await?.expect(200)?;
    problem(&api.send(change(&version, "two")).await?, 412, "changed");
    // Read your own write.
    let request =
        api.request(Method::GET, "/servers/web").header("strongroom-position", second.position.unwrap());
    let read = api.send(request).await?.expect(200)?;
    assert_eq!(read.text("/description")?, "one");
    let stale = api.request(Method::DELETE, "/servers/web").header("if-match", &version);
    problem(&api.send(stale).await?, 412, "changed");
    api.delete("/servers/web").await?;
    problem(&api.get("/servers/web").await?, 404, "not_found");
    problem(&api.delete("/servers/web").await?, 404, "not_found");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_cannot_be_deleted() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(41, 3, 100)?;
    single.api.define("web", single.folder(), &[tree.path()]).await?;
    for path in ["/servers/web", "/destinations/web", "/repositories/web"] {
        problem(&single.api.delete(path).await?, 409, "in_use");
    }
    for path in ["/plans/web", "/repositories/web", "/destinations/web", "/servers/web"] {
        let reply = single.api.delete(path).await?;
        assert!(matches!(reply.status, 200 | 204), "{path}: {} {}", reply.status, reply.body);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_definition_is_answered_alike_and_a_filter_is_never_passed_over() -> Result<()> {
    let single = Single::start().await?;
    let api = &single.api;
    let ask = || {
        let body = json!({ "id": "web", "node": "local", "description": "once" });
        api.send(api.request(Method::POST, "/servers").header("idempotency-key", "k").json(&body))
    };
    let first = ask().await?.expect(201)?;
    api.put("/servers/web", &json!({ "node": "local", "description": "changed since" }))
        .await?
        .expect(200)?;
    let again = ask().await?.expect(201)?;
    assert_eq!(first.body, again.body);
    assert_eq!(api.get("/servers/web").await?.text("/description")?, "changed since");
    for path in ["/plans?colour=red", "/servers?plan=web", "/jobs?colour=red"] {
        problem(&api.get(path).await?, 422, "invalid");
    }
    Ok(())
}

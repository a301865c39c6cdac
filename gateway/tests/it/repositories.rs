//! Repositories: their passphrases, and the jobs that make them.

use crate::stage::{Stage, failed, repository, send};
use reqwest::Method;
use serde_json::{Value, json};
use strongroom_domain::job::{JobSpec, Trigger};
use strongroom_domain::repository::Spec;
use strongroom_domain::{Event, Kind};

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.client.put("/servers/web", json!({ "node": "local" })).await.expect(201);
    let location = json!({ "location": { "type": "local", "path": "/backups" } });
    stage.client.put("/destinations/disk", location).await.expect(201);
    stage
}

fn with(more: Value) -> Value {
    let mut body = json!({ "server": "web", "destination": "disk", "encryption": "repokey-blake2" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn spec(stage: &Stage) -> Spec {
    let history = stage.history(Kind::Repository, "site").await;
    let Event::RepositoryDefined(spec) = &history.last().unwrap().event else { panic!("{history:?}") };
    spec.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_is_for_the_node_alone() {
    let stage = stage().await;
    let given = with(json!({ "passphrase": "correct horse" }));
    stage.client.put("/repositories/site", given.clone()).await.problem(409, "node_unknown");
    assert!(stage.history(Kind::Repository, "site").await.is_empty(), "nothing was half done");
    stage.node_joins().await;
    let made = stage.client.put("/repositories/site", given).await.expect(201);
    assert!(!made.text.contains("horse") && made.body.get("passphrase").is_none(), "{}", made.text);
    let first = spec(&stage).await.passphrase.unwrap();
    assert_eq!(stage.secret(&first, &stage.node_key).await, "correct horse");

    // The job that makes it has the reference, and the log never the text.
    let init = stage.history(Kind::Job, made.str("/init_job/id")).await;
    let Event::JobRequested(requested) = &init[0].event else { panic!("{init:?}") };
    let JobSpec::InitRepository { access } = &requested.spec else { panic!("{requested:?}") };
    assert_eq!((access.passphrase.as_ref(), access.location.as_str()), (Some(&first), "/backups/web/site"));
    assert_eq!((requested.trigger.clone(), requested.node.as_str()), (Trigger::System, "local"));
    assert_eq!(made.str("/init_job/url"), format!("/api/v1/jobs/{}", made.str("/init_job/id")));

    // Kept when it is not given, another secret when it is; the repository stays and is not made again.
    let kept = stage.client.put("/repositories/site", with(json!({ "description": "x" }))).await.expect(200);
    assert!(kept.body.get("init_job").is_none());
    assert_eq!(spec(&stage).await.passphrase.as_ref(), Some(&first));
    stage.client.put("/repositories/site", with(json!({ "passphrase": "what it is" }))).await.expect(200);
    let second = spec(&stage).await.passphrase.unwrap();
    assert_ne!(second, first);
    assert_eq!(stage.secret(&second, &stage.node_key).await, "what it is");
    let jobs = stage.log().await.iter().filter(|e| e.aggregate.kind == Kind::Job).count();
    assert_eq!(jobs, 1);
    for path in ["/repositories/site", "/repositories", "/events?after=0"] {
        if path.starts_with("/repositories") {
            let text = stage.client.get(path).await.expect(200).text;
            assert!(!text.contains("passphrase"), "{path}: {text}");
        }
    }
    let log: String = stage.log().await.iter().map(|e| e.event.to_json().to_string()).collect();
    assert!(!log.contains("horse") && !log.contains("what it is"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_passphrase_is_shown_once() {
    let stage = stage().await;
    stage.node_joins().await;
    let mut body = with(json!({ "id": "site", "generate_passphrase": true }));
    let made = stage.client.keyed("/repositories", "k", body.clone()).await.expect(201);
    let text = made.str("/passphrase").to_owned();
    assert!(text.len() >= 40);
    let reference = spec(&stage).await.passphrase.unwrap();
    assert_eq!(stage.secret(&reference, &stage.node_key).await, text);
    // Repeated, it neither draws nor shows another, and says so: an answer without it would look like the whole.
    let again = stage.client.keyed("/repositories", "k", body.clone()).await.problem(409, "shown_once");
    assert!(!again.text.contains(&text));
    let asked = stage.log().await.into_iter().filter(|e| matches!(e.event, Event::JobRequested(_)));
    let asked: Vec<String> = asked.map(|e| e.aggregate.id).collect();
    assert_eq!(asked, [made.str("/init_job/id")]);
    assert_eq!(stage.history(Kind::Repository, "site").await.len(), 1);
    body["description"] = json!("another");
    stage.client.keyed("/repositories", "k", body).await.problem(409, "idempotency_key_reused");
    let anew = with(json!({ "generate_passphrase": true }));
    let refused = stage.client.put("/repositories/site", anew).await.problem(422, "invalid");
    assert_eq!(refused.fields(), ["generate_passphrase"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_passphrase_that_is_shown_is_the_one_that_counts_however_many_ask_at_once() {
    let stage = stage().await;
    stage.node_joins().await;
    // As when a proxy or an impatient client sends it again while the first is under way.
    for round in 0..8 {
        let id = format!("site-{round}");
        let body = with(json!({ "id": id, "generate_passphrase": true }));
        let calls = (0..6).map(|_| stage.client.keyed("/repositories", &id, body.clone()));
        let replies = futures::future::join_all(calls).await;
        let history = stage.history(Kind::Repository, &id).await;
        let Event::RepositoryDefined(spec) = &history[0].event else { panic!("{history:?}") };
        let counts = stage.secret(spec.passphrase.as_ref().unwrap(), &stage.node_key).await;
        let (shown, others): (Vec<_>, Vec<_>) = replies.into_iter().partition(|r| r.status == 201);
        assert!(shown.len() <= 1, "{shown:?}");
        shown.iter().for_each(|reply| assert_eq!(reply.str("/passphrase"), counts));
        for other in others {
            other.problem(409, "shown_once");
        }
        // The job that makes it was given the same.
        let log = stage.log().await;
        let given: Vec<_> = log
            .iter()
            .filter_map(|e| match &e.event {
                Event::JobRequested(r) if r.spec.repository().is_some_and(|r| r.as_str() == id) => {
                    Some(&r.spec)
                }
                _ => None,
            })
            .collect();
        let [JobSpec::InitRepository { access }] = given[..] else { panic!("{given:?}") };
        assert_eq!(access.passphrase, spec.passphrase);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_and_passphrase_must_fit_each_other() {
    let stage = stage().await;
    stage.node_joins().await;
    let refused = async |body: Value, field: &str| {
        let refused = stage.client.put("/repositories/site", body.clone()).await.problem(422, "invalid");
        assert_eq!(refused.fields(), [field], "{body}");
    };
    refused(with(json!({})), "passphrase").await;
    refused(with(json!({ "passphrase": "" })), "passphrase").await;
    refused(with(json!({ "passphrase": "two\nlines" })), "passphrase").await;
    refused(with(json!({ "passphrase": 7 })), "passphrase").await;
    refused(with(json!({ "passphrase": "x", "generate_passphrase": true })), "generate_passphrase").await;
    refused(with(json!({ "generate_passphrase": "yes" })), "generate_passphrase").await;
    refused(with(json!({ "encryption": "none", "passphrase": "x" })), "passphrase").await;
    refused(with(json!({ "encryption": "none", "generate_passphrase": true })), "passphrase").await;
    refused(with(json!({ "encryption": "rot13" })), "encryption").await;
    refused(with(json!({ "passphrase": { "reference": "repository-other", "version": 1 } })), "passphrase")
        .await;
    assert!(stage.history(Kind::Repository, "site").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_chosen_once_stays() {
    let stage = stage().await;
    stage.node_joins().await;
    stage.client.put("/repositories/site", repository()).await.expect(201);
    stage.client.put("/servers/other", json!({ "node": "local" })).await.expect(201);
    let location = json!({ "location": { "type": "local", "path": "/other" } });
    stage.client.put("/destinations/other", location).await.expect(201);
    for (field, value) in [("server", "other"), ("destination", "other"), ("encryption", "repokey")] {
        let mut body = repository();
        body[field] = json!(value);
        let refused = stage.client.put("/repositories/site", body).await.problem(409, "immutable");
        assert_eq!(refused.fields(), [field]);
    }
    assert_eq!(stage.history(Kind::Repository, "site").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_repository_can_be_asked_for() {
    let stage = stage().await;
    stage.client.put("/repositories/site", repository()).await.expect(201);
    for (word, kind) in [("init", "init-repository"), ("scan", "scan-repository")] {
        let asked = stage.client.post(&format!("/repositories/site/{word}"), json!({})).await.expect(202);
        assert_eq!((asked.str("/kind"), asked.str("/phase")), (kind, "waiting"));
        assert_eq!(asked.header("location"), format!("/api/v1/jobs/{}", asked.str("/id")));
        stage
            .client
            .post(&format!("/repositories/nowhere/{word}"), json!({}))
            .await
            .problem(404, "not_found");
        let odd = stage.client.post(&format!("/repositories/site/{word}"), json!({ "force": true })).await;
        assert_eq!(odd.problem(422, "invalid").fields(), ["force"]);
    }
    // The repository goes, and what was asked of it under a key is answered as before.
    let keyed = async |word: &str| {
        stage.client.keyed(&format!("/repositories/site/{word}"), "k", json!({})).await.expect(202)
    };
    let asked = [keyed("init").await, keyed("scan").await];
    for job in stage.client.get("/jobs?phase=waiting").await.expect(200).body["items"].as_array().unwrap() {
        stage.end(job["id"].as_str().unwrap(), failed()).await;
    }
    let retried = async || {
        let path = format!("/jobs/{}/retry", asked[1].str("/id"));
        stage.client.keyed(&path, "k", json!({})).await.expect(202)
    };
    let retry = retried().await;
    stage.end(retry.str("/id"), failed()).await;
    let delete =
        || send(stage.client.request(Method::DELETE, "/repositories/site").header("idempotency-key", "k"));
    let gone = delete().await.expect(204);
    assert_eq!(delete().await.expect(204).sequence(), gone.sequence());
    stage.client.delete("/repositories/site").await.problem(404, "not_found");
    for (word, before) in [("init", &asked[0]), ("scan", &asked[1])] {
        let again = keyed(word).await;
        assert_eq!((again.str("/id"), again.str("/phase")), (before.str("/id"), "failed"));
    }
    assert_eq!(retried().await.str("/id"), retry.str("/id"));
}

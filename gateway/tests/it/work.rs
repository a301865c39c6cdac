//! Work: asked for, waited for, cancelled, tried again.

use crate::stage::{PATIENCE, Reply, Stage, cancelled, failed, job_id, plan, send, succeeded};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use strongroom_domain::admission::Waiting;
use strongroom_domain::job::{Abandoned, JobSpec, Requested, Trigger};
use strongroom_domain::wire::{Progress, Status};
use strongroom_domain::{Event, Kind};
use strongroom_testkit::wait_until;

async fn requested(stage: &Stage, job: &str) -> Requested {
    let history = stage.history(Kind::Job, job).await;
    let Event::JobRequested(requested) = &history[0].event else { panic!("{history:?}") };
    requested.clone()
}

async fn jobs(stage: &Stage) -> usize {
    stage.log().await.iter().filter(|e| matches!(e.event, Event::JobRequested(_))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_carries_all_that_a_node_needs() {
    let stage = Stage::new().await;
    stage.define().await;
    let mut body = plan();
    body["compression"] = json!("lz4");
    let (stop, start) = (json!({ "command": ["/hooks/stop"] }), json!({ "command": ["/hooks/start"] }));
    body["quiesce"] = json!([{ "stop": stop, "start": start }]);
    body["hooks"] = json!({ "before": [{ "command": ["/hooks/stop", "x"], "timeout_s": 9 }] });
    stage.client.put("/plans/web", body).await.expect(200);
    let asked = stage.client.post("/plans/web/run", json!({})).await.expect(202);
    let id = asked.str("/id");
    assert_eq!(asked.header("location"), format!("/api/v1/jobs/{id}"));
    let asked_for = requested(&stage, id).await;
    let JobSpec::Backup(backup) = &asked_for.spec else { panic!("{asked_for:?}") };
    assert_eq!((backup.plan.as_str(), backup.compression.as_str()), ("web", "lz4"));
    assert_eq!(
        (backup.access.repository.as_str(), backup.access.location.as_str()),
        ("site", "/backups/web/site")
    );
    assert_eq!(backup.quiesce[0].start.command, ["/hooks/start"]);
    let hook = &backup.hooks.before[0];
    assert_eq!((hook.command.join(" "), hook.timeout_s), ("/hooks/stop x".to_owned(), 9));
    assert_eq!((asked_for.trigger, asked_for.node.as_str()), (Trigger::Manual, "local"));
    let recorded = &stage.history(Kind::Job, id).await[0];
    assert_eq!(
        (recorded.context.actor.as_str(), recorded.context.correlation.as_deref()),
        ("token:bootstrap", Some(id))
    );
    assert_eq!(asked.sequence(), recorded.sequence);
    // What it was asked for does not change with the plan.
    stage.client.put("/plans/web", plan()).await.expect(200);
    assert_eq!(requested(&stage, id).await.spec, asked_for.spec);

    stage.client.post("/plans/nowhere/run", json!({})).await.problem(404, "not_found");
    let odd = stage.client.post("/plans/web/run", json!({ "force": true })).await.problem(422, "invalid");
    assert_eq!(odd.fields(), ["force"]);
    // Without any body at all.
    send(stage.client.request(Method::POST, "/plans/web/run")).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_job_however_often_and_however_many_at_once() {
    let stage = Stage::new().await;
    stage.define().await;
    let before = jobs(&stage).await;
    let calls = (0..8).map(|_| stage.client.keyed("/plans/web/run", "nightly", json!({})));
    let replies = futures::future::join_all(calls).await;
    let first = replies[0].clone().expect(202);
    for reply in replies {
        let reply = reply.expect(202);
        assert_eq!((reply.str("/id"), reply.sequence()), (first.str("/id"), first.sequence()));
    }
    assert_eq!(jobs(&stage).await, before + 1);
    // Another key, no key, another token: other jobs.
    let other = stage.client.keyed("/plans/web/run", "weekly", json!({})).await.expect(202);
    let none = stage.client.post("/plans/web/run", json!({})).await.expect(202);
    let token = stage.client.post("/tokens", json!({ "id": "ci", "scope": "operate" })).await.expect(201);
    let ci = stage.client.with_token(token.str("/token"));
    let theirs = ci.keyed("/plans/web/run", "nightly", json!({})).await.expect(202);
    let mut ids = vec![first.str("/id"), other.str("/id"), none.str("/id"), theirs.str("/id")];
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    // Later, it tells what became of it, as it was asked for then.
    stage.end(first.str("/id"), failed()).await;
    let mut changed = plan();
    changed["compression"] = json!("lz4");
    stage.client.put("/plans/web", changed).await.expect(200);
    let again = stage.client.keyed("/plans/web/run", "nightly", json!({})).await.expect(202);
    assert_eq!((again.str("/id"), again.str("/phase")), (first.str("/id"), "failed"));
    assert_eq!(again.body["requested"], first.body["requested"]);
    for job in [other.str("/id"), none.str("/id"), theirs.str("/id")] {
        stage.end(job, failed()).await;
    }
    stage.client.delete("/plans/web").await.expect(204);
    let gone = stage.client.keyed("/plans/web/run", "nightly", json!({})).await.expect(202);
    assert_eq!(gone.str("/id"), first.str("/id"), "the plan is gone, and the job was asked for all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_to_wait_hears_of_the_end() {
    let stage = Stage::new().await;
    stage.define().await;
    let run = |wait: &str| {
        let request = stage.client.request(Method::POST, "/plans/web/run").header("prefer", wait.to_owned());
        tokio::spawn(send(request.header("idempotency-key", "k").json(&json!({}))))
    };
    let waiting = run("respond-async, wait=120");
    let job = wait_until("the job", PATIENCE, async || {
        let log = stage.log().await;
        let job =
            log.iter().rev().find(|e| matches!(&e.event, Event::JobRequested(r) if r.spec.plan().is_some()));
        job.map(|e| e.aggregate.id.clone())
    })
    .await
    .unwrap();
    // Time runs out: it tells of the job as it was asked for.
    let soon = run("wait=0").await.unwrap().expect(202);
    assert_eq!(
        (soon.str("/id"), soon.str("/phase"), soon.header("preference-applied")),
        (job.as_str(), "waiting", "")
    );
    assert!(!waiting.is_finished());
    let end = stage.end(&job, failed()).await;
    let ended = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().expect(200);
    assert_eq!((ended.str("/id"), ended.str("/phase")), (job.as_str(), "failed"));
    assert_eq!(
        (ended.header("preference-applied"), ended.header("location")),
        ("wait=120", format!("/api/v1/jobs/{job}").as_str())
    );
    assert!(ended.sequence() >= end);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_keep_nobody_else_waiting() {
    let stage = Stage::new().await;
    stage.define().await;
    // More than are worked on at once.
    let waiting: Vec<_> = (0..300)
        .map(|_| {
            let request = stage.client.request(Method::POST, "/plans/web/run").header("prefer", "wait=120");
            tokio::spawn(send(request.header("idempotency-key", "k").json(&json!({}))))
        })
        .collect();
    let job = wait_until("the job", PATIENCE, async || {
        let log = stage.log().await;
        let job =
            log.iter().rev().find(|e| matches!(&e.event, Event::JobRequested(r) if r.spec.plan().is_some()));
        job.map(|e| e.aggregate.id.clone())
    })
    .await
    .unwrap();
    // Each looks at once and then every second: so many looks are by more than there is room for.
    wait_until("all of them wait", PATIENCE, async || {
        (stage.facts.jobs_asked.load(Ordering::SeqCst) > 600).then_some(())
    })
    .await
    .unwrap();
    let others = async {
        for _ in 0..20 {
            stage.client.get("/servers/web").await.expect(200);
        }
    };
    tokio::time::timeout(PATIENCE, others).await.expect("others are answered while many wait");
    assert!(waiting.iter().all(|w| !w.is_finished()));
    stage.end(&job, failed()).await;
    for waiting in waiting {
        let ended: Reply = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
        assert_eq!(ended.expect(200).str("/phase"), "failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_says_why_it_waits_and_how_far_it_is() {
    let stage = Stage::new().await;
    stage.define().await;
    let job = stage.client.post("/plans/web/run", json!({})).await.expect(202).str("/id").to_owned();
    let path = format!("/jobs/{job}");
    assert!(stage.client.get(&path).await.expect(200).body["waiting"].is_null());
    *stage.facts.waiting.lock().unwrap() = vec![(job_id(&job), Waiting::GlobalLimit { limit: 8 })];
    let waiting = stage.client.get(&path).await.expect(200);
    assert_eq!(waiting.body["waiting"], json!({ "waits_for": "global_limit", "limit": 8 }));

    stage.begin(&job).await;
    let progress = Progress {
        job: job_id(&job),
        epoch: 7,
        step: "create".into(),
        files: 12,
        original_size_bytes: 345,
        compressed_size_bytes: 300,
        deduplicated_size_bytes: 20,
        path: "srv/site/x".into(),
        rate_bytes_per_s: 99,
        expected_bytes: Some(1000),
        remaining_s: Some(7),
        log_tail: vec!["one".into(), "two".into()],
        at: strongroom_service::clock::now(),
    };
    let seen = wait_until("progress", PATIENCE, async || {
        stage.node.status(&job, &Status::Progress(progress.clone())).await;
        let seen = stage.client.get(&path).await.expect(200);
        seen.body["progress"].is_object().then_some(seen)
    })
    .await
    .unwrap();
    assert_eq!((seen.str("/phase"), seen.str("/progress/path")), ("running", "srv/site/x"));
    let told = &seen.body["progress"];
    assert_eq!((&told["expected_bytes"], &told["remaining_s"]), (&json!(1000), &json!(7)));
    assert!(seen.body["waiting"].is_null());
    let log = stage.client.get(&format!("{path}/log")).await.expect(200);
    assert_eq!((log.str("/phase"), &log.body["lines"]), ("running", &json!(["one", "two"])));

    stage.end(&job, failed()).await;
    let ended = stage.client.get(&path).await.expect(200);
    assert!(ended.body.get("progress").is_none(), "{}", ended.text);
    for path in ["/jobs/nonsense".to_owned(), format!("/jobs/{}", uuid::Uuid::now_v7())] {
        stage.client.get(&path).await.problem(404, "not_found");
        stage.client.get(&format!("{path}/log")).await.problem(404, "not_found");
        stage.client.post(&format!("{path}/cancel"), json!({})).await.problem(404, "not_found");
        stage.client.post(&format!("{path}/retry"), json!({})).await.problem(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_found_by_what_they_are_about() {
    let stage = Stage::new().await;
    stage.define().await;
    let run = stage.client.post("/plans/web/run", json!({})).await.expect(202).str("/id").to_owned();
    stage.end(&run, failed()).await;
    let count = async |query: &str| {
        let page = stage.client.get(&format!("/jobs?{query}")).await.expect(200);
        page.body["items"].as_array().unwrap().len()
    };
    for (query, expected) in [
        ("", 2),
        ("plan=web", 1),
        ("plan=other", 0),
        ("server=web&repository=site", 2),
        ("repository=other", 0),
        ("phase=failed", 1),
        ("phase=waiting", 1),
        ("phase=failed&limit=1", 1),
        ("plan=", 2),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
    for (query, field) in
        [("phase=over", "phase"), ("plan=A.b", "plan"), ("colour=red", "colour"), ("limit=0", "limit")]
    {
        let refused = stage.client.get(&format!("/jobs?{query}")).await.problem(422, "invalid");
        assert_eq!(refused.fields(), [field], "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_once_and_not_after_its_end() {
    let stage = Stage::new().await;
    stage.define().await;
    let job = stage.client.post("/plans/web/run", json!({})).await.expect(202).str("/id").to_owned();
    let path = format!("/jobs/{job}/cancel");
    let asked = stage.client.post(&path, json!({ "reason": "wrong one" })).await.expect(202);
    assert_eq!(asked.body["cancel_requested"], true);
    stage.client.post(&path, json!({})).await.expect(202);
    let asked: Vec<_> = stage.history(Kind::Job, &job).await;
    let asked: Vec<Value> = asked
        .iter()
        .filter(|e| matches!(e.event, Event::JobCancelRequested(_)))
        .map(|e| e.event.to_json())
        .collect();
    assert_eq!(asked, [json!({ "reason": "wrong one" })]);
    stage.end(&job, cancelled()).await;
    stage.client.post(&path, json!({})).await.problem(409, "job_finished");
    let long = json!({ "reason": "x".repeat(501) });
    assert_eq!(stage.client.post(&path, long).await.problem(422, "invalid").fields(), ["reason"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_ended_badly_is_tried_again() {
    let stage = Stage::new().await;
    stage.define().await;
    let ask = async || stage.client.post("/plans/web/run", json!({})).await.expect(202).str("/id").to_owned();
    let retry = async |job: &str| stage.client.post(&format!("/jobs/{job}/retry"), json!({})).await;
    let job = ask().await;
    retry(&job).await.problem(409, "not_retryable");
    stage.begin(&job).await;
    retry(&job).await.problem(409, "not_retryable");
    stage.end(&job, succeeded()).await;
    retry(&job).await.problem(409, "not_retryable");
    for end in [failed(), cancelled(), Event::JobAbandoned(Abandoned { reason: "nobody".into() })] {
        let job = ask().await;
        stage.end(&job, end).await;
        let again = retry(&job).await.expect(202);
        assert_ne!(again.str("/id"), job);
        assert_eq!(requested(&stage, again.str("/id")).await.trigger, Trigger::Retry { of: job_id(&job) });
    }
    // The plan as it is now.
    let job = ask().await;
    stage.end(&job, failed()).await;
    let mut changed = plan();
    changed["source"]["paths"] = json!(["/srv/elsewhere"]);
    stage.client.put("/plans/web", changed).await.expect(200);
    let again = retry(&job).await.expect(202);
    let JobSpec::Backup(backup) = requested(&stage, again.str("/id")).await.spec else { panic!("no backup") };
    let strongroom_domain::plan::Source::Files(files) = backup.source else { panic!("no files") };
    assert_eq!(files.paths, ["/srv/elsewhere"]);
    // Without its plan it is what it was.
    for open in stage.client.get("/jobs?plan=web&phase=waiting").await.body["items"].as_array().unwrap() {
        stage.end(open["id"].as_str().unwrap(), failed()).await;
    }
    stage.client.delete("/plans/web").await.expect(204);
    let again = retry(&job).await.expect(202);
    let JobSpec::Backup(backup) = requested(&stage, again.str("/id")).await.spec else { panic!("no backup") };
    let strongroom_domain::plan::Source::Files(files) = backup.source else { panic!("no files") };
    assert_eq!(files.paths, ["/srv/site"]);
}

//! The clean-up of a repository by age.

use crate::retention::days;
use crate::stage::{Stage, failed, plan};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use strongroom_domain::archive::Facts;
use strongroom_domain::job::{JobSpec, PRUNED_AT_ONCE, PruneSpec, Requested, Trigger};
use strongroom_domain::retention::{Candidate, Policy};
use strongroom_domain::view::Archive;
use strongroom_domain::{Event, JobId, Kind};
use uuid::Uuid;

/// A removal of several archives that waits, as retention asks for it; its job.
pub async fn prune_of(stage: &Stage, id: &str) -> String {
    let archive =
        stage.facts.archives.lock().unwrap().iter().find(|a| a.id.to_string() == id).unwrap().clone();
    let definitions = stage.client.get("/jobs?limit=1").await.expect(200);
    let access = definitions.body["items"][0]["requested"]["spec"]["access"].clone();
    let target = strongroom_domain::archive::Target {
        id: archive.id,
        name: archive.facts.name.clone(),
        borg_id: archive.facts.borg_id,
    };
    let spec = PruneSpec {
        plan: "web".parse().unwrap(),
        access: serde_json::from_value(access).unwrap(),
        policy: Policy::of_days(1),
        by_hand: false,
        archives: vec![target],
        spared: Vec::new(),
    };
    let requested = Requested {
        spec: JobSpec::Prune(spec),
        server: "web".parse().unwrap(),
        node: "local".parse().unwrap(),
        trigger: Trigger::System,
        deadline_s: None,
    };
    let job = JobId(Uuid::now_v7()).to_string();
    stage.append(Kind::Job, &job, Event::JobRequested(requested)).await;
    job
}

/// Gives a plan these archives in a repository, in the scheduler's eyes and in the catalog's.
fn give(stage: &Stage, plan: Option<&str>, repository: &str, candidates: Vec<Candidate>, known: bool) {
    let archive = |candidate: &Candidate| Archive {
        id: candidate.id,
        repository: repository.parse().unwrap(),
        server: "web".parse().unwrap(),
        node: "local".parse().unwrap(),
        plan: plan.map(|plan| plan.parse().unwrap()),
        job: None,
        facts: Facts {
            id: candidate.id,
            name: candidate.name.clone(),
            borg_id: candidate.name.clone(),
            started_at: candidate.made_at,
            ended_at: None,
            stats: None,
            comment: String::new(),
            hostname: String::new(),
            index: None,
            dump: None,
        },
        incomplete: false,
        missing: false,
        holds: Vec::new(),
    };
    stage.facts.archives.lock().unwrap().extend(candidates.iter().map(archive));
    if known {
        let of = (plan.unwrap().parse().unwrap(), repository.parse().unwrap(), candidates);
        stage.facts.kept.lock().unwrap().push(of);
    }
}

/// Two plans into one repository, one of them into another one too; a plan that is gone, and archives of nobody.
async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.define().await;
    stage.client.put("/plans/mail", plan()).await.expect(201);
    give(&stage, Some("web"), "elsewhere", days("e", 40), true);
    give(&stage, Some("web"), "site", days("w", 40), true);
    give(&stage, Some("mail"), "site", days("m", 33), true);
    give(&stage, Some("retired"), "site", days("r", 35), false);
    give(&stage, None, "site", days("x", 2), false);
    stage
}

async fn prunes(stage: &Stage) -> Vec<(String, PruneSpec)> {
    let log = stage.log().await;
    let asked = log.into_iter().filter_map(|e| match e.event {
        Event::JobRequested(Requested { spec: JobSpec::Prune(spec), .. }) => Some((e.aggregate.id, spec)),
        _ => None,
    });
    asked.collect()
}

const PATH: &str = "/repositories/site/cleanup";

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_is_shown_first_and_then_takes_exactly_that_of_this_repository_alone() {
    let stage = stage().await;
    let client = &stage.client;
    let would = client.post(PATH, json!({ "retention_days": 30, "dry_run": true })).await.expect(200);
    assert_eq!(
        (&would.body["archives"], &would.body["going"], &would.body["listed"]),
        (&json!(110), &json!(13), &json!(13))
    );
    assert_eq!(
        (&would.body["left"], &would.body["freed_bytes"], &would.body["jobs"]),
        (&json!(0), &json!(13_000), &json!([]))
    );
    assert!(prunes(&stage).await.is_empty(), "a dry run asks for nothing");
    let names = |plan: &Value| -> Vec<String> {
        let archives = plan["archives"].as_array().unwrap().iter().filter(|a| a["outcome"] == "go");
        archives.map(|a| a["name"].as_str().unwrap().to_owned()).collect()
    };
    let plans = would.body["plans"].as_array().unwrap();
    assert_eq!(
        (plans[0]["plan"].as_str(), names(&plans[0])),
        (Some("mail"), vec!["m30".into(), "m31".into(), "m32".into()])
    );
    assert_eq!((plans[1]["plan"].as_str(), names(&plans[1]).len()), (Some("web"), 10));
    assert!(names(&plans[1]).iter().all(|name| name.starts_with('w')), "what lies elsewhere is let be");
    let aside = would.body["not_looked_at"].as_array().unwrap();
    let aside: Vec<_> = aside.iter().map(|a| (a["plan"].as_str(), a["archives"].as_u64().unwrap())).collect();
    assert_eq!(aside, [(None, 2), (Some("retired"), 35)]);

    let asked = client.keyed(PATH, "k", json!({ "retention_days": 30 })).await.expect(202);
    assert_eq!(
        (&asked.body["going"], &asked.body["listed"], &asked.body["left"]),
        (&json!(13), &json!(13), &json!(0))
    );
    let made = prunes(&stage).await;
    let jobs = asked.body["jobs"].as_array().unwrap();
    assert_eq!(made.len(), 2);
    for ((id, spec), (job, plan)) in made.iter().zip(jobs.iter().zip(plans)) {
        assert_eq!((job["id"].as_str(), job["plan"].as_str()), (Some(&**id), Some(spec.plan.as_str())));
        assert_eq!(job["url"], format!("/api/v1/jobs/{id}"));
        assert_eq!((spec.by_hand, &spec.policy, spec.spared.len()), (true, &Policy::of_days(30), 0));
        assert_eq!(
            (spec.access.repository.as_str(), spec.access.location.as_str()),
            ("site", "/backups/web/site")
        );
        let listed: Vec<String> = spec.archives.iter().map(|target| target.name.clone()).collect();
        assert_eq!(listed, names(plan), "exactly what was shown, in that order");
    }
    // Its answer may have been lost: it is no second clean-up, also when more has become old since.
    stage.end(&made[0].0, failed()).await;
    stage.facts.kept.lock().unwrap()[1].2.extend(days("w", 60).split_off(50));
    let again = client.keyed(PATH, "k", json!({ "retention_days": 30 })).await.expect(202);
    assert_eq!((&again.body["jobs"], &again.body["repeated"]), (&asked.body["jobs"], &json!(true)));
    assert_eq!(again.sequence(), asked.sequence());
    client.keyed(PATH, "k", json!({ "retention_days": 20 })).await.problem(409, "idempotency_key_reused");
    assert_eq!(prunes(&stage).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_is_one_however_many_ask_for_it_at_once() {
    let stage = stage().await;
    // As when a proxy or an impatient client sends it again while the first is under way.
    let calls = (0..6).map(|_| stage.client.keyed(PATH, "k", json!({ "retention_days": 30 })));
    let mut jobs = Vec::new();
    for reply in futures::future::join_all(calls).await {
        let reply = reply.expect(202);
        // One that came in between is told of those that were there by then.
        let told = reply.body["jobs"].as_array().unwrap().clone();
        assert!(!told.is_empty(), "{}", reply.text);
        jobs.extend(told.into_iter().map(|job| job["id"].as_str().unwrap().to_owned()));
    }
    jobs.sort();
    jobs.dedup();
    let mut made: Vec<String> = prunes(&stage).await.into_iter().map(|(id, _)| id).collect();
    made.sort();
    assert_eq!((made.len(), jobs), (2, made));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_behind_a_gate_and_that_is_no_success() {
    let stage = stage().await;
    stage.facts.failures_in_a_row.store(1, Ordering::SeqCst);
    let refused =
        stage.client.post(PATH, json!({ "retention_days": 30 })).await.problem(409, "retention_gated");
    for word in ["plan 'web'", "plan 'mail'", "the newest run failed"] {
        assert!(refused.str("/detail").contains(word), "{}", refused.text);
    }
    let would = stage.client.post(PATH, json!({ "retention_days": 30, "dry_run": true })).await.expect(200);
    assert_eq!(
        (&would.body["going"], &would.body["listed"], &would.body["left"]),
        (&json!(13), &json!(0), &json!(13))
    );
    assert_eq!(would.body["plans"][0]["gate"]["gate"], "runs_fail");
    assert!(prunes(&stage).await.is_empty());
    // Where nothing is old, there is nothing to be refused.
    let none = stage.client.post(PATH, json!({ "retention_days": 300 })).await.expect(200);
    assert_eq!((&none.body["going"], &none.body["jobs"]), (&json!(0), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_takes_no_more_than_it_can_and_the_rest_is_counted() {
    let stage = Stage::new().await;
    stage.define().await;
    give(&stage, Some("web"), "site", days("w", u32::try_from(PRUNED_AT_ONCE).unwrap() + 8), true);
    let asked = stage.client.post(PATH, json!({ "retention_days": 1 })).await.expect(202);
    assert_eq!(
        (&asked.body["going"], &asked.body["listed"], &asked.body["left"]),
        (&json!(207), &json!(200), &json!(7))
    );
    let made = prunes(&stage).await;
    assert_eq!((made.len(), made[0].1.archives.len()), (1, PRUNED_AT_ONCE));
    assert_eq!(asked.header("location"), format!("/api/v1/jobs/{}", made[0].0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_is_of_a_repository_that_is_there_and_says_how_old_is_old() {
    let stage = stage().await;
    for (body, field) in [
        (json!({}), "retention_days"),
        (json!({ "retention_days": 0 }), "retention_days"),
        (json!({ "retention_days": 36_501 }), "retention_days"),
        (json!({ "retention_days": "30" }), "retention_days"),
        (json!({ "retention_days": 30, "force": true }), "force"),
    ] {
        let refused = stage.client.post(PATH, body.clone()).await.problem(422, "invalid");
        assert_eq!(refused.fields(), [field], "{body}");
    }
    let body = json!({ "retention_days": 30 });
    stage.client.post("/repositories/nowhere/cleanup", body.clone()).await.problem(404, "not_found");
    let token = stage.client.post("/tokens", json!({ "id": "o", "scope": "operate" })).await.expect(201);
    stage.client.with_token(token.str("/token")).post(PATH, body).await.problem(403, "forbidden");
}

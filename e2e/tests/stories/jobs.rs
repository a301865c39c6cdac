//! Jobs that do not simply succeed: cancelled, retried, failed with a cause, incomplete; and limits.

use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;
use strongroom_e2e::{PATIENCE, Single, Tree, archives_in, wait_until};

/// Defines further plans on the server, repository and source of `web`.
async fn another_plan(single: &Single, name: &str, changes: Value) -> Result<()> {
    let mut plan = single.api.get("/plans/web").await?.expect(200)?.body;
    let fields = plan.as_object_mut().unwrap();
    for field in ["id", "version", "paused", "defined_at", "changed_at", "next_run_at"] {
        fields.remove(field);
    }
    fields.extend(changes.as_object().unwrap().clone());
    single.api.put(&format!("/plans/{name}"), &plan).await?.expect(201)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_and_a_queued_one_are_cancelled_and_done_again() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(4, 40, 2_000_000)?;
    single.api.define("web", single.folder(), &[tree.path()]).await?;
    // Slow enough to be caught in the act on any machine.
    another_plan(&single, "slow", json!({ "compression": "lzma,6" })).await?;

    let running = single.api.post("/plans/slow/run", &json!({})).await?.expect(202)?;
    let running = running.text("/id")?;
    single.api.in_phase(running, "running").await?;
    let queued = single.api.post("/plans/web/run", &json!({})).await?.expect(202)?;
    let queued = queued.text("/id")?;
    let waiting = wait_until("the reason why it waits", PATIENCE, async || {
        let job = single.api.get(&format!("/jobs/{queued}")).await.ok()?.body;
        job.pointer("/waiting").filter(|w| !w.is_null()).cloned()
    })
    .await?;
    assert_eq!(waiting["waits_for"], "repository", "{waiting}");
    assert_eq!(waiting["behind"], running);

    single.api.post(&format!("/jobs/{queued}/cancel"), &json!({})).await?;
    assert_eq!(single.api.ended(queued).await?["phase"], "cancelled");
    single.api.post(&format!("/jobs/{running}/cancel"), &json!({ "reason": "a test" })).await?;
    assert_eq!(single.api.ended(running).await?["phase"], "cancelled");
    let late = single.api.post(&format!("/jobs/{running}/cancel"), &json!({})).await?.expect(409)?;
    assert_eq!(late.text("/code")?, "job_finished");
    assert!(single.api.list("/archives").await?.is_empty(), "a cancelled job left an archive in the catalog");

    let retried = single.api.post(&format!("/jobs/{queued}/retry"), &json!({})).await?.expect(202)?;
    let retried = single.api.ended(retried.text("/id")?).await?;
    assert_eq!(retried["phase"], "complete", "{retried}");
    assert_eq!(retried["requested"]["trigger"], json!({ "type": "retry", "of": queued }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_while_a_job_runs() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(5, 60, 2_000_000)?;
    single.api.define("web", single.folder(), &[tree.path()]).await?;
    another_plan(&single, "slow", json!({ "compression": "lzma,6" })).await?;
    let asked = single.api.post("/plans/slow/run", &json!({})).await?.expect(202)?;
    let after = asked.position.clone().unwrap().rsplit(':').next().unwrap().to_owned();
    let id = asked.text("/id")?.to_owned();

    let request = single.api.request(reqwest::Method::GET, &format!("/events?job={id}&after={}", after));
    let mut response = request.timeout(PATIENCE).send().await?;
    let mut frames = String::new();
    while !frames.contains("strongroom.job.succeeded.v1") {
        let chunk = response.chunk().await?.expect("the stream ended before the job did");
        frames.push_str(&String::from_utf8_lossy(&chunk));
    }
    let progress =
        frames.split("\n\n").find(|f| f.contains("event: progress") || f.contains("event:progress"));
    let progress = progress.unwrap_or_else(|| panic!("no progress came: {frames}"));
    for word in ["original_size_bytes", "deduplicated_size_bytes", "rate_bytes_per_s", "path"] {
        assert!(progress.contains(word), "{progress}");
    }
    for name in ["strongroom.job.started.v1", "strongroom.job.succeeded.v1"] {
        assert_eq!(
            frames.matches(&format!("event: {name}")).count()
                + frames.matches(&format!("event:{name}")).count(),
            1,
            "{name}: {frames}"
        );
    }
    assert_eq!(single.api.ended(&id).await?["phase"], "complete");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_its_cause_and_what_to_do() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(6, 5, 1000)?;
    let passphrase = single.api.define("web", single.folder(), &[tree.path()]).await?;
    another_plan(&single, "gone", json!({ "source": { "type": "files", "paths": ["/no/such/folder"] } }))
        .await?;
    let job = single.api.run("gone").await?;
    assert_eq!(
        (&job["phase"], &job["failure"]["code"]),
        (&json!("failed"), &json!("source_missing")),
        "{job}"
    );
    assert!(job["failure"]["message"].as_str().unwrap().contains("/no/such/folder"), "{job}");
    assert!(!job["failure"]["advice"].as_str().unwrap().is_empty());

    let mut repository = json!({
        "server": "web", "destination": "web", "encryption": "repokey-blake2", "passphrase": "not this one",
    });
    single.api.put("/repositories/web", &repository).await?.expect(200)?;
    let job = single.api.run("web").await?;
    assert_eq!(job["failure"]["code"], "wrong_passphrase", "{job}");
    repository["passphrase"] = json!(passphrase);
    single.api.put("/repositories/web", &repository).await?.expect(200)?;
    let retried =
        single.api.post(&format!("/jobs/{}/retry", job["id"].as_str().unwrap()), &json!({})).await?;
    assert_eq!(single.api.ended(retried.expect(202)?.text("/id")?).await?["phase"], "complete");

    let (place, elsewhere) =
        (single.folder().join("repositories/web/web"), single.folder().join("elsewhere"));
    at_rest(&single).await?;
    std::fs::rename(&place, &elsewhere)?;
    assert_eq!(single.api.run("web").await?["failure"]["code"], "repository_missing");
    // Another one lies there, which opens with the same passphrase: nothing is written into it.
    let base = single.folder().join("borg");
    let made = std::process::Command::new("borg")
        .args(["init", "--encryption", "repokey-blake2"])
        .arg(&place)
        .env("BORG_BASE_DIR", &base)
        .env("BORG_PASSPHRASE", &passphrase)
        .status()?;
    assert!(made.success());
    assert_eq!(single.api.run("web").await?["failure"]["code"], "repository_replaced");
    assert!(archives_in(&place, &passphrase, &base)?.is_empty());
    std::fs::remove_dir_all(&place)?;
    std::fs::rename(&elsewhere, &place)?;
    assert_eq!(single.api.run("web").await?["phase"], "complete");
    Ok(())
}

/// Waits until the newest archive has its index: nobody is at work in its repository then.
async fn at_rest(single: &Single) -> Result<()> {
    let newest = single.api.get("/archives?limit=1").await?.body;
    single.api.browse(newest["items"][0]["id"].as_str().unwrap(), "").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_asked_for_outlives_a_kill_right_after_the_answer() -> Result<()> {
    let mut single = Single::start().await?;
    let tree = Tree::new(7, 30, 200_000)?;
    single.api.define("web", single.folder(), &[tree.path()]).await?;
    let asked = single.api.post("/plans/web/run", &json!({})).await?.expect(202)?;
    single.kill_and_start().await?;
    let job = single.api.ended(asked.text("/id")?).await?;
    assert_eq!(job["phase"], "complete", "{job}");

    // In the middle of the work this time.
    another_plan(&single, "slow", json!({ "compression": "lzma,6" })).await?;
    tree.change(70, "large", 30_000_000)?;
    let asked = single.api.post("/plans/slow/run", &json!({})).await?.expect(202)?;
    single.api.in_phase(asked.text("/id")?, "running").await?;
    single.kill_and_start().await?;
    let job = single.api.ended(asked.text("/id")?).await?;
    assert_eq!(job["phase"], "complete", "{job}");
    assert_eq!(single.api.list("/archives").await?.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_repeated_with_its_key_is_one_job() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(8, 5, 1000)?;
    single.api.define("web", single.folder(), &[tree.path()]).await?;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let request =
            single.api.request(reqwest::Method::POST, "/plans/web/run").header("idempotency-key", "k1");
        let reply = single.api.send(request.json(&json!({}))).await?;
        ids.insert(reply.text("/id")?.to_owned());
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    let request = single.api.request(reqwest::Method::POST, "/plans/web/run").header("prefer", "wait=60");
    let waited = single.api.send(request.json(&json!({}))).await?.expect(200)?;
    assert_eq!(waited.text("/phase")?, "complete");
    let jobs = single.api.list("/jobs?plan=web").await?;
    assert_eq!(jobs.len(), 2, "{jobs:?}");
    tokio::time::timeout(Duration::from_secs(60), single.api.ended(ids.first().unwrap())).await??;
    Ok(())
}

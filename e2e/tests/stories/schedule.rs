//! A plan that runs by itself.

use anyhow::Result;
use serde_json::json;
use strongroom_e2e::{PATIENCE, Single, Tree, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_runs_at_its_times_until_it_is_paused() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(10, 5, 1000)?;
    single.api.define("web", single.folder(), &[tree.path()]).await?;
    let plan = json!({
        "server": "web", "repository": "web", "source": { "type": "files", "paths": [tree.path()] },
        "schedule": { "cron": "*/2 * * * * *", "time_zone": "Europe/Paris" },
    });
    single.api.put("/plans/often", &plan).await?.expect(201)?;
    let shown = single.api.get("/plans/often").await?.expect(200)?;
    assert!(shown.text("/next_run_at")?.ends_with('Z'), "{}", shown.body);
    let done = async |n: usize| {
        wait_until("jobs by the schedule", PATIENCE, async || {
            let jobs = single.api.list("/jobs?plan=often&phase=complete").await.ok()?;
            (jobs.len() >= n).then_some(jobs)
        })
        .await
    };
    let jobs = done(3).await?;
    let mut times: Vec<&str> =
        jobs.iter().map(|j| j["requested"]["trigger"]["nominal_at"].as_str().unwrap()).collect();
    times.sort_unstable();
    let count = times.len();
    times.dedup();
    assert_eq!(times.len(), count, "a time ran twice: {times:?}");

    single.api.post("/plans/often/pause", &json!({ "reason": "a test" })).await?.expect(200)?;
    assert_eq!(single.api.get("/plans/often").await?.text("/paused")?, "a test");
    let position = single.api.get("/jobs").await?.position;
    single.api.post("/plans/often/resume", &json!({})).await?.expect(200)?;
    assert!(position.is_some());
    done(count + 1).await?;
    Ok(())
}

use crate::stage::{PATIENCE, Stage, config};
use anyhow::Result;
use serde_json::json;
use strongroom_domain::Event;
use strongroom_testkit::wait_until;

fn every_second(overlap: &str) -> serde_json::Value {
    json!({
        "server": "s", "repository": "r0", "source": { "type": "files", "paths": ["/x"] },
        "schedule": { "cron": "* * * * * *", "overlap": overlap },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_time_fires_once_with_two_schedulers_that_are_killed_now_and_then() -> Result<()> {
    let mut stage = Stage::set(1, 2).await?;
    stage.define("plan.p", every_second("queue")).await?;
    for round in 1..4 {
        wait_until("more times", PATIENCE, async || {
            (stage.history("schedule.p").await.ok()?.len() >= round * 3).then_some(())
        })
        .await?;
        stage.kill_schedulers().await;
        stage.start_scheduler(config()).await?;
        stage.start_scheduler(config()).await?;
    }
    let facts = stage.history("schedule.p").await?;
    let mut last = None;
    for fact in &facts {
        let Event::ScheduleFired(fired) = &fact.event else { panic!("{:?}", fact.event) };
        if let Some(last) = last {
            assert_eq!(
                fired.nominal_at.duration_since(last).as_secs(),
                1,
                "a second was left out or doubled"
            );
        }
        last = Some(fired.nominal_at);
        wait_until("its job", PATIENCE, async || {
            let events = stage.history(&format!("job.{}", fired.job)).await.ok()?;
            let requests = events.iter().filter(|e| matches!(e.event, Event::JobRequested(_))).count();
            (requests == 1).then_some(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_comes_while_the_run_before_has_not_ended_is_skipped() -> Result<()> {
    let stage = Stage::set(1, 1).await?;
    stage.define("plan.p", every_second("skip")).await?;
    let facts = wait_until("three times", PATIENCE, async || {
        stage.history("schedule.p").await.ok().filter(|facts| facts.len() >= 3)
    })
    .await?;
    assert!(matches!(facts[0].event, Event::ScheduleFired(_)));
    assert!(facts[1..].iter().all(|f| matches!(f.event, Event::ScheduleSkipped(_))), "{facts:?}");
    Ok(())
}

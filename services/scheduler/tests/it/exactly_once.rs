//! A thousand plans that are due in the same second, three schedulers, and kills of them and of nats-servers.

use crate::stage::{PATIENCE, Stage, config};
use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde_json::json;
use strongroom_domain::{Event, JobId, PlanId};
use strongroom_testkit::wait_until;

const PLANS: usize = 1000;
/// Of each of so many it is looked how far they are.
const SAMPLE: usize = 25;
/// How many are read at once.
const AT_ONCE: usize = 16;

/// A plan that is due at each full minute.
fn every_minute() -> serde_json::Value {
    json!({
        "server": "s", "repository": "r0", "source": { "type": "files", "paths": ["/x"] },
        "schedule": { "cron": "0 * * * * *", "catch_up": "all", "overlap": "queue" },
    })
}

/// What has become of the nominal times of a plan: how many there were, and how many of them have their job. An error, when one
/// was left out or is there twice.
async fn of_plan(stage: &Stage, n: usize) -> Result<(usize, usize)> {
    let plan: PlanId = format!("p{n}").parse()?;
    let (mut last, mut jobs) = (None::<Timestamp>, 0);
    let facts = stage.history(&format!("schedule.{plan}")).await?;
    for fact in &facts {
        let fired = match &fact.event {
            Event::ScheduleFired(fired) => fired,
            // It is late after an hour; nothing else is to be skipped.
            other => anyhow::bail!("plan {plan}: {other:?}"),
        };
        let step = last.map_or(60, |last| fired.nominal_at.duration_since(last).as_secs());
        ensure!(step == 60, "plan {plan}: {} comes {step} s after the time before", fired.nominal_at);
        ensure!(fired.job == JobId::of_trigger(&plan, fired.nominal_at), "{fired:?}");
        let job = stage.history(&format!("job.{}", fired.job)).await?;
        let requests = job.iter().filter(|e| matches!(e.event, Event::JobRequested(_))).count();
        ensure!(requests <= 1, "plan {plan} has {requests} jobs for one time");
        jobs += requests;
        last = Some(fired.nominal_at);
    }
    Ok((facts.len(), jobs))
}

/// How many of each 25th, or each, plan have at least so many times with their jobs. To look at all of them takes longer than
/// to deal with them.
async fn with(stage: &Stage, times: usize, step: usize) -> Result<usize> {
    let plans = stream::iter((0..PLANS).step_by(step));
    let all = plans.map(|n| of_plan(stage, n)).buffer_unordered(AT_ONCE);
    all.try_fold(0, |count, (_, jobs)| async move { Ok(count + usize::from(jobs >= times)) }).await
}

async fn a_thousand(members: usize) -> Result<()> {
    let mut stage = Stage::set(members, 3).await?;
    let on = &stage;
    let plans =
        stream::iter(0..PLANS).map(|n| async move { on.define(&format!("plan.p{n}"), every_minute()).await });
    plans.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    // While they are dealt with, all schedulers are killed twice, and once a nats-server with them.
    for round in 1..=2 {
        let enough = PLANS / SAMPLE * round / 4;
        wait_until("some of them", PATIENCE * 3, async || {
            with(&stage, 1, SAMPLE).await.ok().filter(|count| *count >= enough)
        })
        .await?;
        stage.kill_schedulers().await;
        if round == 2 {
            stage.nats.kill(0)?;
            stage.nats.start_member(0)?;
            stage.nats.wait_until_healthy().await?;
        }
        for _ in 0..3 {
            stage.start_scheduler(config()).await?;
        }
    }
    for step in [SAMPLE, 1] {
        let mut problem = None;
        let all = wait_until("each of them to have its times", PATIENCE * 4, async || {
            match with(&stage, 2, step).await {
                Ok(count) => (count >= PLANS / step).then_some(()),
                // A server that was just started may not answer; what is there twice stays so.
                Err(e) => {
                    problem = Some(e);
                    None
                }
            }
        });
        all.await.map_err(|e| problem.unwrap_or(e))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_plans_of_one_second_run_once_each_on_one_nats_server() -> Result<()> {
    a_thousand(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_plans_of_one_second_run_once_each_on_three_nats_servers() -> Result<()> {
    a_thousand(3).await
}

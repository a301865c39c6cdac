//! What cannot be read halts its aggregate and nothing else.

use crate::stage::{PATIENCE, Stage, started};
use strongroom_domain::view::{Definition, Quarantined};
use strongroom_domain::{Aggregate, JobId, Kind, server};
use strongroom_testkit::wait_until;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_set_aside_for_people_and_the_rest_goes_on() {
    let stage = Stage::new().await;
    let catalog = stage.start().await;
    let plan = Aggregate::new(Kind::Plan, "web");
    let job = Aggregate::new(Kind::Job, JobId(Uuid::now_v7()));
    stage.plan("web").await;
    stage.junk(&stage.gateway, &plan).await;
    // An event that can be read and makes no sense: nobody ever asked for this job.
    stage.write(&stage.scheduler, &job, started()).await;
    stage.server("www1").await;
    let server: Option<Definition<server::Spec>> = stage.ask("server", &"www1").await;
    assert!(server.is_some(), "the rest goes on");
    let set_aside = wait_until("both are set aside", PATIENCE, async || {
        let items: Vec<Quarantined> = stage.ask("quarantine", &()).await;
        (items.len() == 2).then_some(items)
    })
    .await
    .unwrap();
    let mut aggregates: Vec<&str> = set_aside.iter().map(|q| q.aggregate.as_str()).collect();
    aggregates.sort_unstable();
    assert_eq!(aggregates, [job.to_string().as_str(), "plan.web"]);
    assert!(set_aside.iter().all(|q| q.consumer == "catalog"));
    let health = stage.health().await.unwrap();
    assert_eq!(health.numbers["quarantined"], 2.0);
    assert!(health.ready && health.problems.len() == 2, "{health:?}");

    assert_eq!(stage.refused("redrive", &"plan.web").await, "still_unreadable");
    assert_eq!(stage.refused("redrive", &job.to_string()).await, "still_unreadable");
    assert_eq!(stage.refused("redrive", &"server.www1").await, "not_halted");
    assert_eq!(stage.refused("redrive", &"nonsense").await, "not_halted");

    // A restart knows them.
    catalog.stop().await.unwrap();
    let catalog = stage.start().await;
    let health = wait_until("health", PATIENCE, async || stage.health().await.filter(|h| h.ready)).await;
    assert_eq!(health.unwrap().numbers["quarantined"], 2.0);
    catalog.stop().await.unwrap();
}

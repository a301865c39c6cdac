//! What cannot be read halts its aggregate and nothing else.

use crate::stage::{PATIENCE, Stage, started};
use strongroom_catalog::core::checkpoint::Halted;
use strongroom_catalog::core::key;
use strongroom_catalog::{dump, rebuild_once};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_takes_in_what_can_be_read_by_now_and_leaves_no_trace() {
    let stage = Stage::new().await;
    let www1 = Aggregate::new(Kind::Server, "www1");
    for _ in 0..3 {
        stage.server("www1").await;
    }
    // As a build that could not read the first of them would have left it.
    let fresh_dir = stage.folder.path().join("fresh");
    for folder in [stage.state_dir(), fresh_dir.clone()] {
        rebuild_once(stage.nats.bus("catalog").await.unwrap(), &folder).await.unwrap();
    }
    let halted = Halted { aggregate: www1.clone(), sequence: 1, reason: "unknown".into(), held: 2, last: 3 };
    {
        let views = sled::open(stage.state_dir().join("views")).unwrap();
        views.insert(key::halted(&www1), rmp_serde::to_vec_named(&halted).unwrap()).unwrap();
        views.remove(key::definition(Kind::Server, "www1")).unwrap();
        views.flush().unwrap();
    }
    let catalog = stage.start().await;
    stage.server("www1").await;
    let held: Option<Definition<server::Spec>> = stage.ask("server", &"www1").await;
    assert_eq!(held, None, "what comes later is held back");
    let items: Vec<Quarantined> = stage.ask("quarantine", &()).await;
    assert_eq!(items.len(), 1, "a restart tells people what is halted");
    let asked = stage.gateway.ask::<_, ()>("catalog", "redrive", &"server.www1", None, None).await;
    asked.unwrap();
    let found: Option<Definition<server::Spec>> = stage.ask("server", &"www1").await;
    assert_eq!(found.unwrap().version, 4);
    assert!(stage.ask::<Vec<Quarantined>>("quarantine", &()).await.is_empty());
    catalog.stop().await.unwrap();
    rebuild_once(stage.nats.bus("catalog").await.unwrap(), &fresh_dir).await.unwrap();
    assert!(dump(&stage.state_dir()).unwrap() == dump(&fresh_dir).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_history_stops_the_fold_with_an_alarm_and_health_says_so() {
    let stage = Stage::new().await;
    let catalog = stage.start().await;
    stage.plan("web").await;
    stage.server("www1").await;
    let _: Option<Definition<server::Spec>> = stage.ask("server", &"www1").await;
    // The same event again under another id: a writer without the journal's guards, or damage in the store.
    let subject = strongroom_bus::subjects::event(&Aggregate::new(Kind::Plan, "web"));
    let store = stage.gateway.journal().store();
    let raw = store.read(Some(&subject), 1, 500).await.unwrap().pop().unwrap();
    let id = Uuid::now_v7().to_string();
    let headers = raw.headers.into_iter().map(|(name, value)| match name.as_str() {
        "ce-id" | "Nats-Msg-Id" => (name, id.clone()),
        _ => (name, value),
    });
    let before = stage.end().await.sequence;
    store.publish(&subject, headers.collect(), raw.payload, raw.sequence).await;
    stage.server("www2").await;
    let health = wait_until("an alarm", PATIENCE, async || stage.health().await.filter(|h| !h.ready)).await;
    let health = health.unwrap();
    assert!(health.problems[0].contains("plan.web is broken"), "{health:?}");
    assert_eq!(health.numbers["catalog_sequence"], before as f64, "nothing is folded on");
    assert!(catalog.is_running(), "it does not crash again and again");
    let asked = stage.gateway.ask::<_, ()>("catalog", "redrive", &"plan.web", None, None).await;
    assert!(asked.is_err());
    catalog.stop().await.unwrap();
}

//! sled is a cache: what is built again equals what was there, byte for byte.

use crate::stage::{PATIENCE, Stage};
use strongroom_catalog::{dump, rebuild_once};
use strongroom_domain::archive::Deleted;
use strongroom_domain::view::{Archive, ListQuestion, Page};
use strongroom_domain::{Aggregate, Event, Kind};
use strongroom_testkit::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn views_that_lived_through_restarts_equal_views_that_are_built_anew() {
    let stage = Stage::new().await;
    for round in 0..6 {
        let catalog = stage.start().await;
        for n in 0..5 {
            stage.server(&format!("www{n}")).await;
            let (_, archive) = stage.backup(&format!("plan{}", n % 2), None).await;
            if n == 3 {
                let job = strongroom_domain::JobId(uuid::Uuid::now_v7());
                let gone = Event::ArchiveDeleted(Deleted { job, repository: "web".parse().unwrap() });
                stage.write(&stage.scheduler, &Aggregate::new(Kind::Archive, archive), gone).await;
            }
            if n == round % 5 {
                stage.junk(&stage.gateway, &Aggregate::new(Kind::Plan, format!("junk{round}"))).await;
            }
        }
        if round % 2 == 0 {
            let page: Page<Archive> = stage.ask("archives", &ListQuestion::default()).await;
            assert_eq!(page.items.len(), 4 * (round + 1));
        }
        // Wherever it is by then.
        catalog.stop().await.unwrap();
    }
    let end = stage.end().await;
    let lived = rebuild_once(stage.nats.bus("catalog").await.unwrap(), &stage.state_dir()).await.unwrap();
    let new_dir = stage.folder.path().join("new");
    let built = rebuild_once(stage.nats.bus("catalog").await.unwrap(), &new_dir).await.unwrap();
    assert_eq!((&lived, &built), (&end, &end));
    let (lived, built) = (dump(&stage.state_dir()).unwrap(), dump(&new_dir).unwrap());
    assert!(lived.len() > 60, "{}", lived.len());
    assert!(lived == built, "{} and {} keys, or other values", lived.len(), built.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn views_of_another_log_are_thrown_away() {
    let first = Stage::new().await;
    first.server("of-the-first-log").await;
    rebuild_once(first.nats.bus("catalog").await.unwrap(), &first.state_dir()).await.unwrap();
    let second = Stage { folder: first.folder, ..Stage::new().await };
    second.server("of-the-second-log").await;
    let end = second.end().await;
    let rebuilt = rebuild_once(second.nats.bus("catalog").await.unwrap(), &second.state_dir()).await;
    assert_eq!(rebuilt.unwrap(), end);
    let keys: Vec<String> = dump(&second.state_dir())
        .unwrap()
        .iter()
        .map(|(key, _)| String::from_utf8_lossy(key).replace('\0', "/"))
        .collect();
    assert_eq!(keys, ["dserver/of-the-second-log", "mcheckpoint"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_goes_away_for_a_while_is_waited_for() {
    let mut stage = Stage::new().await;
    let catalog = stage.start().await;
    stage.server("before").await;
    let _: Option<serde_json::Value> = stage.ask("server", &"before").await;
    stage.nats.kill(0).unwrap();
    stage.nats.start_member(0).unwrap();
    stage.nats.wait_until_healthy().await.unwrap();
    stage.server("after").await;
    let found: Option<serde_json::Value> = stage.ask("server", &"after").await;
    assert!(found.is_some());
    wait_until("health", PATIENCE, async || stage.health().await.filter(|h| h.ready)).await.unwrap();
    assert!(catalog.is_running());
    catalog.stop().await.unwrap();
}

//! Questions, and reading one's own writes.

use crate::stage::Stage;
use strongroom_bus::{AskError, Position};
use strongroom_domain::definition::Retired;
use strongroom_domain::job::Phase;
use strongroom_domain::view::{Archive, Definition, Job, ListQuestion, Page};
use strongroom_domain::{Aggregate, Event, Kind, plan, server};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_at_its_position() {
    let stage = Stage::new().await;
    let catalog = stage.start().await;
    for n in 0..20 {
        stage.server(&format!("www{n}")).await;
        let found: Option<Definition<server::Spec>> = stage.ask("server", &format!("www{n}")).await;
        assert_eq!(found.unwrap().version, 1);
    }
    stage.plan("web").await;
    let (job, archive) = stage.backup("web", None).await;
    let found: Option<Job> = stage.ask("job", &job).await;
    let found = found.unwrap();
    assert_eq!((found.phase, found.attempts, found.kind.as_str()), (Phase::Complete, 1, "backup"));
    let archives: Page<Archive> = stage.ask("archives", &ListQuestion::default()).await;
    assert_eq!(archives.items.iter().map(|a| a.id).collect::<Vec<_>>(), [archive]);
    let health = stage.health().await.unwrap();
    assert!(health.ready, "{health:?}");
    assert_eq!(health.numbers["archives"], 1.0);
    assert_eq!(health.numbers["jobs{phase=\"complete\"}"], 1.0);
    assert_eq!(health.numbers["catalog_lag"], 0.0);

    let retired = Event::PlanRetired(Retired::default());
    stage.write(&stage.gateway, &Aggregate::new(Kind::Plan, "web"), retired).await;
    assert_eq!(stage.ask::<Option<Definition<plan::Spec>>>("plan", &"web").await, None);
    assert_eq!(
        stage.refused("jobs", &ListQuestion { limit: Some(0), ..Default::default() }).await,
        "invalid"
    );
    assert_eq!(stage.refused("nonsense", &()).await, "not_found");
    catalog.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_not_reached_and_one_of_another_log_are_told_apart() {
    let stage = Stage::new().await;
    let catalog = stage.start().await;
    stage.server("www1").await;
    let _: Option<Definition<server::Spec>> = stage.ask("server", &"www1").await;
    let end = stage.end().await;
    let ask = async |at_least: Position| {
        let question = ListQuestion::default();
        let asked = stage.gateway.ask::<_, Page<Job>>("catalog", "jobs", &question, Some(at_least), None);
        asked.await
    };
    let ahead = Position { sequence: end.sequence + 1, ..end.clone() };
    let behind = ask(ahead).await;
    assert!(matches!(&behind, Err(AskError::Behind(position)) if *position == end), "{behind:?}");
    let other = ask(Position { generation: "another".into(), sequence: 1 }).await;
    assert!(matches!(&other, Err(AskError::OtherLog(position)) if *position == end), "{other:?}");
    catalog.stop().await.unwrap();
}

//! A message that cannot be read: its aggregate halts, everything else goes on, people can see it.

use anyhow::Result;
use strongroom_bus::nats::Connection;
use strongroom_e2e::{Fleet, PATIENCE, Tree, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_message_goes_to_quarantine_and_nothing_stops() -> Result<()> {
    let mut fleet = Fleet::start(1).await?;
    let tree = Tree::new(90, 5, 1000)?;
    fleet.api.define("web", &fleet.folder().join("web"), &[tree.path()]).await?;

    // Bytes that are no event, on the subject of a job, written with a service's own rights.
    let job = "0192f0c1-0000-7000-8000-000000000001";
    let scheduler = Connection::open(&fleet.nats.settings("scheduler")).await?;
    scheduler
        .client_for_tests()
        .request(format!("strongroom.evt.job.{job}"), vec![0xc1, 0xff, 0x00].into())
        .await?;
    // And a report that is none, in a node's own voice.
    let node = Connection::open(&fleet.nats.settings("node-node1")).await?;
    node.client_for_tests().request("strongroom.report.node1".to_owned(), vec![0xc1].into()).await?;

    let found = wait_until("the message to be set aside", PATIENCE, async || {
        let items = fleet.api.list("/quarantine").await.ok()?;
        items.iter().find(|i| i["aggregate"] == format!("job.{job}") && i["consumer"] == "catalog").cloned()
    })
    .await?;
    assert!(!found["reason"].as_str().unwrap().is_empty(), "{found}");
    let done = fleet.api.run("web").await?;
    assert_eq!(done["phase"], "complete", "others must go on: {done}");
    let ready = fleet.api.send(fleet.api.bare(reqwest::Method::GET, "/readyz")).await?;
    assert_eq!(ready.status, 200, "{}", ready.body);

    let id = found["id"].as_str().unwrap();
    let redrive = fleet.api.post(&format!("/quarantine/{id}/redrive"), &serde_json::json!({})).await?;
    assert!((400..500).contains(&redrive.status), "it is as unreadable as before: {}", redrive.body);
    // It stays set aside over a restart.
    fleet.kill("catalog")?;
    fleet.start_service("catalog")?;
    fleet.wait_until_ready().await?;
    let items = fleet.api.list("/quarantine").await?;
    assert!(items.iter().any(|i| i["id"] == id), "{items:?}");
    assert!(fleet.fallen().is_empty());
    Ok(())
}

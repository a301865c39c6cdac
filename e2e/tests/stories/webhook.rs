//! People are told: a signed webhook for every finished job, and a test button.

use anyhow::Result;
use serde_json::{Value, json};
use strongroom_e2e::{HttpSink, PATIENCE, Single, Tree, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_is_told_with_a_signature() -> Result<()> {
    let single = Single::start().await?;
    let sink = HttpSink::start().await?;
    let tree = Tree::new(50, 3, 100)?;
    single.api.define("web", single.folder(), &[tree.path()]).await?;
    let channel = json!({ "id": "ops", "target": { "type": "webhook", "url": sink.url() } });
    let made = single.api.post("/channels", &channel).await?.expect(201)?;
    assert!(made.text("/secret")?.starts_with("whsec_"));
    let tested = single.api.post("/channels/ops/test", &json!({})).await?.expect(200)?;
    assert_eq!(tested.body["delivered"], true, "{}", tested.body);

    let job = single.api.run("web").await?;
    let told = wait_until("the webhook", PATIENCE, async || {
        sink.received().into_iter().find(|r| {
            let body: Value = serde_json::from_slice(&r.body).unwrap_or_default();
            body["data"]["job"] == job["id"]
        })
    })
    .await?;
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        assert!(told.headers.contains_key(name), "{name} is missing");
    }
    let body: Value = serde_json::from_slice(&told.body)?;
    assert_eq!(
        (&body["type"], &body["data"]["phase"]),
        (&json!("job.finished"), &json!("complete")),
        "{body}"
    );

    let unreachable = json!({ "id": "gone", "target": { "type": "webhook", "url": "http://127.0.0.1:9/" } });
    single.api.post("/channels", &unreachable).await?.expect(201)?;
    let tested = single.api.post("/channels/gone/test", &json!({})).await?.expect(200)?;
    assert_eq!(tested.body["delivered"], false);
    assert!(tested.body["problem"].is_string(), "{}", tested.body);
    Ok(())
}

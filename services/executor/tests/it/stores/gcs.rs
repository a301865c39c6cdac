//! Google Cloud Storage, with a server that answers as its XML API does.

use super::{Node, fails_in_time, keeps_to_the_rules, leaves_nothing, listed};
use serde_json::{Value, json};
use strongroom_domain::FailureCode;
use strongroom_testkit::Gcs;

fn place(port: u16) -> Value {
    json!({ "type": "gcs", "bucket": "bucket", "endpoint": format!("http://127.0.0.1:{port}") })
}

#[tokio::test]
async fn it_keeps_to_the_rules() {
    let (node, google) = (Node::new(), Gcs::start().await.unwrap());
    let store = node.open(place(google.server.port()), Some(&google.service_account())).await;
    keeps_to_the_rules(&*store).await;
    assert!(google.server.bucket().join("db1/dumps/archives2").is_file());
    leaves_nothing(&*store, || google.server.parts()).await;
    assert_eq!(node.notes(), 0);
}

#[tokio::test]
async fn refusals_are_told_by_their_kind() {
    let (node, mut google) = (Node::new(), Gcs::start().await.unwrap());
    let port = google.server.port();
    let stranger = node.open(place(port), Some(&google.stranger())).await;
    assert_eq!(stranger.list("a").await.unwrap_err().code, FailureCode::DestinationDenied);
    assert_eq!(stranger.create("a", vec![1]).await.unwrap_err().code, FailureCode::DestinationDenied);
    let no_key =
        node.try_open(place(port), Some("{\"type\": \"service_account\", \"x\": \"hidden words\"}")).await;
    let no_key = no_key.err().unwrap();
    assert_eq!(no_key.code, FailureCode::DestinationDenied);
    assert!(!no_key.message.contains("hidden words"), "{}", no_key.message);
    let mut elsewhere = place(port);
    elsewhere["bucket"] = json!("nothing");
    let no_bucket = node.open(elsewhere, Some(&google.service_account())).await;
    assert_eq!(no_bucket.list("a").await.unwrap_err().code, FailureCode::DestinationMissing);

    let store = node.open(place(port), Some(&google.service_account())).await;
    fails_in_time(&*store, "archives/a/data", async |n| {
        if n == 20 {
            google.server.stop().await;
        }
    })
    .await;
    google.server.run().await.unwrap();
    store.clear("archives/a").await.unwrap();
    assert_eq!((node.notes(), google.server.parts()), (0, Vec::new()));
    assert_eq!(listed(&*store, "archives").await, []);
}

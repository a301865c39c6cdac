//! Azure Blob Storage, with Microsoft's emulator.

use super::{Node, fails_in_time, fetched, keeps_to_the_rules, leaves_nothing, listed, noise, store};
use serde_json::{Value, json};
use strongroom_domain::FailureCode;
use strongroom_testkit::{Azurite, Wire};

fn place(azurite: &Azurite, port: u16) -> Value {
    json!({
        "type": "azure", "account": azurite.account(), "container": "container", "prefix": "some",
        "endpoint": format!("http://127.0.0.1:{port}/{}", azurite.account()),
    })
}

#[tokio::test]
async fn it_keeps_to_the_rules_by_key_and_by_signature() {
    let (node, azurite) = (Node::new(), Azurite::start().await.unwrap());
    for secret in [azurite.key(), azurite.signature("racwdl").unwrap()] {
        let store = node.open(place(&azurite, azurite.port()), Some(&secret)).await;
        keeps_to_the_rules(&*store).await;
        // The service itself removes blocks that belong to no blob, after a week.
        leaves_nothing(&*store, Vec::new).await;
        assert_eq!(node.notes(), 0);
        for name in ["archives2", "race"] {
            store.delete(name).await.unwrap();
        }
    }
}

#[tokio::test]
async fn refusals_are_told_by_their_kind_and_without_secrets() {
    let (node, azurite) = (Node::new(), Azurite::start().await.unwrap());
    let place = place(&azurite, azurite.port());
    let signature = azurite.signature("r").unwrap();
    let reader = node.open(place.clone(), Some(&signature)).await;
    let wrong_key = node.open(place.clone(), Some("bm90IHRoZSBrZXkgb2YgdGhpcyBhY2NvdW50")).await;
    let forged = signature.replace("sp=r", "sp=racwdl");
    let forger = node.open(place.clone(), Some(&forged)).await;
    for failure in [
        reader.create("x", vec![1]).await.unwrap_err(),
        reader.delete("x").await.unwrap_err(),
        store(&*reader, "x", &noise(1, 20 << 20)).await.unwrap_err(),
        wrong_key.list("x").await.unwrap_err(),
        forger.create("x", vec![1]).await.unwrap_err(),
    ] {
        assert_eq!(failure.code, FailureCode::DestinationDenied, "{failure:?}");
        assert!(!failure.message.contains("sig=") && !failure.message.contains("bm90"), "{failure:?}");
        let hidden = signature.split("sig=").nth(1).unwrap();
        assert!(!failure.message.contains(hidden), "{failure:?}");
    }
    let no_key = node.try_open(place.clone(), Some("*no base64*")).await.err().unwrap();
    assert_eq!(no_key.code, FailureCode::DestinationDenied);
    assert!(!no_key.message.contains("*no base64*"), "{}", no_key.message);
    let mut elsewhere = place;
    elsewhere["container"] = json!("nothing");
    let nothing = node.open(elsewhere, Some(&azurite.key())).await;
    for failure in [
        nothing.list("x").await.unwrap_err(),
        nothing.create("x", vec![1]).await.unwrap_err(),
        store(&*nothing, "x", &noise(1, 20 << 20)).await.unwrap_err(),
    ] {
        assert_eq!(failure.code, FailureCode::DestinationMissing, "{failure:?}");
    }
}

#[tokio::test]
async fn a_server_that_stops_and_a_wire_that_is_cut_are_failures_in_time() {
    let (node, mut azurite) = (Node::new(), Azurite::start().await.unwrap());
    let wire = Wire::to(azurite.port()).await.unwrap();
    let dumps = node.open(place(&azurite, wire.port()), Some(&azurite.key())).await;
    wire.cut_after(21 << 20);
    fails_in_time(&*dumps, "archives/a/data", async |_| {}).await;
    wire.heal();
    fails_in_time(&*dumps, "archives/a/data", async |n| {
        if n == 20 {
            azurite.kill().unwrap();
        }
    })
    .await;
    azurite.run().await.unwrap();
    dumps.clear("archives/a").await.unwrap();
    assert_eq!((node.notes(), listed(&*dumps, "archives").await), (0, Vec::new()));
    store(&*dumps, "archives/a/data", &noise(9, 20 << 20)).await.unwrap();
    assert_eq!(fetched(&*dumps, "archives/a/data").await.unwrap(), noise(9, 20 << 20));
}

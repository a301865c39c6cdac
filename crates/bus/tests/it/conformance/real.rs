//! The suite against real servers.

use super::{World, laws};
use std::time::Duration;
use strongroom_bus::Bus;
use strongroom_testkit::Nats;

async fn real(nats: Nats) {
    let mut stores = Vec::new();
    for writer in 0..4 {
        // Each at a server of its own, as far as there are.
        let settings = nats.settings_at("gateway", writer % nats.members()).unwrap();
        stores.push(Bus::connect(&settings).await.unwrap().journal().store().clone());
    }
    let world = World { stores, name: uuid::Uuid::now_v7().to_string(), rounds: 12 };
    let hold = async {
        laws::hold(&world).await;
        laws::a_lying_duplicate_is_found_out(&world).await;
    };
    tokio::time::timeout(Duration::from_secs(300), hold).await.expect("it comes to an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_laws_hold_on_one_node() {
    real(Nats::one(&["a"]).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_laws_hold_on_three_nodes() {
    real(Nats::three(&["a"]).await.unwrap()).await;
}

//! Recovery on a real log, looking at the real machine and at one made up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod docker;
mod machine;

use std::time::Duration;
use strongroom_bus::Bus;
use strongroom_domain::view::{Capabilities, Health};
use strongroom_recovery::Config;
use strongroom_service::Shutdown;
use strongroom_testkit::{Nats, wait_until};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(30);

/// A log with recovery on it.
struct Stage {
    gateway: Bus,
    shutdown: Shutdown,
    running: JoinHandle<anyhow::Result<()>>,
    nats: Nats,
}

impl Stage {
    async fn new(config: Config) -> Self {
        let nats = Nats::one(&["a"]).await.unwrap();
        let shutdown = Shutdown::new();
        let bus = nats.bus("recovery").await.unwrap();
        let running = tokio::spawn(strongroom_recovery::run(config, bus, shutdown.clone()));
        let stage = Self { gateway: nats.bus("gateway").await.unwrap(), shutdown, running, nats };
        wait_until("recovery is ready", PATIENCE, async || stage.health().await.filter(|h| h.ready))
            .await
            .unwrap();
        stage
    }

    async fn health(&self) -> Option<Health> {
        self.gateway.ask("recovery", "health", &(), None, None).await.ok().map(|(health, _)| health)
    }

    async fn capabilities(&self) -> Capabilities {
        self.gateway.ask("recovery", "capabilities", &(), None, None).await.unwrap().0
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

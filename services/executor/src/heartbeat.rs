//! Saying that this node came up, and that it lives.

use crate::worker::Worker;
use strongroom_domain::node::{Capabilities, Joined};
use strongroom_domain::wire::{NodeReport, Status};
use strongroom_service::{Shutdown, clock, retry};

/// Reports that it came up, until that is stored.
pub async fn join(worker: &Worker, shutdown: &Shutdown) {
    let borg_version = match worker.borg.version().await {
        Ok(version) => Some(version.clone()),
        Err(failure) => {
            tracing::error!(
                problem = failure.message,
                advice = failure.advice,
                "borg cannot be used on this node"
            );
            None
        }
    };
    let hostname = hostname();
    let joined = NodeReport::Joined(Joined {
        boot: worker.state.boot.clone(),
        age_recipient: worker.state.identity.to_public().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: Capabilities {
            borg_version,
            hostname,
            capacity: u32::try_from(worker.config.capacity).unwrap_or(u32::MAX),
        },
        started_at: clock::now(),
    });
    let id = format!("joined-{}", worker.state.boot);
    retry::until_done("reporting that the node came up", shutdown, || worker.bus.report(&id, &joined, None))
        .await;
}

/// Beats for ever.
pub async fn beat_for_ever(worker: &Worker) {
    loop {
        let status = Status::Heartbeat {
            node: worker.config.node.clone(),
            boot: worker.state.boot.clone(),
            at: clock::now(),
            running: worker.running(),
        };
        worker.bus.status("heartbeat", &status).await;
        tokio::time::sleep(worker.config.heartbeat_every).await;
    }
}

/// The machine's name.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

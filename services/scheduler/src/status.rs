//! Listening to nodes: what they say, and whether they could be heard at all.

use crate::desk::Desk;
use futures::StreamExt;
use std::time::Duration;
use strongroom_domain::wire::Status;
use tokio::time::Instant;

/// Listens for ever.
pub async fn listen_for_ever(desk: &Desk) {
    tokio::join!(hear(desk), make_sure(desk));
}

/// Takes heartbeats and progress in. Who speaks is said by the subject, which a node cannot choose.
async fn hear(desk: &Desk) {
    loop {
        match desk.bus.watch_status().await {
            Ok(mut statuses) => {
                while let Some((node, status)) = statuses.next().await {
                    match status {
                        Status::Heartbeat { running, .. } => desk.heard(&node, &running),
                        Status::Progress(progress) => desk.heard(&node, &[(progress.job, progress.epoch)]),
                    }
                }
            }
            Err(fault) => tracing::warn!(error = %fault, "heartbeats cannot be heard; it is tried again"),
        }
        desk.listens(false);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Makes sure that silence is the nodes' and not the scheduler's own. Servers that have lost their majority pass no status
/// on while every connection stays up, so now and then the log is asked something too.
async fn make_sure(desk: &Desk) {
    let ask_every = Duration::from_secs(desk.config.lease_s) / 4;
    let mut ask_at = Instant::now();
    loop {
        let hears = if Instant::now() >= ask_at {
            ask_at = Instant::now() + ask_every;
            desk.bus.log_state().await.is_ok()
        } else {
            true
        };
        desk.listens(hears);
        tokio::time::sleep(desk.config.watch_every).await;
    }
}

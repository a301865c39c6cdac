//! Listening to heartbeats.

use crate::desk::Desk;
use futures::StreamExt;
use std::time::Duration;
use strongroom_domain::wire::Status;
use strongroom_service::clock;

/// Listens for ever.
pub async fn listen_for_ever(desk: &Desk) {
    loop {
        match desk.bus.watch_status().await {
            Ok(mut statuses) => {
                while let Some((node, status)) = statuses.next().await {
                    // By this clock and not by the node's, which may be wrong; and by the subject, which it cannot choose.
                    let now = clock::now();
                    match status {
                        Status::Heartbeat { running, .. } => desk.hearing().heard(&node, &running, now),
                        Status::Progress(progress) => {
                            desk.hearing().heard(&node, &[(progress.job, progress.epoch)], now);
                        }
                    }
                }
            }
            Err(fault) => tracing::warn!(error = %fault, "heartbeats cannot be heard; it is tried again"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

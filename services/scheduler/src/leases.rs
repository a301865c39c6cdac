//! Answering nodes whether their attempts still stand.

use crate::core::reports::lease;
use crate::desk::Desk;
use std::time::Duration;

/// Answers for ever.
pub async fn answer_for_ever(desk: &Desk) {
    loop {
        let served = desk.bus.serve_leases(|node, question| {
            // Who asks is alive, whatever became of its heartbeats.
            desk.heard(node, &[(question.job, question.epoch)]);
            lease(&desk.world(), node, question)
        });
        if let Err(fault) = served.await {
            tracing::warn!(error = %fault, "leases cannot be answered; it is tried again");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

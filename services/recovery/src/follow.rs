//! Following the log. There are no sessions yet, so nothing is folded: recovery knows how far it is, notices damage as
//! every follower does, and sets aside what it will have to understand one day and cannot.

use std::time::Duration;
use strongroom_bus::{Bus, Delivery, FollowError, Poison};
use strongroom_domain::Kind;
use strongroom_service::clock;
use tokio::sync::watch;

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The sequence.
    pub sequence: u64,
    /// Whether the end of the log has been reached since the start.
    pub caught_up: bool,
}

/// Follows for ever from the log's present end; ends with an alarm when the log is damaged.
pub async fn follow(bus: &Bus, seen: &watch::Sender<Seen>) -> anyhow::Result<()> {
    let end = loop {
        match bus.log_state().await {
            Ok((_, end)) => break end,
            Err(fault) if fault.is_transient() => tokio::time::sleep(Duration::from_millis(500)).await,
            Err(fault) => return Err(fault.into()),
        }
    };
    let mut follower = bus.follow(end);
    loop {
        match follower.next().await {
            Ok(Delivery::Event(event)) => seen.send_modify(|s| s.sequence = event.sequence),
            Ok(Delivery::Poison(poison)) => {
                if is_ours(&poison) {
                    set_aside(bus, &poison).await;
                }
                seen.send_modify(|s| s.sequence = poison.sequence);
            }
            Ok(Delivery::CaughtUp(sequence)) => {
                seen.send_replace(Seen { sequence, caught_up: true });
            }
            Err(FollowError::Fault(fault)) if fault.is_transient() => {
                tracing::warn!(error = %fault, "the log cannot be read; it is tried again");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(damage) => return Err(damage.into()),
        }
    }
}

fn is_ours(poison: &Poison) -> bool {
    poison.aggregate.as_ref().is_none_or(|a| matches!(a.kind, Kind::Session | Kind::Proof))
}

async fn set_aside(bus: &Bus, poison: &Poison) {
    tracing::error!(
        log.sequence = poison.sequence,
        log.subject = poison.subject,
        reason = poison.reason,
        "a message of the log cannot be taken in; its aggregate is halted"
    );
    let at = clock::now();
    while let Err(fault) = bus.quarantine("recovery", poison, at).await {
        tracing::warn!(error = %fault, "what cannot be read was not set aside; it is tried again");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

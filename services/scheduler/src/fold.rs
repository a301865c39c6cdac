//! Folding the log into the world.

use crate::core::World;
use crate::desk::{Desk, Seen};
use std::time::Duration;
use strongroom_bus::{Delivery, FollowError, Poison};
use strongroom_service::clock;

/// After how many events of a long fold the others are told how far it is.
const TELL_EVERY: u64 = 256;

/// Follows the log for ever; ends with an alarm when the log is damaged.
pub async fn follow(desk: &Desk) -> anyhow::Result<()> {
    loop {
        let mut follower = desk.bus.follow(0);
        *desk.world_mut() = World::default();
        loop {
            let delivery = tokio::select! {
                delivery = follower.next() => delivery,
                () = desk.refold.notified() => break,
            };
            match delivery {
                Ok(Delivery::Event(event)) => {
                    desk.world_mut().apply(&event);
                    // A fold that is live tells each event; one that catches up tells now and then.
                    desk.seen.send_if_modified(|seen| {
                        let tell = seen.caught_up || event.sequence % TELL_EVERY == 0;
                        seen.sequence = seen.sequence.max(event.sequence);
                        tell
                    });
                }
                Ok(Delivery::Poison(poison)) => {
                    desk.world_mut().poison(poison.sequence, poison.aggregate.clone());
                    set_aside(desk, &poison).await;
                }
                Ok(Delivery::CaughtUp(sequence)) => {
                    desk.seen.send_replace(Seen { sequence, caught_up: true });
                }
                Err(FollowError::Fault(fault)) if fault.is_transient() => {
                    tracing::warn!(error = %fault, "the log cannot be read; it is tried again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(damage) => return Err(damage.into()),
            }
        }
    }
}

/// Nothing more is folded before people can see what was set aside: the log cannot be read either while this fails.
async fn set_aside(desk: &Desk, poison: &Poison) {
    tracing::error!(
        log.sequence = poison.sequence,
        log.subject = poison.subject,
        reason = poison.reason,
        "a message of the log cannot be read; its aggregate is halted"
    );
    let at = clock::now();
    while let Err(fault) = desk.bus.quarantine("scheduler", poison, at).await {
        tracing::warn!(error = %fault, "it could not be set aside; it is tried again");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

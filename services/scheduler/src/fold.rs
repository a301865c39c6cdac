//! Folding the log into the world.

use crate::core::World;
use crate::core::fold::Fold;
use crate::desk::{Desk, Seen};
use std::time::Duration;
use strongroom_bus::{Delivery, FollowError, Poison};
use strongroom_service::clock;

/// Follows the log for ever; ends with an alarm when the log is damaged.
pub async fn follow(desk: &Desk) -> anyhow::Result<()> {
    loop {
        let mut follower = desk.bus.follow(0);
        let mut fold = Fold::anew();
        loop {
            let delivery = tokio::select! {
                delivery = follower.next() => delivery,
                () = desk.refold.notified() => break,
            };
            match delivery {
                Ok(Delivery::Event(event)) => {
                    take(desk, &mut fold, event.sequence, |world| world.apply(&event));
                }
                Ok(Delivery::Poison(poison)) => {
                    take(desk, &mut fold, poison.sequence, |world| {
                        world.poison(poison.sequence, poison.aggregate.clone());
                    });
                    set_aside(desk, &poison).await;
                }
                Ok(Delivery::CaughtUp(sequence)) => {
                    if fold.caught_up(&mut desk.world_mut()) {
                        desk.forget();
                    }
                    desk.seen.send_replace(Seen { sequence, caught_up: true, read: sequence });
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

/// Folds one message and tells how far the fold is.
fn take(desk: &Desk, fold: &mut Fold, sequence: u64, change: impl FnOnce(&mut World)) {
    let shows = fold.take(&mut desk.world_mut(), change);
    desk.seen.send_if_modified(|seen| {
        seen.read = sequence;
        if shows {
            seen.sequence = sequence;
        }
        shows
    });
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

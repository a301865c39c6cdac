//! Folding the log into the ledger.

use crate::desk::{Desk, Seen};
use std::time::Duration;
use strongroom_bus::{Delivery, FollowError, Poison};
use strongroom_service::{Shutdown, clock, retry};

/// After how many events of a long fold the others are told how far it is.
const TELL_EVERY: u64 = 256;

/// Follows the log for ever; ends with an alarm when the log is damaged.
pub async fn follow(desk: &Desk, shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut follower = desk.bus.follow(desk.ledger().sequence());
    loop {
        match follower.next().await {
            Ok(Delivery::Event(event)) => {
                let result = desk.ledger().apply(&event);
                if let Err(reason) = result {
                    let poison = Poison {
                        sequence: event.sequence,
                        subject: strongroom_bus::subjects::event(&event.aggregate),
                        aggregate: Some(event.aggregate.clone()),
                        reason,
                    };
                    set_aside(desk, &poison, shutdown).await;
                }
                if event.sequence % TELL_EVERY == 0 {
                    desk.seen.send_modify(|seen| seen.sequence = event.sequence);
                }
            }
            Ok(Delivery::Poison(poison)) => {
                desk.ledger().poison(&poison);
                set_aside(desk, &poison, shutdown).await;
            }
            Ok(Delivery::CaughtUp(sequence)) => {
                desk.seen.send_replace(Seen { sequence, caught_up: true });
                desk.save_when_worth();
            }
            Err(FollowError::Fault(fault)) if fault.is_transient() => {
                tracing::warn!(error = %fault, "the log cannot be read; it is tried again");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(damage) => return Err(damage.into()),
        }
    }
}

/// Nothing more is taken in before people can see what was set aside: the log cannot be read either while this fails.
async fn set_aside(desk: &Desk, poison: &Poison, shutdown: &Shutdown) {
    tracing::error!(
        log.sequence = poison.sequence,
        log.subject = poison.subject,
        reason = poison.reason,
        "a message of the log cannot be taken in; its aggregate is halted"
    );
    let at = clock::now();
    retry::until_done("quarantine", shutdown, || desk.bus.quarantine("notifier", poison, at)).await;
}

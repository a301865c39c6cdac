//! What recovery answers.

use crate::core;
use crate::follow::Seen;
use crate::machine::Machine;
use std::time::Duration;
use strongroom_bus::{Answer, Bus, Position, Question};
use strongroom_domain::Rejection;
use tokio::sync::watch;

/// Questions that are answered at the same time.
const AT_ONCE: usize = 16;
/// How long a question waits for the position that it asks for.
const REACH_WITHIN: Duration = Duration::from_secs(2);

/// Answers for ever.
pub async fn serve(bus: &Bus, machine: &Machine, seen: &watch::Sender<Seen>) -> anyhow::Result<()> {
    loop {
        let served =
            bus.serve("recovery", AT_ONCE, |view, question| answer(bus, machine, seen, view, question)).await;
        if let Err(fault) = served {
            tracing::warn!(error = %fault, "questions cannot be answered; it is tried again");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn answer(
    bus: &Bus,
    machine: &Machine,
    seen: &watch::Sender<Seen>,
    view: String,
    question: Question,
) -> Answer {
    let position = || bus.position(seen.borrow().sequence);
    if let Some(wanted) = &question.at_least {
        if wanted.generation != bus.generation() {
            return Answer::OtherLog { position: position() };
        }
        if !reached(seen, wanted).await {
            return Answer::Behind { position: position() };
        }
    }
    match view.as_str() {
        "capabilities" => Answer::ok(position(), &machine.now().await),
        "health" => {
            let Seen { sequence, caught_up } = *seen.borrow();
            let sequence = caught_up.then_some(sequence);
            let health = core::health(bus.is_connected(), sequence, machine.last_seen().as_ref());
            Answer::ok(position(), &health)
        }
        _ => Answer::Rejected { rejection: Rejection::NotFound { kind: "question".into(), id: view } },
    }
}

async fn reached(seen: &watch::Sender<Seen>, wanted: &Position) -> bool {
    let mut seen = seen.subscribe();
    let waited = tokio::time::timeout(REACH_WITHIN, seen.wait_for(|s| s.sequence >= wanted.sequence)).await;
    matches!(waited, Ok(Ok(_)))
}

//! What the notifier answers.

use crate::core::answer::Answer as Outcome;
use crate::core::message;
use crate::deliver;
use crate::desk::Desk;
use std::time::Duration;
use strongroom_bus::{Answer, Position, Question};
use strongroom_domain::view::{ChannelTest, Health};
use strongroom_domain::{Aggregate, ChannelId, Rejection};
use strongroom_service::clock;
use uuid::Uuid;

/// Questions that are answered at the same time.
const AT_ONCE: usize = 16;
/// How long a question waits for the position that it asks for.
const REACH_WITHIN: Duration = Duration::from_secs(2);

/// Answers for ever.
pub async fn serve(desk: &Desk) -> anyhow::Result<()> {
    loop {
        let served = desk.bus.serve("notifier", AT_ONCE, |view, question| answer(desk, view, question)).await;
        if let Err(fault) = served {
            tracing::warn!(error = %fault, "questions cannot be answered; it is tried again");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn answer(desk: &Desk, view: String, question: Question) -> Answer {
    if let Some(refusal) = reach(desk, question.at_least.as_ref()).await {
        return refusal;
    }
    let result = match view.as_str() {
        "recipient" => Ok(Answer::ok(position(desk), &desk.identity.to_public().to_string())),
        "test" => test(desk, &question).await,
        "health" => Ok(Answer::ok(position(desk), &health(desk))),
        "redrive" => redrive(desk, &question).await,
        _ => Err(Rejection::NotFound { kind: "question".into(), id: view }),
    };
    result.unwrap_or_else(|rejection| Answer::Rejected { rejection })
}

/// Waits until the fold has reached the position; otherwise the answer that says so.
async fn reach(desk: &Desk, at_least: Option<&Position>) -> Option<Answer> {
    let wanted = at_least?;
    if wanted.generation != desk.bus.generation() {
        return Some(Answer::OtherLog { position: position(desk) });
    }
    let mut seen = desk.seen.subscribe();
    let reached = tokio::time::timeout(REACH_WITHIN, seen.wait_for(|s| s.sequence >= wanted.sequence)).await;
    if matches!(reached, Ok(Ok(_))) { None } else { Some(Answer::Behind { position: position(desk) }) }
}

fn position(desk: &Desk) -> Position {
    desk.bus.position(desk.seen.borrow().sequence)
}

async fn test(desk: &Desk, question: &Question) -> Result<Answer, Rejection> {
    let channel: ChannelId = question.read()?;
    let spec = desk.ledger().channel(&channel).cloned();
    let Some(spec) = spec else {
        return Err(Rejection::NotFound { kind: "channel".into(), id: channel.to_string() });
    };
    let body = message::test_body(&channel, clock::now());
    let result = match deliver::send(desk, &spec, Uuid::now_v7(), body).await {
        Ok(Outcome::Taken { status }) => ChannelTest { delivered: true, status: Some(status), problem: None },
        Ok(Outcome::NotTaken { status, problem, .. }) => {
            ChannelTest { delivered: false, status, problem: Some(problem) }
        }
        Ok(Outcome::Gone | Outcome::Retired) => ChannelTest {
            delivered: false,
            status: Some(410),
            problem: Some("it answered 410: it wants no more messages".into()),
        },
        Err(fault) => return Ok(Answer::Failed { problem: fault.to_string() }),
    };
    Ok(Answer::ok(position(desk), &result))
}

fn health(desk: &Desk) -> Health {
    let seen = *desk.seen.borrow();
    let connected = desk.bus.is_connected();
    let mut health = Health { ready: connected && seen.caught_up, ..Health::default() };
    if !connected {
        health.problems.push("The notifier has no connection to the log.".into());
    } else if !seen.caught_up {
        health.problems.push("The notifier has not caught up with the log yet.".into());
    }
    health.problems.extend(desk.webhook.problem.clone());
    let ledger = desk.ledger();
    health.problems.extend(ledger.halted().map(|aggregate| {
        format!("The notifier cannot read {aggregate} and tells nothing about it until it is redriven.")
    }));
    let stuck = desk.stuck();
    health.problems.extend(
        stuck
            .iter()
            .map(|(id, problem)| format!("What came of notification {id} cannot be written: {problem}")),
    );
    let (delivered, failed) = ledger.totals();
    for (name, number) in [
        ("notifier_position", seen.sequence),
        ("notifier_pending", ledger.pending().len() as u64),
        ("notifier_halted", ledger.halted().count() as u64),
        ("notifier_stuck", stuck.len() as u64),
        ("notifier_delivered_total", delivered),
        ("notifier_failed_total", failed),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
        health.numbers.insert(name.into(), number as f64);
    }
    health
}

/// Takes a halted aggregate in again, now that its history can be read.
async fn redrive(desk: &Desk, question: &Question) -> Result<Answer, Rejection> {
    let name: String = question.read()?;
    let not_halted = || Rejection::conflict("not_halted", format!("the notifier has not halted '{name}'"));
    let aggregate = Aggregate::parse(&name).ok_or_else(not_halted)?;
    desk.ledger().halted_at(&name).ok_or_else(not_halted)?;
    let history = match desk.bus.journal().load(&aggregate).await {
        Ok(history) => history,
        Err(fault) if fault.is_transient() => return Ok(Answer::Failed { problem: fault.to_string() }),
        Err(fault) => return Err(Rejection::conflict("still_unreadable", fault.to_string())),
    };
    let taken = desk.ledger().redrive(&aggregate, &history.events);
    taken.map_err(|problem| Rejection::conflict("still_unreadable", problem))?;
    if let Err(fault) = desk.bus.release("notifier", &aggregate).await {
        return Ok(Answer::Failed { problem: fault.to_string() });
    }
    desk.save();
    // What it missed may be due now.
    desk.seen.send_modify(|_| {});
    Ok(Answer::ok(position(desk), &()))
}

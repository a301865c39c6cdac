//! What the scheduler answers.

use crate::act::silent_nodes;
use crate::core::admission::decide;
use crate::core::lateness;
use crate::core::what_if::{WhatIf, reviews};
use crate::desk::Desk;
use std::time::Duration;
use strongroom_bus::{Answer, DecideError, Position, Question};
use strongroom_domain::job::Phase;
use strongroom_domain::view::Health;
use strongroom_domain::{Aggregate, Rejection, retention};
use strongroom_service::clock;

/// Questions that are answered at the same time.
const AT_ONCE: usize = 16;
/// How long a question waits for the position that it asks for.
const REACH_WITHIN: Duration = Duration::from_secs(2);

/// Answers for ever.
pub async fn serve_for_ever(desk: &Desk) {
    loop {
        let served =
            desk.bus.serve("scheduler", AT_ONCE, |view, question| answer(desk, view, question)).await;
        if let Err(fault) = served {
            tracing::warn!(error = %fault, "questions cannot be answered; it is tried again");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn answer(desk: &Desk, view: String, question: Question) -> Answer {
    if let Some(wanted) = &question.at_least {
        if wanted.generation != desk.bus.generation() {
            return Answer::OtherLog { position: position(desk) };
        }
        if !desk.reaches(wanted.sequence, REACH_WITHIN).await {
            return Answer::Behind { position: position(desk) };
        }
    }
    match view.as_str() {
        "waiting" => {
            let world = desk.world();
            let silent = silent_nodes(&world, &desk.hearing(), clock::now(), desk.config.lease_s);
            let (_, waiting) = decide(&world, desk.config.limits, &silent);
            Answer::ok(desk.bus.position(world.sequence), &waiting)
        }
        "retention" | "retention-replay" | "retention-simulation" => {
            match retention(desk, &view, &question).await {
                Ok(answer) => answer,
                Err(rejection) => Answer::Rejected { rejection },
            }
        }
        "lateness" => Answer::ok(position(desk), &lateness::of_all(&desk.world(), clock::now())),
        "limits" => Answer::ok(position(desk), &desk.world().limits.over(desk.config.limits)),
        "health" => Answer::ok(position(desk), &health(desk)),
        "redrive" => match redrive(desk, &question).await {
            Ok(()) => Answer::ok(position(desk), &()),
            Err(rejection) => Answer::Rejected { rejection },
        },
        _ => Answer::Rejected { rejection: Rejection::NotFound { kind: "question".into(), id: view } },
    }
}

/// What rules would keep. What may take a while is counted where nothing else waits for it.
async fn retention(desk: &Desk, view: &str, question: &Question) -> Result<Answer, Rejection> {
    let asked: retention::Question = question.read()?;
    let (at, now) = (position(desk), clock::now());
    if view == "retention" {
        return Ok(Answer::ok(at, &reviews(&desk.world(), &asked, now)?));
    }
    let what_if = WhatIf::of(&desk.world(), &asked, now)?;
    let replays = view == "retention-replay";
    let counted = tokio::task::spawn_blocking(move || {
        if replays {
            return Ok(Answer::ok(at, &what_if.replayed()));
        }
        what_if.simulated().map(|simulated| Answer::ok(at, &simulated))
    });
    counted.await.unwrap_or_else(|e| Err(Rejection::conflict("unavailable", e.to_string())))
}

fn position(desk: &Desk) -> Position {
    desk.bus.position(desk.seen.borrow().sequence)
}

fn health(desk: &Desk) -> Health {
    let seen = *desk.seen.borrow();
    let world = desk.world();
    let mut problems = Vec::new();
    if !seen.caught_up {
        problems.push(format!("the log is being read, up to {} so far; nothing is admitted yet", seen.read));
    }
    if !desk.bus.is_connected() {
        problems.push("there is no connection to NATS".to_owned());
    }
    let ready = problems.is_empty();
    problems.extend(world.halted.iter().map(|a| format!("{a} is halted: a message of it cannot be read")));
    let numbers = [
        ("scheduler_sequence", seen.sequence as f64),
        ("scheduler_jobs_waiting", world.count(Phase::Waiting) as f64),
        ("scheduler_jobs_running", world.count(Phase::Running) as f64),
        ("scheduler_plans", world.plans.len() as f64),
        ("scheduler_halted", world.halted.len() as f64),
    ];
    Health { ready, problems, numbers: numbers.map(|(name, n)| (name.to_owned(), n)).into() }
}

/// Reads a halted aggregate again; when it can be read, the log is folded anew with it.
async fn redrive(desk: &Desk, question: &Question) -> Result<(), Rejection> {
    let text: String = question.read()?;
    let aggregate = Aggregate::parse(&text).ok_or_else(|| Rejection::field("question", "is no aggregate"))?;
    let context = strongroom_bus::Context::default();
    let read = desk.bus.journal().decide(&aggregate, &context, |_| Ok::<_, std::convert::Infallible>(None));
    match read.await {
        Ok(_) => {}
        Err(DecideError::Fault(fault)) => {
            return Err(Rejection::conflict(
                "still_unreadable",
                format!("{aggregate} cannot be read: {fault}"),
            ));
        }
        Err(DecideError::Rejected(never)) => match never {},
    }
    // One that is not halted may have left its word in quarantine all the same: a report that was dropped, or a halt that
    // an upgrade has ended.
    if desk.world().halted.contains(&aggregate) {
        desk.refold.notify_one();
    }
    desk.bus
        .release("scheduler", &aggregate)
        .await
        .map_err(|fault| Rejection::conflict("unavailable", fault.to_string()))
}

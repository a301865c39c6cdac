//! What the catalog answers.

use crate::core::list::Refused;
use crate::core::question;
use crate::core::store::StoreError;
use crate::desk::{Desk, Seen};
use crate::files::{BrowseError, Files};
use crate::follow::{Redrive, RedriveRefused};
use std::sync::Arc;
use std::time::Duration;
use strongroom_bus::{Answer, Bus, Position, Question};
use strongroom_domain::view::{BrowseQuestion, Health};
use strongroom_domain::{Aggregate, Rejection};
use tokio::sync::{mpsc, oneshot};

/// Questions that are answered at the same time.
const AT_ONCE: usize = 64;
/// How long a question waits for the position that it asks for.
const REACH_WITHIN: Duration = Duration::from_secs(2);
/// How far behind the log the catalog may be and still be ready.
const READY_LAG: u64 = 1000;
/// How many problems health names one by one.
const NAMED: usize = 10;

/// Answers questions.
#[derive(Clone)]
pub struct Answers {
    /// The log, for what is asked of it.
    pub bus: Bus,
    /// The views.
    pub desk: Arc<Desk>,
    /// The indexes of archives.
    pub files: Arc<Files>,
    /// Where redrives are done.
    pub redrives: mpsc::Sender<Redrive>,
}

impl Answers {
    /// Answers for ever.
    pub async fn serve(self) {
        loop {
            let served =
                self.bus.serve("catalog", AT_ONCE, |view, question| self.answer(view, question)).await;
            if let Err(fault) = served {
                tracing::warn!(error = %fault, "questions cannot be answered; it is tried again");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn answer(&self, view: String, question: Question) -> Answer {
        match view.as_str() {
            "health" => return Answer::ok(self.position(), &self.health().await),
            "quarantine" => {
                return match self.bus.quarantined().await {
                    Ok(items) => Answer::ok(self.position(), &items),
                    Err(fault) => Answer::Failed { problem: fault.to_string() },
                };
            }
            "redrive" => return self.redrive(&question).await,
            _ => {}
        }
        if let Some(refusal) = self.reach(question.at_least.as_ref()).await {
            return refusal;
        }
        if view == "browse" { self.browse(&question).await } else { self.look(view, question).await }
    }

    /// Waits until the views have reached the position; otherwise the answer that says so. Before the end of the log was
    /// reached for the first time nothing is answered: a list that is still being built says too little.
    async fn reach(&self, at_least: Option<&Position>) -> Option<Answer> {
        let other = |seen: &Seen| {
            at_least.is_some_and(|p| !seen.generation.is_empty() && *p.generation != *seen.generation)
        };
        let done = |seen: &Seen| {
            other(seen) || seen.caught_up && at_least.is_none_or(|p| seen.sequence >= p.sequence)
        };
        let mut seen = self.desk.seen();
        let reached = tokio::time::timeout(REACH_WITHIN, seen.wait_for(done)).await;
        let reached = match reached {
            Ok(Ok(seen)) => Some(other(&seen)),
            _ => None,
        };
        match reached {
            Some(false) => None,
            Some(true) => Some(Answer::OtherLog { position: self.position() }),
            None => Some(Answer::Behind { position: self.position() }),
        }
    }

    async fn look(&self, view: String, question: Question) -> Answer {
        let desk = self.desk.clone();
        let looked =
            tokio::task::spawn_blocking(move || desk.read(|base| question::answer(base, &view, &question)));
        match looked.await {
            Ok(Ok((position, body))) => Answer::Ok { position, body },
            Ok(Err(refused)) => self.refuse(refused),
            Err(e) => self.refuse(StoreError::damaged("an answer", e).into()),
        }
    }

    async fn browse(&self, question: &Question) -> Answer {
        let question: BrowseQuestion = match question.read() {
            Ok(question) => question,
            Err(rejection) => return Answer::Rejected { rejection },
        };
        let (desk, id) = (self.desk.clone(), question.archive);
        let looked = tokio::task::spawn_blocking(move || {
            desk.read(|base| Ok::<_, Refused>(question::archive(base, id)?))
        });
        let (position, archive) = match looked.await {
            Ok(Ok(found)) => found,
            Ok(Err(refused)) => return self.refuse(refused),
            Err(e) => return self.refuse(StoreError::damaged("an answer", e).into()),
        };
        let Some(archive) = archive else {
            let rejection = Rejection::NotFound { kind: "archive".into(), id: id.to_string() };
            return Answer::Rejected { rejection };
        };
        match self.files.browse(&self.bus, &archive, question).await {
            Ok(page) => match page.map(|page| page.encode_browse()).transpose() {
                Ok(Some(body)) => Answer::Ok { position, body },
                Ok(None) => Answer::ok(position, &strongroom_domain::view::Browse::None),
                Err(error) => Answer::Failed { problem: error.to_string() },
            },
            Err(BrowseError::Refused(Refused::Rejected(rejection))) => Answer::Rejected { rejection },
            // The views are whole when an index is not.
            Err(error) => Answer::Failed { problem: error.to_string() },
        }
    }

    fn refuse(&self, refused: Refused) -> Answer {
        match refused {
            Refused::Rejected(rejection) => Answer::Rejected { rejection },
            Refused::Store(error) => {
                tracing::error!(%error, "the views could not be read");
                if matches!(error, StoreError::Damaged(_)) {
                    self.desk.tell_damage();
                }
                Answer::Failed { problem: error.to_string() }
            }
        }
    }

    async fn redrive(&self, question: &Question) -> Answer {
        let name: String = match question.read() {
            Ok(name) => name,
            Err(rejection) => return Answer::Rejected { rejection },
        };
        let Some(aggregate) = Aggregate::parse(&name) else {
            let text = format!("the catalog has not halted '{name}'");
            return Answer::Rejected { rejection: Rejection::conflict("not_halted", text) };
        };
        let (answer, answered) = oneshot::channel();
        let gone = || Answer::Failed { problem: "the catalog folds nothing at the moment".into() };
        if self.redrives.send(Redrive { aggregate, answer }).await.is_err() {
            return gone();
        }
        match answered.await {
            Ok(Ok(())) => Answer::ok(self.position(), &()),
            Ok(Err(RedriveRefused::Rejected(rejection))) => Answer::Rejected { rejection },
            Ok(Err(RedriveRefused::Failed(problem))) => Answer::Failed { problem },
            Err(_) => gone(),
        }
    }

    fn position(&self) -> Position {
        self.desk.seen().borrow().position()
    }

    async fn health(&self) -> Health {
        let log = self.bus.log_state().await;
        let seen = self.desk.seen().borrow().clone();
        let mut health = Health::default();
        let problems = &mut health.problems;
        let lag = match &log {
            Ok((_, last)) => last.saturating_sub(seen.sequence),
            Err(fault) => {
                problems.push(format!("The catalog cannot reach the log: {fault}."));
                0
            }
        };
        let stopped = seen.problem.is_some();
        problems.extend(seen.problem.map(|p| format!("The catalog has stopped: {p}.")));
        if !stopped && !seen.caught_up {
            problems.push(format!("The catalog is still reading the log, {lag} events to go."));
        } else if !stopped && lag > READY_LAG {
            problems.push(format!("The catalog is {lag} events behind the log."));
        }
        health.ready = problems.is_empty();
        // One thing that cannot be read does not make the rest less ready.
        let halted = self.desk.halted();
        health.problems.extend(halted.iter().take(NAMED).map(|halted| {
            format!(
                "The catalog cannot take {} in since sequence {} ({}) and shows it as it was before.",
                halted.aggregate, halted.sequence, halted.reason
            )
        }));
        if halted.len() > NAMED {
            health.problems.push(format!("{} more are like this.", halted.len() - NAMED));
        }
        let held: u64 = halted.iter().map(|h| h.held).sum();
        for (name, number) in [
            ("catalog_sequence", seen.sequence),
            ("catalog_lag", lag),
            ("catalog_held_back", held),
            ("quarantined", halted.len() as u64),
        ] {
            health.numbers.insert(name.into(), number as f64);
        }
        health.numbers.extend(self.desk.numbers().into_iter().map(|(name, n)| (name, n as f64)));
        health
    }
}

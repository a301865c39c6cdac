//! Following the log: reading and decoding the next part while the one before is folded and written.

use crate::core::fold::RedriveError;
use crate::core::store::StoreError;
use crate::desk::Desk;
use crate::files::Files;
use std::sync::Arc;
use std::time::Duration;
use strongroom_bus::{Bus, Delivery, FollowError, Poison};
use strongroom_domain::event::Event;
use strongroom_domain::{Aggregate, Rejection};
use strongroom_service::{Shutdown, clock, retry, trace};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::Span;

/// Messages that are written together while the views are behind.
const BATCH: usize = 2000;
/// How often it is looked whether the log is still the same one.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long to wait after the log could not be read.
const PAUSE: Duration = Duration::from_millis(500);

/// What the catalog is called where aggregates are set aside.
pub const CONSUMER: &str = "catalog";

/// Somebody asks for a halted aggregate to be taken in again.
pub struct Redrive {
    /// Which one.
    pub aggregate: Aggregate,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<(), RedriveRefused>>,
}

/// Why it was not.
pub enum RedriveRefused {
    /// For a reason that stays until something changes.
    Rejected(Rejection),
    /// For one that may pass.
    Failed(String),
}

/// Why the fold ended.
enum End {
    Shutdown,
    /// The log is another one than before, or shorter.
    OtherLog,
    /// The views cannot be read any more.
    Damaged(String),
    /// Events are missing from the log, or were changed.
    Alarm(String),
}

/// Follows the log.
pub struct Follow {
    bus: Bus,
    desk: Arc<Desk>,
    files: Arc<Files>,
    shutdown: Shutdown,
    redrives: mpsc::Receiver<Redrive>,
    writing: Option<JoinHandle<Result<Vec<Poison>, StoreError>>>,
}

impl Follow {
    /// A fold that has not begun.
    pub fn new(
        bus: Bus,
        desk: Arc<Desk>,
        files: Arc<Files>,
        shutdown: Shutdown,
        redrives: mpsc::Receiver<Redrive>,
    ) -> Self {
        Self { bus, desk, files, shutdown, redrives, writing: None }
    }

    /// Folds until shutdown. Fails when the disk does, or when the views are damaged twice in a row.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut damages = 0;
        loop {
            let end = self.fold().await;
            // What is still being written must not go on beside whatever comes next.
            let settled = self.settle().await;
            match end? {
                End::Shutdown => return Ok(settled?),
                End::OtherLog => {}
                End::Damaged(problem) => {
                    damages += 1;
                    anyhow::ensure!(damages < 3, "the views were damaged again and again: {problem}");
                    tracing::warn!(problem, "the views are damaged; they are built again from the log");
                    let desk = self.desk.clone();
                    tokio::task::spawn_blocking(move || desk.forget()).await??;
                }
                End::Alarm(problem) => {
                    tracing::error!(problem, "the log is damaged; nothing more is folded until a restart");
                    self.desk.stopped(problem);
                    self.stand_still().await;
                    return Ok(());
                }
            }
        }
    }

    async fn fold(&mut self) -> anyhow::Result<End> {
        let shutdown = self.shutdown.clone();
        let asked =
            retry::until_done("asking for the log's end", &shutdown, async || self.bus.log_state().await);
        let Some((generation, last)) = asked.await else { return Ok(End::Shutdown) };
        let desk = self.desk.clone();
        let began = {
            let generation = generation.clone();
            tokio::task::spawn_blocking(move || desk.begin(&generation, last)).await?
        };
        let checkpoint = match began {
            Err(StoreError::Damaged(problem)) => return Ok(End::Damaged(problem)),
            other => other?,
        };
        for halted in self.desk.halted() {
            // Whoever halted it may have been killed before people could see it.
            self.set_aside(&halted.poison()).await;
        }
        let mut follower = self.bus.follow(checkpoint);
        let mut items = Vec::with_capacity(BATCH);
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK_EVERY, LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut readable = true;
        let desk = self.desk.clone();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(End::Shutdown),
                () = desk.damage() => return Ok(End::Damaged("an answer found it".into())),
                Some(redrive) = self.redrives.recv() => {
                    if let Some(end) = self.flush(&mut items).await? {
                        return Ok(end);
                    }
                    if let Some(end) = ended(self.settle().await)? {
                        return Ok(end);
                    }
                    self.redrive(redrive).await?;
                }
                _ = look.tick() => {
                    if let Ok((now, last)) = self.bus.log_state().await
                        && (now != generation || last < follower.sequence())
                    {
                        return Ok(End::OtherLog);
                    }
                    self.files.sweep(&self.desk).await;
                }
                delivery = follower.next() => match delivery {
                    Ok(Delivery::CaughtUp(_)) => {
                        if let Some(end) = self.flush(&mut items).await? {
                            return Ok(end);
                        }
                        if let Some(end) = ended(self.settle().await)? {
                            return Ok(end);
                        }
                        self.desk.caught_up();
                        readable = true;
                    }
                    Ok(item) => {
                        items.push(item);
                        if items.len() >= BATCH
                            && let Some(end) = self.flush(&mut items).await?
                        {
                            return Ok(end);
                        }
                    }
                    Err(FollowError::Fault(fault)) => {
                        // What was read before is not to wait for the log to come back.
                        if let Some(end) = self.flush(&mut items).await? {
                            return Ok(end);
                        }
                        if std::mem::take(&mut readable) {
                            tracing::warn!(error = %fault, "the log cannot be read; it is tried again");
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(FollowError::OtherLog { .. }) => return Ok(End::OtherLog),
                    Err(damage) => {
                        if let Some(end) = self.flush(&mut items).await? {
                            return Ok(end);
                        }
                        return Ok(End::Alarm(damage.to_string()));
                    }
                }
            }
        }
    }

    /// Begins to fold and write this part, once the one before is written.
    async fn flush(&mut self, items: &mut Vec<Delivery>) -> anyhow::Result<Option<End>> {
        if let Some(end) = ended(self.settle().await)? {
            return Ok(Some(end));
        }
        if items.is_empty() {
            return Ok(None);
        }
        let part = std::mem::replace(items, Vec::with_capacity(BATCH));
        let spans = self.spans(&part);
        let desk = self.desk.clone();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let result = desk.take_in(&part);
            drop(spans);
            result
        }));
        Ok(None)
    }

    /// Waits until what is being written is written, and lets people see what was set aside.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let set_aside = match writing.await {
            Ok(result) => result?,
            Err(e) => return Err(StoreError::damaged("the fold panicked", e)),
        };
        for poison in set_aside {
            tracing::error!(
                log.sequence = poison.sequence,
                log.subject = poison.subject,
                reason = poison.reason,
                "a message of the log cannot be taken in; its aggregate is halted"
            );
            self.set_aside(&poison).await;
        }
        Ok(())
    }

    async fn set_aside(&self, poison: &Poison) {
        let at = clock::now();
        retry::until_done("quarantine", &self.shutdown, || self.bus.quarantine(CONSUMER, poison, at)).await;
    }

    /// One trace from the request to the catalog. A rebuild tells old stories to nobody.
    fn spans(&self, part: &[Delivery]) -> Vec<Span> {
        if !self.desk.seen().borrow().caught_up {
            return Vec::new();
        }
        let traced = part.iter().filter_map(|item| match item {
            Delivery::Event(event)
                if matches!(event.event, Event::JobRequested(_)) || event.event.ends_job() =>
            {
                event.context.traceparent.as_deref().map(|traceparent| (event, traceparent))
            }
            _ => None,
        });
        traced
            .map(|(event, traceparent)| {
                let span = tracing::info_span!(
                    "catalog.fold",
                    event.kind = event.event.type_name(),
                    job.id = event.aggregate.id,
                    log.sequence = event.sequence
                );
                trace::continue_from(&span, Some(traceparent));
                span
            })
            .collect()
    }

    async fn redrive(&self, redrive: Redrive) -> anyhow::Result<()> {
        let Redrive { aggregate, answer } = redrive;
        let result = self.try_redrive(&aggregate).await?;
        // Whoever asked may have gone.
        let _ = answer.send(result);
        Ok(())
    }

    async fn try_redrive(&self, aggregate: &Aggregate) -> anyhow::Result<Result<(), RedriveRefused>> {
        let not_halted = || {
            let text = format!("the catalog has not halted '{aggregate}'");
            Ok(Err(RedriveRefused::Rejected(Rejection::conflict("not_halted", text))))
        };
        let unreadable = |problem: String| {
            Ok(Err(RedriveRefused::Rejected(Rejection::conflict("still_unreadable", problem))))
        };
        if !self.desk.halted().iter().any(|halted| halted.aggregate == *aggregate) {
            return not_halted();
        }
        let history = match self.bus.journal().load(aggregate).await {
            Ok(history) => history,
            Err(fault) if fault.is_transient() => return Ok(Err(RedriveRefused::Failed(fault.to_string()))),
            Err(fault) => return unreadable(fault.to_string()),
        };
        let (desk, which) = (self.desk.clone(), aggregate.clone());
        let done = tokio::task::spawn_blocking(move || desk.redrive(&which, &history.events)).await?;
        match done {
            Ok(()) => {}
            Err(RedriveError::NotHalted) => return not_halted(),
            Err(RedriveError::ReadInPart) => {
                return Ok(Err(RedriveRefused::Failed(RedriveError::ReadInPart.to_string())));
            }
            Err(RedriveError::Senseless(problem)) => return unreadable(problem),
            Err(RedriveError::Store(StoreError::Damaged(problem))) => {
                self.desk.tell_damage();
                return Ok(Err(RedriveRefused::Failed(problem)));
            }
            Err(RedriveError::Store(error)) => return Err(error.into()),
        }
        let released = retry::until_done("release from quarantine", &self.shutdown, || {
            self.bus.release(CONSUMER, aggregate)
        });
        released.await;
        tracing::info!(log.aggregate = %aggregate, "the aggregate was taken in again");
        Ok(Ok(()))
    }

    /// After an alarm: nothing is folded, and whoever asks for it is told.
    async fn stand_still(&mut self) {
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                Some(redrive) = self.redrives.recv() => {
                    let text = "the log is damaged and nothing is folded; see the catalog's health".to_owned();
                    let _ = redrive.answer.send(Err(RedriveRefused::Failed(text)));
                }
            }
        }
    }
}

/// What a written part means for the fold.
fn ended(settled: Result<(), StoreError>) -> anyhow::Result<Option<End>> {
    match settled {
        Ok(()) => Ok(None),
        Err(StoreError::Damaged(problem)) => Ok(Some(End::Damaged(problem))),
        Err(error) => Err(error.into()),
    }
}

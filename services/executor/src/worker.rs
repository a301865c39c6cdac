//! Taking work: as much at once as there is room for, and each attempt once.

use crate::borg::Borg;
use crate::container::Containers;
use crate::state::State;
use crate::{Config, attempt};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strongroom_bus::{NodeBus, WorkDelivery};
use strongroom_domain::JobId;
use strongroom_service::Shutdown;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long one pull waits.
const PULL: Duration = Duration::from_secs(20);
/// How many ended attempts are remembered, for deliveries that come again.
const REMEMBERED: usize = 1000;

/// An executor at work.
pub struct Worker {
    /// How it works.
    pub config: Config,
    /// Its state folder.
    pub state: State,
    /// Its borg.
    pub borg: Borg,
    /// The way to the log's side.
    pub bus: NodeBus,
    /// Its containers.
    pub containers: Containers,
    attempts: Mutex<Attempts>,
}

#[derive(Default)]
struct Attempts {
    running: Vec<(JobId, u64)>,
    ended: VecDeque<(JobId, u64)>,
}

impl Worker {
    /// One that has not begun.
    pub fn new(config: Config, state: State, borg: Borg, bus: NodeBus, containers: Containers) -> Self {
        Self { config, state, borg, bus, containers, attempts: Mutex::default() }
    }

    /// What it works on.
    pub fn running(&self) -> Vec<(JobId, u64)> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).running.clone()
    }

    /// Notes an attempt; `false` when it runs or has run in this life.
    fn begin(&self, attempt: (JobId, u64)) -> bool {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.running.contains(&attempt) || attempts.ended.contains(&attempt) {
            return false;
        }
        attempts.running.push(attempt);
        true
    }

    /// Waits until no other attempt at this job runs here: one that was overtaken is being ended, and until then its
    /// child is at work.
    pub async fn is_alone(&self, job: JobId, epoch: u64) {
        while self.running().iter().any(|(other, e)| *other == job && *e < epoch) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn end(&self, attempt: (JobId, u64)) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.running.retain(|a| *a != attempt);
        attempts.ended.push_back(attempt);
        if attempts.ended.len() > REMEMBERED {
            attempts.ended.pop_front();
        }
    }
}

/// An attempt that has begun. Dropped, it has ended: one that panics would else be told as running for ever (P7).
struct Begun<'a> {
    worker: &'a Worker,
    attempt: (JobId, u64),
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.worker.end(self.attempt);
    }
}

/// Works until shutdown, and then until what runs is wound up.
pub async fn work(worker: &Arc<Worker>, shutdown: &Shutdown) {
    let room = Arc::new(Semaphore::new(worker.config.capacity.max(1)));
    let mut attempts = JoinSet::new();
    loop {
        while attempts.try_join_next().is_some() {}
        // Room first: work that was pulled and waits here could not be done by a next life of this node.
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = room.clone().acquire_owned() => permit,
        };
        let pulled = tokio::select! {
            () = shutdown.cancelled() => break,
            pulled = worker.bus.next_work(PULL) => pulled,
        };
        match pulled {
            Ok(Some(delivery)) => {
                if let Some(item) = to_do(worker, &delivery).await {
                    let (worker, shutdown) = (worker.clone(), shutdown.clone());
                    attempts.spawn(async move {
                        let _permit = permit;
                        let _begun = Begun { worker: &worker, attempt: (item.job, item.epoch) };
                        Box::pin(attempt::run(&worker, item, delivery, shutdown)).await;
                    });
                }
            }
            Ok(None) => {}
            Err(fault) => {
                tracing::warn!(error = %fault, "work cannot be pulled; it is tried again");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    }
    while attempts.join_next().await.is_some() {}
}

/// The work of a delivery that is to be done; one that is known, or that nobody can read, is acked at once.
async fn to_do(worker: &Worker, delivery: &WorkDelivery) -> Option<strongroom_domain::wire::WorkItem> {
    let item = match &delivery.item {
        Ok(item) if worker.begin((item.job, item.epoch)) => return Some(item.clone()),
        Ok(item) => format!("job {} with epoch {} is known", item.job, item.epoch),
        Err(problem) => format!("it cannot be read: {problem}"),
    };
    tracing::info!(reason = item, "a delivery is passed over");
    if let Err(fault) = delivery.ack.done().await {
        tracing::debug!(error = %fault, "an ack was lost; the delivery comes again");
    }
    None
}

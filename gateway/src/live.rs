//! What is going on right now: jobs that end, tokens that change, nodes that live, progress.

use crate::app::App;
use futures::StreamExt;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use strongroom_bus::{Delivery, FollowError};
use strongroom_domain::wire::{Progress, Status};
use strongroom_domain::{JobId, Kind, NodeId};
use strongroom_service::clock;
use tokio::sync::broadcast;

/// How much may be heard and not yet taken before the oldest is dropped: watchers ask again then.
const HEARD: usize = 1024;

/// What is going on.
pub struct Live {
    ended: broadcast::Sender<(JobId, u64)>,
    progress: broadcast::Sender<Progress>,
    heartbeats: Mutex<HashMap<NodeId, Timestamp>>,
}

impl Live {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            ended: broadcast::Sender::new(HEARD),
            progress: broadcast::Sender::new(HEARD),
            heartbeats: Mutex::default(),
        }
    }

    /// Jobs that end from now on, with the sequence of the fact.
    pub fn ended_jobs(&self) -> broadcast::Receiver<(JobId, u64)> {
        self.ended.subscribe()
    }

    /// Progress from now on.
    pub fn progress(&self) -> broadcast::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// When a node was last heard of.
    pub fn heartbeat_of(&self, node: &NodeId) -> Option<Timestamp> {
        self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).get(node).copied()
    }

    fn heard(&self, node: NodeId) {
        self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).insert(node, clock::now());
    }
}

/// Watches the log from its present end, for ever.
pub async fn watch_for_ever(app: &App) {
    loop {
        if let Err(e) = watch(app).await {
            tracing::warn!(error = %e, "the log cannot be watched; it is tried again");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn watch(app: &App) -> Result<(), FollowError> {
    let (_, last) = app.bus.log_state().await?;
    let mut follower = app.bus.follow(last);
    loop {
        match follower.next().await {
            Ok(Delivery::Event(recorded)) => {
                if let (Kind::Token, Ok(name)) = (recorded.aggregate.kind, recorded.aggregate.id.parse()) {
                    app.tokens.hear(&name, recorded.sequence);
                }
                if let (true, Ok(job)) = (recorded.event.ends_job(), recorded.aggregate.id.parse()) {
                    // Nobody may be waiting.
                    let _ = app.live.ended.send((job, recorded.sequence));
                }
            }
            Ok(_) => {}
            Err(FollowError::Fault(fault)) if fault.is_transient() => {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Err(e) => return Err(e),
        }
    }
}

/// Hears status, for ever.
pub async fn hear_for_ever(app: &App) {
    loop {
        match app.bus.watch_status().await {
            Ok(mut statuses) => {
                while let Some((node, status)) = statuses.next().await {
                    app.live.heard(node);
                    if let Status::Progress(progress) = status {
                        let _ = app.live.progress.send(progress);
                    }
                }
            }
            Err(fault) => tracing::warn!(error = %fault, "status cannot be heard; it is tried again"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

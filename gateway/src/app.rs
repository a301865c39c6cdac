//! What all requests share.

use crate::auth::Tokens;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::problem::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use strongroom_bus::{AskError, Bus, Fault, Position};
use strongroom_service::{Shutdown, trace};
use tokio::sync::Semaphore;

/// Requests that are worked on at once; more wait.
const AT_ONCE: usize = 256;
/// Streams of events that are open at once; more are refused.
pub const STREAMS: usize = 64;
/// Downloads that are under way at once; more are refused. Each keeps a few MiB of pieces.
pub const DOWNLOADS: usize = 16;

/// How long a service may take to be started again before a question to it fails.
const RESTARTING: Duration = Duration::from_secs(3);

fn is_unheard(fault: &Fault) -> bool {
    fault.is_transient() && fault.to_string().contains("no responders")
}

/// The gateway at work.
pub struct App {
    /// The log.
    pub bus: Bus,
    /// Where nats-server says how it is.
    pub nats_monitor: Option<String>,
    /// Who may come in.
    pub tokens: Tokens,
    /// What is going on.
    pub live: Live,
    /// Numbers.
    pub metrics: Metrics,
    /// Room for requests.
    pub room: std::sync::Arc<Semaphore>,
    /// Room for streams.
    pub streams: std::sync::Arc<Semaphore>,
    /// Room for downloads.
    pub downloads: std::sync::Arc<Semaphore>,
    /// When it ends.
    pub shutdown: Shutdown,
}

impl App {
    /// One that has heard nothing yet.
    pub fn new(bus: Bus, nats_monitor: Option<String>, shutdown: Shutdown) -> Self {
        Self {
            nats_monitor,
            tokens: Tokens::new(),
            live: Live::new(),
            metrics: Metrics::install(),
            room: std::sync::Arc::new(Semaphore::new(AT_ONCE)),
            streams: std::sync::Arc::new(Semaphore::new(STREAMS)),
            downloads: std::sync::Arc::new(Semaphore::new(DOWNLOADS)),
            bus,
            shutdown,
        }
    }

    /// Asks a service; the answer comes with the position that it speaks for.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        service: &str,
        view: &str,
        question: &Q,
        at_least: Option<Position>,
    ) -> Result<(A, Position), Problem> {
        let traceparent = trace::traceparent(&tracing::Span::current());
        let end = tokio::time::Instant::now() + RESTARTING;
        loop {
            match self.bus.ask(service, view, question, at_least.clone(), traceparent.clone()).await {
                // Nobody has heard the question, so asking it again cannot do anything twice.
                Err(AskError::Fault(fault)) if is_unheard(&fault) && tokio::time::Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                answer => return Ok(answer?),
            }
        }
    }
}

//! What links a fact to the request that it follows from.

use strongroom_bus::{Context, Recorded};
use strongroom_domain::EventId;

/// What the facts that follow from a request carry on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// Its id.
    pub id: Option<EventId>,
    /// What all events that follow from one request share.
    pub correlation: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Cause {
    /// An event as the cause of what follows from it.
    pub fn of(event: &Recorded) -> Self {
        Self {
            id: Some(event.id),
            correlation: event.context.correlation.clone().or_else(|| Some(event.aggregate.id.clone())),
            traceparent: event.context.traceparent.clone(),
        }
    }

    /// What surrounds a fact that follows from it.
    pub fn context(&self, actor: String, traceparent: Option<String>) -> Context {
        Context {
            actor,
            correlation: self.correlation.clone(),
            causation: self.id,
            traceparent: traceparent.or_else(|| self.traceparent.clone()),
        }
    }
}

//! What holds of every log, whatever its servers do: one suite, run against the twin that misbehaves from a seed, against
//! one real node and against three.

mod laws;
mod real;
mod twin;

use jiff::Timestamp;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use strongroom_bus::log_store::LogStore;
use strongroom_bus::{Fault, Journal, NewEvent};
use strongroom_domain::{Aggregate, Event, EventId, Kind};

/// A log, and connections to it: one for each writer, and the readers take them as well.
struct World {
    stores: Vec<Arc<dyn LogStore>>,
    /// Makes the ids of this run, so that a seed gives the same ones.
    name: String,
    /// How often each law is tried.
    rounds: u32,
}

impl World {
    fn journals(&self) -> Vec<Journal> {
        self.stores.iter().map(|store| Journal::new(store.clone(), "/test".into())).collect()
    }

    fn plan(&self, name: &str) -> Aggregate {
        Aggregate::new(Kind::Plan, EventId::of_command(&format!("{}/{name}", self.name), 0))
    }

    /// The event of a command: the same, however often it is asked for.
    fn event(&self, command: &str, reason: impl ToString) -> NewEvent {
        NewEvent {
            id: EventId::of_command(&format!("{}/{command}", self.name), 1),
            at: Timestamp::UNIX_EPOCH,
            event: Event::PlanPaused(strongroom_domain::plan::Paused { reason: reason.to_string() }),
        }
    }
}

/// Does it again while it is not known what came of it.
async fn for_certain<T, E, Fut>(mut work: impl FnMut() -> Fut) -> Result<T, E>
where
    Fut: Future<Output = Result<T, E>>,
    E: IsTransient,
{
    loop {
        match work().await {
            Err(e) if e.is_transient() => tokio::time::sleep(Duration::from_millis(20)).await,
            done => return done,
        }
    }
}

trait IsTransient {
    fn is_transient(&self) -> bool;
}

impl IsTransient for Fault {
    fn is_transient(&self) -> bool {
        Fault::is_transient(self)
    }
}

impl IsTransient for strongroom_bus::AppendError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.is_transient())
    }
}

impl IsTransient for strongroom_bus::DecideError<std::convert::Infallible> {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.is_transient())
    }
}

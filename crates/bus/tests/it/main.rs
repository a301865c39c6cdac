//! The bus against real servers, one and three.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod config;
mod conformance;
mod damage;
mod journal;
mod lag;
mod permissions;
mod provision;
mod supervisor;
mod work;

use jiff::Timestamp;
use strongroom_bus::NewEvent;
use strongroom_domain::{Aggregate, Event, EventId, Kind};
use uuid::Uuid;

/// An event that any test can write.
#[expect(clippy::disallowed_methods, reason = "a test may read the clock")]
pub fn paused(reason: &str) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::now_v7()),
        at: Timestamp::now(),
        event: Event::PlanPaused(strongroom_domain::plan::Paused { reason: reason.into() }),
    }
}

/// An aggregate that nobody else uses.
pub fn some_plan() -> Aggregate {
    Aggregate::new(Kind::Plan, Uuid::now_v7())
}

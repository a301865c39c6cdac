//! A fact about a plan that is to be written down.

use strongroom_bus::Head;
use strongroom_domain::{Event, EventId, PlanId};

/// A fact about a plan that follows from the world and the clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// About which plan.
    pub plan: PlanId,
    /// The end of the aggregate that it belongs to, as it was seen.
    pub head: Head,
    /// The fact.
    pub event: Event,
    /// Its id: the same from every scheduler that has seen as much.
    pub id: EventId,
}

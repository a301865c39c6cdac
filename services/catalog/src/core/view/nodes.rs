//! Nodes, as they last came up.

use super::{FoldError, View};
use crate::core::overlay::{AnyRecord, Overlay, Record};
use crate::core::store::StoreError;
use crate::core::{framed, key};
use strongroom_bus::Recorded;
use strongroom_domain::view::Node;
use strongroom_domain::{Event, NodeId};

/// The view.
pub struct Nodes;

impl View for Nodes {
    fn name(&self) -> &'static str {
        "nodes"
    }

    fn apply(&self, views: &mut Overlay<'_>, event: &Recorded) -> Result<(), FoldError> {
        let Event::NodeJoined(joined) = &event.event else { return Ok(()) };
        let id: NodeId = event.aggregate.id.parse().map_err(|e| {
            FoldError::Senseless(format!("'{}' is no name of a node: {e}", event.aggregate.id))
        })?;
        let node = Node { id, joined: joined.clone(), joined_at: event.at, last_heartbeat_at: None };
        views.put(key::node(&event.aggregate.id), node)?;
        Ok(())
    }
}

impl AnyRecord for Node {
    fn encode(&self) -> Result<Vec<u8>, StoreError> {
        framed::value(self)
    }
}

impl Record for Node {
    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        framed::read(bytes)
    }
}

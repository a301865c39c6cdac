//! Notification: one message to one channel, about one fact. Its id is UUIDv5 of the fact's id and the channel, so
//! that telling twice is seen.

use crate::{ChannelId, EventId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A delivery was tried and will be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempted {
    /// To whom.
    pub channel: ChannelId,
    /// About what.
    pub about: EventId,
    /// 1, 2, ...
    pub attempt: u32,
    /// What the other side answered, or why nothing was.
    pub problem: String,
    /// When it is tried again.
    pub next_at: Timestamp,
}

/// A delivery was confirmed by the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// To whom.
    pub channel: ChannelId,
    /// About what.
    pub about: EventId,
    /// Which attempt it was.
    pub attempt: u32,
    /// The HTTP status.
    pub status: u16,
}

/// A delivery was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// To whom.
    pub channel: ChannelId,
    /// About what.
    pub about: EventId,
    /// How many attempts were made.
    pub attempts: u32,
    /// Why it was given up.
    pub problem: String,
}

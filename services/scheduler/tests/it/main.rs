//! The scheduler on real nats-servers. The tests play the gateway and the nodes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod archives;
mod exactly_once;
mod jobs;
mod limits;
mod stage;
mod triggers;

//! The notifier on a real log, telling a real HTTP server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod delivery;
mod faults;
mod questions;
mod stage;

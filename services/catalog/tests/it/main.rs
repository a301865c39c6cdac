//! The catalog against a real log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod browsing;
mod damage;
mod reading;
mod rebuilding;
mod stage;
mod trouble;

//! What users do, on the running system: `strongroom up` as a process, the client and HTTP beside it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that failed"
)]

mod applications;
mod backup;
mod bad_input;
mod blocks;
mod client;
mod databases;
mod dump_stores;
mod events;
mod full;
mod jobs;
mod retention;
mod schedule;
mod secrets;
mod starting;
mod traces;
mod variants;
mod webhook;

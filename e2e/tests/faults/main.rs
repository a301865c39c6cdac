//! What goes wrong, on the running system: processes are killed, deliveries come twice, bytes are poison. Afterwards
//! the log and the repositories are read, and the laws of the design must hold.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that failed"
)]

mod kills;
mod poison;
mod rebuild;
mod twice;
mod work;

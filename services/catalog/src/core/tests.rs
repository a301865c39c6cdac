#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
//! The views equal a fresh fold of the log, byte for byte, however the log is cut, repeated or interrupted.

mod answers;
mod browse;
mod laws;
mod log;
mod redrive;

use super::fold::State;
use super::memory::Memory;
use super::store::Key;
use strongroom_bus::Delivery;

/// Folds a log from nothing, in batches of this size.
pub fn fresh(log: &[Delivery], batch: usize) -> (State, Memory) {
    let mut memory = Memory::default();
    let mut state = State::start("g");
    for part in log.chunks(batch) {
        let folded = state.fold(&memory, part).unwrap();
        memory.write(folded.writes);
    }
    (state, memory)
}

/// Keys and values as text, for failures that can be read.
pub fn readable(dump: &[(Key, Vec<u8>)]) -> Vec<String> {
    dump.iter().map(|(k, v)| format!("{} = {}", k.escape_ascii(), v.escape_ascii())).collect()
}

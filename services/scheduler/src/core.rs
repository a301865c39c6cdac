//! What the scheduler decides, without I/O: from the world as the log tells it, a time, and what nodes say.

pub mod admission;
pub mod agenda;
pub mod cause;
pub mod chains;
pub mod copying;
pub mod due;
pub mod fold;
pub mod indexing;
pub mod inventory;
pub mod keeping;
pub mod lateness;
pub mod reports;
pub mod retention;
pub mod scans;
#[cfg(test)]
mod tests;
pub mod triggers;
pub mod upkeep;
pub mod what_if;
pub mod world;

pub use world::World;

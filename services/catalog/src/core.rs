//! What follows from the log: pure folds over a small key-value store, and pure answers from it.

pub mod checkpoint;
pub mod counts;
pub mod fold;
pub mod framed;
pub mod index;
pub mod key;
pub mod list;
pub mod memory;
pub mod overlay;
pub mod question;
pub mod store;
#[cfg(test)]
mod tests;
pub mod view;

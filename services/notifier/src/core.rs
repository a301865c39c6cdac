//! Who is to be told what, when it is tried again, and how a message is written and signed. Pure.

pub mod answer;
pub mod ladder;
pub mod ledger;
pub mod message;
pub mod outcome;
pub mod signature;
pub mod told;

#[cfg(test)]
mod tests;

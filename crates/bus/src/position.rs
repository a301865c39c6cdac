//! A place in the log, as clients carry it to read their own writes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// `<generation>:<sequence>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which log: a restored one has a new generation.
    pub generation: String,
    /// How far.
    pub sequence: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.generation, self.sequence)
    }
}

impl std::str::FromStr for Position {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (generation, sequence) = text.rsplit_once(':').ok_or("a position is <generation>:<sequence>")?;
        let sequence = sequence.parse().map_err(|_| "the sequence of a position is a number")?;
        Ok(Self { generation: generation.to_owned(), sequence })
    }
}

//! How many bytes there were, and their digest.

use super::hex::hex;
use sha2::{Digest, Sha256};

/// Sums up bytes as they pass.
#[derive(Default)]
pub struct Sum {
    digest: Sha256,
    bytes: u64,
}

/// What was summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summed {
    /// How many.
    pub bytes: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

impl Sum {
    /// Some more.
    pub fn add(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        self.bytes += piece.len() as u64;
    }

    /// Whether nothing has passed so far.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// How many bytes have passed so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// That was all.
    pub fn finish(self) -> Summed {
        Summed { bytes: self.bytes, sha256: hex(&self.digest.finalize()) }
    }
}

/// The sum of these.
pub fn of(bytes: &[u8]) -> Summed {
    let mut sum = Sum::default();
    sum.add(bytes);
    sum.finish()
}

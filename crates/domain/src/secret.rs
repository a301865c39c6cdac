//! Secrets by reference. The log holds references for ever, so it never holds a secret.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Which secret, in which version. The ciphertext stands in the secret store under this name, encrypted with age to
/// the node that needs it, and can be shredded there while the log keeps the reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecretRef {
    /// The name: a slug such as `repository-web`.
    pub reference: String,
    /// 1, 2, ... grows with each change.
    pub version: u32,
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.reference, self.version)
    }
}

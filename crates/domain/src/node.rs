//! Node: a running executor, by name.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An executor came up. Each start has its own boot id, so that the attempts of an earlier life are known to be dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// New at each start of the executor.
    pub boot: String,
    /// The node's age public key; secrets for it are encrypted to this.
    pub age_recipient: String,
    /// The executor's version.
    pub version: String,
    /// What it found on the machine.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
}

/// What a node can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Borg's version, when it is installed.
    #[serde(default)]
    pub borg_version: Option<String>,
    /// The machine's name.
    #[serde(default)]
    pub hostname: String,
    /// How many jobs it runs at once.
    #[serde(default)]
    pub capacity: u32,
}

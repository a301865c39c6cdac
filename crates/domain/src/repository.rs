//! Repository: a borg repository inside a destination.

use crate::definition::{Validate, check_text};
use crate::{DestinationId, FieldError, RepositoryId, SecretRef, ServerId};
use serde::{Deserialize, Serialize};

/// How a repository is defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Whose data it holds.
    pub server: ServerId,
    /// Where it lies.
    pub destination: DestinationId,
    /// How it is encrypted; chosen once, at `borg init`.
    pub encryption: Encryption,
    /// The passphrase's reference; set by the gateway, absent without encryption.
    #[serde(default)]
    pub passphrase: Option<SecretRef>,
    /// Words for people.
    #[serde(default)]
    pub description: String,
}

/// Borg's modes (`borg init --encryption`). The keyfile modes are left out on purpose: their key would lie on the
/// node alone, and a backup whose only key is on the machine that burns is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Encryption {
    /// No encryption, no authentication.
    None,
    /// Authenticated, not encrypted.
    Authenticated,
    /// Authenticated with BLAKE2b, not encrypted.
    AuthenticatedBlake2,
    /// AES-CTR with the key in the repository, protected by the passphrase.
    Repokey,
    /// The same with BLAKE2b: faster without SHA instructions.
    RepokeyBlake2,
}

impl Encryption {
    /// Whether borg asks for a passphrase in this mode.
    pub fn needs_passphrase(self) -> bool {
        !matches!(self, Self::None)
    }
}

impl Validate for Spec {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        check_text(&mut problems, "description", &self.description, 500);
        if self.encryption.needs_passphrase() != self.passphrase.is_some() {
            let message = if self.encryption.needs_passphrase() {
                "is needed for this encryption"
            } else {
                "must be absent without encryption"
            };
            problems.push(FieldError::new("passphrase", message));
        }
        problems
    }
}

/// All that a node needs to open a repository, as a job carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Which repository.
    pub repository: RepositoryId,
    /// Where borg finds it.
    pub location: String,
    /// How it is encrypted.
    pub encryption: Encryption,
    /// Which passphrase opens it.
    #[serde(default)]
    pub passphrase: Option<SecretRef>,
}

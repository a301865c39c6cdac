//! Token: what a program or a person shows to be let in. The log keeps its hash only.

use crate::FieldError;
use crate::definition::{Validate, check_text};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A token as it was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// SHA-256 of the token's text, hex. The text is shown once and kept nowhere.
    pub sha256: String,
    /// What it may do.
    pub scope: Scope,
    /// Words for people.
    #[serde(default)]
    pub description: String,
    /// When it ends by itself.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// Look at everything but secrets.
    Read,
    /// Also run, cancel, retry and restore.
    Operate,
    /// Also define and delete.
    Admin,
}

/// A token was withdrawn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {}

impl Validate for Issued {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        check_text(&mut problems, "description", &self.description, 500);
        problems
    }
}

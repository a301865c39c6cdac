//! The answer to a bad request: typed, told to the person who asked, with what to do.

use serde::{Deserialize, Serialize};

/// One field of a request that is not right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where, as a path in the request: `schedule.cron`, `source.paths[0]`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl FieldError {
    /// An error at this field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Why a request is not done. Its [`code`](Rejection::code) is stable and documented; texts may change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Rejection {
    /// Fields are wrong; each is named.
    #[error("the request is not valid: {}", .fields.iter().map(|f| format!("{}: {}", f.field, f.message)).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// The fields, in the order of the request.
        fields: Vec<FieldError>,
    },
    /// The thing named does not exist, or no longer.
    #[error("there is no {kind} '{id}'")]
    NotFound {
        /// The kind of thing.
        kind: String,
        /// Its id as it was asked for.
        id: String,
    },
    /// It exists already.
    #[error("a {kind} '{id}' exists already; choose another name, or change it with PUT")]
    Exists {
        /// The kind of thing.
        kind: String,
        /// Its id.
        id: String,
    },
    /// The caller saw an older version than the present one.
    #[error("it has changed since you read it (now version {current}); read it again and repeat your change")]
    Changed {
        /// The present version.
        current: u64,
    },
    /// Something else stands against it.
    #[error("{message}")]
    Conflict {
        /// Stable code, e.g. `in_use`, `job_finished`.
        code: String,
        /// What stands against it and what to do.
        message: String,
    },
}

impl Rejection {
    /// A conflict with a stable code.
    pub fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::Conflict { code: code.to_owned(), message: message.into() }
    }

    /// One wrong field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid { fields: vec![FieldError::new(field, message)] }
    }

    /// The stable code that programs can rely on.
    pub fn code(&self) -> &str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::NotFound { .. } => "not_found",
            Self::Exists { .. } => "exists",
            Self::Changed { .. } => "changed",
            Self::Conflict { code, .. } => code,
        }
    }
}

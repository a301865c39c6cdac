//! Faults: infrastructure that does not do its part. Transient ones are worth a retry, permanent ones are not.

/// Why the bus could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It may go well later: no connection, no leader, a timeout.
    #[error("{0} (it may pass; trying again is safe)")]
    Transient(String),
    /// It will not go well by itself: the log is full, a right is missing, bytes are damaged.
    #[error("{0}")]
    Permanent(String),
}

impl Fault {
    /// A transient fault from any error.
    pub fn transient(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Transient(format!("{what}: {error}"))
    }

    /// A permanent fault from any error.
    pub fn permanent(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Permanent(format!("{what}: {error}"))
    }

    /// Whether a retry can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_))
    }
}

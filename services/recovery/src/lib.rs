//! Instant recovery and restore drills.

//! When: triggers, admission, and the facts of jobs.

//! Settings: what holds for the whole system and can be changed while it runs.

use crate::FieldError;
use crate::admission::Limits;
use crate::definition::Validate;
use serde::{Deserialize, Serialize};

/// More at once than this is a mistake.
const MOST_AT_ONCE: u32 = 100_000;

/// How many jobs may run at once. What is not said here is as the scheduler was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsSpec {
    /// On all servers together.
    #[serde(default)]
    pub max_jobs: Option<u32>,
    /// For one server whose definition does not say (`max_concurrent_jobs`).
    #[serde(default)]
    pub max_jobs_per_server: Option<u32>,
    /// At one destination whose definition does not say.
    #[serde(default)]
    pub max_jobs_per_destination: Option<u32>,
    /// In one repository whose definition does not say, of those that only read.
    #[serde(default)]
    pub max_jobs_per_repository: Option<u32>,
}

impl LimitsSpec {
    /// The limits that hold, with those that the scheduler was started with.
    pub fn over(&self, started_with: Limits) -> Limits {
        Limits {
            global: self.max_jobs.unwrap_or(started_with.global),
            per_server: self.max_jobs_per_server.unwrap_or(started_with.per_server),
            per_destination: self.max_jobs_per_destination.or(started_with.per_destination),
            per_repository: self.max_jobs_per_repository.or(started_with.per_repository),
        }
    }
}

impl Validate for LimitsSpec {
    fn problems(&self) -> Vec<FieldError> {
        let all = [
            ("max_jobs", self.max_jobs),
            ("max_jobs_per_server", self.max_jobs_per_server),
            ("max_jobs_per_destination", self.max_jobs_per_destination),
            ("max_jobs_per_repository", self.max_jobs_per_repository),
        ];
        all.into_iter().filter_map(|(field, limit)| too_few(field, limit)).collect()
    }
}

/// What is wrong with a limit.
pub fn too_few(field: &str, limit: Option<u32>) -> Option<FieldError> {
    match limit {
        Some(0) => Some(FieldError::new(field, "must be at least 1; pause the plans to stop all jobs")),
        Some(limit) if limit > MOST_AT_ONCE => {
            Some(FieldError::new(field, format!("must be at most {MOST_AT_ONCE}")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_said_is_as_the_scheduler_was_started_and_none_at_all_is_refused() {
        let spec: LimitsSpec =
            serde_json::from_value(json!({ "max_jobs": 2, "max_jobs_per_destination": 1 })).unwrap();
        let limits = spec.over(Limits::default());
        assert_eq!((limits.global, limits.per_server, limits.per_destination), (2, 4, Some(1)));
        assert_eq!(spec.problems(), []);
        let fields = |value| -> Vec<String> {
            let spec: LimitsSpec = serde_json::from_value(value).unwrap();
            spec.problems().into_iter().map(|problem| problem.field).collect()
        };
        assert_eq!(
            fields(json!({ "max_jobs": 0, "max_jobs_per_repository": 200_000 })),
            ["max_jobs", "max_jobs_per_repository"]
        );
    }
}

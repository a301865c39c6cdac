//! A bucket of Google Cloud Storage.

use super::{bucket_place, check_bucket, check_endpoint, check_prefix};
use crate::{FieldError, SecretRef};
use serde::{Deserialize, Serialize};

/// The bucket, and the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gcs {
    /// The bucket; it must be there.
    pub bucket: String,
    /// What all names begin with; nothing, when empty.
    #[serde(default)]
    pub prefix: String,
    /// The service; Google's, when absent.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The key of a service account, as Google gives it out as JSON; when absent, what the node's machine gives.
    #[serde(default)]
    pub service_account: Option<SecretRef>,
}

impl Gcs {
    pub(super) fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        check_bucket(&mut problems, "bucket", &self.bucket);
        check_prefix(&mut problems, &self.prefix);
        check_endpoint(&mut problems, self.endpoint.as_deref());
        problems
    }

    pub(super) fn place(&self) -> String {
        bucket_place("gs", &self.bucket, &self.prefix, self.endpoint.as_deref())
    }
}

//! A container of Azure Blob Storage.

use super::{bucket_place, check_bucket, check_endpoint, check_prefix};
use crate::{FieldError, SecretRef};
use serde::{Deserialize, Serialize};

/// The container, and the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Azure {
    /// The storage account.
    pub account: String,
    /// The container; it must be there.
    pub container: String,
    /// What all names begin with; nothing, when empty.
    #[serde(default)]
    pub prefix: String,
    /// The service; Azure's, when absent.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// A key of the account, or a shared access signature for the container; when absent, what the node's machine gives.
    #[serde(default)]
    pub access_key: Option<SecretRef>,
}

impl Azure {
    pub(super) fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        // learn.microsoft.com, "Storage account overview": 3 to 24 small letters and digits.
        if !(3..=24).contains(&self.account.len()) || !self.account.chars().all(small) {
            problems.push(FieldError::new("account", "must be 3 to 24 small letters and digits"));
        }
        check_bucket(&mut problems, "container", &self.container);
        check_prefix(&mut problems, &self.prefix);
        check_endpoint(&mut problems, self.endpoint.as_deref());
        problems
    }

    pub(super) fn place(&self) -> String {
        let container = format!("{}/{}", self.account, self.container);
        bucket_place("azure", &container, &self.prefix, self.endpoint.as_deref())
    }
}

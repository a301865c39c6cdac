//! A bucket of Amazon S3, or of what speaks like it.

use super::{bucket_place, check_bucket, check_endpoint, check_prefix};
use crate::{FieldError, SecretRef};
use serde::{Deserialize, Serialize};

/// The bucket, and the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3 {
    /// The bucket; it must be there.
    pub bucket: String,
    /// What all names begin with; nothing, when empty.
    #[serde(default)]
    pub prefix: String,
    /// `us-east-1` when absent, which services other than Amazon's mostly take.
    #[serde(default)]
    pub region: Option<String>,
    /// The service; Amazon's, when absent.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The bucket stands in the path of the address, and not in the name of the host.
    #[serde(default = "yes")]
    pub path_style: bool,
    /// As whom; when absent, what the node's environment or machine gives.
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// The secret to it.
    #[serde(default)]
    pub secret_access_key: Option<SecretRef>,
    /// The class in which objects are stored: `STANDARD_IA`, ...; the bucket's own, when absent.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// How the service encrypts what it stores; as the bucket says, when absent.
    #[serde(default)]
    pub server_side_encryption: Option<ServerSideEncryption>,
    /// How long what is stored is kept from being removed for good; as the bucket says, when absent.
    #[serde(default)]
    pub object_lock: Option<ObjectLock>,
}

fn yes() -> bool {
    true
}

/// How the service encrypts what it stores, besides what is encrypted already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerSideEncryption {
    /// With a key of the service (`AES256`).
    S3,
    /// With a key of AWS KMS (`aws:kms`).
    Kms {
        /// Which one.
        key_id: String,
    },
}

/// A lock on each object from when it is written (Amazon S3, "Object Lock"): the bucket must have been made with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectLock {
    /// Who may take it away.
    pub mode: LockMode,
    /// How many days it holds, from the beginning of the job that writes. 0 is a minute, for what is only tried out.
    pub days: u32,
}

/// Who may take a lock away before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "UPPERCASE")]
pub enum LockMode {
    /// Who has the right to (`s3:BypassGovernanceRetention`).
    Governance,
    /// Nobody.
    Compliance,
}

/// A lock holds no longer than this (Amazon S3, "Object Lock": 100 years).
const LOCK_DAYS: u32 = 36_500;

impl S3 {
    pub(super) fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        check_bucket(&mut problems, "bucket", &self.bucket);
        check_prefix(&mut problems, &self.prefix);
        check_endpoint(&mut problems, self.endpoint.as_deref());
        let plain = |text: &str| {
            !text.is_empty() && text.len() <= 2048 && text.chars().all(|c| c.is_ascii_graphic() && c != '"')
        };
        let mut check = |field: &str, text: Option<&str>| {
            if text.is_some_and(|text| !plain(text)) {
                problems.push(FieldError::new(field, "must be plain characters without spaces"));
            }
        };
        check("region", self.region.as_deref());
        check("access_key_id", self.access_key_id.as_deref());
        check("storage_class", self.storage_class.as_deref());
        if let Some(ServerSideEncryption::Kms { key_id }) = &self.server_side_encryption {
            check("server_side_encryption.key_id", Some(key_id));
        }
        if self.object_lock.is_some_and(|lock| !(1..=LOCK_DAYS).contains(&lock.days)) {
            let message = format!("must be 1 to {LOCK_DAYS}; leave object_lock out to lock nothing");
            problems.push(FieldError::new("object_lock.days", message));
        }
        if self.secret_access_key.is_some() && self.access_key_id.is_none() {
            problems.push(FieldError::new("access_key_id", "is needed with a secret"));
        }
        problems
    }

    pub(super) fn place(&self) -> String {
        bucket_place("s3", &self.bucket, &self.prefix, self.endpoint.as_deref())
    }
}

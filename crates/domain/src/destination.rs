//! Destination: where bytes go. A file each below this one, and a line in [`Location`].

mod azure;
mod gcs;
mod local;
mod s3;
mod sftp;

pub use azure::Azure;
pub use gcs::Gcs;
pub use local::Local;
pub use s3::{LockMode, ObjectLock, S3, ServerSideEncryption};
pub use sftp::Sftp;

use crate::definition::{Validate, check_text, within};
use crate::{FieldError, NodeId, RepositoryId, SecretRef, ServerId, settings};
use serde::{Deserialize, Serialize};

/// How a destination is defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Where it is.
    pub location: Location,
    /// Which nodes can read its secret; set by the gateway, empty without one.
    #[serde(default)]
    pub sealed_for: Vec<NodeId>,
    /// How many jobs may run at once in repositories that lies here; the system's default, when absent.
    #[serde(default)]
    pub max_concurrent_jobs: Option<u32>,
    /// Words for people.
    #[serde(default)]
    pub description: String,
}

/// The sorts of places; an unknown one is refused by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Location {
    /// A folder that the node sees as a local path.
    Local(Local),
    /// A folder of another machine, over SFTP.
    Sftp(Sftp),
    /// A bucket of Amazon S3, or of what speaks like it.
    S3(S3),
    /// A bucket of Google Cloud Storage.
    Gcs(Gcs),
    /// A container of Azure Blob Storage.
    Azure(Azure),
}

impl Location {
    /// Where a repository of this destination lies: `<destination>/<server>/<repository>`. A path where there are paths, else
    /// what the names of its objects begin with.
    pub fn repository_path(&self, server: &ServerId, repository: &RepositoryId) -> String {
        self.below(&format!("{server}/{repository}"))
    }

    /// A name below it.
    pub fn below(&self, name: &str) -> String {
        let root = match self {
            Self::Local(local) => &local.path,
            Self::Sftp(sftp) => &sftp.path,
            Self::S3(s3) => &s3.prefix,
            Self::Gcs(gcs) => &gcs.prefix,
            Self::Azure(azure) => &azure.prefix,
        };
        match root.trim_end_matches('/') {
            "" => name.to_owned(),
            root => format!("{root}/{name}"),
        }
    }

    /// The place, in a form for people that is the same for the same place, whoever goes there and however.
    pub fn place(&self) -> String {
        match self {
            Self::Local(local) => local.path.trim_end_matches('/').to_owned(),
            Self::Sftp(sftp) => sftp.place(),
            Self::S3(s3) => s3.place(),
            Self::Gcs(gcs) => gcs.place(),
            Self::Azure(azure) => azure.place(),
        }
    }

    /// What opens it, when it is not the node that knows that.
    pub fn secret(&self) -> Option<&SecretRef> {
        match self {
            Self::Local(_) => None,
            Self::Sftp(sftp) => sftp.private_key.as_ref(),
            Self::S3(s3) => s3.secret_access_key.as_ref(),
            Self::Gcs(gcs) => gcs.service_account.as_ref(),
            Self::Azure(azure) => azure.access_key.as_ref(),
        }
    }

    /// Where that is kept; nothing for places that need none.
    pub fn secret_mut(&mut self) -> Option<&mut Option<SecretRef>> {
        match self {
            Self::Local(_) => None,
            Self::Sftp(sftp) => Some(&mut sftp.private_key),
            Self::S3(s3) => Some(&mut s3.secret_access_key),
            Self::Gcs(gcs) => Some(&mut gcs.service_account),
            Self::Azure(azure) => Some(&mut azure.access_key),
        }
    }

    /// Who is let in there with the secret, where that is said beside it.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Local(_) | Self::Gcs(_) => None,
            Self::Sftp(sftp) => sftp.user.as_deref(),
            Self::S3(s3) => s3.access_key_id.as_deref(),
            Self::Azure(azure) => Some(&azure.account),
        }
    }
}

impl Validate for Spec {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems: Vec<_> = within(
            "location",
            match &self.location {
                Location::Local(local) => local.problems(),
                Location::Sftp(sftp) => sftp.problems(),
                Location::S3(s3) => s3.problems(),
                Location::Gcs(gcs) => gcs.problems(),
                Location::Azure(azure) => azure.problems(),
            },
        )
        .collect();
        problems.extend(settings::too_few("max_concurrent_jobs", self.max_concurrent_jobs));
        check_text(&mut problems, "description", &self.description, 500);
        problems
    }
}

/// Adds a problem when the beginning of objects' names is none that every service takes.
fn check_prefix(problems: &mut Vec<FieldError>, prefix: &str) {
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    if !prefix.is_empty() && (prefix.len() > 500 || !prefix.split('/').all(plain)) {
        let message =
            "must be parts of letters, digits, '-', '_' and '.', with '/' between them and none at the ends";
        problems.push(FieldError::new("prefix", message));
    }
}

/// Adds a problem when the name of a bucket or container is none that every service takes.
fn check_bucket(problems: &mut Vec<FieldError>, field: &str, name: &str) {
    let plain =
        name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_'));
    if !plain || !(3..=222).contains(&name.len()) || name.starts_with(['-', '.']) {
        let message = "must be 3 or more small letters, digits, '-', '_' and '.'";
        problems.push(FieldError::new(field, message));
    }
}

/// Adds a problem when an address of a service is none. Where the host alone is meant, what comes after it is refused: it
/// would be left out in silence.
fn check_endpoint(problems: &mut Vec<FieldError>, endpoint: Option<&str>) {
    let Some(endpoint) = endpoint else { return };
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    let plain = rest.is_some_and(|rest| {
        let host = rest.strip_suffix('/').unwrap_or(rest);
        !host.is_empty()
            && !host.starts_with('/')
            && host.len() <= 300
            && host.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '@' | '?' | '#' | '\\'))
    });
    if !plain {
        let message = "must be an address that begins with https:// or http://, without a user, '?' or '#'";
        problems.push(FieldError::new("endpoint", message));
    }
}

/// `<scheme>://<bucket>/<prefix>`, and from where when it is not the service itself.
fn bucket_place(scheme: &str, bucket: &str, prefix: &str, endpoint: Option<&str>) -> String {
    let slash = if prefix.is_empty() { "" } else { "/" };
    let at = endpoint.map(|e| format!(" at {}", e.trim_end_matches('/'))).unwrap_or_default();
    format!("{scheme}://{bucket}{slash}{prefix}{at}")
}

#[cfg(test)]
mod tests;

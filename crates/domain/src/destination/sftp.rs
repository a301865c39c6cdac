//! A folder of another machine, over SFTP by the node's own ssh: its configuration, keys and known hosts count.

use crate::definition::check_absolute_path;
use crate::{FieldError, SecretRef};
use serde::{Deserialize, Serialize};

/// The folder, and the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sftp {
    /// Name or address of the machine, or a `Host` of the node's ssh configuration.
    pub host: String,
    /// 22 when absent, or what the node's ssh configuration says.
    #[serde(default)]
    pub port: Option<u16>,
    /// As whom; as whom the executor runs, or what the node's ssh configuration says, when absent.
    #[serde(default)]
    pub user: Option<String>,
    /// The folder, absolute.
    pub path: String,
    /// The keys by which the machine is known, as `ssh-keyscan` prints them, without the name: `ssh-ed25519 AAAA...`. When
    /// there are none, the node must know the machine already: an unknown one is never trusted.
    #[serde(default)]
    pub host_keys: Vec<String>,
    /// The private key; when absent, the node's own are tried.
    #[serde(default)]
    pub private_key: Option<SecretRef>,
}

impl Sftp {
    pub(super) fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let named = |text: &str| {
            !text.is_empty()
                && text.len() <= 255
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '%'))
        };
        if !named(&self.host) {
            problems.push(FieldError::new("host", "must be a host name or an address"));
        }
        if self.port == Some(0) {
            problems.push(FieldError::new("port", "must be between 1 and 65535"));
        }
        if self.user.as_deref().is_some_and(|user| !named(user) || user.contains([':', '%'])) {
            problems.push(FieldError::new("user", "must be a user name"));
        }
        check_absolute_path(&mut problems, "path", &self.path);
        if self.path.trim_end_matches('/').is_empty() {
            problems.push(FieldError::new("path", "must not be the root folder"));
        }
        for (n, key) in self.host_keys.iter().enumerate() {
            if !is_host_key(key) {
                let message = "must be a kind and a key, as in 'ssh-ed25519 AAAA...'";
                problems.push(FieldError::new(format!("host_keys[{n}]"), message));
            }
        }
        problems
    }

    pub(super) fn place(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("sftp://{}{port}{}", self.host, self.path.trim_end_matches('/'))
    }
}

/// A kind and a key in base64, and nothing that would be another line or option of a file of known hosts (`man 8 sshd`).
fn is_host_key(text: &str) -> bool {
    let mut parts = text.split(' ');
    let kind = parts.next().is_some_and(|kind| {
        (kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-"))
            && kind.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '@' | '.'))
    });
    let key = parts.next().is_some_and(|key| {
        key.len() >= 16 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='))
    });
    kind && key && parts.next().is_none() && text.len() <= 4096
}

//! Channel: somewhere people are told.

use crate::definition::{Validate, check_text};
use crate::{FieldError, SecretRef};
use serde::{Deserialize, Serialize};

/// How a channel is defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Where it leads.
    pub target: Target,
    /// Words for people.
    #[serde(default)]
    pub description: String,
}

/// The sorts of channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Target {
    /// A signed HTTP POST, as Standard Webhooks 1.0.0 describes it.
    Webhook {
        /// Where to; http or https.
        url: String,
        /// The signing key's reference; set by the gateway.
        #[serde(default)]
        signing_key: Option<SecretRef>,
    },
}

impl Validate for Spec {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let Target::Webhook { url, .. } = &self.target;
        check_text(&mut problems, "target.url", url, 2048);
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let host = rest.map(|r| r.split(['/', '?', '#']).next().unwrap_or_default());
        match host {
            None => problems.push(FieldError::new("target.url", "must begin with https:// or http://")),
            Some("") => problems.push(FieldError::new("target.url", "must name a host")),
            // A password in an address would stand in the log for ever.
            Some(host) if host.contains('@') => {
                problems.push(FieldError::new("target.url", "must not hold a user or password"));
            }
            Some(_) => {}
        }
        check_text(&mut problems, "description", &self.description, 500);
        problems
    }
}

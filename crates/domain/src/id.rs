//! Names that people choose (slugs) and numbers that the system draws (UUIDs).
//!
//! A slug becomes part of a NATS subject and of a path on disk, so it can hold neither a dot, a wildcard, a slash
//! nor a capital letter: `[a-z0-9][a-z0-9-]{0,62}`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// Why a text is not a slug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 63 of a-z, 0-9 and '-', and begin with a letter or a digit")]
pub struct NotASlug;

/// Whether `text` is a slug: `[a-z0-9][a-z0-9-]{0,62}`.
pub fn is_slug(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    first && text.len() <= 63 && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

macro_rules! slugs {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotASlug;
            fn try_from(text: String) -> Result<Self, NotASlug> {
                if is_slug(&text) { Ok(Self(text)) } else { Err(NotASlug) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotASlug;
            fn from_str(text: &str) -> Result<Self, NotASlug> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

slugs! {
    /// A machine with data to protect.
    ServerId,
    /// A running executor, by name.
    NodeId,
    /// A place where bytes go.
    DestinationId,
    /// A borg repository inside a destination.
    RepositoryId,
    /// A standing instruction: what, where to, when.
    PlanId,
    /// Somewhere people are told.
    ChannelId,
    /// An access token, by the name that its owner gave it.
    TokenId,
}

macro_rules! uuids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = uuid::Error;
            fn try_from(text: String) -> Result<Self, uuid::Error> {
                Uuid::parse_str(&text).map(Self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )*};
}

uuids! {
    /// One piece of work. Version 7, or version 5 where a trigger must always give the same.
    JobId,
    /// The stored result of one backup, the same however it was found: see [`ArchiveId::of`].
    ArchiveId,
    /// One fact in the log; equal to its `ce-id` and `Nats-Msg-Id`.
    EventId,
}

/// The name space of all version 5 ids of Strongroom; it must never change, or triggers would run twice.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_2b7e_94a3_4c58_b0d6_3e7a_51c9_8f24);

impl JobId {
    /// The job that a plan's nominal time asks for: every scheduler that computes it gets the same id.
    pub fn of_trigger(plan: &PlanId, nominal: Timestamp) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("trigger/{plan}/{nominal}").as_bytes()))
    }
}

impl ArchiveId {
    /// The id of the archive with this borg id (hex) in this repository, whether a job made it or a scan found it.
    pub fn of(repository: &RepositoryId, borg_id: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("archive/{repository}/{borg_id}").as_bytes()))
    }
}

impl EventId {
    /// The id of the `index`th event of a command, so that a command sent twice writes the same event.
    pub fn of_command(command: &str, index: u32) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("command/{command}/{index}").as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn slugs_hold_nothing_that_a_subject_or_a_path_could_misread() {
        for good in ["a", "web-01", "0", &"a".repeat(63)] {
            assert!(is_slug(good), "{good}");
        }
        for bad in ["", "-a", "A", "a.b", "a*", ">", "a/b", "..", "é", "a b", &"a".repeat(64)] {
            assert!(!is_slug(bad), "{bad}");
        }
    }

    #[test]
    fn a_trigger_always_gives_the_same_job() {
        let plan: PlanId = "web".parse().unwrap();
        let at: Timestamp = "2026-03-29T01:00:00Z".parse().unwrap();
        assert_eq!(JobId::of_trigger(&plan, at).to_string(), JobId::of_trigger(&plan, at).to_string());
        assert_ne!(JobId::of_trigger(&plan, at), JobId::of_trigger(&"web2".parse().unwrap(), at));
    }
}

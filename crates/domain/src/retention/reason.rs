//! Reason: why an archive is kept or goes, for programs and, displayed, for people.

use super::{Count, Rule};
use crate::ArchiveId;
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why an archive is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It is younger than the policy's time span.
    Within {
        /// As the policy has it: `30d`.
        within: String,
    },
    /// It is one of those that a rule keeps.
    Rule {
        /// Which rule.
        rule: Rule,
        /// The so manieth of them, the newest first, from 1 on.
        nth: u32,
        /// How many the rule may keep.
        of: Count,
        /// [`super::Kept::oldest`].
        #[serde(default)]
        oldest: bool,
    },
    /// A person holds it.
    Held {
        /// The name of the hold.
        name: String,
        /// Who.
        by: String,
        /// The person's reason.
        why: String,
        /// Until when; for ever, when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// An archive that is kept needs it.
    Base {
        /// That archive.
        of: ArchiveId,
        /// Its name.
        name: String,
    },
    /// It is the newest that can be counted on.
    NewestGood,
    /// It is the newest of all, though it cannot be counted on: it holds what no other holds.
    Newest,
    /// So many are kept in any case.
    Minimum {
        /// The so manieth of them, from 1 on.
        nth: u32,
        /// How many there are.
        of: u32,
    },
    /// It is the newest of which it was shown that it can be restored.
    LastProved,
    /// The list has it twice, so the list is not to be trusted with it.
    ListedTwice,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within { within } => write!(f, "within {within}"),
            Self::Rule { rule, nth, of, oldest } => {
                write!(f, "{rule} {nth} of {of}")?;
                if *oldest { f.write_str(", as the oldest") } else { Ok(()) }
            }
            Self::Held { by, why, until: None, .. } => write!(f, "held by {by}: {why}"),
            Self::Held { by, why, until: Some(until), .. } => {
                write!(f, "held by {by} until ")?;
                let utc = Offset::UTC.to_datetime(*until);
                if utc.time() == Time::midnight() {
                    write!(f, "{}: {why}", utc.date())
                } else {
                    write!(f, "{until}: {why}")
                }
            }
            Self::Base { name, .. } => write!(f, "base of {name}"),
            Self::NewestGood => f.write_str("newest good archive"),
            Self::Newest => f.write_str("newest archive"),
            Self::Minimum { nth, of } => write!(f, "minimum {nth} of {of}"),
            Self::LastProved => f.write_str("last archive that a drill has proved"),
            Self::ListedTwice => f.write_str("listed twice"),
        }
    }
}

/// Why an archive goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Gone {
    /// Another archive of the same hour, day, ... is kept.
    Covered {
        /// By which rule.
        rule: Rule,
        /// Which archive.
        by: ArchiveId,
        /// Its name.
        name: String,
    },
    /// No rule reaches back to it.
    NoRule,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Covered { rule, name, .. } => write!(f, "covered by {rule} archive {name}"),
            Self::NoRule => f.write_str("no rule keeps it"),
        }
    }
}

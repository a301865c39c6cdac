//! Usage: how much of a destination is used, and how fast that grows, as far as the archives tell it that are there.

use crate::archive::Facts;
use crate::probe::Space;
use crate::{RepositoryId, ServerId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Over how many days growth is looked at.
pub const TREND_DAYS: u32 = 30;
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// How much is used by some archives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// How many archives there are.
    pub archives: u64,
    /// Bytes that they take.
    pub used_bytes: u64,
    /// How many archives there are of which nobody knows what they take: those that a scan has found.
    pub archives_unknown: u64,
    /// Bytes that archives of the last [`TREND_DAYS`] days have added in a day, or of as many days as there are archives.
    pub bytes_per_day: u64,
    /// When the newest was begun.
    #[serde(default)]
    pub newest_at: Option<Timestamp>,
}

/// How much a repository uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRepository {
    /// Which one.
    pub repository: RepositoryId,
    /// Whose data it holds.
    pub server: ServerId,
    /// How much.
    #[serde(flatten)]
    pub usage: Usage,
}

/// The room of a destination, as a node saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// The server whose node saw it: a local folder is another one on each.
    pub server: ServerId,
    /// When.
    pub at: Timestamp,
    /// How much.
    #[serde(flatten)]
    pub space: Space,
}

impl Usage {
    /// Of these archives of one repository, now. What borg says of the whole repository counts more than the sum of what
    /// each archive has added, of which some are deleted by now.
    pub fn of<'a>(archives: impl IntoIterator<Item = &'a Facts>, now: Timestamp) -> Self {
        let mut usage = Self::default();
        let (mut lately, mut oldest): (u64, Option<Timestamp>) = (0, None);
        let mut whole: Option<(Timestamp, u64)> = None;
        for facts in archives {
            usage.archives += 1;
            let at = facts.started_at;
            usage.newest_at = usage.newest_at.max(Some(at));
            oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
            if let Some(bytes) = facts.stats.and_then(|stats| stats.repository_size_bytes)
                && whole.is_none_or(|(newest, _)| newest <= at)
            {
                whole = Some((at, bytes));
            }
            match facts.added_bytes() {
                None => usage.archives_unknown += 1,
                Some(bytes) => {
                    usage.used_bytes = usage.used_bytes.saturating_add(bytes);
                    if age_ms(at, now) <= u64::from(TREND_DAYS) * DAY_MS {
                        lately = lately.saturating_add(bytes);
                    }
                }
            }
        }
        if let Some((_, bytes)) = whole {
            usage.used_bytes = bytes;
        }
        let days =
            oldest.map_or(1, |oldest| age_ms(oldest, now).div_ceil(DAY_MS)).clamp(1, TREND_DAYS.into());
        usage.bytes_per_day = lately / days;
        usage
    }

    /// Together with that of another repository.
    pub fn and(mut self, other: &Self) -> Self {
        self.archives += other.archives;
        self.used_bytes = self.used_bytes.saturating_add(other.used_bytes);
        self.archives_unknown += other.archives_unknown;
        self.bytes_per_day = self.bytes_per_day.saturating_add(other.bytes_per_day);
        self.newest_at = self.newest_at.max(other.newest_at);
        self
    }
}

fn age_ms(then: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.as_millisecond().saturating_sub(then.as_millisecond())).unwrap_or(0)
}

/// Of what several nodes saw, the newest of each server.
pub fn newest_of_each(mut seen: Vec<Room>) -> Vec<Room> {
    seen.sort_by(|a, b| (&a.server, b.at).cmp(&(&b.server, a.at)));
    seen.dedup_by(|later, first| later.server == first.server);
    seen
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn archive(at: &str, added: Option<u64>, whole: Option<u64>) -> Facts {
        let stats = added.map(|added| {
            json!({ "files": 1, "original_size_bytes": 1, "compressed_size_bytes": 1, "duration_ms": 1,
                "deduplicated_size_bytes": added, "average_rate_bytes_per_s": 1, "repository_size_bytes": whole })
        });
        let facts = json!({ "id": uuid::Uuid::from_u128(1), "name": "a", "borg_id": "b", "started_at": at, "stats": stats });
        serde_json::from_value(facts).unwrap()
    }

    #[test]
    fn growth_is_that_of_the_last_days() {
        let now = "2026-03-31T00:00:00Z".parse().unwrap();
        let of = |archives: &[Facts]| Usage::of(archives, now);
        assert_eq!(of(&[]), Usage::default());
        let old = archive("2026-01-01T00:00:00Z", Some(9_000), None);
        let new = archive("2026-03-30T00:00:00Z", Some(600), None);
        let found = archive("2026-03-30T12:00:00Z", None, None);
        let usage = of(&[old.clone(), new.clone(), found.clone()]);
        assert_eq!((usage.archives, usage.archives_unknown, usage.used_bytes), (3, 1, 9_600));
        assert_eq!(usage.bytes_per_day, 20);
        assert_eq!(usage.newest_at, Some(found.started_at));
        // A repository of three days has grown within three days.
        assert_eq!(of(&[archive("2026-03-28T00:00:00Z", Some(600), None)]).bytes_per_day, 200);
        assert_eq!(of(&[archive("2026-04-02T00:00:00Z", Some(600), None)]).bytes_per_day, 600);
        let both = of(&[old]).and(&of(&[new]));
        assert_eq!((both.archives, both.used_bytes, both.bytes_per_day), (2, 9_600, 600));
    }

    #[test]
    fn borg_knows_better_what_is_used_when_archives_were_deleted() {
        let now = "2026-03-31T00:00:00Z".parse().unwrap();
        let archives = [
            archive("2026-03-30T00:00:00Z", Some(10), Some(700)),
            archive("2026-03-29T00:00:00Z", Some(500), Some(900)),
        ];
        assert_eq!(Usage::of(&archives, now).used_bytes, 700);
    }

    #[test]
    fn of_each_server_the_newest_counts() {
        let room = |server: &str, at: &str, free_bytes| Room {
            server: server.parse().unwrap(),
            at: at.parse().unwrap(),
            space: Space { total_bytes: 9, free_bytes },
        };
        let (a, b) = ("2026-03-30T00:00:00Z", "2026-03-31T00:00:00Z");
        let found = newest_of_each(vec![room("x", a, 1), room("y", a, 2), room("x", b, 3)]);
        assert_eq!(found.iter().map(|r| r.space.free_bytes).collect::<Vec<_>>(), [3, 2]);
    }
}

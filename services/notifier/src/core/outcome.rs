//! Which fact follows from a try to deliver.

use super::answer::Answer;
use super::ladder::Ladder;
use super::ledger::Pending;
use jiff::Timestamp;
use strongroom_domain::notification::{Attempted, Delivered, Failed};
use strongroom_domain::{Aggregate, Event, Kind};
use uuid::Uuid;

/// The fact about the attempt after those that `pending` knows.
pub fn outcome(pending: &Pending, answer: Answer, ladder: &Ladder, now: Timestamp) -> Event {
    let (channel, about, attempt) = (pending.channel.clone(), pending.about, pending.attempts + 1);
    let failed = |attempts: u32, problem: String| {
        Event::NotificationFailed(Failed { channel: channel.clone(), about, attempts, problem })
    };
    match answer {
        Answer::Taken { status } => {
            Event::NotificationDelivered(Delivered { channel, about, attempt, status })
        }
        Answer::Gone => failed(attempt, "it answered 410: it wants no more messages".into()),
        Answer::Retired => failed(pending.attempts, "the channel was retired".into()),
        Answer::NotTaken { problem, wait, .. } => match ladder.again_at(attempt, now, wait) {
            Some(next_at) => {
                Event::NotificationAttempted(Attempted { channel, about, attempt, problem, next_at })
            }
            None => failed(attempt, problem),
        },
    }
}

/// Whether these events of a notification say already what came of this attempt: another notifier wrote it, or this one
/// before it was killed.
pub fn is_told<'a>(events: impl Iterator<Item = &'a Event>, attempt: u32) -> bool {
    events.into_iter().any(|event| match event {
        Event::NotificationDelivered(_) | Event::NotificationFailed(_) => true,
        Event::NotificationAttempted(e) => e.attempt >= attempt,
        _ => false,
    })
}

/// The aggregate of a notification.
pub fn aggregate(id: Uuid) -> Aggregate {
    Aggregate::new(Kind::Notification, id)
}

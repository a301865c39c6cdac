#![allow(clippy::unwrap_used, reason = "tests")]
//! Given what happened to a job, when something is asked or reported, then which fact follows.

use super::*;
use crate::event::tests_support::requested;
use crate::failure::{FailureCode, Finding, Severity};
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn given(events: &[Event]) -> State {
    let mut state = State::begin(&Event::JobRequested(requested()), at(0)).unwrap();
    for (i, event) in events.iter().enumerate() {
        state.evolve(event, at(i64::try_from(i).unwrap() + 1));
    }
    state
}

fn started(epoch: u64, boot: &str) -> Event {
    Event::JobStarted(Started { attempt: 1, node: node("local"), epoch, boot: boot.into() })
}

fn failed() -> Report {
    Report::Failed { failure: Failure::new(FailureCode::NoSpace, "disk full") }
}

#[test]
fn an_attempt_starts_once() {
    let n = node("local");
    let state = given(&[]);
    let event = state.start((&n, 7, 1), &n, 7, "b1").unwrap();
    assert_eq!(event, started(7, "b1"));
    assert_eq!(given(&[event]).start((&n, 7, 1), &n, 7, "b1"), Err(Refusal::Duplicate));
}

#[test]
fn a_node_that_was_not_admitted_is_refused() {
    let state = given(&[]);
    assert_eq!(state.start((&node("local"), 7, 1), &node("evil"), 7, "b"), Err(Refusal::WrongNode));
    assert_eq!(given(&[started(7, "b")]).finish(&node("evil"), 7, 7, failed()), Err(Refusal::WrongNode));
}

#[test]
fn a_late_outcome_of_an_earlier_attempt_is_refused() {
    let n = node("local");
    let expired = Event::JobLeaseExpired(LeaseExpired { epoch: 7, silent_s: 61 });
    let state = given(&[started(7, "b1"), expired.clone()]);
    assert_eq!(state.phase, Phase::Waiting);
    assert_eq!(state.finish(&n, 7, 12, failed()), Err(Refusal::Stale), "a new attempt was admitted");
    let state = given(&[started(7, "b1"), expired, started(12, "b2")]);
    assert_eq!(state.finish(&n, 7, 12, failed()), Err(Refusal::Stale), "a new attempt runs");
}

#[test]
fn an_outcome_is_taken_even_when_the_start_was_never_heard() {
    let event = given(&[]).finish(&node("local"), 7, 7, failed()).unwrap();
    assert!(matches!(event, Event::JobFailed(Failed { epoch: 7, .. })));
}

#[test]
fn a_reboot_interrupts_the_attempt_of_the_earlier_life_only() {
    let state = given(&[started(7, "b1")]);
    assert_eq!(state.node_rebooted(&node("local"), "b1"), None);
    assert_eq!(state.node_rebooted(&node("other"), "b2"), None);
    assert!(
        matches!(state.node_rebooted(&node("local"), "b2"), Some(Event::JobInterrupted(i)) if i.epoch == 7)
    );
}

#[test]
fn a_cancel_ends_a_waiting_job_and_only_asks_a_running_one() {
    let cancel = Event::JobCancelRequested(CancelRequested::default());
    let waiting = given(std::slice::from_ref(&cancel));
    assert_eq!(waiting.cancel_waiting(), Some(Event::JobCancelled(Cancelled { epoch: 0 })));
    let running = given(&[started(7, "b"), cancel.clone()]);
    assert_eq!(running.cancel_waiting(), None);
    assert_eq!(running.request_cancel(None), Ok(None), "asked before");
    let ended = given(&[cancel, Event::JobCancelled(Cancelled { epoch: 0 })]);
    assert_eq!(ended.request_cancel(None).unwrap_err().code(), "job_finished");
}

#[test]
fn a_lease_expires_after_silence_not_after_work() {
    let state = given(&[started(7, "b")]);
    assert_eq!(state.lease_expired(at(100), at(130), 60), None);
    assert!(state.lease_expired(at(100), at(161), 60).is_some());
    assert_eq!(state.lease_expired(at(100), at(50), 60), None, "a clock stepped back expires nothing");
}

#[test]
fn a_job_that_nobody_does_is_given_up_and_a_running_one_is_not() {
    let now = at(i64::try_from(DEFAULT_DEADLINE_S).unwrap() + 10);
    assert!(given(&[]).past_deadline(now).is_some());
    assert!(
        given(&[started(7, "b")]).past_deadline(now).is_none(),
        "a first backup may take weeks (accident P8)"
    );
}

#[test]
fn one_unreadable_file_makes_a_backup_incomplete_and_a_vanished_one_does_not() {
    let finding = |severity| Finding { severity, path: Some("/x".into()), message: "m".into() };
    let result = JobResult::DeleteArchive { was_gone: false };
    let benign = Outcome::new(result.clone(), vec![finding(Severity::Benign)]);
    assert_eq!((benign.completeness, benign.benign_total), (Completeness::Complete, 1));
    let red = Outcome::new(result, vec![finding(Severity::Benign), finding(Severity::Incomplete)]);
    assert_eq!((red.completeness, red.incomplete_total), (Completeness::Incomplete, 1));
    assert_eq!(red.findings[0].severity, Severity::Incomplete);
}

/// What can happen to a job, as numbers that proptest can draw.
fn step(state: &State, what: u8, epoch: u64) -> Option<Event> {
    let n = node("local");
    match what {
        0 => state.start((&n, epoch, state.attempts + 1), &n, epoch, "b").ok(),
        1 => state.finish(&n, epoch, epoch, failed()).ok(),
        2 => state.finish(&n, epoch, epoch, Report::Interrupted { reason: "stop".into() }).ok(),
        3 => state.request_cancel(None).ok().flatten(),
        4 => state.cancel_waiting(),
        5 => state.node_rebooted(&n, &format!("b{epoch}")),
        6 => state.past_deadline(at(10_000_000)),
        _ => state.lease_expired(at(0), at(10_000), 60),
    }
}

proptest! {
    /// Invariant 1: whatever happens, in whatever order, there is never a second terminal event.
    #[test]
    fn a_job_ends_at_most_once(steps in proptest::collection::vec((0u8..8, 1u64..4), 0..60)) {
        let mut state = given(&[]);
        let mut ends = 0;
        for (what, epoch) in steps {
            if let Some(event) = step(&state, what, epoch) {
                ends += u32::from(event.ends_job());
                prop_assert!(!state.phase.is_terminal(), "{event:?} after the end");
                state.evolve(&event, at(5));
            }
        }
        prop_assert!(ends <= 1);
        prop_assert_eq!(ends == 1, state.phase.is_terminal());
    }
}

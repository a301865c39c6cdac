//! What is halted, what goes on, and what a redrive asks for.

use super::log::{Log, archive_of, backup, deleted, job_of, made, plan_defined, plan_of, started};
use super::{fresh, readable};
use crate::core::fold::{RedriveError, State};

#[test]
fn a_message_that_cannot_be_read_halts_its_aggregate_and_no_other() {
    let mut log = Log::default();
    log.event(job_of(1), backup(0)).event(job_of(1), started(1)).event(job_of(2), backup(0));
    log.event(job_of(1), made(1)).event(plan_of(0), plan_defined(0));
    let (state, memory) = fresh(&log.unreadable_at(2), 10);
    let halted = &state.halts[&job_of(1)];
    assert_eq!((halted.sequence, halted.held, halted.last), (2, 1, 4));
    assert_eq!(state.checkpoint.sequence, 5);
    let numbers: Vec<_> = state.counts.numbers();
    assert_eq!(
        numbers,
        [("archives".to_owned(), 0), ("jobs{phase=\"waiting\"}".to_owned(), 2)],
        "the second job was taken in, and nothing after the halt of the first"
    );
    assert_eq!(State::load(&memory).unwrap().unwrap(), state, "a restart knows the halted ones");
}

#[test]
fn an_event_that_makes_no_sense_is_set_aside_with_its_reason() {
    let mut log = Log::default();
    log.event(job_of(1), started(1));
    let mut state = State::start("g");
    let folded = state.fold(&crate::core::memory::Memory::default(), &log.items).unwrap();
    assert_eq!(folded.set_aside.len(), 1);
    assert!(folded.set_aside[0].reason.contains("never requested"), "{:?}", folded.set_aside);
}

#[test]
fn a_redrive_wants_the_whole_history_of_a_halted_aggregate() {
    let mut log = Log::default();
    log.event(job_of(1), backup(0)).event(job_of(1), started(1)).event(job_of(1), made(1));
    let (mut state, memory) = fresh(&log.unreadable_at(1), 10);
    let history = log.history(&job_of(1));
    let part = state.redrive(&memory, &job_of(1), &history[..2]);
    assert!(matches!(part, Err(RedriveError::ReadInPart)), "{part:?}");
    let other = state.redrive(&memory, &archive_of(1), &[]);
    assert!(matches!(other, Err(RedriveError::NotHalted)), "{other:?}");
    let headless = state.redrive(&memory, &job_of(1), &history[1..]);
    assert!(matches!(headless, Err(RedriveError::Senseless(_))), "{headless:?}");
    assert!(state.halts.contains_key(&job_of(1)), "a refused redrive changes nothing");
    state.redrive(&memory, &job_of(1), &history).unwrap();
    assert!(state.halts.is_empty());
}

/// Found by the law in `laws.rs`: the archive is there by a later word than the deletion that is taken in last.
#[test]
fn a_deletion_that_is_taken_in_late_voids_only_what_was_said_before_it() {
    let mut log = Log::default();
    log.event(job_of(1), backup(0)).event(job_of(1), made(1)).event(archive_of(1), deleted());
    log.event(job_of(2), backup(0)).event(job_of(2), made(1));
    let (_, expected) = fresh(&log.items, 10);
    let (mut state, mut memory) = fresh(&log.unreadable_at(3), 10);
    let folded = state.redrive(&memory, &archive_of(1), &log.history(&archive_of(1))).unwrap();
    memory.write(folded.writes);
    assert_eq!(readable(&memory.dump()), readable(&expected.dump()));
    assert_eq!(state.counts.numbers()[0], ("archives".to_owned(), 1));
}

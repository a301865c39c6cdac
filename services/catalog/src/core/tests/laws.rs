//! What holds for every log.

use super::log::Log;
use super::{fresh, readable};
use crate::core::counts::Counts;
use crate::core::fold::State;
use proptest::prelude::*;

fn log_of(steps: &[(u8, u8)]) -> Log {
    let mut log = Log::default();
    for (what, n) in steps {
        log.step(*what, *n);
    }
    log
}

fn steps() -> impl Strategy<Value = Vec<(u8, u8)>> {
    proptest::collection::vec((0u8..19, 0u8..4), 0..120)
}

proptest! {
    /// The size of batches changes nothing.
    #[test]
    fn the_views_do_not_depend_on_how_the_log_is_cut(steps in steps(), batch in 1usize..50) {
        let log = log_of(&steps);
        let (whole, expected) = fresh(&log.items, usize::MAX);
        let (state, memory) = fresh(&log.items, batch);
        prop_assert_eq!(readable(&memory.dump()), readable(&expected.dump()));
        prop_assert_eq!(&state, &whole);
        prop_assert_eq!(&state.counts, &Counts::of(&memory).unwrap(), "what is counted is what is there");
    }

    /// A restart reads the state back from the store, and everything may be delivered again.
    #[test]
    fn restarts_and_repetitions_change_nothing(
        steps in steps(),
        cuts in proptest::collection::vec((1usize..20, 0usize..30), 1..20),
    ) {
        let log = log_of(&steps);
        let (_, expected) = fresh(&log.items, usize::MAX);
        let mut memory = crate::core::memory::Memory::default();
        let mut state = State::start("g");
        let mut next = 0;
        for (take, repeat) in cuts.iter().cycle() {
            if next >= log.items.len() {
                break;
            }
            let from = next.saturating_sub(*repeat);
            let to = (next + take).min(log.items.len());
            let folded = state.fold(&memory, &log.items[from..to]).unwrap();
            memory.write(folded.writes);
            next = to;
            state = State::load(&memory).unwrap().unwrap();
        }
        if !log.items.is_empty() {
            prop_assert_eq!(readable(&memory.dump()), readable(&expected.dump()));
        }
    }

    /// An aggregate that was unreadable for a while and is taken in later leaves no trace: what two aggregates say of one
    /// archive does not depend on which was heard first.
    #[test]
    fn a_redriven_aggregate_leaves_the_views_as_if_it_had_never_halted(
        steps in steps(),
        which in any::<prop::sample::Index>(),
        stop in any::<prop::sample::Index>(),
    ) {
        let log = log_of(&steps);
        prop_assume!(!log.items.is_empty());
        let (whole, expected) = fresh(&log.items, usize::MAX);
        let sequence = which.index(log.items.len()) as u64 + 1;
        let aggregate = match &log.items[sequence as usize - 1] {
            strongroom_bus::Delivery::Event(event) => event.aggregate.clone(),
            _ => unreachable!(),
        };
        // One that is halted in the whole fold as well stays so, and its redrive is refused.
        prop_assume!(!whole.halts.contains_key(&aggregate));
        let old = log.unreadable_at(sequence);
        let stop = sequence as usize + stop.index(log.items.len() - sequence as usize + 1);
        let (mut state, mut memory) = fresh(&old[..stop], 7);
        prop_assert!(state.halts.contains_key(&aggregate));
        let folded = state.redrive(&memory, &aggregate, &log.history(&aggregate)).unwrap();
        memory.write(folded.writes);
        let folded = state.fold(&memory, &log.items[stop..]).unwrap();
        memory.write(folded.writes);
        prop_assert_eq!(readable(&memory.dump()), readable(&expected.dump()));
    }
}

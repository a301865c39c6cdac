//! The suite against the twin, on a paused clock: hours of bad days in seconds.

use super::{World, laws};
use std::sync::Arc;
use std::time::Duration;
use strongroom_bus::log_store::{LogStore, RawMessage};
use strongroom_testkit::{Members, TwinLog};

/// How many days each; `STRONGROOM_TWIN_SEEDS` asks for more.
const SEEDS: u64 = 100;

/// One bad day; gives the log at its end.
fn a_day(members: Members, seed: u64) -> Vec<RawMessage> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let twin = TwinLog::new(members, seed);
        let stores = (0..4).map(|_| Arc::new(twin.clone()) as Arc<dyn LogStore>).collect();
        let world = World { stores, name: format!("twin/{seed}"), rounds: 6 };
        let ends = tokio::time::timeout(Duration::from_secs(24 * 3600), async {
            laws::hold(&world).await;
            laws::a_lying_duplicate_is_found_out(&world).await;
        })
        .await;
        assert!(ends.is_ok(), "it goes on for ever");
        twin.truth()
    })
}

fn many_days(members: Members) {
    let seeds = std::env::var("STRONGROOM_TWIN_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        let day = std::panic::catch_unwind(|| a_day(members, seed));
        assert!(day.is_ok(), "the laws do not hold on {members:?} with seed {seed}");
    }
}

#[test]
fn the_laws_hold_on_a_twin_of_one_node() {
    many_days(Members::One);
}

#[test]
fn the_laws_hold_on_a_twin_of_three_nodes() {
    many_days(Members::Three);
}

#[test]
fn a_seed_that_fails_can_be_looked_at_again() {
    for members in [Members::One, Members::Three] {
        assert!(a_day(members, 5) == a_day(members, 5), "{members:?}: the same seed is another day");
    }
}

//! Acting on the world: whenever it has changed, and whenever the clock may have something to say.

mod admit;
mod follow_up;
mod wake;

pub use admit::silent_nodes;

use crate::core::triggers;
use crate::desk::Desk;
use jiff::Timestamp;
use std::time::Duration;
use strongroom_service::clock;
use tokio::time::Instant;

/// How many looks at the clock pass between two goes through all plans, while there is no news.
const QUIET_LOOKS: u32 = 5;

/// Acts for ever.
pub async fn act_for_ever(desk: &Desk) {
    let mut seen = desk.seen.subscribe();
    // Nothing is decided on half a log.
    if seen.wait_for(|s| s.caught_up).await.is_err() {
        return std::future::pending().await;
    }
    // What nodes said about attempts meanwhile was not understood: the world did not know of them yet.
    desk.listens(false);
    let mut wakes = wake::Wakes::default();
    let mut reconcile_at = Instant::now();
    let mut looked = Looked { sequence: 0, at: None };
    loop {
        let reconciles = Instant::now() >= reconcile_at;
        if reconciles {
            reconcile_at = Instant::now() + desk.config.reconcile_every;
        }
        seen.mark_unchanged();
        let looks = looked.is_over(desk);
        let wrote = act(desk, &mut wakes, reconciles, looks).await;
        if wrote {
            // What was written comes back through the fold and is acted on then.
            continue_when_folded(desk, &mut seen).await;
            continue;
        }
        tokio::select! {
            _ = seen.changed() => {}
            () = tokio::time::sleep(until_next(desk)) => {}
        }
    }
}

/// When all plans were last gone through for what is late and what is kept. Nothing of that is in a hurry.
struct Looked {
    sequence: u64,
    at: Option<Instant>,
}

impl Looked {
    /// Whether they are to be gone through again: there is news, or the clock alone may have something to say.
    fn is_over(&mut self, desk: &Desk) -> bool {
        let sequence = desk.seen.borrow().sequence;
        let wait = if sequence == self.sequence { QUIET_LOOKS } else { 1 } * desk.config.watch_every;
        let is_over = self.at.is_none_or(|at| at.elapsed() >= wait);
        if is_over {
            *self = Self { sequence, at: Some(Instant::now()) };
        }
        is_over
    }
}

/// Does everything that is to be done now; says whether something was written.
async fn act(desk: &Desk, wakes: &mut wake::Wakes, reconciles: bool, looks: bool) -> bool {
    let mut wrote = follow_up::requests_of_triggers(desk).await;
    wrote |= follow_up::inventories(desk).await;
    wrote |= follow_up::copies(desk).await;
    wrote |= follow_up::indexes(desk).await;
    wrote |= follow_up::deletions(desk).await;
    wrote |= follow_up::upkeep(desk).await;
    wrote |= follow_up::triggers(desk).await;
    if looks {
        wrote |= follow_up::lateness(desk).await;
        wrote |= follow_up::retention(desk).await;
    }
    wrote |= admit::admit(desk, wakes).await;
    if reconciles {
        wakes.reconcile(desk).await;
        let world = desk.world();
        desk.hearing().forget(&world);
        desk.scans().forget(&world);
    }
    wrote
}

async fn continue_when_folded(desk: &Desk, seen: &mut tokio::sync::watch::Receiver<crate::desk::Seen>) {
    // A lost race is over when its winner was folded; a log that gives no answer is asked again a little later.
    let _ = tokio::time::timeout(desk.config.watch_every, seen.changed()).await;
}

fn until_next(desk: &Desk) -> Duration {
    let next = triggers::next_at(&desk.world(), &mut desk.agenda());
    let wait = next.map_or(desk.config.watch_every, |next| until(clock::now(), next));
    wait.min(desk.config.watch_every)
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO).max(Duration::from_millis(5))
}

//! Folding a log that is read from its beginning, without ever showing half of it.
//!
//! The accident that this file prevents: half a log looks like a whole one in which jobs, archives and admissions are not
//! there, and an honest report about one of them would be refused for good. So a world is shown once it was folded to the
//! end, also when the log is folded anew; until then the one before it stands.

use super::World;

/// One reading of the log, from its beginning on.
#[derive(Debug)]
pub struct Fold(Option<World>);

impl Fold {
    /// A reading that begins.
    pub fn anew() -> Self {
        Self(Some(World::default()))
    }

    /// One more message: into the world that is shown, or into the one that is not finished. Says whether it shows.
    pub fn take(&mut self, shown: &mut World, change: impl FnOnce(&mut World)) -> bool {
        match &mut self.0 {
            Some(unfinished) => {
                change(unfinished);
                false
            }
            None => {
                change(shown);
                true
            }
        }
    }

    /// The end of the log was reached: from now on its world is the one that is shown.
    /// Says whether it is another one than before.
    pub fn caught_up(&mut self, shown: &mut World) -> bool {
        let finished = self.0.take();
        let is_another = finished.is_some();
        if let Some(finished) = finished {
            *shown = finished;
        }
        is_another
    }
}

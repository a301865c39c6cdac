//! The views: one fold each. A new one is a file beside these and a line in [`ALL`].

pub mod archives;
pub mod definitions;
pub mod jobs;
pub mod nodes;

use super::overlay::Overlay;
use super::store::StoreError;
use strongroom_bus::Recorded;

/// All views, in the order in which they see an event. Archives come before jobs: they look at the job's request, and
/// an event without one is refused before anything of it was taken in.
pub const ALL: &[&dyn View] = &[&definitions::Definitions, &archives::Archives, &jobs::Jobs, &nodes::Nodes];

/// One fold of the log.
pub trait View: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Takes an event in. What it says must not depend on events of other aggregates that came before or after: an
    /// aggregate that was halted is folded later than the others, and the views must be the same in the end.
    fn apply(&self, views: &mut Overlay<'_>, event: &Recorded) -> Result<(), FoldError>;
}

/// Why an event was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The event makes no sense after those before it: its aggregate is to be halted.
    #[error("{0}")]
    Senseless(String),
    /// The store does not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

//! Queue: the one aggregate through which jobs are let in, so that limits hold with any number of schedulers.

use crate::{JobId, NodeId};
use serde::{Deserialize, Serialize};

/// A job may run now. The sequence of this fact in the log is the **epoch**: the fencing token of the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// Which job.
    pub job: JobId,
    /// On which node.
    pub node: NodeId,
    /// 1 for the first try, 2 after an interruption, ...
    pub attempt: u32,
}

//! Server: a machine with data to protect.

use crate::definition::{Validate, check_absolute_path, check_text};
use crate::{FieldError, NodeId, settings};
use serde::{Deserialize, Serialize};

/// How a server is defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Which node works for it.
    pub node: NodeId,
    /// Words for people.
    #[serde(default)]
    pub description: String,
    /// How many jobs may run at once for this server; the system's default when absent.
    #[serde(default)]
    pub max_concurrent_jobs: Option<u32>,
    /// Folders under which a restore may write. Empty: nothing can be restored onto this server.
    #[serde(default)]
    pub restore_roots: Vec<String>,
    /// Folders under which dumps of others may be read to be restored into a database. Empty: none can be.
    #[serde(default)]
    pub dump_roots: Vec<String>,
}

impl Validate for Spec {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        check_text(&mut problems, "description", &self.description, 500);
        problems.extend(settings::too_few("max_concurrent_jobs", self.max_concurrent_jobs));
        for (field, roots) in [("restore_roots", &self.restore_roots), ("dump_roots", &self.dump_roots)] {
            for (i, root) in roots.iter().enumerate() {
                check_absolute_path(&mut problems, &format!("{field}[{i}]"), root);
            }
        }
        problems
    }
}

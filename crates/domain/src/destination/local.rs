//! A folder that the node sees.

use crate::FieldError;
use crate::definition::check_absolute_path;
use serde::{Deserialize, Serialize};

/// The folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// Absolute.
    pub path: String,
}

impl Local {
    pub(super) fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        check_absolute_path(&mut problems, "path", &self.path);
        // borg expands {placeholders} and reads '::' as the start of an archive's name.
        if self.path.contains(['{', '}']) || self.path.contains("::") {
            problems.push(FieldError::new("path", "must not hold '{', '}' or '::', which borg interprets"));
        }
        if self.path.trim_end_matches('/').is_empty() {
            problems.push(FieldError::new("path", "must not be the root folder"));
        }
        problems
    }
}

//! Files and folders.

use crate::FieldError;
use crate::definition::{check_absolute_path, check_text};
use serde::{Deserialize, Serialize};

/// The files source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Absolute paths, at least one.
    pub paths: Vec<String>,
    /// Borg exclude patterns (`borg help patterns`), e.g. `*/node_modules`, `sh:/home/*/.cache`.
    #[serde(default)]
    pub excludes: Vec<String>,
    /// Stay on the file system of each path.
    #[serde(default)]
    pub one_file_system: bool,
    /// Leave out folders that are tagged as caches (`CACHEDIR.TAG`).
    #[serde(default)]
    pub exclude_caches: bool,
}

impl Files {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        if self.paths.is_empty() {
            problems.push(FieldError::new("paths", "must name at least one path"));
        }
        for (i, path) in self.paths.iter().enumerate() {
            check_absolute_path(&mut problems, &format!("paths[{i}]"), path);
        }
        for (i, pattern) in self.excludes.iter().enumerate() {
            let field = format!("excludes[{i}]");
            check_text(&mut problems, &field, pattern, 4096);
            if pattern.is_empty() {
                problems.push(FieldError::new(field, "must not be empty"));
            }
        }
        problems
    }
}

//! Destination: where bytes go.

use crate::definition::{Validate, check_absolute_path, check_text};
use crate::{FieldError, RepositoryId, ServerId};
use serde::{Deserialize, Serialize};

/// How a destination is defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Where it is.
    pub location: Location,
    /// Words for people.
    #[serde(default)]
    pub description: String,
}

/// The sorts of places. More come with their own issue; an unknown one is refused by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Location {
    /// A folder that the node sees as a local path.
    Local {
        /// The folder, absolute.
        path: String,
    },
}

impl Location {
    /// Where borg finds a repository of this destination: `<destination>/<server>/<repository>`.
    pub fn repository_path(&self, server: &ServerId, repository: &RepositoryId) -> String {
        match self {
            Self::Local { path } => format!("{}/{server}/{repository}", path.trim_end_matches('/')),
        }
    }
}

impl Validate for Spec {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        match &self.location {
            Location::Local { path } => {
                check_absolute_path(&mut problems, "location.path", path);
                // borg expands {placeholders} and reads '::' as the start of an archive's name.
                if path.contains(['{', '}']) || path.contains("::") {
                    problems.push(FieldError::new(
                        "location.path",
                        "must not hold '{', '}' or '::', which borg interprets",
                    ));
                }
                if path.trim_end_matches('/').is_empty() {
                    problems.push(FieldError::new("location.path", "must not be the root folder"));
                }
            }
        }
        check_text(&mut problems, "description", &self.description, 500);
        problems
    }
}

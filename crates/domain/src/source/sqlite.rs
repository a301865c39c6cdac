//! SQLite: databases that are files.

use crate::FieldError;
use crate::definition::check_absolute_path;
use serde::{Deserialize, Serialize};

/// The SQLite source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sqlite {
    /// The files, absolute, at least one.
    pub paths: Vec<String>,
    /// Check each before it is kept (`PRAGMA integrity_check`): one that is damaged fails the backup.
    #[serde(default = "checked")]
    pub check: bool,
}

fn checked() -> bool {
    true
}

impl Sqlite {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        if self.paths.is_empty() {
            problems.push(FieldError::new("paths", "must name at least one database"));
        }
        for (i, path) in self.paths.iter().enumerate() {
            let field = format!("paths[{i}]");
            check_absolute_path(&mut problems, &field, path);
            let parts = path.trim_start_matches('/').split('/');
            if path.starts_with('/') && parts.into_iter().any(|part| matches!(part, "" | ".")) {
                problems.push(FieldError::new(
                    &field,
                    "must be written without '//', '/./' or a slash at its end",
                ));
            }
            if self.paths.iter().take(i).any(|earlier| earlier == path) {
                problems.push(FieldError::new(&field, "is named twice"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn files_are_named_once_and_plainly() {
        let fields = |paths: &[&str]| {
            let source: Sqlite = serde_json::from_value(json!({ "paths": paths })).unwrap();
            assert!(source.check);
            source.problems().into_iter().map(|p| p.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(&["/a/b.db", "/a/c d.db"]), Vec::<String>::new());
        assert_eq!(fields(&[]), ["paths"]);
        for odd in ["a.db", "/a//b", "/a/./b", "/a/", "/a/../b", "/"] {
            assert_eq!(fields(&[odd]), ["paths[0]"], "{odd}");
        }
        assert_eq!(fields(&["/a", "/a"]), ["paths[1]"]);
    }
}

//! No file of code is too long to be read in one go.

use crate::{assert_none, repository};

const MAX_LINES: usize = 500;

/// Files that may be longer, and why there is no seam to part them at.
const MAY_BE_LONGER: &[(&str, &str)] = &[];

#[test]
fn no_file_is_too_long() {
    let files = repository::texts(".rs");
    let mut findings = Vec::new();
    for (path, text) in &files {
        let lines = text.lines().count();
        if lines > MAX_LINES && !MAY_BE_LONGER.iter().any(|(allowed, _)| allowed == path) {
            findings.push(format!(
                "{path}:{MAX_LINES}: it has {lines} lines; find its seam and part it there (one noun a file)"
            ));
        }
    }
    for (path, _) in MAY_BE_LONGER {
        let still = files.iter().any(|(p, text)| p == path && text.lines().count() > MAX_LINES);
        if !still {
            findings.push(format!(
                "{}:1: {path} is not longer than {MAX_LINES} lines any more; take it off the list",
                file!()
            ));
        }
    }
    assert_none(&findings, "a file is too long");
}

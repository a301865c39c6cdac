//! What this repository holds itself to, as ordinary tests. Each failure names a file, a line and what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod coverage;
mod dependencies;
mod links;
mod purity;
mod readme;
mod repository;
mod size;
mod source;
mod words;

/// Fails with all findings, one a line.
fn assert_none(findings: &[String], rule: &str) {
    assert!(findings.is_empty(), "{rule}\n\n{}\n", findings.join("\n"));
}

//! What the pages for people point at is there.

use crate::{assert_none, repository};
use std::path::{Component, Path, PathBuf};

/// The relative targets of a page's links, with their lines; code blocks hold none.
fn targets(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut in_code) = (Vec::new(), false);
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target: String = line[at + 2..].chars().take_while(|c| !")# ".contains(*c)).collect();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((index + 1, target));
            }
        }
    }
    found
}

/// Resolves `..` without asking the disk, so that a link out of the repository is seen as one.
fn resolve(page: &str, target: &str) -> Option<PathBuf> {
    let mut out = PathBuf::from(page);
    out.pop();
    for part in Path::new(target).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some(out)
}

#[test]
fn every_link_leads_somewhere() {
    let mut findings = Vec::new();
    for (path, text) in repository::texts(".md") {
        for (line, target) in targets(&text) {
            let there = resolve(&path, &target).is_some_and(|p| repository::root().join(p).exists());
            if !there {
                findings.push(format!(
                    "{path}:{line}: {target} is not there; write the page, or take the link out"
                ));
            }
        }
    }
    assert_none(&findings, "a link leads nowhere");
}

#[test]
fn links_are_read_and_resolved() {
    let page = "see [a](b.md#c) and [d](https://e.f) and [g](#h)\n```\n[i](j.md)\n```\n[k](../l/m.md)";
    assert_eq!(targets(page), [(1, "b.md".to_owned()), (5, "../l/m.md".to_owned())]);
    assert_eq!(resolve("docs/a.md", "../b.md"), Some("b.md".into()));
    assert_eq!(resolve("docs/a.md", "../../b.md"), None, "out of the repository");
    assert_eq!(resolve("a.md", "docs"), Some("docs".into()));
}

//! `docs/coverage.md` has a row for everything that the predecessors had, and what it points at is there.

use crate::{assert_none, repository};
use std::collections::BTreeMap;

const PAGE: &str = "docs/coverage.md";

/// What a row may say about how far it is.
const STATES: &[&str] = &["works", "partly", "another way", "not yet"];

/// The ids that must have a row.
fn expected() -> Vec<String> {
    let list = include_str!("predecessors.txt");
    let systems =
        list.lines().filter_map(|line| line.split_once(": ").filter(|(system, _)| system.starts_with('S')));
    systems
        .flat_map(|(system, lines)| lines.split_whitespace().map(move |line| format!("{system}.{line}")))
        .collect()
}

/// One row: its line, and its cells.
fn rows(text: &str) -> Vec<(usize, Vec<String>)> {
    let is_row =
        |line: &str| line.starts_with("| S") && line.as_bytes().get(3).is_some_and(u8::is_ascii_digit);
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    let numbered = text.lines().enumerate().filter(|(_, line)| is_row(line));
    numbered.map(|(index, line)| (index + 1, cells(line))).collect()
}

fn findings_in(text: &str, expected: &[String], exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (line, cells) in rows(text) {
        let [id, what, state, whereabouts] = cells.as_slice() else {
            found.push(format!("{PAGE}:{line}: a row has four cells: id, what it is, state, where or why"));
            continue;
        };
        if let Some(first) = seen.insert(id.clone(), line) {
            found.push(format!("{PAGE}:{line}: {id} has a row already in line {first}; join them"));
        }
        if !expected.contains(id) {
            found.push(format!("{PAGE}:{line}: no predecessor has a line {id}; correct the id"));
        }
        if !STATES.contains(&state.as_str()) {
            found.push(format!("{PAGE}:{line}: {state:?} is no state; choose one of {STATES:?}"));
        }
        if what.is_empty() || (whereabouts.is_empty() && state != "not yet") {
            found.push(format!(
                "{PAGE}:{line}: {id} says {state:?}; say what it is, and where it is or why not"
            ));
        }
        for path in paths(whereabouts).filter(|p| !exists(p)) {
            found.push(format!("{PAGE}:{line}: {path} is not there; name the file where it works now"));
        }
    }
    for id in expected.iter().filter(|id| !seen.contains_key(*id)) {
        found.push(format!("{PAGE}:1: {id} has no row; add it"));
    }
    found
}

/// The files and folders of this repository that a cell names: in backticks, with a slash inside and none in front.
fn paths(cell: &str) -> impl Iterator<Item = &str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter(|text| {
        text.contains('/') && !text.contains([' ', '<', '{', '*']) && !text.starts_with(['/', '$'])
    })
}

#[test]
fn every_line_of_the_predecessors_has_its_row() {
    let root = repository::root();
    let text = std::fs::read_to_string(root.join(PAGE)).expect("docs/coverage.md is there");
    assert_none(
        &findings_in(&text, &expected(), &|path| root.join(path).exists()),
        "docs/coverage.md is not complete",
    );
}

#[test]
fn each_kind_of_gap_is_found() {
    assert_eq!(expected().len(), 216, "the list of the predecessors' lines is whole");
    let expected = ["S0.01".to_owned(), "S0.02".to_owned()];
    let found = |page: &str| findings_in(page, &expected, &|path| path == "docs/a.md");
    let good = "| S0.01 | a | works | `docs/a.md` and `GET /api/v1/x` |\n| S0.02 | b | not yet | |";
    assert_eq!(found(good), Vec::<String>::new());
    assert_eq!(found(&good.replace("S0.02", "S0.03")).len(), 2, "one unknown and one without a row");
    assert_eq!(found(&format!("{good}\n{good}")).len(), 2, "twice");
    assert_eq!(found(&good.replace("works", "done")).len(), 1, "no such state");
    assert_eq!(found(&good.replace("docs/a.md", "docs/b.md")).len(), 1, "a file that is not there");
    assert_eq!(found(&good.replace("not yet", "works")).len(), 1, "a claim without a place");
}

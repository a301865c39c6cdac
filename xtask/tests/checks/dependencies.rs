//! Who may depend on whom, as data, held against `cargo metadata`.

use crate::{assert_none, repository};
use serde_json::Value;
use std::process::Command;

const DOMAIN: &str = "strongroom-domain";
const BUS: &str = "strongroom-bus";
const SERVICE: &str = "strongroom-service";
const TESTKIT: &str = "strongroom-testkit";
const CATALOG: &str = "strongroom-catalog";
const EXECUTOR: &str = "strongroom-executor";
const GATEWAY: &str = "strongroom-gateway";
const NOTIFIER: &str = "strongroom-notifier";
const RECOVERY: &str = "strongroom-recovery";
const SCHEDULER: &str = "strongroom-scheduler";
const BENCHES: &str = "strongroom-benches";

/// What a service stands on.
const BELOW_A_SERVICE: &[&str] = &[DOMAIN, BUS, SERVICE];

/// Each product crate, and which crates of ours it may depend on. A crate that is not here is refused until it is.
const PRODUCT: &[(&str, &[&str])] = &[
    (DOMAIN, &[]),
    (BUS, &[DOMAIN]),
    (SERVICE, &[DOMAIN, BUS]),
    (CATALOG, BELOW_A_SERVICE),
    (EXECUTOR, BELOW_A_SERVICE),
    (NOTIFIER, BELOW_A_SERVICE),
    (RECOVERY, BELOW_A_SERVICE),
    (SCHEDULER, BELOW_A_SERVICE),
    (GATEWAY, BELOW_A_SERVICE),
    // The command line alone sees them all, to host them in one process.
    ("strongroom", &[DOMAIN, BUS, SERVICE, CATALOG, EXECUTOR, GATEWAY, NOTIFIER, RECOVERY, SCHEDULER]),
];

/// What only tests and measurements use. The first column may depend on the product; no product crate on it, save that
/// its tests may use those that say so.
const AROUND: &[&str] = &[TESTKIT, "strongroom-e2e", BENCHES, "xtask"];

/// What the tests of a product crate may use beside what the crate itself may.
const FOR_TESTS: &[&str] = &[TESTKIT];

/// Technologies with one door, and who holds the key. Tests and measurements knock at some of them directly.
const DOORS: &[(&str, &[&str])] = &[
    ("async-nats", &[BUS, TESTKIT, BENCHES]),
    ("sled", &[CATALOG]),
    ("warp", &[GATEWAY, BENCHES]),
    ("bollard", &[RECOVERY, EXECUTOR]),
];

/// One edge: who, on whom, and of which kind (`normal`, `dev` or `build`).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edge {
    from: String,
    to: String,
    kind: String,
    manifest: String,
}

fn edges() -> (Vec<String>, Vec<Edge>) {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(repository::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (mut names, mut edges) = (Vec::new(), Vec::new());
    let root = format!("{}/", repository::root().display());
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        names.push(name.to_owned());
        for dependency in package["dependencies"].as_array().unwrap() {
            edges.push(Edge {
                from: name.to_owned(),
                to: dependency["name"].as_str().unwrap().to_owned(),
                kind: dependency["kind"].as_str().unwrap_or("normal").to_owned(),
                manifest: package["manifest_path"].as_str().unwrap().replace(&root, ""),
            });
        }
    }
    (names, edges)
}

/// The edges that the tables do not allow.
fn violations(names: &[String], edges: &[Edge]) -> Vec<String> {
    let mut found = Vec::new();
    for name in names {
        let known = AROUND.contains(&name.as_str()) || PRODUCT.iter().any(|(product, _)| product == name);
        if !known {
            found.push(format!("{name}: a new crate; decide in {} on what it may depend", file!()));
        }
    }
    for edge in edges {
        let ours = names.contains(&edge.to);
        if let Some((_, allowed)) = PRODUCT.iter().find(|(product, _)| *product == edge.from).filter(|_| ours)
        {
            let to = edge.to.as_str();
            let in_tests = edge.kind == "dev" && FOR_TESTS.contains(&to);
            if !allowed.contains(&to) && !in_tests {
                found.push(format!(
                    "{}: {} may not depend on {to} ({}); it may on {allowed:?}. Let them speak through the log, or move what both need down into domain, bus or service",
                    edge.manifest, edge.from, edge.kind
                ));
            }
        }
        if let Some((door, keepers)) = DOORS.iter().find(|(door, _)| *door == edge.to)
            && !keepers.contains(&edge.from.as_str())
        {
            found.push(format!(
                "{}: {door} is used only in {keepers:?}; ask these for what is needed",
                edge.manifest
            ));
        }
    }
    found
}

#[test]
fn every_dependency_is_allowed() {
    let (names, edges) = edges();
    assert!(edges.len() > 20, "cargo metadata shows the dependencies");
    assert_none(&violations(&names, &edges), "a dependency breaks the rule of who may depend on whom");
}

#[test]
fn the_tables_speak_of_crates_that_exist() {
    let (names, _) = edges();
    for (name, _) in PRODUCT {
        assert!(
            names.contains(&(*name).to_owned()),
            "{name} is in the table and not in the workspace; take it out"
        );
    }
}

#[test]
fn each_kind_of_violation_is_found() {
    let names: Vec<String> = [DOMAIN, BUS, CATALOG, GATEWAY, TESTKIT].map(str::to_owned).into();
    let found = |from: &str, to: &str, kind: &str| {
        let edge =
            Edge { from: from.into(), to: to.into(), kind: kind.into(), manifest: "x/Cargo.toml".into() };
        violations(&names, &[edge]).len()
    };
    assert_eq!(found(DOMAIN, BUS, "normal"), 1, "upwards");
    assert_eq!(found(GATEWAY, CATALOG, "normal"), 1, "sideways");
    assert_eq!(found(GATEWAY, CATALOG, "dev"), 1, "sideways in tests");
    assert_eq!(found(CATALOG, TESTKIT, "normal"), 1, "a test tool in the product");
    assert_eq!(found(GATEWAY, "sled", "normal"), 1, "through another's door");
    assert_eq!(found(CATALOG, TESTKIT, "dev"), 0);
    assert_eq!(found(CATALOG, BUS, "normal"), 0);
    assert_eq!(found(CATALOG, "sled", "normal"), 0);
    assert_eq!(violations(&["strongroom-new".to_owned()], &[]).len(), 1, "a crate that nobody decided on");
}

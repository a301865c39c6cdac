//! The domain and every `core` folder are pure: no clock, no randomness, no async, no input or output.
//!
//! Why: what decides over people's data is then the same at every replay, and every case of it can be tried without a server.

use crate::source::{Token, tokens, without_tests};
use crate::{assert_none, repository};
use std::collections::BTreeSet;

/// Tokens in a row that have no place in pure code, and what to do instead.
const BANNED: &[(&[&str], &str)] = &[
    (&["SystemTime"], CLOCK),
    (&["Instant"], CLOCK),
    (&["now", "(", ")"], CLOCK),
    (&["::", "now"], CLOCK),
    (&["TimeZone", "::", "system"], CLOCK),
    (&["rand", "::"], RANDOMNESS),
    (&["fastrand"], RANDOMNESS),
    (&["getrandom"], RANDOMNESS),
    (&["thread_rng"], RANDOMNESS),
    (&["new_v4"], RANDOMNESS),
    (&["now_v7"], RANDOMNESS),
    (&["RandomState"], RANDOMNESS),
    (&["async"], ASYNC),
    (&["async_trait"], ASYNC),
    (&[".", "await"], ASYNC),
    (&["tokio"], ASYNC),
    (&["std", "::", "fs"], IO),
    (&["std", "::", "net"], IO),
    (&["std", "::", "process"], IO),
    (&["std", "::", "thread"], IO),
    (&["std", "::", "os"], IO),
    (&["std", "::", "env"], IO),
    (&["env", "::"], IO),
    (&["fs", "::"], IO),
    (&["File", "::"], IO),
    (&["stdin", "("], IO),
    (&["stdout", "("], IO),
    (&["stderr", "("], IO),
    (&["println", "!"], IO),
    (&["eprintln", "!"], IO),
    (&["print", "!"], IO),
    (&["eprint", "!"], IO),
];

const CLOCK: &str = "a clock; take the time as an argument";
const RANDOMNESS: &str = "randomness; take the id or the number as an argument";
const ASYNC: &str = "async; return what is to be done, and let the shell do it";
const IO: &str = "input or output; take the value as an argument, or return what is to be done";

/// Modules of `std` that do input or output, also when they come in a group: `use std::{fs, io}`.
const STD_MODULES: &[&str] = &["fs", "net", "process", "thread", "os", "env", "io"];

fn is_pure(path: &str) -> bool {
    path.starts_with("crates/domain/src/") || path.contains("/src/core/") || path.ends_with("/src/core.rs")
}

/// Each line with something impure, and what that is.
fn impurities(tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let matches = |pattern: &[&str]| {
            pattern.iter().enumerate().all(|(n, wanted)| tokens.get(i + n).is_some_and(|t| t.text == *wanted))
        };
        if let Some((pattern, what)) = BANNED.iter().find(|(pattern, _)| matches(pattern)) {
            found.push((token.line, format!("`{}` is {what}", pattern.concat())));
        }
        // A cursor over bytes in memory reaches nothing outside.
        if matches(&["std", "::", "io"]) && tokens.get(i + 4).is_none_or(|t| t.text != "Cursor") {
            found.push((token.line, format!("`std::io` is {IO}")));
        }
        if matches(&["std", "::", "{"]) {
            let group = tokens[i + 3..].iter().take_while(|t| t.text != ";");
            let bad = group.filter(|t| STD_MODULES.contains(&t.text.as_str()));
            found.extend(bad.map(|t| (t.line, format!("`std::{}` is {IO}", t.text))));
        }
    }
    found.dedup_by_key(|(line, _)| *line);
    found
}

/// Whether this file belongs to a module that is compiled for tests only.
fn in_test_module(path: &str, modules: &BTreeSet<String>) -> bool {
    modules.iter().any(|module| path == format!("{module}.rs") || path.starts_with(&format!("{module}/")))
}

/// Where the modules of this file lie: beside `lib.rs` and `mod.rs`, in a folder of its own name for any other.
fn module_folder(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    stem.strip_suffix("/lib").or_else(|| stem.strip_suffix("/mod")).unwrap_or(stem).to_owned()
}

#[test]
fn domain_and_cores_are_pure() {
    let files: Vec<(String, String)> =
        repository::texts(".rs").into_iter().filter(|(path, _)| is_pure(path)).collect();
    assert!(files.iter().any(|(path, _)| path == "crates/domain/src/lib.rs"), "the domain is looked at");
    let mut products = Vec::new();
    let mut test_modules = BTreeSet::new();
    for (path, text) in &files {
        let (product, modules) = without_tests(&tokens(text));
        test_modules.extend(modules.iter().map(|m| format!("{}/{m}", module_folder(path))));
        products.push((path, product));
    }
    let mut findings = Vec::new();
    for (path, product) in products.iter().filter(|(path, _)| !in_test_module(path, &test_modules)) {
        findings.extend(impurities(product).into_iter().map(|(line, what)| format!("{path}:{line}: {what}")));
    }
    assert_none(&findings, "pure code reaches outside");
}

#[test]
fn each_kind_of_impurity_is_found() {
    let impure = [
        "let t = Timestamp::now();",
        "let t = given.unwrap_or_else(Timestamp::now);",
        "let t = clock.now();",
        "use std::time::{Duration, Instant};",
        "let id = Uuid::now_v7();",
        "let id = Uuid::new_v4();",
        "let n = rand::random::<u8>();",
        "async fn a() {}",
        "let a = b.await;",
        "let a = async move { 1 };",
        "tokio::spawn(a)",
        "use std::fs;",
        "let f = std::fs::read(p);",
        "use std::{collections::BTreeMap, fs};",
        "use std::io::Read;",
        "use std::{io, fmt};",
        "let v = env::var(name);",
        "println!(\"a\");",
        "let z = TimeZone::system();",
    ];
    for source in impure {
        assert!(!impurities(&tokens(source)).is_empty(), "not found in: {source}");
    }
}

#[test]
fn pure_code_is_let_be() {
    let pure = [
        "fn decide(now: Timestamp) -> Vec<Event> { vec![Event::at(now)] }",
        "// Timestamp::now() would be wrong here",
        "let text = \"tokio and std::fs\";",
        "let cursor = std::io::Cursor::new(bytes);",
        "use std::{collections::BTreeMap, fmt};",
        "let environment = job.environment;",
        "let operand = a::rand_like(b);",
        "let at = next(now);",
    ];
    for source in pure {
        assert_eq!(impurities(&tokens(source)), [], "{source}");
    }
}

#[test]
fn which_files_are_pure_and_which_are_tests() {
    assert!(is_pure("crates/domain/src/job/decide.rs") && is_pure("services/scheduler/src/core/queue.rs"));
    assert!(is_pure("services/notifier/src/core.rs") && !is_pure("services/executor/src/borg.rs"));
    assert_eq!(module_folder("a/src/lib.rs"), "a/src");
    assert_eq!(module_folder("a/src/core/mod.rs"), "a/src/core");
    assert_eq!(module_folder("a/src/job.rs"), "a/src/job");
    let modules = BTreeSet::from(["a/src/job/tests".to_owned()]);
    assert!(
        in_test_module("a/src/job/tests.rs", &modules) && in_test_module("a/src/job/tests/more.rs", &modules)
    );
    assert!(!in_test_module("a/src/job/tests_of_time.rs", &modules));
}

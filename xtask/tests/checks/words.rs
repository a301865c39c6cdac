//! Nothing in the repository speaks of the machine, the network or the tools that it happened to be written with.

use crate::{assert_none, repository};

/// Folders of one machine. Written in two parts, so that this file is no finding itself.
const PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// Words, as people write them in any case, that are about how the code came to be.
const WORDS: &[&str] = &[
    concat!("clau", "de"),
    concat!("anthro", "pic"),
    concat!("open", "ai"),
    concat!("chat", "gpt"),
    concat!("co", "pilot"),
    concat!("ll", "m"),
    concat!("sub", "agent"),
    concat!("language ", "model"),
    concat!("the ", "brief"),
    concat!("another ", "helper"),
    concat!("other ", "helpers"),
    concat!("the lead ", "will"),
];

/// Hosts that packages come from: the tools know them, and a machine may have its own.
const HOSTS: &[&str] = &[
    concat!("registry.", "npmjs.org"),
    concat!("pypi.", "org"),
    concat!("files.python", "hosted.org"),
    concat!("static.", "crates.io"),
    concat!("index.", "crates.io"),
    concat!("arti", "factory"),
];

fn findings_in(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let at = format!("{path}:{}", index + 1);
        if let Some(folder) = PATHS.iter().find(|p| has_path(line, p)) {
            found.push(format!(
                "{at}: {folder} is a folder of one machine; take it from the environment or an argument"
            ));
        }
        let lower = line.to_lowercase();
        let abbreviation = concat!("A", "I");
        if let Some(word) = WORDS
            .iter()
            .find(|w| has_word(&lower, w))
            .or(has_word(line, abbreviation).then_some(&abbreviation))
        {
            found.push(format!("{at}: {word:?} is about how the code came to be; say what the code does"));
        }
        if let Some(host) = HOSTS.iter().find(|h| lower.contains(**h)) {
            found.push(format!(
                "{at}: {host} is where packages come from; leave it to the tool's own settings"
            ));
        }
    }
    found
}

/// Whether the line has this absolute path, and not a path that only goes through a folder of the same name.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/*}>)$".contains(c))
    })
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        ![before, after].into_iter().flatten().any(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn nothing_speaks_of_one_machine_or_of_how_it_was_written() {
    let mut findings = Vec::new();
    for file in repository::files() {
        // Lock files are written by tools, and say where packages came from in the tools' own words.
        let by_a_tool = file.path.ends_with("Cargo.lock");
        if let Some(text) = file.text.filter(|_| !by_a_tool) {
            findings.extend(findings_in(&file.path, &text));
        }
    }
    assert_none(&findings, "something in here is about one machine or about how the code was written");
}

#[test]
fn each_kind_is_found_and_the_like_is_let_be() {
    let bad = [
        format!("cd {}main", PATHS[0]),
        format!("let p = \"{}x\";", PATHS[1]),
        format!("written by {}", WORDS[0].to_uppercase()),
        format!("an {} wrote it", concat!("A", "I")),
        format!("https://{}/simple", HOSTS[1]),
    ];
    for line in bad {
        assert_eq!(findings_in("x", &line).len(), 1, "{line}");
    }
    let good = [
        "crates/bus/src/work/queue.rs",
        "strongroom/root/x",
        "MAIN, AIM and FAIL",
        "a session that is ready",
        "enrollment",
    ];
    for line in good {
        assert_eq!(findings_in("x", line), Vec::<String>::new(), "{line}");
    }
}

//! The README shows two commands and no more: whatever a third one would do, the two do by themselves.

use crate::repository;

const COMMANDS: &[&str] = &["cargo xtask demo", "cargo xtask test"];

/// Languages of blocks that show no command.
const NO_COMMANDS: &[&str] = &["mermaid", "text", "json"];

/// The command lines in a page's code blocks.
fn commands(text: &str) -> Vec<String> {
    let (mut found, mut block) = (Vec::new(), None);
    for line in text.lines().map(str::trim) {
        match (line.strip_prefix("```"), block) {
            (Some(language), None) => block = Some(language),
            (Some(_), Some(_)) => block = None,
            (None, Some(language)) if !NO_COMMANDS.contains(&language) => {
                let command = line.split('#').next().unwrap_or_default().trim().trim_start_matches("$ ");
                if !command.is_empty() {
                    found.push(command.to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn the_readme_shows_exactly_the_two_commands() {
    let path = repository::root().join("README.md");
    let text = std::fs::read_to_string(path).expect("README.md is there");
    assert_eq!(
        commands(&text),
        COMMANDS,
        "README.md: its code blocks show the two commands and nothing else"
    );
}

#[test]
fn commands_are_read_out_of_code_blocks_only() {
    let page = "`cargo build`\n```sh\n$ cargo xtask demo   # shows it\n# a comment\n```\n```mermaid\ngraph\n```\n```\nmore\n```";
    assert_eq!(commands(page), ["cargo xtask demo", "more"]);
}

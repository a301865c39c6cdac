//! Hooks: programs on the node that run before and after a backup.
//!
//! A program and its arguments, never a line for a shell. Which programs may be run at all says the node, not the plan
//! (docs/decisions/012): who may define plans does not thereby become the executor's user.

use crate::FieldError;
use crate::definition::check_absolute_path;
use serde::{Deserialize, Serialize};

/// The most that a plan has of each kind.
const MOST: usize = 20;
/// The most arguments of one.
const ARGUMENTS: usize = 64;
/// Bytes of an argument.
const ARGUMENT_BYTES: usize = 4096;
/// The longest that one may take: a day.
const LONGEST_S: u32 = 24 * 3600;

/// What runs before and after a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// In this order, before anything is read.
    #[serde(default)]
    pub before: Vec<Before>,
    /// In this order, when it is known what came of it.
    #[serde(default)]
    pub after: Vec<After>,
}

/// What runs before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The program, absolute, and its arguments.
    pub command: Vec<String>,
    /// After how many seconds it is ended.
    #[serde(default = "five_minutes")]
    pub timeout_s: u32,
    /// What happens when it ends otherwise than with 0.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// What runs after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// The program, absolute, and its arguments.
    pub command: Vec<String>,
    /// After how many seconds it is ended.
    #[serde(default = "five_minutes")]
    pub timeout_s: u32,
    /// After which outcomes it runs.
    #[serde(default)]
    pub when: When,
}

/// What happens when a hook before a backup fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum OnFailure {
    /// Nothing is backed up, and the job fails.
    #[default]
    Abort,
    /// The backup is made, and is incomplete: what the hook should have prepared may be missing in it.
    Continue,
}

/// After which outcomes a hook runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum When {
    /// After each.
    #[default]
    Always,
    /// When there is an archive, complete or not.
    Success,
    /// When there is none.
    Failure,
}

impl When {
    /// Whether it runs after a backup that has, or has not, made an archive.
    pub fn is_after(self, success: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Success => success,
            Self::Failure => !success,
        }
    }
}

/// How long one may take when nothing is said.
pub(crate) fn five_minutes() -> u32 {
    300
}

impl Hooks {
    /// All commands.
    pub fn commands(&self) -> impl Iterator<Item = &Vec<String>> {
        self.before.iter().map(|hook| &hook.command).chain(self.after.iter().map(|hook| &hook.command))
    }

    /// All that is wrong with them; fields are named from the hooks on.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        check_number(&mut problems, "before", self.before.len());
        for (n, hook) in self.before.iter().enumerate() {
            check_command(&mut problems, &format!("before[{n}]"), &hook.command, hook.timeout_s);
        }
        check_number(&mut problems, "after", self.after.len());
        for (n, hook) in self.after.iter().enumerate() {
            check_command(&mut problems, &format!("after[{n}]"), &hook.command, hook.timeout_s);
        }
        problems
    }
}

/// Adds a problem when there are too many.
pub(crate) fn check_number(problems: &mut Vec<FieldError>, field: &str, number: usize) {
    if number > MOST {
        problems.push(FieldError::new(field, format!("must be at most {MOST}")));
    }
}

/// Adds what is wrong with a command and its time limit.
pub(crate) fn check_command(problems: &mut Vec<FieldError>, at: &str, command: &[String], timeout_s: u32) {
    let field = format!("{at}.command");
    match command.split_first() {
        None => problems.push(FieldError::new(&field, "must name a program")),
        Some((program, arguments)) => {
            check_absolute_path(problems, &format!("{field}[0]"), program);
            if program.ends_with('/') {
                problems.push(FieldError::new(format!("{field}[0]"), "must be a program, and not a folder"));
            }
            if arguments.len() > ARGUMENTS {
                problems.push(FieldError::new(&field, format!("must have at most {ARGUMENTS} arguments")));
            }
            for (n, argument) in arguments.iter().enumerate() {
                if argument.len() > ARGUMENT_BYTES || argument.chars().any(char::is_control) {
                    let message =
                        format!("must be at most {ARGUMENT_BYTES} bytes, without control characters");
                    problems.push(FieldError::new(format!("{field}[{}]", n + 1), message));
                }
            }
        }
    }
    if timeout_s == 0 || timeout_s > LONGEST_S {
        problems.push(FieldError::new(format!("{at}.timeout_s"), format!("must be 1 to {LONGEST_S}")));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::{Value, json};

    fn fields(hooks: Value) -> Vec<String> {
        let hooks: Hooks = serde_json::from_value(hooks).unwrap();
        hooks.problems().into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn a_hook_is_a_program_with_arguments_and_a_limit() {
        let hooks: Hooks = serde_json::from_value(json!({
            "before": [{ "command": ["/h/a", "--x", "a b; rm -rf '"] }], "after": [{ "command": ["/h/b"] }],
        }))
        .unwrap();
        assert_eq!(hooks.problems(), Vec::new());
        let (before, after) = (hooks.before.first().unwrap(), hooks.after.first().unwrap());
        assert_eq!((before.timeout_s, before.on_failure), (300, OnFailure::Abort));
        assert_eq!((after.timeout_s, after.when), (300, When::Always));
        assert_eq!(hooks.commands().count(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_where_it_is() {
        let before = |hook: Value| fields(json!({ "before": [hook] }));
        assert_eq!(before(json!({ "command": [] })), ["before[0].command"]);
        for odd in ["a", "", "/a/../b", "/a/"] {
            assert_eq!(before(json!({ "command": [odd] })), ["before[0].command[0]"], "{odd}");
        }
        assert_eq!(before(json!({ "command": ["/a", "b", "c\nd"] })), ["before[0].command[2]"]);
        assert_eq!(before(json!({ "command": ["/a"], "timeout_s": 0 })), ["before[0].timeout_s"]);
        let after = json!({ "after": [{ "command": ["/a"], "timeout_s": 90_000 }] });
        assert_eq!(fields(after), ["after[0].timeout_s"]);
        let many: Vec<Value> = (0..21).map(|_| json!({ "command": ["/a"] })).collect();
        assert_eq!(fields(json!({ "before": many })), ["before"]);
    }

    #[test]
    fn each_outcome_has_its_hooks() {
        assert!(When::Always.is_after(true) && When::Always.is_after(false));
        assert!(When::Success.is_after(true) && !When::Success.is_after(false));
        assert!(!When::Failure.is_after(true) && When::Failure.is_after(false));
    }
}

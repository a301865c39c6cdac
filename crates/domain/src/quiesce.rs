//! Quiesce: what is stopped while a backup reads, and started again after it, whatever became of the backup.

use crate::FieldError;
use crate::hook::{check_command, check_number, five_minutes};
use serde::{Deserialize, Serialize};

/// Something that is stopped while data is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiesce {
    /// What stops it.
    pub stop: Command,
    /// What starts it again. It may run when nothing was stopped, and more than once.
    pub start: Command,
}

/// A program with its arguments, and its limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program, absolute, and its arguments.
    pub command: Vec<String>,
    /// After how many seconds it is ended.
    #[serde(default = "five_minutes")]
    pub timeout_s: u32,
}

/// All commands of these.
pub fn commands(all: &[Quiesce]) -> impl Iterator<Item = &Vec<String>> {
    all.iter().flat_map(|one| [&one.stop.command, &one.start.command])
}

/// All that is wrong with these; fields are named from `quiesce` on.
pub fn problems(all: &[Quiesce]) -> Vec<FieldError> {
    let mut problems = Vec::new();
    check_number(&mut problems, "quiesce", all.len());
    for (n, one) in all.iter().enumerate() {
        for (name, command) in [("stop", &one.stop), ("start", &one.start)] {
            let at = format!("quiesce[{n}].{name}");
            check_command(&mut problems, &at, &command.command, command.timeout_s);
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_stopped_has_a_way_back() {
        let of = |value: Value| serde_json::from_value::<Vec<Quiesce>>(value);
        let (stop, start) = (json!({ "command": ["/h/stop", "web"] }), json!({ "command": ["/h/start"] }));
        let good = of(json!([{ "stop": stop, "start": start }])).unwrap();
        assert_eq!((problems(&good).len(), commands(&good).count()), (0, 2));
        assert_eq!(good.first().unwrap().start.timeout_s, 300);
        assert!(of(json!([{ "stop": stop }])).is_err());
        let odd = of(json!([{ "stop": { "command": ["stop"], "timeout_s": 0 }, "start": start }])).unwrap();
        let fields: Vec<_> = problems(&odd).into_iter().map(|p| p.field).collect();
        assert_eq!(fields, ["quiesce[0].stop.command[0]", "quiesce[0].stop.timeout_s"]);
    }
}

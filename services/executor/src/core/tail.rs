//! The last lines of what a program said, within bounds.

use std::collections::VecDeque;

/// Lines of the tail that is kept.
pub const TAIL_LINES: usize = 50;
/// Bytes of the tail that is kept.
pub const TAIL_BYTES: usize = 8192;
/// What borg says of the machine, behind what Python says.
const MACHINE: &str = "Platform: ";

/// The last lines of what was said, within bounds.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    /// The lines.
    pub lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    /// Takes in what was said.
    pub fn push(&mut self, text: &str) {
        for line in text.lines().filter(|l| !l.trim().is_empty()) {
            let line: String = line.chars().take(500).collect();
            self.bytes += line.len();
            self.lines.push_back(line);
        }
        while self.lines.len() > TAIL_LINES || self.bytes > TAIL_BYTES {
            let Some(gone) = self.lines.pop_front() else { break };
            self.bytes -= gone.len();
        }
    }

    /// The last line of a traceback, which says what it was about.
    pub fn cause_of_a_fall(&self) -> Option<String> {
        let machine = self.lines.iter().rposition(|l| l.starts_with(MACHINE))?;
        self.lines.get(machine.checked_sub(1)?).cloned()
    }

    /// Whether a line holds this.
    pub fn contains(&self, text: &str) -> bool {
        self.lines.iter().any(|l| l.contains(text))
    }
}

//! One step: a child process with a deadline, whose output is kept and shown when it fails.

use crate::processes::{self, Process};
use crate::summary::{Counts, Row, count_tests, failed_tests, skipped_tests};
use crate::{Result, workspace};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long the processes of a step may outlive it: longer is a leak.
const GRACE: Duration = Duration::from_secs(10);

/// How often a long step says that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);

/// How many lines of a failed step are shown.
const SHOWN_LINES: usize = 400;

/// What to count in a step's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// The step is one check.
    One,
    /// The tests that `cargo test` reports.
    Tests,
}

/// Something to run.
#[derive(Debug)]
pub struct Step {
    /// A short name.
    pub name: &'static str,
    /// The child.
    pub command: Command,
    /// When it is ended by force.
    pub deadline: Duration,
    /// What to count.
    pub counting: Counting,
}

/// How the child ended.
enum End {
    Exited(ExitStatus),
    Hung,
}

impl Step {
    /// Runs it to its end, whatever that is.
    pub fn run(mut self, at_most: Duration) -> Row {
        let started = Instant::now();
        let mark = format!("{}-{}", std::process::id(), self.name.replace(' ', "-"));
        let log = log_file(self.name);
        let deadline = self.deadline.min(at_most);
        let ended = start(&mut self.command, &mark, &log)
            .and_then(|child| wait(self.name, child, deadline, &mark, &log));
        let left = match ended {
            Ok(End::Exited(_)) => processes::left_behind(&mark, GRACE),
            _ => Vec::new(),
        };
        processes::end(&mark);
        let output =
            std::fs::read(&log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
        let row = verdict(&self, ended, &left, &output, deadline, started.elapsed());
        if row.counts.failed > 0 {
            show(&row, &output, &log);
        }
        row
    }
}

fn verdict(
    step: &Step,
    ended: Result<End>,
    left: &[Process],
    output: &str,
    deadline: Duration,
    took: Duration,
) -> Row {
    let tests = step.counting == Counting::Tests;
    let mut counts = if tests { count_tests(output) } else { Counts::default() };
    let ran_none = tests && counts == Counts::default();
    let mut notes: Vec<String> = if tests { failed_tests(output) } else { Vec::new() };
    if tests {
        notes.extend(skipped_tests(output));
    }
    match ended {
        Ok(End::Exited(status)) if status.success() => {
            if !tests {
                counts.add(Counts::ONE_PASSED);
            } else if ran_none {
                counts.add(Counts::ONE_FAILED);
                notes.push("not a single test ran".to_owned());
            }
        }
        Ok(End::Exited(status)) => {
            // A failure that no test accounts for, such as a compile error, counts as one.
            if counts.failed == 0 {
                counts.add(Counts::ONE_FAILED);
                notes.push(format!("ended with {status}"));
            }
        }
        Ok(End::Hung) => {
            counts.add(Counts::ONE_FAILED);
            notes.push(format!("hung: it was ended by force after {} s", deadline.as_secs()));
        }
        Err(problem) => {
            counts.add(Counts::ONE_FAILED);
            notes.push(problem);
        }
    }
    if !left.is_empty() {
        counts.add(Counts::ONE_FAILED);
        let names: Vec<String> = left.iter().map(ToString::to_string).collect();
        notes.push(format!("left processes behind, which were ended: {}", names.join(", ")));
    }
    Row { name: step.name, counts, took, notes }
}

/// The output goes to a file and not through a pipe: a grandchild that keeps a pipe open would hold up its reader.
fn start(command: &mut Command, mark: &str, log: &Path) -> Result<std::process::Child> {
    let error = |e: std::io::Error| format!("{}: {e}", log.display());
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).map_err(error)?;
    }
    let file = std::fs::File::create(log).map_err(error)?;
    command.env(processes::MARK, mark).env("CARGO_TERM_COLOR", "never").stdin(std::process::Stdio::null());
    command.stdout(file.try_clone().map_err(error)?).stderr(file);
    command.spawn().map_err(|e| format!("{} does not start: {e}", command.get_program().to_string_lossy()))
}

fn wait(
    name: &str,
    mut child: std::process::Child,
    deadline: Duration,
    mark: &str,
    log: &Path,
) -> Result<End> {
    let (sender, receiver) = mpsc::channel();
    let started = Instant::now();
    std::thread::spawn(move || {
        // The receiver is gone only when nobody wants to know any more.
        let _ = sender.send(child.wait());
    });
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        match receiver.recv_timeout(left.min(SIGN_OF_LIFE)) {
            Ok(status) => return status.map(End::Exited).map_err(|e| e.to_string()),
            Err(_) if started.elapsed() >= deadline => {
                processes::end(mark);
                // Collected, so that no zombie is left; what was killed ends at once.
                let _ = receiver.recv_timeout(Duration::from_secs(10));
                return Ok(End::Hung);
            }
            Err(_) => println!("    {name}: {} s so far; {}", started.elapsed().as_secs(), last_line(log)),
        }
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no output yet");
    line.trim().chars().take(100).collect()
}

fn show(row: &Row, output: &str, log: &Path) {
    let lines: Vec<&str> = output.lines().collect();
    let hidden = lines.len().saturating_sub(SHOWN_LINES);
    println!("---- {} failed; its output:", row.name);
    if hidden > 0 {
        println!("     ({hidden} lines before these are in {})", log.display());
    }
    for line in lines.iter().skip(hidden) {
        println!("{line}");
    }
    println!("---- end of {}", row.name);
}

/// Where the output of a step is kept until it runs again.
fn log_file(name: &str) -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace::root().join("target"), PathBuf::from);
    target.join("xtask").join(format!("{}.log", name.replace(' ', "-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, line: &[&str], deadline: Duration, counting: Counting) -> Step {
        let (program, arguments) = line.split_first().unwrap_or((&"true", &[]));
        let mut command = Command::new(program);
        command.args(arguments);
        Step { name, command, deadline, counting }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_step_passes_by_its_exit_code() {
        let row = step("self test passing", &["true"], LONG, Counting::One).run(LONG);
        assert_eq!(row.counts, Counts::ONE_PASSED);
        let row = step("self test failing", &["false"], LONG, Counting::One).run(LONG);
        assert_eq!(row.counts, Counts::ONE_FAILED);
    }

    #[test]
    fn a_step_that_hangs_is_ended_and_named() {
        let row =
            step("self test hanging", &["sleep", "300"], Duration::from_millis(300), Counting::One).run(LONG);
        assert_eq!(row.counts, Counts::ONE_FAILED);
        assert!(row.notes.iter().any(|n| n.starts_with("hung")), "{:?}", row.notes);
        assert!(row.took < LONG, "it did not wait for the child's own end");
    }

    #[test]
    fn a_test_run_without_tests_is_a_failure() {
        let row = step("self test empty", &["true"], LONG, Counting::Tests).run(LONG);
        assert_eq!(row.counts, Counts::ONE_FAILED);
    }

    #[test]
    fn a_program_that_is_not_there_is_a_failure() {
        let row = step("self test absent", &["strongroom-no-such-program"], LONG, Counting::One).run(LONG);
        assert_eq!(row.counts, Counts::ONE_FAILED);
    }
}

//! A program that is run to its end, with a deadline, and shows its output as it goes.

use crate::Result;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// How often the end of a program is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Runs it; a program that has not ended by the deadline is ended, and is an error.
pub fn run(command: &mut Command, deadline: Duration) -> Result<ExitStatus> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|e| format!("{program} does not start: {e}"))?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|e| format!("{program}: {e}"))? {
            return Ok(status);
        }
        if started.elapsed() >= deadline {
            // It may have ended by itself just now, which comes to the same.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("hung: {command:?} was ended by force after {} s", deadline.as_secs()));
        }
        std::thread::park_timeout(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_ended_and_named() {
        let outcome = run(Command::new("sleep").arg("300"), Duration::from_millis(100));
        assert!(outcome.is_err_and(|e| e.starts_with("hung") && e.contains("sleep")));
    }

    #[test]
    fn the_exit_code_is_the_programs_own() {
        let outcome = run(&mut Command::new("false"), Duration::from_secs(60));
        assert_eq!(outcome.map(|status| status.code()), Ok(Some(1)));
    }
}

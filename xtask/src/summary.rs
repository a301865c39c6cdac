//! What the steps came to: one table and one closing line.

use std::fmt::Write;
use std::time::Duration;

/// How many checks came to which end.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Held.
    pub passed: u64,
    /// Did not hold.
    pub failed: u64,
    /// Were not made.
    pub skipped: u64,
}

impl Counts {
    /// One check that held.
    pub const ONE_PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    /// One check that did not.
    pub const ONE_FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    /// One check that was not made.
    pub const ONE_SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Adds another count to this one.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    /// The step's name.
    pub name: &'static str,
    /// What it came to.
    pub counts: Counts,
    /// How long it took.
    pub took: Duration,
    /// Why it was skipped, or what failed.
    pub notes: Vec<String>,
}

/// What a test says that was not made, for lack of something that not every machine has (`strongroom_testkit::skipped`).
const SKIPPED: &str = "test-skipped: ";

/// Sums the `test result:` lines that `cargo test` prints for each binary. A test that says that it was not made has not passed.
pub fn count_tests(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines().filter_map(|l| l.trim_start().strip_prefix("test result: ")) {
        for part in line.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(word)) = (words.next().and_then(|n| n.parse::<u64>().ok()), words.next())
            else {
                continue;
            };
            match word {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" => counts.skipped += number,
                _ => {}
            }
        }
    }
    let not_made = (skipped_tests(output).len() as u64).min(counts.passed);
    counts.passed -= not_made;
    counts.skipped += not_made;
    counts
}

/// The tests that say that they were not made, and why.
pub fn skipped_tests(output: &str) -> Vec<String> {
    output.lines().filter_map(|line| line.strip_prefix(SKIPPED)).map(|why| format!("skipped {why}")).collect()
}

/// The names of the tests that failed.
pub fn failed_tests(output: &str) -> Vec<String> {
    let failed = |line: &str| {
        let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
        Some(name.to_owned())
    };
    output.lines().filter_map(failed).collect()
}

/// The sum of all rows.
pub fn total(rows: &[Row]) -> Counts {
    let mut sum = Counts::default();
    for row in rows {
        sum.add(row.counts);
    }
    sum
}

/// The table.
pub fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<24} {:<8} {:>7} {:>7} {:>7} {:>9}\n",
        "step", "result", "passed", "failed", "skipped", "time"
    );
    for row in rows {
        let result = match row.counts {
            c if c.failed > 0 => "FAILED",
            c if c.passed == 0 => "skipped",
            _ => "passed",
        };
        let Counts { passed, failed, skipped } = row.counts;
        let seconds = format!("{:.1} s", row.took.as_secs_f64());
        // Writing to a String cannot fail, so the results are dropped.
        let _ =
            writeln!(out, "{:<24} {result:<8} {passed:>7} {failed:>7} {skipped:>7} {seconds:>9}", row.name);
        for note in &row.notes {
            let _ = writeln!(out, "    {note}");
        }
    }
    out
}

/// The last line, which other programs read.
pub fn closing_line(total: Counts) -> String {
    let skipped = if total.skipped > 0 { format!(", {} skipped", total.skipped) } else { String::new() };
    format!("{} passed, {} failed{skipped}", total.passed, total.failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test a::b ... ok
test a::c ... FAILED
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.25s
";

    #[test]
    fn results_of_all_binaries_are_summed() {
        assert_eq!(count_tests(OUTPUT), Counts { passed: 41, failed: 1, skipped: 1 });
        assert_eq!(count_tests("error: could not compile"), Counts::default());
    }

    #[test]
    fn failed_tests_are_named() {
        assert_eq!(failed_tests(OUTPUT), ["a::c"]);
    }

    #[test]
    fn a_test_that_says_that_it_was_not_made_has_not_passed() {
        let output = "test a ... ok\n\ntest-skipped: containers: no engine\ntest b ... ok\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(count_tests(output), Counts { passed: 1, failed: 0, skipped: 1 });
        assert_eq!(skipped_tests(output), ["skipped containers: no engine"]);
    }

    #[test]
    fn the_closing_line_speaks_of_skipped_checks_only_when_there_are_some() {
        assert_eq!(closing_line(Counts { passed: 7, failed: 0, skipped: 0 }), "7 passed, 0 failed");
        assert_eq!(
            closing_line(Counts { passed: 7, failed: 1, skipped: 2 }),
            "7 passed, 1 failed, 2 skipped"
        );
    }

    #[test]
    fn a_step_that_did_not_run_is_not_shown_as_passed() {
        let row = Row {
            name: "x",
            counts: Counts::ONE_SKIPPED,
            took: Duration::ZERO,
            notes: vec!["no tool".into()],
        };
        let shown = table(&[row]);
        assert!(shown.contains("skipped ") && shown.contains("no tool"), "{shown}");
    }
}

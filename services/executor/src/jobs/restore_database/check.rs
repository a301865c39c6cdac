//! Whether what was restored is what was dumped: its rows are counted again, and people's own query is asked.
//!
//! It is done before the database takes its place, where nobody else has written to it.

use super::Dumped;
use crate::census::{AFTER_A_RESTORE, Counting};
use crate::control::NoOutcome;
use crate::core::census::comparing::{compare, same_series};
use crate::core::findings::Findings;
use crate::jobs::Bench;
use strongroom_domain::census::{ANSWER_BYTES, Answer, CheckQuery, RestoreCheck, Taken};
use strongroom_domain::failure::{Finding, Severity};
use tokio::time::Instant;

/// What came of it.
#[derive(Default)]
pub struct Checked {
    /// For the result.
    pub check: RestoreCheck,
    /// What was found.
    pub findings: Findings,
}

impl Checked {
    /// Nothing was compared.
    pub fn skipped(why: &str) -> Self {
        let check = RestoreCheck { skipped: Some(why.to_owned()), ..RestoreCheck::default() };
        Self { check, findings: Findings::default() }
    }

    /// The same, because an earlier attempt has come so far that others may have written to it since.
    pub fn too_late() -> Self {
        Self::skipped(
            "an earlier attempt was cut off after the database had taken its place, where others may write to it",
        )
    }

    /// Something of the dump is not there.
    pub fn lacks(&mut self, message: String) {
        self.add(Severity::Incomplete, message);
    }

    fn add(&mut self, severity: Severity, message: String) {
        self.findings.add(Finding { severity, path: None, message });
    }

    /// Takes in what a query answered.
    pub fn take(&mut self, query: &CheckQuery, said: Result<String, NoOutcome>) -> Result<(), NoOutcome> {
        let said = match said {
            Ok(said) => said,
            Err(NoOutcome::Failed(failure)) => {
                self.add(Severity::Incomplete, format!("the check query failed: {}", failure.message));
                return Ok(());
            }
            Err(stopped) => return Err(stopped),
        };
        let expected = query.expected.as_deref().map(str::trim_end);
        let as_expected = expected.map(|expected| said.trim_end() == expected);
        let mut text = said;
        let cut = text.len() > ANSWER_BYTES;
        if cut {
            let mut at = ANSWER_BYTES;
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            text.truncate(at);
        }
        if let (Some(false), Some(expected)) = (as_expected, expected) {
            let shown: String = text.chars().take(200).collect();
            self.add(
                Severity::Incomplete,
                format!("the check query answered '{shown}', and not '{expected}'"),
            );
        }
        self.check.answer = Some(Answer { text, cut, expected: query.expected.clone(), as_expected });
        Ok(())
    }
}

/// Counts again, and compares.
pub async fn run(
    bench: &Bench<'_>,
    dumped: &Dumped<'_>,
    counting: Counting,
    version: &str,
) -> Result<Checked, NoOutcome> {
    bench.step("check");
    let Some(then) = &dumped.recorded else {
        return Ok(Checked::skipped("nothing was counted when it was dumped"));
    };
    let counting = async {
        let mut moment = counting.begin(false).await?;
        let end = Instant::now() + AFTER_A_RESTORE;
        let seen = moment.look(end).await?;
        std::io::Result::Ok(moment.count(seen, |_| None, Taken::InSnapshot, end).await)
    };
    let now = bench.control.clone().unless_stopped(counting).await?;
    let now = match now {
        Ok(now) => now,
        Err(e) => {
            let mut checked = Checked::skipped(&format!("it could not be counted: {e}"));
            checked.add(Severity::Benign, format!("what was restored could not be counted: {e}"));
            return Ok(checked);
        }
    };
    let (check, found) = compare(then, &now, same_series(&dumped.dump, version));
    let mut findings = Findings::default();
    found.into_iter().for_each(|finding| findings.add(finding));
    Ok(Checked { check, findings })
}

//! What a plan runs before and after a backup, around the work itself.
//!
//! A hook that did not do its work is told, whatever else went well: one before the backup prepares what is to be in it,
//! and one after it that fails in silence for months is the accident that people call a backup that was never taken away.

use super::backup::server_of;
use super::{Bench, Finished};
use crate::control::{NoOutcome, Stop};
use crate::core::tail::Tail;
use crate::hook::{self, Environment, Hook, Ran};
use std::time::Duration;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::hook::OnFailure;
use strongroom_domain::job::BackupSpec;
use strongroom_domain::{Failure, FailureCode};

/// Runs the work with its hooks.
pub async fn around(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    work: impl Future<Output = Result<Finished, NoOutcome>>,
) -> Result<Finished, NoOutcome> {
    // All of them, before the first: half of what belongs together is worse than nothing.
    hook::check(bench.allow_hooks, spec.hooks.commands())?;
    let mut running =
        Hooks { bench, environment: environment(bench, spec), problems: Vec::new(), before: Tail::default() };
    let result = match running.before(spec).await {
        Ok(()) => work.await,
        Err(why) => Err(why),
    };
    let outcome = match &result {
        Ok(done) => done.outcome.completeness.to_string(),
        Err(NoOutcome::Stopped(Stop::Cancel)) => "cancelled".to_owned(),
        // The job goes on in another attempt, which has hooks of its own.
        Err(NoOutcome::Stopped(Stop::Shutdown | Stop::Stale)) => return result,
        Err(NoOutcome::Failed(_) | NoOutcome::Stopped(Stop::TimeUp | Stop::SourceFailed)) => {
            "failed".to_owned()
        }
    };
    let after = running.after(spec, result.is_ok(), &outcome).await?;
    running.told(result, after)
}

/// What hooks of a backup are told of why they run.
pub fn environment(bench: &Bench<'_>, spec: &BackupSpec) -> Environment {
    Environment {
        plan: spec.plan.to_string(),
        job: bench.job.to_string(),
        server: server_of(spec).to_owned(),
    }
}

struct Hooks<'a> {
    bench: &'a Bench<'a>,
    environment: Environment,
    problems: Vec<Finding>,
    before: Tail,
}

impl Hooks<'_> {
    async fn before(&mut self, spec: &BackupSpec) -> Result<(), NoOutcome> {
        for before in &spec.hooks.before {
            self.bench.step("before");
            let hook = Hook {
                command: &before.command,
                within: Duration::from_secs(before.timeout_s.into()),
                phase: "before",
                outcome: None,
            };
            let notes = self.bench.state.children();
            let ran = hook::run(&hook, &self.environment, &notes, self.bench.control.clone()).await;
            let Ran { problem, tail } = ran.map_err(NoOutcome::Stopped)?;
            keep(&mut self.before, &hook, problem.as_deref(), &tail);
            let Some(problem) = problem else { continue };
            let message = format!("the hook {} before the backup {problem}", hook.name());
            match before.on_failure {
                OnFailure::Abort => {
                    let log = std::mem::take(&mut self.before).lines.into();
                    return Err(Failure::new(FailureCode::HookFailed, message).with_log(log).into());
                }
                OnFailure::Continue => self.problems.push(incomplete(message)),
            }
        }
        Ok(())
    }

    /// Gives what those said that ran after it.
    async fn after(&mut self, spec: &BackupSpec, success: bool, outcome: &str) -> Result<Tail, NoOutcome> {
        let mut log = Tail::default();
        for after in spec.hooks.after.iter().filter(|hook| hook.when.is_after(success)) {
            self.bench.step("after");
            let hook = Hook {
                command: &after.command,
                within: Duration::from_secs(after.timeout_s.into()),
                phase: "after",
                outcome: Some(outcome),
            };
            let control = self.bench.control.past_cancel();
            let problem =
                match hook::run(&hook, &self.environment, &self.bench.state.children(), control).await {
                    Ok(Ran { problem, tail }) => {
                        keep(&mut log, &hook, problem.as_deref(), &tail);
                        problem
                    }
                    Err(Stop::Stale) => return Err(NoOutcome::Stopped(Stop::Stale)),
                    // What was made is made, and is told.
                    Err(_) => Some("was ended, because the executor ends".to_owned()),
                };
            if let Some(problem) = problem {
                let message = format!("the hook {} after the backup {problem}", hook.name());
                tracing::warn!(job = %self.bench.job, problem = message, "a hook failed");
                self.problems.push(incomplete(message));
            }
        }
        Ok(log)
    }

    /// The result, with what its hooks said.
    fn told(self, result: Result<Finished, NoOutcome>, after: Tail) -> Result<Finished, NoOutcome> {
        let Self { problems, mut before, .. } = self;
        match result {
            Ok(mut done) => {
                done.outcome.add(problems);
                before.push(&done.tail.join("\n"));
                before.push(&Vec::from(after.lines).join("\n"));
                Ok(Finished { tail: before.lines.into(), ..done })
            }
            Err(NoOutcome::Failed(mut failure)) => {
                for problem in problems {
                    failure.message = format!("{}; besides, {}", failure.message, problem.message);
                }
                before.push(&failure.log_tail.join("\n"));
                before.push(&Vec::from(after.lines).join("\n"));
                failure.log_tail = before.lines.into();
                Err(failure.into())
            }
            Err(stopped) => Err(stopped),
        }
    }
}

/// Keeps what one said, under its name.
fn keep(log: &mut Tail, hook: &Hook<'_>, problem: Option<&str>, tail: &[String]) {
    log.push(&format!("{} {}: {}", hook.phase, hook.name(), problem.unwrap_or("done")));
    log.push(&tail.join("\n"));
}

fn incomplete(message: String) -> Finding {
    Finding { severity: Severity::Incomplete, path: None, message }
}

//! What a plan runs before and after a backup, around the work itself.
//!
//! A hook that did not do its work is told, whatever else went well: one before the backup prepares what is to be in it,
//! and one after it that fails in silence for months is the accident that people call a backup that was never taken away.

use super::backup::server_of;
use super::quiesce::Aside;
use super::{Bench, Finished};
use crate::control::{NoOutcome, Stop};
use crate::core::tail::Tail;
use crate::hook::{self, Environment, Hook, Ran};
use std::sync::PoisonError;
use std::time::Duration;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::hook::OnFailure;
use strongroom_domain::job::{BackupSpec, Completeness};
use strongroom_domain::{Failure, FailureCode, quiesce};

/// Runs the work with its hooks.
pub async fn around(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    work: impl Future<Output = Result<Finished, NoOutcome>>,
) -> Result<Finished, NoOutcome> {
    // All of them, before the first: half of what belongs together is worse than nothing.
    hook::check(bench.allow_hooks, spec.hooks.commands().chain(quiesce::commands(&spec.quiesce)))?;
    let mut running =
        Hooks { bench, environment: environment(bench, spec), problems: Vec::new(), before: Tail::default() };
    let result = match running.before(spec).await {
        Ok(()) => work.await,
        Err(why) => Err(why),
    };
    let outcome = match &result {
        Ok(_) if running.is_not_all_done() => Completeness::Incomplete.to_string(),
        Ok(done) => done.outcome.completeness.to_string(),
        Err(NoOutcome::Stopped(Stop::Cancel)) => "cancelled".to_owned(),
        // The job goes on in another attempt, which has hooks of its own.
        Err(NoOutcome::Stopped(Stop::Shutdown | Stop::Stale)) => return result,
        Err(NoOutcome::Failed(_) | NoOutcome::Stopped(Stop::TimeUp | Stop::SourceFailed | Stop::LetGo)) => {
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
        docker_host: bench.containers.named_host().map(str::to_owned),
    }
}

struct Hooks<'a> {
    bench: &'a Bench<'a>,
    environment: Environment,
    problems: Vec<String>,
    before: Tail,
}

impl Hooks<'_> {
    /// Whether something is to be told that the work itself does not know.
    fn is_not_all_done(&self) -> bool {
        let aside = self.bench.aside.lock().unwrap_or_else(PoisonError::into_inner);
        !self.problems.is_empty() || !aside.still_stopped.is_empty()
    }

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
            hook.keep(&mut self.before, problem.as_deref(), &tail);
            let Some(problem) = problem else { continue };
            let message = format!("the hook {} before the backup {problem}", hook.name());
            match before.on_failure {
                OnFailure::Abort => {
                    let log = std::mem::take(&mut self.before).lines.into();
                    return Err(Failure::new(FailureCode::HookFailed, message).with_log(log).into());
                }
                OnFailure::Continue => self.problems.push(message),
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
                        hook.keep(&mut log, problem.as_deref(), &tail);
                        problem
                    }
                    Err(Stop::Stale) => return Err(NoOutcome::Stopped(Stop::Stale)),
                    // What was made is made, and is told.
                    Err(_) => Some("was ended, because the executor ends".to_owned()),
                };
            if let Some(problem) = problem {
                let message = format!("the hook {} after the backup {problem}", hook.name());
                tracing::warn!(job = %self.bench.job, problem = message, "a hook failed");
                self.problems.push(message);
            }
        }
        Ok(log)
    }

    /// The result, with what its hooks and its stop and start commands said.
    fn told(self, result: Result<Finished, NoOutcome>, after: Tail) -> Result<Finished, NoOutcome> {
        let Self { bench, problems, before: mut log, .. } = self;
        let Aside { log: beside, still_stopped } =
            std::mem::take(&mut *bench.aside.lock().unwrap_or_else(PoisonError::into_inner));
        let all = |words: Vec<String>| {
            for lines in [words, beside.lines.into(), after.lines.into()] {
                log.push(&lines.join("\n"));
            }
            Vec::from(log.lines)
        };
        let mut failure = match result {
            Ok(mut done) => {
                // What is still stopped comes first: somebody must see to it now.
                let findings = still_stopped.into_iter().chain(problems).map(incomplete);
                done.outcome.add(findings.collect());
                return Ok(Finished { tail: all(done.tail), ..done });
            }
            Err(NoOutcome::Failed(failure)) => failure,
            // A job that was cancelled and has left something stopped is not over with that.
            Err(NoOutcome::Stopped(why)) if !still_stopped.is_empty() => {
                let how = if why == Stop::Cancel { "cancelled" } else { "stopped" };
                Failure::new(FailureCode::StillStopped, format!("the backup was {how}"))
            }
            Err(stopped) => return Err(stopped),
        };
        if !still_stopped.is_empty() {
            failure.code = FailureCode::StillStopped;
            failure.advice = FailureCode::StillStopped.advice().to_owned();
            failure.message = format!("{}; besides, {}", still_stopped.join("; "), failure.message);
        }
        for problem in problems {
            failure.message = format!("{}; besides, {problem}", failure.message);
        }
        failure.log_tail = all(std::mem::take(&mut failure.log_tail));
        Err(failure.into())
    }
}

fn incomplete(message: String) -> Finding {
    Finding { severity: Severity::Incomplete, path: None, message }
}

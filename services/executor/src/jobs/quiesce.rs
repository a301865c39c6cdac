//! Stopping what a plan names while its data is read, and starting it again whatever comes of it.

use super::Bench;
use super::hooks::environment;
use crate::control::NoOutcome;
use crate::core::tail::Tail;
use crate::hook::{self, Hook, Ran};
use crate::quiesce::{Holding, Note};
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use strongroom_domain::job::BackupSpec;
use strongroom_domain::{Failure, FailureCode};

/// How often a start command is tried.
const TRIES: u32 = 3;

/// What is said beside the work, and told with its end.
#[derive(Default)]
pub struct Aside {
    /// What stop and start commands said.
    pub log: Tail,
    /// What is still stopped.
    pub still_stopped: Vec<String>,
}

/// Does this while what the plan names is stopped. It must end by itself when the attempt is to stop.
pub async fn around<T, E: From<NoOutcome>>(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    if spec.quiesce.is_empty() {
        return work.await;
    }
    let note = Note {
        plan: spec.plan.to_string(),
        job: bench.job.to_string(),
        server: environment(bench, spec).server,
        stopped: Vec::new(),
    };
    bench.step("wait for others");
    let mut control = bench.control.clone();
    let name = format!("{}-{}", bench.job, bench.epoch);
    let mut holding = tokio::select! {
        holding = bench.state.stopped.hold(&name, note, &spec.quiesce) => holding,
        why = control.stopped() => return Err(NoOutcome::Stopped(why).into()),
    };
    let children = bench.state.children();
    let mut log = Tail::default();
    let left = bench.state.stopped.mend_plan(spec.plan.as_str(), &spec.quiesce, &children, &mut log).await;
    bench.step("stop");
    let since = Instant::now();
    let stopped = stop_all(bench, spec, &mut holding, &mut log).await;
    let done = match stopped {
        Ok(()) => work.await,
        Err(why) => Err(why.into()),
    };
    bench.step("start");
    let problems = holding.start(&children, TRIES, &mut log).await;
    log.push(&format!("stopped for {} s", since.elapsed().as_secs()));
    let mut aside = bench.aside.lock().unwrap_or_else(PoisonError::into_inner);
    aside.log = log;
    // What an earlier attempt has left is in ours as well, mostly.
    aside.still_stopped = problems;
    for problem in left {
        if !aside.still_stopped.contains(&problem) {
            aside.still_stopped.push(problem);
        }
    }
    done
}

async fn stop_all(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    holding: &mut Holding<'_>,
    log: &mut Tail,
) -> Result<(), NoOutcome> {
    let environment = environment(bench, spec);
    for one in &spec.quiesce {
        holding.note(one).map_err(|e| {
            let message = format!("what is to be stopped could not be noted, so it was not stopped: {e}");
            Failure::new(FailureCode::QuiesceFailed, message)
        })?;
        let stop = &one.stop;
        let within = Duration::from_secs(stop.timeout_s.into());
        let hook = Hook { command: &stop.command, within, phase: "stop", outcome: None };
        let ran = hook::run(&hook, &environment, &bench.state.children(), bench.control.clone()).await;
        let Ran { problem, tail } = ran.map_err(NoOutcome::Stopped)?;
        hook.keep(log, problem.as_deref(), &tail);
        if let Some(problem) = problem {
            let message = format!("'{}', which stops it for the backup, {problem}", stop.command.join(" "));
            return Err(Failure::new(FailureCode::QuiesceFailed, message).into());
        }
    }
    Ok(())
}

//! One attempt at a job: may I, I begin, the work, how it ended.
//!
//! The accident that this file prevents is P7: two attempts at once. Before it begins and every few seconds after, an
//! attempt asks whether it still stands; when another one has taken over, it kills its child and says nothing.

use crate::cache;
use crate::container::{BACK_WITHIN, Lost};
use crate::control::{Control, NoOutcome, Stop, Stopper, pair};
use crate::core::progress::Meter;
use crate::found;
use crate::jobs::{self, Bench};
use crate::worker::Worker;
use age::secrecy::SecretString;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strongroom_bus::WorkDelivery;
use strongroom_domain::job::{JobSpec, Report};
use strongroom_domain::wire::{LeaseAnswer, LeaseQuestion, NodeReport, Progress, Status, WorkItem};
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::{Shutdown, clock, retry, trace};
use tracing::Instrument;

/// How often a delivery is kept from going to somebody else; far below the time after which it would.
const IN_PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// How long a test of a source or a destination may take.
const TEST_WITHIN: Duration = Duration::from_secs(180);
/// How long it may take to say what a restore would do.
const PREVIEW_WITHIN: Duration = Duration::from_secs(1800);
/// At which attempt it is given up to wait for Docker's engine.
const ATTEMPTS_WITHOUT_ENGINE: u32 = 5;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Makes one attempt; the delivery is acked when there is nothing more to do for it.
pub async fn run(worker: &Worker, item: WorkItem, delivery: WorkDelivery, shutdown: Shutdown) {
    let span =
        tracing::info_span!("executor.attempt", job = %item.job, epoch = item.epoch, kind = item.spec.kind());
    trace::continue_from(&span, delivery.traceparent.as_deref());
    let keeping = async {
        loop {
            tokio::time::sleep(IN_PROGRESS_EVERY).await;
            delivery.ack.in_progress().await;
        }
    };
    let working = attempt(worker, &item, &shutdown).instrument(span);
    let over = tokio::select! {
        over = working => over,
        () = keeping => true,
    };
    if !over {
        // It comes again, to the next life of this executor.
        return;
    }
    if let Err(fault) = delivery.ack.done().await {
        tracing::debug!(job = %item.job, error = %fault, "an ack was lost; the delivery comes again and is known");
    }
}

/// Says whether the delivery is done with.
async fn attempt(worker: &Worker, item: &WorkItem, shutdown: &Shutdown) -> bool {
    let question = LeaseQuestion { job: item.job, epoch: item.epoch };
    let asked = retry::until_done("asking for a lease", shutdown, || worker.bus.lease(&question)).await;
    let how = match asked {
        None => return false,
        Some(LeaseAnswer::Stale) => return true,
        Some(LeaseAnswer::CancelRequested) => Some(Report::Cancelled),
        Some(LeaseAnswer::Held) => {
            tokio::select! {
                () = worker.is_alone(item.job, item.epoch) => {}
                () = shutdown.cancelled() => return false,
            }
            let begun =
                NodeReport::Started { job: item.job, epoch: item.epoch, boot: worker.state.boot.clone() };
            if !tell(worker, item, "started", &begun, shutdown).await {
                return false;
            }
            work(worker, item, &question, shutdown).await
        }
    };
    let Some(how) = how else {
        tracing::info!("another attempt has taken over; this one says nothing");
        return true;
    };
    let ended = NodeReport::Ended { job: item.job, epoch: item.epoch, how };
    // An outcome is told even while the executor ends: losing it would cost the whole work.
    let winding_up = Shutdown::new();
    let until = async {
        shutdown.cancelled().await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        winding_up.cancel();
    };
    let is_last = !matches!(ended, NodeReport::Ended { how: Report::Interrupted { .. }, .. });
    let told = tokio::select! {
        told = tell(worker, item, "ended", &ended, &winding_up) => told,
        () = until => false,
    };
    if told && is_last {
        found::forget(&worker.state.findings(), item.job);
    }
    told
}

/// Does the work under the eyes of the scheduler. `None`: it is not ours any more.
async fn work(
    worker: &Worker,
    item: &WorkItem,
    question: &LeaseQuestion,
    shutdown: &Shutdown,
) -> Option<Report> {
    let (stopper, control) = pair();
    let meter = Arc::new(Mutex::new(Meter::new(item.job, item.epoch, item.expected_bytes, clock::now())));
    let read = || meter.lock().unwrap_or_else(PoisonError::into_inner).read();
    let watching = watch(worker, question, item.spec.time_limit(), &stopper, shutdown);
    let telling = tell_progress(worker, item, read);
    tokio::select! {
        report = conclude(worker, item, control, &meter) => report,
        () = watching => None,
        () = telling => None,
    }
}

async fn conclude(
    worker: &Worker,
    item: &WorkItem,
    control: Control,
    meter: &Arc<Mutex<Meter>>,
) -> Option<Report> {
    let result = match passphrase(worker, item) {
        Ok(passphrase) => {
            if let Some(access) = item.spec.access().filter(|a| item.spec.writes() && a.store.is_none()) {
                cache::mend(&worker.state.borg_base(), Path::new(&access.location));
            }
            let bench = Bench {
                borg: &worker.borg,
                bus: &worker.bus,
                state: &worker.state,
                allow_hooks: &worker.config.allow_hooks,
                programs: &worker.config.programs,
                containers: &worker.containers,
                job: item.job,
                epoch: item.epoch,
                attempt: item.attempt,
                borg_repository_id: item.borg_repository_id.as_deref(),
                passphrase,
                sealed: &item.secrets,
                control,
                meter: meter.clone(),
                aside: Mutex::default(),
            };
            // What an earlier attempt had to do without is over.
            let _ = worker.containers.lost(item.job);
            let until = bench.control.clone();
            let done = jobs::run(&bench, &item.spec).await;
            worker.containers.gone(item.job).await;
            let lost = worker.containers.lost(item.job);
            match (done, lost) {
                (Err(NoOutcome::Failed(failure)), Some(lost)) => {
                    match without_engine(worker, item, until, failure, lost).await {
                        Ok(reason) => return Some(Report::Interrupted { reason }),
                        Err(why) => Err(why),
                    }
                }
                (done, _) => done,
            }
        }
        Err(failure) => Err(failure.into()),
    };
    Some(match result {
        Ok(done) => Report::Succeeded { outcome: done.outcome, log_tail: done.tail },
        Err(NoOutcome::Failed(failure)) => Report::Failed { failure },
        Err(NoOutcome::Stopped(Stop::Stale)) => return None,
        Err(NoOutcome::Stopped(Stop::Cancel)) => Report::Cancelled,
        Err(NoOutcome::Stopped(Stop::Shutdown)) => {
            Report::Interrupted { reason: "the executor was told to end".into() }
        }
        // Whoever stops borg for this reason knows a better failure.
        Err(NoOutcome::Stopped(Stop::SourceFailed | Stop::LetGo)) => {
            Report::Failed { failure: Failure::new(FailureCode::DumpFailed, "the dump broke off") }
        }
        Err(NoOutcome::Stopped(Stop::TimeUp)) => {
            let limit = item.spec.time_limit().unwrap_or_default().as_secs();
            let message = format!("it was stopped after {limit} s");
            Report::Failed { failure: Failure::new(FailureCode::TimedOut, message) }
        }
    })
}

/// A job that failed because Docker's engine was away: it is done again when that is back. Why it is interrupted, or why not.
async fn without_engine(
    worker: &Worker,
    item: &WorkItem,
    control: Control,
    failure: Failure,
    lost: Lost,
) -> Result<String, NoOutcome> {
    let (words, code) = match lost {
        Lost::InTheMiddle => ("Docker's engine went away in the middle", FailureCode::ContainerFailed),
        // What has failed otherwise has not failed for that.
        Lost::BeforeIt if failure.code != FailureCode::ToolMissing => return Err(failure.into()),
        Lost::BeforeIt => ("Docker's engine is away", FailureCode::ToolMissing),
    };
    let told = |more: &str| {
        let message = format!("{words}{more}: {}", failure.message);
        let mut told = Failure::new(code, message).with_log(failure.log_tail.clone());
        // Advice of its own says where what people had is by now.
        if failure.advice != failure.code.advice() {
            told.advice.clone_from(&failure.advice);
        }
        NoOutcome::Failed(told)
    };
    // Somebody waits for the answer of a test.
    if item.spec.is_test() || item.spec.is_preview() {
        return Err(told(""));
    }
    if item.attempt >= ATTEMPTS_WITHOUT_ENGINE {
        return Err(told(&format!(" once more, at attempt {}", item.attempt)));
    }
    tracing::warn!(words, problem = failure.message, "it is tried again when the engine answers");
    if control.unless_stopped(worker.containers.back(item.job)).await? {
        return Ok(format!("{words}; it answers again"));
    }
    Err(told(&format!(" and did not answer within {} s", BACK_WITHIN.as_secs())))
}

/// The passphrase that opens the repository, out of what came with the work.
fn passphrase(worker: &Worker, item: &WorkItem) -> Result<Option<SecretString>, Failure> {
    let reference = item.spec.access().and_then(|access| access.passphrase.as_ref());
    reference.map(|reference| jobs::secret(&worker.state.identity, &item.secrets, reference)).transpose()
}

/// Watches whether to stop. Never ends.
async fn watch(
    worker: &Worker,
    question: &LeaseQuestion,
    limit: Option<Duration>,
    stopper: &Stopper,
    shutdown: &Shutdown,
) {
    let leases = async {
        loop {
            tokio::time::sleep(worker.config.lease_every).await;
            match worker.bus.lease(question).await {
                Ok(LeaseAnswer::Held) => {}
                Ok(LeaseAnswer::CancelRequested) => stopper.stop(Stop::Cancel),
                Ok(LeaseAnswer::Stale) => stopper.stop(Stop::Stale),
                // Nobody answers: the work goes on. If it is given to somebody else, its epoch refuses our outcome.
                Err(fault) => tracing::debug!(error = %fault, "the lease is not answered"),
            }
        }
    };
    let time = async {
        if let Some(limit) = limit {
            tokio::time::sleep(limit).await;
            stopper.stop(Stop::TimeUp);
        }
        std::future::pending::<()>().await;
    };
    let end = async {
        shutdown.cancelled().await;
        stopper.stop(Stop::Shutdown);
        std::future::pending::<()>().await;
    };
    tokio::join!(leases, time, end);
}

/// Tells progress whenever it has changed. Never ends.
async fn tell_progress(worker: &Worker, item: &WorkItem, read: impl Fn() -> Progress) {
    let mut told = None;
    loop {
        let progress = read();
        if told.as_ref() != Some(&progress) {
            worker.bus.status(&item.job.to_string(), &Status::Progress(progress.clone())).await;
            told = Some(progress);
        }
        tokio::time::sleep(PROGRESS_EVERY).await;
    }
}

/// Reports until it is stored; says whether it was.
async fn tell(
    worker: &Worker,
    item: &WorkItem,
    what: &str,
    report: &NodeReport,
    shutdown: &Shutdown,
) -> bool {
    let id = format!("{}-{}-{what}", item.job, item.epoch);
    let traceparent = trace::traceparent(&tracing::Span::current());
    let told = || worker.bus.report(&id, report, traceparent.as_deref());
    retry::until_done("reporting", shutdown, told).await.is_some()
}

/// How long a job may take, when its plan says so. There is no other limit: a first backup may take days (P8).
trait TimeLimit {
    fn time_limit(&self) -> Option<Duration>;
}

impl TimeLimit for JobSpec {
    fn time_limit(&self) -> Option<Duration> {
        match self {
            JobSpec::Backup(spec) => spec.limits.max_duration_s.map(Duration::from_secs),
            // A large archive takes its time to be listed.
            spec if spec.is_preview() => Some(PREVIEW_WITHIN),
            // Somebody waits for the answer.
            spec if spec.is_test() => Some(TEST_WITHIN),
            _ => None,
        }
    }
}

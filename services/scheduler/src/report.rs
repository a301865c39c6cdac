//! Taking down what nodes report.
//!
//! A report stays in its queue until what follows from it is in the log. One that comes twice finds its fact there; one
//! that may not be true any more (another attempt has taken over) is refused and leaves no trace but a line in the log.

use crate::core::cause::Cause;
use crate::core::reports::JobHistory;
use crate::core::scans::{ScanPage, WrongId, is_news};
use crate::core::world::{Admission, Scan};
use crate::desk::Desk;
use std::time::Duration;
use strongroom_bus::{Context, DecideError, Fault, NewEvent, Poison, ReportDelivery};
use strongroom_domain::job::{Refusal, Report};
use strongroom_domain::wire::NodeReport;
use strongroom_domain::{Aggregate, ArchiveId, Event, EventId, JobId, Kind, NodeId, node};
use strongroom_service::{Shutdown, clock, trace};
use tracing::Instrument;

/// How long one pull waits. One that was under way when a server went away is never answered, and a report that waits
/// behind it must be taken down well before its attempt would count as silent.
const PULL: Duration = Duration::from_secs(5);
/// How long the fold may take to come to what a report speaks of.
const REACH: Duration = Duration::from_secs(5);
/// When a report that could not be taken down is delivered again.
const LATER: Duration = Duration::from_secs(1);
/// The same, when only people can help: what it is about is halted, or the log is full.
const MUCH_LATER: Duration = Duration::from_secs(60);

/// Why a report was not taken down.
enum Problem {
    /// It may be later.
    Later(String, Duration),
    /// It never will be: it is not true, or not true any more.
    Refused(Refusal),
    /// It never will be: it cannot be true.
    Untrue(WrongId),
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let later = if fault.is_transient() { LATER } else { MUCH_LATER };
        Self::Later(fault.to_string(), later)
    }
}

impl From<DecideError<Refusal>> for Problem {
    fn from(error: DecideError<Refusal>) -> Self {
        match error {
            DecideError::Rejected(refusal) => Self::Refused(refusal),
            DecideError::Fault(fault) => fault.into(),
        }
    }
}

/// Takes reports down for ever.
pub async fn take_for_ever(desk: &Desk, shutdown: &Shutdown) {
    let mut seen = desk.seen.subscribe();
    // A report is checked against the whole log and not against the part that was read so far.
    if seen.wait_for(|s| s.caught_up).await.is_err() {
        return std::future::pending().await;
    }
    while !shutdown.is_cancelled() {
        match desk.bus.next_report(PULL).await {
            Ok(Some(delivery)) => take(desk, &delivery).await,
            Ok(None) => {}
            Err(fault) => {
                tracing::warn!(error = %fault, "reports cannot be read; it is tried again");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    }
}

async fn take(desk: &Desk, delivery: &ReportDelivery) {
    let node = &delivery.node;
    let result = match &delivery.report {
        Ok(report) => {
            let span = tracing::info_span!("scheduler.report", %node);
            trace::continue_from(&span, delivery.traceparent.as_deref());
            take_down(desk, node, report).instrument(span).await
        }
        Err(problem) => {
            // Nobody can ever read it, and the job that it was about is watched by state and clock.
            tracing::error!(%node, problem, "a node's report cannot be read; it is dropped");
            remember(desk, node, problem).await;
            Ok(())
        }
    };
    match result {
        Ok(()) | Err(Problem::Refused(Refusal::Duplicate)) => {}
        Err(Problem::Refused(refusal)) => tracing::warn!(%node, %refusal, "a report was refused"),
        Err(Problem::Untrue(wrong)) => tracing::warn!(%node, %wrong, "a report was refused"),
        Err(Problem::Later(problem, later)) => {
            tracing::warn!(%node, problem, "a report could not be taken down; it comes again");
            delivery.later(later).await;
            return;
        }
    }
    if let Err(fault) = delivery.done().await {
        tracing::debug!(%node, error = %fault, "an ack was lost; the report comes again and is known then");
    }
}

/// Lets people see that a node says what cannot be read: one word a node, however often it does.
async fn remember(desk: &Desk, node: &NodeId, problem: &str) {
    let poison = Poison {
        sequence: 0,
        aggregate: Some(Aggregate::new(Kind::Node, node)),
        subject: format!("strongroom.report.{node}"),
        reason: format!("a report of this node cannot be read and was dropped: {problem}"),
    };
    if let Err(fault) = desk.bus.quarantine("scheduler", &poison, clock::now()).await {
        tracing::warn!(%node, error = %fault, "it could not be set down for people to see");
    }
}

async fn take_down(desk: &Desk, node: &NodeId, report: &NodeReport) -> Result<(), Problem> {
    match report {
        NodeReport::Joined(joined) => join(desk, node, joined).await,
        NodeReport::Started { job, epoch, boot } => {
            let (admission, cause) = admission(desk, *job, *epoch).await?;
            let id = EventId::of_command(&format!("started/{job}/{epoch}"), 0);
            decide(desk, node, *job, &cause, id, |history| history.start(&admission, node, *epoch, boot))
                .await
        }
        NodeReport::Ended { job, epoch, how } => {
            let (admission, cause) = admission(desk, *job, *epoch).await?;
            let word = if matches!(how, Report::Interrupted { .. }) { "interrupted" } else { "ended" };
            let id = EventId::of_command(&format!("{word}/{job}/{epoch}"), 0);
            decide(desk, node, *job, &cause, id, |history| {
                history.finish(&admission, node, *epoch, how.clone())
            })
            .await
        }
        NodeReport::Scanned { job, epoch, page, archives, last, all } => {
            let (archives, all) = (archives.clone(), all.clone());
            let page = ScanPage { job: *job, epoch: *epoch, page: *page, archives, last: *last, all };
            scanned(desk, node, page).await
        }
    }
}

async fn join(desk: &Desk, node: &NodeId, joined: &node::Joined) -> Result<(), Problem> {
    let aggregate = Aggregate::new(Kind::Node, node);
    let new = NewEvent {
        id: EventId::of_command(&format!("joined/{node}/{}", joined.boot), 0),
        at: clock::now(),
        event: Event::NodeJoined(joined.clone()),
    };
    let context = Context { actor: format!("node:{node}"), ..Context::default() };
    desk.bus.journal().decide(&aggregate, &context, |_| Ok::<_, Refusal>(Some(new.clone()))).await?;
    desk.heard(node, &[]);
    Ok(())
}

/// The admission that a report speaks of, once the fold has come that far.
async fn admission(desk: &Desk, job: JobId, epoch: u64) -> Result<(Admission, Cause), Problem> {
    // An epoch that lies ahead of the whole log was never given to anybody.
    if desk.world().sequence < epoch {
        let (_, last) = desk.bus.log_state().await?;
        if last < epoch {
            return Err(Problem::Refused(Refusal::Stale));
        }
        if !desk.reaches(epoch, REACH).await {
            return Err(Problem::Later(format!("the fold has not come to sequence {epoch}"), LATER));
        }
    }
    let world = desk.world();
    let open = world.jobs.get(&job).ok_or(Problem::Refused(Refusal::Stale))?;
    let admission = open.admission.clone().ok_or(Problem::Refused(Refusal::Stale))?;
    Ok((admission, open.cause.clone()))
}

async fn decide(
    desk: &Desk,
    node: &NodeId,
    job: JobId,
    cause: &Cause,
    id: EventId,
    fact: impl Fn(&JobHistory) -> Result<Event, Refusal> + Send + Sync,
) -> Result<(), Problem> {
    let traceparent = trace::traceparent(&tracing::Span::current());
    let context = cause.context(format!("node:{node}"), traceparent);
    let at = clock::now();
    let aggregate = Aggregate::new(Kind::Job, job);
    let decided = desk.bus.journal().decide(&aggregate, &context, |history| {
        let history = JobHistory::of(&history.events).ok_or(Refusal::Stale)?;
        Ok(Some(NewEvent { id, at, event: fact(&history)? }))
    });
    decided.await?;
    Ok(())
}

async fn scanned(desk: &Desk, node: &NodeId, page: ScanPage) -> Result<(), Problem> {
    // What is known must be all that is known by now: an archive that is folded a moment later would be adopted twice.
    let (_, last) = desk.bus.log_state().await?;
    if !desk.reaches(last.max(page.epoch), REACH).await {
        return Err(Problem::Later(format!("the fold has not come to sequence {last}"), LATER));
    }
    let (taken, scan) = {
        let world = desk.world();
        let scan = world.scan(page.job, node, page.epoch).ok_or(Problem::Refused(Refusal::Stale))?;
        let taken = desk.scans().take(&world, &scan.repository, &page).map_err(Problem::Untrue)?;
        (taken, scan)
    };
    if taken.is_incomplete {
        tracing::info!(
            job = %page.job,
            "not all pages of the scan have come to this scheduler: it declares nothing missing; a later scan does"
        );
    }
    for (archive, event) in taken.facts {
        write_about_archive(desk, &scan, archive, event).await?;
    }
    Ok(())
}

async fn write_about_archive(
    desk: &Desk,
    scan: &Scan,
    archive: ArchiveId,
    event: Event,
) -> Result<(), Problem> {
    let traceparent = trace::traceparent(&tracing::Span::current());
    let context = scan.cause.context(format!("node:{}", scan.node), traceparent);
    let id = EventId::of_command(&format!("{}/{archive}/{}", event.type_name(), scan.job), 0);
    let new = NewEvent { id, at: clock::now(), event };
    let aggregate = Aggregate::new(Kind::Archive, archive);
    let decided = desk.bus.journal().decide(&aggregate, &context, |history| {
        Ok::<_, Refusal>(is_news(&history.events, scan.epoch).then(|| new.clone()))
    });
    decided.await?;
    Ok(())
}

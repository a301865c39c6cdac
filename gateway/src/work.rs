//! Asking for work: the request in the log, 202 with the job, or its end when somebody wants to wait.

use crate::app::App;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::resources::definition::key_reused;
use serde_json::{Value, json};
use std::time::Duration;
use strongroom_bus::{AppendError, Head, NewEvent, Position};
use strongroom_domain::job::{JobSpec, Phase, Requested};
use strongroom_domain::view::{Job, ListQuestion, Page};
use strongroom_domain::{Aggregate, Event, EventId, JobId, Kind};
use strongroom_service::clock;
use tokio::time::Instant;
use warp::http::{HeaderName, StatusCode, header};

/// The longest time that a request may wait for the end of its job.
const LONGEST_WAIT_S: u64 = 120;

/// Asks for a job, under an id that a repeated request has again.
pub async fn ask(app: &App, request: &Request, requested: Requested) -> Result<Good, Problem> {
    let asked = self::request(app, request, job_of(request), requested).await?;
    answer(app, request, asked).await
}

/// The answer to a request that was made before, under the same key: what it is about may be gone by now, or may have
/// changed, which is no reason to say that it cannot be done. `same` looks at what was asked for then.
pub async fn asked_before(
    app: &App,
    request: &Request,
    same: impl FnOnce(&JobSpec) -> bool,
) -> Result<Option<Good>, Problem> {
    if request.header("idempotency-key").is_none_or(str::is_empty) {
        return Ok(None);
    }
    let job = job_of(request);
    let history = app.bus.journal().load(&Aggregate::new(Kind::Job, job)).await?;
    match history.events.first().map(|e| (&e.event, e.sequence)) {
        Some((Event::JobRequested(requested), sequence)) => {
            if !same(&requested.spec) {
                return Err(key_reused().into());
            }
            let asked = Asked { job, requested: requested.clone(), sequence, before: true };
            answer(app, request, asked).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// The job of a request: that of the first one, when it is repeated with its key.
fn job_of(request: &Request) -> JobId {
    JobId(EventId::of_command(&request.command(), 1).0)
}

/// One of several jobs of a request, by the part of it that each is about: the same again when the request is repeated.
pub fn job_of_part(request: &Request, part: &str) -> JobId {
    // No key holds a line break, so no other request and part read like these two.
    JobId(EventId::of_command(&format!("{}\n{part}", request.command()), 1).0)
}

/// Such a job, when a request with this key has asked for it before.
pub async fn part_asked_before(app: &App, request: &Request, part: &str) -> Result<Option<Asked>, Problem> {
    if request.header("idempotency-key").is_none_or(str::is_empty) {
        return Ok(None);
    }
    let job = job_of_part(request, part);
    let history = app.bus.journal().load(&Aggregate::new(Kind::Job, job)).await?;
    Ok(match history.events.first().map(|e| (&e.event, e.sequence)) {
        Some((Event::JobRequested(requested), sequence)) => {
            Some(Asked { job, requested: requested.clone(), sequence, before: true })
        }
        _ => None,
    })
}

/// A job that was asked for.
pub struct Asked {
    /// Which one.
    pub job: JobId,
    /// As it stands in the log.
    pub requested: Requested,
    /// Where.
    pub sequence: u64,
    /// Not by this request.
    before: bool,
}

/// Writes the request for a job; one that is there already is as good.
pub async fn request(
    app: &App,
    request: &Request,
    job: JobId,
    requested: Requested,
) -> Result<Asked, Problem> {
    let aggregate = Aggregate::new(Kind::Job, job);
    let new = NewEvent {
        id: EventId::of_command(&format!("request/{job}"), 0),
        at: clock::now(),
        event: Event::JobRequested(requested.clone()),
    };
    let context = request.context(Some(job.to_string()));
    let appended = app.bus.journal().append(&aggregate, &Head::default(), &new, &context).await;
    match appended {
        Ok(appended) if !appended.was_there => {
            return Ok(Asked { job, requested, sequence: appended.head.sequence, before: false });
        }
        // It was asked for before, under the same key.
        Ok(_) | Err(AppendError::Conflict) => {}
        Err(AppendError::Fault(fault)) => return Err(fault.into()),
    }
    let history = app.bus.journal().load(&aggregate).await?;
    match history.events.first().map(|e| (&e.event, e.sequence)) {
        Some((Event::JobRequested(before), sequence)) if is_same(&before.spec, &requested.spec) => {
            Ok(Asked { job, requested: before.clone(), sequence, before: true })
        }
        _ => Err(key_reused().into()),
    }
}

/// Whether two requests under one key ask for the same. The path says most of it; what was looked up for the job may have
/// changed in between.
fn is_same(before: &JobSpec, now: &JobSpec) -> bool {
    match (before, now) {
        (JobSpec::Restore(before), JobSpec::Restore(now)) => {
            (&before.archive, &before.paths, &before.target, before.on_conflict, before.dry_run)
                == (&now.archive, &now.paths, &now.target, now.on_conflict, now.dry_run)
        }
        (JobSpec::RestoreCluster(before), JobSpec::RestoreCluster(now)) => {
            (&before.archive, &before.target, before.until, &before.os_user, before.dry_run)
                == (&now.archive, &now.target, now.until, &now.os_user, now.dry_run)
        }
        (JobSpec::Prune(before), JobSpec::Prune(now)) => {
            (&before.plan, &before.access.repository, &before.policy)
                == (&now.plan, &now.access.repository, &now.policy)
        }
        _ => before.kind() == now.kind(),
    }
}

/// 202 with the job, or 200 with its end when the request prefers to wait for that (RFC 7240).
async fn answer(app: &App, request: &Request, asked: Asked) -> Result<Good, Problem> {
    let Asked { job, requested, sequence, before } = asked;
    let location = format!("/api/v1/jobs/{job}");
    if let Some(wait) = wait_of(request)
        && let Some((ended, position)) = wait_for_end(app, request, job, sequence, wait).await?
    {
        let good = Good::at(position, json!(ended)).with(header::LOCATION, location);
        return Ok(
            good.with(HeaderName::from_static("preference-applied"), format!("wait={}", wait.as_secs()))
        );
    }
    let position = app.bus.position(sequence);
    let mut shown = just_asked(job, &requested);
    if before {
        // It may be under way, or done.
        let (found, _): (Option<Job>, _) = app.ask("catalog", "job", &job, Some(position.clone())).await?;
        shown = found.unwrap_or(shown);
    }
    let mut good = Good::new(StatusCode::ACCEPTED, json!(shown)).with(header::LOCATION, location);
    good.position = Some(position);
    Ok(good)
}

/// A job that was just asked for.
fn just_asked(id: JobId, requested: &Requested) -> Job {
    Job {
        id,
        kind: requested.spec.kind().to_owned(),
        phase: Phase::Waiting,
        requested: requested.clone(),
        requested_at: clock::now(),
        started_at: None,
        ended_at: None,
        attempts: 0,
        cancel_requested: false,
        result: None,
        findings: Vec::new(),
        incomplete_total: 0,
        benign_total: 0,
        failure: None,
        notes: Vec::new(),
        log_tail: Vec::new(),
        traceparent: None,
        waiting: None,
    }
}

fn wait_of(request: &Request) -> Option<Duration> {
    let preferences = request.header("prefer")?.split([',', ';']);
    let wait =
        preferences.filter_map(|p| p.trim().strip_prefix("wait=")).find_map(|n| n.trim().parse::<u64>().ok());
    wait.map(|seconds| Duration::from_secs(seconds.min(LONGEST_WAIT_S)))
}

async fn wait_for_end(
    app: &App,
    request: &Request,
    job: JobId,
    sequence: u64,
    wait: Duration,
) -> Result<Option<(Job, Position)>, Problem> {
    request.leave_room();
    tokio::select! {
        ended = hear_of_end(app, job, sequence, wait) => ended,
        // Who waits is told of the job, to ask how it went when there is a gateway again.
        () = app.shutdown.cancelled() => Ok(None),
    }
}

/// The end of a job that was asked for at this sequence; nothing when it does not come in time.
pub async fn hear_of_end(
    app: &App,
    job: JobId,
    sequence: u64,
    wait: Duration,
) -> Result<Option<(Job, Position)>, Problem> {
    let end = Instant::now() + wait;
    let mut ended = app.live.ended_jobs();
    let mut at_least = sequence;
    loop {
        let asked = app.ask("catalog", "job", &job, Some(app.bus.position(at_least))).await;
        match asked {
            Ok((Some(job), position)) => {
                let job: Job = job;
                if job.phase.is_terminal() {
                    return Ok(Some((job, position)));
                }
            }
            Ok((None, _)) => {}
            Err(problem) if problem.status == StatusCode::SERVICE_UNAVAILABLE => {}
            Err(problem) => return Err(problem),
        }
        let mut look_again = Instant::now() + Duration::from_secs(1);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return Ok(None),
                () = tokio::time::sleep_until(look_again) => break,
                heard = ended.recv() => match heard {
                    Ok((id, at)) if id == job => {
                        at_least = at;
                        break;
                    }
                    Ok(_) => {}
                    // Too much was heard to be remembered: it is looked at instead.
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => break,
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => {
                        look_again = look_again.min(Instant::now() + Duration::from_millis(200));
                        tokio::time::sleep_until(look_again).await;
                        break;
                    }
                },
            }
        }
    }
}

/// Jobs of a repository that have not ended, as a person would name them.
pub async fn open_jobs_of_repository(app: &App, id: &str, at: Position) -> Result<Vec<String>, Problem> {
    let question = ListQuestion { repository: id.parse().ok(), ..ListQuestion::default() };
    open_jobs(app, question, at).await
}

/// Jobs of a plan that have not ended, as a person would name them.
pub async fn open_jobs_of_plan(app: &App, id: &str, at: Position) -> Result<Vec<String>, Problem> {
    let question = ListQuestion { plan: id.parse().ok(), ..ListQuestion::default() };
    open_jobs(app, question, at).await
}

async fn open_jobs(app: &App, question: ListQuestion, at: Position) -> Result<Vec<String>, Problem> {
    let mut open = Vec::new();
    for phase in [Phase::Waiting, Phase::Running] {
        let question = ListQuestion { phase: Some(phase), limit: Some(5), ..question.clone() };
        let (page, _): (Page<Job>, _) = app.ask("catalog", "jobs", &question, Some(at.clone())).await?;
        open.extend(page.items.iter().map(|job| format!("job {} ({})", job.id, job.kind)));
    }
    Ok(open)
}

/// A job by the id in a path.
pub fn job_id(id: &str) -> Result<JobId, Problem> {
    id.parse().map_err(|_| Problem::not_found("job", id))
}

/// A page as it is answered.
pub fn page<T: serde::Serialize>(page: &Page<T>) -> Value {
    json!({ "items": page.items, "next": page.next })
}

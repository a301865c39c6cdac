//! Jobs: what was asked for, how it goes, how it ended.

use super::definition::key_reused;
use super::plans;
use super::servers::Servers;
use crate::app::App;
use crate::body;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::work::{self, job_id};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_bus::{History, NewEvent, Position};
use strongroom_domain::admission::Waiting;
use strongroom_domain::definition::check_text;
use strongroom_domain::job::{CancelRequested, JobSpec, Phase, Requested, State, Trigger};
use strongroom_domain::repository::Access;
use strongroom_domain::view::{Job, ListQuestion, Page};
use strongroom_domain::wire::{Progress, Status};
use strongroom_domain::{Aggregate, Event, JobId, Kind, Rejection};
use strongroom_service::clock;
use warp::http::{StatusCode, header};

#[derive(Debug, Serialize, Deserialize)]
struct CancelBody {
    #[serde(default)]
    reason: Option<String>,
}

/// `GET /jobs`.
pub async fn list(app: &App, request: &Request) -> Result<Good, Problem> {
    let question = list_question(request, true)?;
    let (page, position): (Page<Job>, _) =
        app.ask("catalog", "jobs", &question, request.at_least.clone()).await?;
    Ok(Good::at(position, work::page(&page)))
}

/// The filters of a list.
pub fn list_question(request: &Request, with_phase: bool) -> Result<ListQuestion, Problem> {
    for (name, _) in &request.query {
        let known = matches!(name.as_str(), "plan" | "server" | "repository" | "after" | "limit");
        if !(known || with_phase && name == "phase") {
            return Err(Problem::field(name, "is no filter of this list"));
        }
    }
    Ok(ListQuestion {
        plan: body::query(request, "plan")?,
        server: body::query(request, "server")?,
        repository: body::query(request, "repository")?,
        phase: if with_phase { body::query(request, "phase")? } else { None },
        after: request.query("after").map(str::to_owned),
        limit: body::limit(request, 500)?,
    })
}

/// `GET /jobs/{id}`.
pub async fn show(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let (job, position) = find(app, job_id(id)?, request.at_least.clone()).await?;
    let progress = progress(app, &job).await;
    let mut body = json!(with_reason(app, job).await);
    if let (Some(progress), Value::Object(fields)) = (progress, &mut body) {
        fields.insert("progress".into(), json!(progress));
    }
    Ok(Good::at(position, body))
}

async fn find(app: &App, id: JobId, at_least: Option<Position>) -> Result<(Job, Position), Problem> {
    let (job, position): (Option<Job>, _) = app.ask("catalog", "job", &id, at_least).await?;
    if let Some(job) = job {
        return Ok((job, position));
    }
    // Who has just asked for a job looks for it before the view has seen it: the log itself knows.
    let missing = || Problem::not_found("job", &id.to_string());
    let written = app.bus.journal().load(&Aggregate::new(Kind::Job, id)).await?.head.sequence;
    if written <= position.sequence {
        return Err(missing());
    }
    let at_least = Some(app.bus.position(written));
    let (job, position): (Option<Job>, _) = app.ask("catalog", "job", &id, at_least).await?;
    Ok((job.ok_or_else(missing)?, position))
}

/// Why it waits; a scheduler that does not answer is no reason to say nothing about the job.
async fn with_reason(app: &App, mut job: Job) -> Job {
    if job.phase == Phase::Waiting {
        let asked: Result<(Vec<(JobId, Waiting)>, _), _> = app.ask("scheduler", "waiting", &(), None).await;
        if let Ok((waiting, _)) = asked {
            job.waiting = waiting.into_iter().find(|(id, _)| *id == job.id).map(|(_, why)| why);
        }
    }
    job
}

async fn progress(app: &App, job: &Job) -> Option<Progress> {
    if job.phase != Phase::Running {
        return None;
    }
    match app.bus.last_progress(&job.requested.node, job.id).await {
        Ok(Some(Status::Progress(progress))) => Some(progress),
        _ => None,
    }
}

/// A job as the log itself has it.
pub fn state_of(history: &History) -> Option<State> {
    let mut events = history.events.iter();
    let mut state = events.next().and_then(|e| State::begin(&e.event, e.at))?;
    events.for_each(|e| state.evolve(&e.event, e.at));
    Some(state)
}

/// `POST /jobs/{id}/cancel`.
pub async fn cancel(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let CancelBody { reason } = body::read(request)?;
    let mut problems = Vec::new();
    check_text(&mut problems, "reason", reason.as_deref().unwrap_or_default(), 500);
    if !problems.is_empty() {
        return Err(Rejection::Invalid { fields: problems }.into());
    }
    let job = job_id(id)?;
    let aggregate = Aggregate::new(Kind::Job, job);
    let (event_id, at) = (super::definition::event_id(request), clock::now());
    let context = request.context(Some(job.to_string()));
    let decided = app.bus.journal().decide(&aggregate, &context, |history| {
        let state =
            state_of(history).ok_or_else(|| Rejection::NotFound { kind: "job".into(), id: id.into() })?;
        if let Some(there) = history.events.iter().find(|e| e.id == event_id) {
            let wanted = Event::JobCancelRequested(CancelRequested { reason: reason.clone() });
            return if there.event == wanted {
                Ok(Some(NewEvent { id: event_id, at, event: wanted }))
            } else {
                Err(key_reused())
            };
        }
        let event = state.request_cancel(reason.clone())?;
        Ok(event.map(|event| NewEvent { id: event_id, at, event }))
    });
    let (appended, history) = decided.await?;
    let sequence = appended.map_or(history.head.sequence, |a| a.head.sequence);
    let body = json!({ "id": job, "cancel_requested": true });
    let mut good =
        Good::new(StatusCode::ACCEPTED, body).with(header::LOCATION, format!("/api/v1/jobs/{job}"));
    good.position = Some(app.bus.position(sequence));
    Ok(good)
}

/// `POST /jobs/{id}/retry`.
pub async fn retry(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    body::nothing(request)?;
    if let Some(answer) = work::asked_before(app, request, |_| true).await? {
        return Ok(answer);
    }
    // The log itself says how it ended: a view may be behind.
    let history = app.bus.journal().load(&Aggregate::new(Kind::Job, job_id(id)?)).await?;
    let state = state_of(&history).ok_or_else(|| Problem::not_found("job", id))?;
    match state.phase {
        Phase::Waiting | Phase::Running => {
            return Err(Problem::conflict("not_retryable", "the job has not ended; cancel it first"));
        }
        Phase::Complete => {
            return Err(Problem::conflict("not_retryable", "the job is complete; ask for a new one instead"));
        }
        _ if matches!(state.requested.spec, JobSpec::Download(_)) => {
            let detail = "who waited for the download has gone; GET it again instead";
            return Err(Problem::conflict("not_retryable", detail));
        }
        _ => {}
    }
    if let JobSpec::DeleteArchive { archive, .. } = &state.requested.spec {
        // Somebody may have held it since: that it was once to go is no reason to take it now.
        super::archives::is_free(app, &archive.id.to_string()).await?;
    }
    let trigger = Trigger::Retry { of: job_id(id)? };
    work::ask(app, request, again(app, state.requested, trigger).await?).await
}

/// The request for the same once more: a backup takes its plan as it is now, the others find their repository as it is
/// defined now, because what made them fail may have been corrected.
async fn again(app: &App, before: Requested, trigger: Trigger) -> Result<Requested, Problem> {
    if let JobSpec::Backup(backup) = &before.spec {
        match plans::request_run(app, backup.plan.as_str(), trigger.clone(), backup.full).await {
            Ok(requested) => return Ok(requested),
            Err(problem) if problem.status == StatusCode::NOT_FOUND => {}
            Err(problem) => return Err(problem),
        }
    }
    let mut requested = Requested { trigger, ..before };
    if let JobSpec::RestoreDump(spec) = &mut requested.spec {
        let definition =
            super::definition::referred::<Servers>(app, "server", requested.server.as_str()).await?;
        spec.allowed_roots = definition.dump_roots;
        requested.node = definition.node;
        return Ok(requested);
    }
    let Some(repository) = requested.spec.repository().map(ToString::to_string) else {
        return Ok(requested);
    };
    let (now, server, definition) = match super::repositories::reach_named(app, &repository).await {
        Ok(found) => found,
        Err(problem) if problem.status == StatusCode::NOT_FOUND => {
            let detail = format!("repository '{repository}' is not defined any more");
            return Err(Problem::conflict("not_retryable", detail));
        }
        Err(problem) => return Err(problem),
    };
    if let Some(access) = requested.spec.access_mut() {
        // What was given for this once to open the archive goes on being given.
        *access = Access { identity: access.identity.take(), ..now };
    }
    if let JobSpec::CopyArchive(spec) = &mut requested.spec {
        // Where it is copied from may have changed as well; when it is gone, the job says so.
        if let Ok((from, ..)) = super::repositories::reach_named(app, spec.from.repository.as_str()).await {
            spec.from = from;
        }
    }
    if let JobSpec::Restore(spec) = &mut requested.spec
        && server == requested.server
    {
        spec.allowed_roots.clone_from(&definition.restore_roots);
    }
    if let JobSpec::RestoreCluster(spec) = &mut requested.spec
        && server == requested.server
    {
        spec.allowed_roots.clone_from(&definition.restore_roots);
    }
    if server == requested.server {
        requested.node = definition.node;
    }
    Ok(requested)
}

/// `GET /jobs/{id}/log`.
pub async fn log(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let (job, position) = find(app, job_id(id)?, request.at_least.clone()).await?;
    let live = progress(app, &job).await.map(|p| p.log_tail);
    let failed = job.failure.as_ref().map(|f| f.log_tail.clone()).filter(|lines| !lines.is_empty());
    let lines = live.or(failed).unwrap_or(job.log_tail);
    Ok(Good::at(position, json!({ "id": job.id, "phase": job.phase, "lines": lines })))
}

//! Plans: what, where to, and when.

use super::definition::{Prepared, Resource, etag, event_id, existing, fold, key_reused, present, referred};
use super::repositories::{Repositories, reach_named};
use super::servers::Servers;
use crate::app::App;
use crate::conditions::Conditions;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{body, work};
use serde_json::{Map, Value, json};
use strongroom_bus::{NewEvent, Position};
use strongroom_domain::definition::{Retired, Validate, check_text};
use strongroom_domain::job::{BackupSpec, JobSpec, Requested, Trigger};
use strongroom_domain::{Aggregate, Event, Kind, PlanId, Rejection, plan};
use strongroom_service::clock;
use warp::http::{StatusCode, header};

/// The kind.
pub struct Plans;

impl Resource for Plans {
    type Spec = plan::Spec;
    const KIND: Kind = Kind::Plan;
    const PLURAL: &'static str = "plans";
    const SINGULAR: &'static str = "plan";

    fn pick(event: &Event) -> Option<plan::Spec> {
        if let Event::PlanDefined(spec) = event { Some(spec.clone()) } else { None }
    }

    fn defined(spec: plan::Spec) -> Event {
        Event::PlanDefined(spec)
    }

    fn retired(retired: Retired) -> Event {
        Event::PlanRetired(retired)
    }

    async fn prepare(
        app: &App,
        _request: &Request,
        _id: &str,
        fields: Map<String, Value>,
        _old: Option<&plan::Spec>,
    ) -> Result<Prepared<plan::Spec>, Problem> {
        let spec: plan::Spec = body::understand(fields)?;
        // What is wrong with the spec itself is told together with what it refers to in vain.
        let mut problems = spec.problems();
        for (field, id, found) in [
            (
                "server",
                spec.server.as_str(),
                referred::<Servers>(app, "server", spec.server.as_str()).await.err(),
            ),
            (
                "repository",
                spec.repository.as_str(),
                referred::<Repositories>(app, "repository", spec.repository.as_str()).await.err(),
            ),
        ] {
            match found {
                None => {}
                Some(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY => {
                    problems.extend(problem.errors)
                }
                Some(problem) => {
                    tracing::debug!(field, id, "a reference could not be looked at");
                    return Err(problem);
                }
            }
        }
        if problems.is_empty() {
            Ok(spec.into())
        } else {
            Err(Rejection::Invalid { fields: problems }.into())
        }
    }

    async fn users(app: &App, id: &str, at: Position) -> Result<Vec<String>, Problem> {
        work::open_jobs_of_plan(app, id, at).await
    }

    fn extras(id: &str, spec: &plan::Spec) -> Map<String, Value> {
        let schedule = spec.schedule.as_ref();
        let next = schedule.and_then(|s| {
            let next = s.parse().ok()?.next(clock::now())?;
            next.checked_add(s.jitter_of(id)).ok()
        });
        let mut extras = Map::new();
        extras.insert("next_run_at".into(), json!(next));
        extras
    }
}

/// `POST /plans/{id}/run`.
pub async fn run(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    body::nothing(request)?;
    if let Some(answer) = work::asked_before(app, request, |_| true).await? {
        return Ok(answer);
    }
    let requested = request_run(app, id, Trigger::Manual).await?;
    work::ask(app, request, requested).await
}

/// The request for a run of a plan as it is now.
pub async fn request_run(app: &App, id: &str, trigger: Trigger) -> Result<Requested, Problem> {
    let spec = existing::<Plans>(app, id).await?;
    let plan: PlanId = id.parse().map_err(|_| Problem::not_found(Plans::SINGULAR, id))?;
    let (access, _, _) = reach_named(app, spec.repository.as_str()).await?;
    let server = referred::<Servers>(app, "server", spec.server.as_str()).await?;
    let backup =
        BackupSpec { plan, access, source: spec.source, compression: spec.compression, limits: spec.limits };
    Ok(Requested {
        spec: JobSpec::Backup(backup),
        server: spec.server,
        node: server.node,
        trigger,
        deadline_s: None,
    })
}

/// `POST /plans/{id}/pause`.
pub async fn pause(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let paused: plan::Paused = body::read(request)?;
    let mut problems = Vec::new();
    check_text(&mut problems, "reason", &paused.reason, 500);
    if paused.reason.trim().is_empty() {
        return Err(Problem::field("reason", "must say why, for those who come after"));
    }
    if !problems.is_empty() {
        return Err(Rejection::Invalid { fields: problems }.into());
    }
    change(app, request, id, &Event::PlanPaused(paused)).await
}

/// `POST /plans/{id}/resume`.
pub async fn resume(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    body::nothing(request)?;
    change(app, request, id, &Event::PlanResumed(plan::Resumed {})).await
}

/// Pauses or resumes. What is so already needs no event.
async fn change(app: &App, request: &Request, id: &str, wanted: &Event) -> Result<Good, Problem> {
    let conditions = Conditions::of(&request.headers)?;
    present::<Plans>(app, id).await?;
    let aggregate = Aggregate::new(Kind::Plan, id);
    let (event_id, at) = (event_id(request), clock::now());
    let context = request.context(Some(event_id.to_string()));
    let reason = if let Event::PlanPaused(paused) = wanted { Some(&paused.reason) } else { None };
    let decided = app.bus.journal().decide(&aggregate, &context, |history| {
        let new = NewEvent { id: event_id, at, event: wanted.clone() };
        if let Some(there) = history.events.iter().find(|e| e.id == event_id) {
            return if there.event == *wanted { Ok(Some(new)) } else { Err(key_reused()) };
        }
        let plan = fold::<Plans>(history);
        if plan.spec.is_none() {
            return Err(Rejection::NotFound { kind: Plans::SINGULAR.into(), id: id.into() });
        }
        conditions.check(true, plan.version)?;
        Ok((plan.paused.as_ref() != reason).then_some(new))
    });
    let (appended, history) = decided.await?;
    let head = appended.map_or(history.head, |a| a.head);
    let body = json!({ "id": id, "version": head.version, "paused": reason });
    Ok(Good::at(app.bus.position(head.sequence), body).with(header::ETAG, etag(head.version)))
}

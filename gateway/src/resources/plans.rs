//! Plans: what, where to, and when.

use super::definition::{Prepared, Resource, existing, fold, present, referred};
use super::repositories::{Repositories, reach_named};
use super::servers::Servers;
use crate::app::App;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{body, work};
use serde::{Deserialize, Serialize};
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
    body::read::<Nothing>(request)?;
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

/// A body without fields.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Nothing {}

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
    change(app, request, id, |now| {
        (now.as_deref() != Some(&paused.reason)).then(|| Event::PlanPaused(paused.clone()))
    })
    .await
}

/// `POST /plans/{id}/resume`.
pub async fn resume(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    body::read::<Nothing>(request)?;
    change(app, request, id, |now| now.is_some().then_some(Event::PlanResumed(plan::Resumed {}))).await
}

async fn change(
    app: &App,
    request: &Request,
    id: &str,
    event: impl Fn(Option<String>) -> Option<Event> + Send + Sync,
) -> Result<Good, Problem> {
    present::<Plans>(app, id).await?;
    let aggregate = Aggregate::new(Kind::Plan, id);
    let (event_id, at) = (super::definition::event_id(request), clock::now());
    let context = request.context(Some(event_id.to_string()));
    let decided = app.bus.journal().decide(&aggregate, &context, |history| {
        let plan = fold::<Plans>(history);
        if plan.spec.is_none() {
            return Err(Rejection::NotFound { kind: Plans::SINGULAR.into(), id: id.into() });
        }
        Ok(event(plan.paused).map(|event| NewEvent { id: event_id, at, event }))
    });
    let (appended, history) = decided.await?;
    let head = appended.map_or(history.head, |a| a.head);
    let after = present::<Plans>(app, id).await?;
    let body = json!({ "id": id, "version": after.version, "paused": after.paused });
    let good = Good::at(app.bus.position(head.sequence), body);
    Ok(good.with(header::ETAG, super::definition::etag(after.version)))
}

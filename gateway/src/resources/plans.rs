//! Plans: what, where to, and when.

use super::database_connection::Connection;
use super::definition::{Prepared, Resource, etag, event_id, existing, fold, key_reused, present, referred};
use super::repositories::{Repositories, reach_named};
use super::servers::Servers;
use crate::app::App;
use crate::body::Secret;
use crate::conditions::Conditions;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{body, seal, work};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use strongroom_bus::{NewEvent, Position};
use strongroom_domain::chain::Variant;
use strongroom_domain::definition::{Retired, Validate, check_text};
use strongroom_domain::job::{BackupSpec, JobSpec, Requested, Trigger};
use strongroom_domain::source::Source;
use strongroom_domain::{Aggregate, Event, FieldError, Kind, PlanId, Rejection, ServerId, plan, repository};
use strongroom_service::clock;
use warp::http::{StatusCode, header};

/// The kind.
pub struct Plans;

impl Resource for Plans {
    type Spec = plan::Spec;
    const KIND: Kind = Kind::Plan;
    const PLURAL: &'static str = "plans";
    const SINGULAR: &'static str = "plan";
    const HIDDEN: &'static [&'static str] = &[
        "/source/connection/password",
        "/source/postgresql/connection/password",
        "/source/mysql/connection/password",
    ];
    const SEALED: &'static [&'static str] = &["password"];

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
        id: &str,
        mut fields: Map<String, Value>,
        old: Option<&plan::Spec>,
    ) -> Result<Prepared<plan::Spec>, Problem> {
        let password = body::take_secret(&mut fields, "password")?;
        body::refuse_sealed(&fields, Self::HIDDEN, "password")?;
        let mut spec: plan::Spec = body::understand(fields)?;
        // What is wrong with the spec itself is told together with what it refers to in vain.
        let mut problems = spec.problems();
        let server = referred::<Servers>(app, "server", spec.server.as_str()).await;
        let repository = referred::<Repositories>(app, "repository", spec.repository.as_str()).await;
        if let Ok(repository) = &repository {
            problems.extend(misfits(&spec, repository));
        }
        let copies = misfits_of_copies(app, &spec, repository.as_ref().ok()).await?;
        problems.extend(copies);
        for problem in [server.err(), repository.err()].into_iter().flatten() {
            if problem.status != StatusCode::UNPROCESSABLE_ENTITY {
                return Err(problem);
            }
            problems.extend(problem.errors);
        }
        if !problems.is_empty() {
            return Err(Rejection::Invalid { fields: problems }.into());
        }
        let before = old.map(|old| (&old.server, &old.source));
        let name = format!("plan-{id}");
        with_password(app, &name, &spec.server, &mut spec.source, before, password).await?;
        Ok(spec.into())
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
        if let Some(connection) = Connection::of_source(spec.source.clone()) {
            extras.insert("has_password".into(), json!(connection.password().is_some()));
        }
        extras
    }
}

/// What a repository like this cannot do for a plan.
fn misfits(spec: &plan::Spec, repository: &repository::Spec) -> Vec<FieldError> {
    let (kind, deduplicate) = (repository.kind, repository.deduplicate);
    let mut problems = Vec::new();
    if let Some(problem) = spec.compression.problem_in(kind, deduplicate) {
        problems.push(FieldError::new("compression", problem));
    }
    if let Some(files) = spec.source.files().filter(|_| kind == repository::Kind::DumpStore) {
        let at = if matches!(spec.source, Source::Files(_)) { "source" } else { "source.files" };
        // Files are packed by tar there, which knows no others.
        let is_known = |pattern: &str| !["sh:", "re:"].iter().any(|kind| pattern.starts_with(kind));
        let unknown = files.excludes.iter().enumerate().filter(|(_, pattern)| !is_known(pattern));
        problems.extend(unknown.map(|(n, _)| {
            let message = "must be a glob (fm:), pp: or pf: for a dump store";
            FieldError::new(format!("{at}.excludes[{n}]"), message)
        }));
    }
    problems
}

/// Which of its copies cannot be made.
async fn misfits_of_copies(
    app: &App,
    spec: &plan::Spec,
    from: Option<&repository::Spec>,
) -> Result<Vec<FieldError>, Problem> {
    let mut problems = Vec::new();
    for (n, to) in spec.copies.iter().enumerate() {
        let field = format!("copies[{n}]");
        match referred::<Repositories>(app, &field, to.as_str()).await {
            Ok(to) => {
                let why = from.and_then(|from| from.cannot_be_copied_to(&to));
                problems.extend(why.map(|why| FieldError::new(field, why)));
            }
            Err(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY => {
                problems.extend(problem.errors);
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(problems)
}

/// Puts the password of a database server in its place, sealed. One that was given before stays, as long as it goes to the
/// same server, for the same role, by the same node: whoever may change a plan must not learn it by that.
pub async fn with_password(
    app: &App,
    name: &str,
    for_server: &ServerId,
    source: &mut Source,
    old: Option<(&ServerId, &Source)>,
    password: Secret,
) -> Result<(), Problem> {
    let Some(connection) = Connection::of_source(source.clone()) else {
        return match password {
            Secret::Given(_) => Err(Problem::field("password", "is for databases")),
            Secret::Kept | Secret::None => Ok(()),
        };
    };
    let sealed = match password {
        Secret::None => None,
        // Peer authentication asks for none.
        Secret::Kept if connection.is_by_peer() => None,
        Secret::Kept => {
            let alike = old.filter(|(_, old)| old.kind() == source.kind());
            match alike.and_then(|(server, old)| Some((server, Connection::of_source(old.clone())?))) {
                Some((server, old)) if old.password().is_some() => {
                    if server != for_server || !connection.is_where(&old) {
                        let message = "must be given again, or be null: the server, the role or the way to it is another";
                        return Err(Problem::field("password", message));
                    }
                    old.password().clone()
                }
                _ => None,
            }
        }
        Secret::Given(text) => {
            connection.takes_password()?;
            let server = referred::<Servers>(app, "server", for_server.as_str()).await?;
            Some(seal::store_for_node(app, name, "password", &text, &server).await?)
        }
    };
    match source {
        Source::Postgresql(source) => source.connection.password = sealed,
        Source::Mysql(source) => source.connection.password = sealed,
        Source::Mongodb(source) => source.connection.password = sealed,
        Source::Application(source) => {
            if let Some(source) = &mut source.postgresql {
                source.connection.password = sealed;
            } else if let Some(source) = &mut source.mysql {
                source.connection.password = sealed;
            }
        }
        Source::Files(_) | Source::Sqlite(_) => {}
    }
    Ok(())
}

/// `POST /plans/{id}/run`.
pub async fn run(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let RunBody { variant } = body::read(request)?;
    let wanted = variant.is_some_and(|variant| variant.is_full());
    let same = |spec: &JobSpec| matches!(spec, JobSpec::Backup(there) if there.full == wanted);
    if let Some(answer) = work::asked_before(app, request, same).await? {
        return Ok(answer);
    }
    let requested = request_run(app, id, Trigger::Manual, wanted).await?;
    if let (Some(variant), JobSpec::Backup(backup)) = (variant, &requested.spec)
        && !variant.is_full()
        && variant != backup.variant
    {
        let message = format!(
            "must be 'full' or the plan's own, '{}': what another needs is kept only for a plan of that variant",
            backup.variant
        );
        return Err(Problem::field("variant", message));
    }
    work::ask(app, request, requested).await
}

/// What a run is asked to be.
#[derive(Debug, Serialize, Deserialize)]
struct RunBody {
    #[serde(default)]
    variant: Option<Variant>,
}

/// The request for a run of a plan as it is now.
pub async fn request_run(app: &App, id: &str, trigger: Trigger, full: bool) -> Result<Requested, Problem> {
    let spec = existing::<Plans>(app, id).await?;
    let plan: PlanId = id.parse().map_err(|_| Problem::not_found(Plans::SINGULAR, id))?;
    let (access, _, _) = reach_named(app, spec.repository.as_str()).await?;
    let server = referred::<Servers>(app, "server", spec.server.as_str()).await?;
    let plan::Spec { server: for_server, source, compression, limits, copies, hooks, quiesce, .. } = spec;
    let (variant, full_every) = (spec.variant, spec.full_every);
    let priority = spec.schedule.as_ref().and_then(|schedule| schedule.priority);
    let backup = BackupSpec {
        plan,
        access,
        source,
        compression,
        limits,
        copies,
        hooks,
        quiesce,
        variant,
        full_every,
        priority,
        start_by: None,
        full,
        base: None,
    };
    Ok(Requested {
        spec: JobSpec::Backup(backup),
        server: for_server,
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

//! `POST /sources/test`, `POST /destinations/{id}/test`: whether something would work, before anything depends on it.

use super::definition::{Resource, existing, referred};
use super::destinations::Destinations;
use super::plans::{Plans, with_password};
use super::repositories::is_sealed_for;
use super::servers::Servers;
use crate::app::App;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{body, work};
use serde::{Deserialize, Serialize};
use strongroom_domain::chain::Variant;
use strongroom_domain::job::{JobSpec, Requested, Trigger};
use strongroom_domain::source::Source;
use strongroom_domain::{PlanId, Rejection, ServerId};

/// Either a plan, or a server and a source.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    #[serde(default)]
    plan: Option<PlanId>,
    #[serde(default)]
    server: Option<ServerId>,
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    variant: Option<Variant>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FromServer {
    server: ServerId,
}

/// `POST /sources/test`.
pub async fn source(app: &App, request: &Request) -> Result<Good, Problem> {
    let mut fields = body::object(request)?;
    let password = body::take_secret(&mut fields, "password")?;
    body::refuse_sealed(&fields, Plans::HIDDEN, "password")?;
    let asked: Asked = body::understand(fields)?;
    let (server, mut source, variant, kept) = match asked {
        Asked { plan: Some(plan), server: None, source: None, variant: None } => {
            let plan = existing::<Plans>(app, plan.as_str()).await?;
            (plan.server.clone(), plan.source.clone(), plan.variant, Some(plan))
        }
        Asked { plan: None, server: Some(server), source: Some(source), variant } => {
            (server, source, variant.unwrap_or_default(), None)
        }
        _ => {
            let message = "must be given alone, or 'server' and 'source' (and 'variant') in its place";
            return Err(Problem::field("plan", message));
        }
    };
    let mut problems = source.problems();
    problems.extend(source.problem_with(variant));
    let problems: Vec<_> = strongroom_domain::definition::within("source", problems).collect();
    if let Some(why) = source.only_full().filter(|_| !variant.is_full()) {
        return Err(Problem::field("variant", format!("must be 'full': {why}")));
    }
    if !problems.is_empty() {
        return Err(Rejection::Invalid { fields: problems }.into());
    }
    let same = |spec: &JobSpec| matches!(spec, JobSpec::TestSource { source: there, .. } if there.kind() == source.kind());
    if let Some(answer) = work::asked_before(app, request, same).await? {
        return Ok(answer);
    }
    let definition = referred::<Servers>(app, "server", server.as_str()).await?;
    let before = kept.as_ref().map(|plan| (&plan.server, &plan.source));
    with_password(app, "source", &server, &mut source, before, password).await?;
    ask(app, request, JobSpec::TestSource { source, variant }, server, definition.node).await
}

/// `POST /destinations/{id}/test`, by the node of a server.
pub async fn destination(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let FromServer { server } = body::read(request)?;
    if let Some(answer) = work::asked_before(app, request, |_| true).await? {
        return Ok(answer);
    }
    let spec = existing::<Destinations>(app, id).await?;
    let definition = referred::<Servers>(app, "server", server.as_str()).await?;
    is_sealed_for(&spec, id, &definition)?;
    let job = JobSpec::TestDestination { place: spec.location };
    ask(app, request, job, server, definition.node).await
}

async fn ask(
    app: &App,
    request: &Request,
    spec: JobSpec,
    server: ServerId,
    node: strongroom_domain::NodeId,
) -> Result<Good, Problem> {
    let deadline_s = Some(DEADLINE_S);
    let requested = Requested { spec, server, node, trigger: Trigger::Manual, deadline_s };
    work::ask(app, request, requested).await
}

/// Nobody waits longer for the answer, also when the node is away.
const DEADLINE_S: u64 = 600;

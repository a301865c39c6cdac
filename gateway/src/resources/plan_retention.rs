//! What becomes of the archives of a plan, before anything becomes of them: by its own policy, by one that is only tried, had
//! that always been so, and in a year.
//!
//! The accident that this prevents is P3: a policy is changed, and people learn what it means when the archives are gone.

use super::definition::existing;
use super::plans::Plans;
use super::reviews::{self, Counts};
use crate::app::App;
use crate::body;
use crate::http::{Good, Request};
use crate::problem::Problem;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_bus::Position;
use strongroom_domain::cron::ScheduleSpec;
use strongroom_domain::definition::within;
use strongroom_domain::retention::{Policy, Question, Replayed, Review, Simulated};
use strongroom_domain::{FieldError, PlanId, Rejection};
use strongroom_service::clock;

#[derive(Debug, Serialize, Deserialize)]
struct PreviewBody {
    policy: Policy,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReplayBody {
    #[serde(default)]
    policy: Option<Policy>,
    #[serde(default)]
    from: Option<Timestamp>,
    #[serde(default)]
    until: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SimulateBody {
    #[serde(default)]
    policy: Option<Policy>,
    #[serde(default)]
    schedule: Option<ScheduleSpec>,
    #[serde(default)]
    until: Option<Timestamp>,
}

/// `GET /plans/{id}/retention`.
pub async fn show(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    review(app, request, id, None).await
}

/// `POST /plans/{id}/retention/preview`.
pub async fn preview(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let PreviewBody { policy } = body::read(request)?;
    review(app, request, id, Some(policy)).await
}

async fn review(app: &App, request: &Request, id: &str, policy: Option<Policy>) -> Result<Good, Problem> {
    let asked = Asked { policy, ..Asked::default() };
    let (reviews, policy, position): (Vec<Review>, _, _) = ask(app, request, id, "retention", asked).await?;
    let Counts { kept, going, freed_bytes } = Counts::sum(reviews.iter().map(Counts::of));
    let repositories: Vec<Value> = reviews.iter().map(reviews::shown).collect();
    let body = json!({
        "plan": id, "policy": policy, "kept": kept, "going": going, "freed_bytes": freed_bytes,
        "repositories": repositories,
    });
    Ok(Good::at(position, body))
}

/// `POST /plans/{id}/retention/replay`.
pub async fn replay(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let ReplayBody { policy, from, until } = body::read(request)?;
    let mut problems = Vec::new();
    let now = clock::now();
    if from.is_some_and(|from| from >= until.unwrap_or(now)) {
        problems.push(FieldError::new("from", "must be before 'until', which is now when it is absent"));
    }
    if until.is_some_and(|until| until > now) {
        let message = "must not lie ahead: what would be there then is what a simulation tells";
        problems.push(FieldError::new("until", message));
    }
    let asked = Asked { policy, from, until, problems, ..Asked::default() };
    let (replayed, policy, position): (Vec<Replayed>, _, _) =
        ask(app, request, id, "retention-replay", asked).await?;
    let repositories: Vec<Value> = replayed
        .iter()
        .map(|of| {
            let mut shown = json!(of.replay);
            if let Value::Object(fields) = &mut shown {
                fields.insert("repository".into(), json!(of.repository));
                fields.insert("kept".into(), json!(of.replay.archives.len()));
            }
            shown
        })
        .collect();
    Ok(Good::at(position, json!({ "plan": id, "policy": policy, "repositories": repositories })))
}

/// `POST /plans/{id}/retention/simulate`.
pub async fn simulate(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let SimulateBody { policy, schedule, until } = body::read(request)?;
    let mut problems: Vec<FieldError> =
        schedule.iter().flat_map(|schedule| within("schedule", schedule.problems())).collect();
    if until.is_some_and(|until| until <= clock::now()) {
        let message = "must lie ahead: what would be there today is what a replay tells";
        problems.push(FieldError::new("until", message));
    }
    let asked = Asked { policy, schedule, until, problems, ..Asked::default() };
    let (simulated, policy, position): (Vec<Simulated>, _, _) =
        ask(app, request, id, "retention-simulation", asked).await?;
    let repositories: Vec<Value> = simulated
        .iter()
        .map(|of| {
            let mut shown = json!(of.simulation);
            if let Value::Object(fields) = &mut shown {
                fields.insert("repository".into(), json!(of.repository));
            }
            shown
        })
        .collect();
    Ok(Good::at(position, json!({ "plan": id, "policy": policy, "repositories": repositories })))
}

/// What is asked, and what was found wrong with it so far.
#[derive(Default)]
struct Asked {
    policy: Option<Policy>,
    schedule: Option<ScheduleSpec>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    problems: Vec<FieldError>,
}

/// Asks the scheduler, when nothing is wrong with what is asked; tells by which policy it answered.
async fn ask<A: DeserializeOwned>(
    app: &App,
    request: &Request,
    id: &str,
    view: &str,
    asked: Asked,
) -> Result<(A, Policy, Position), Problem> {
    let spec = existing::<Plans>(app, id).await?;
    let plan: PlanId = id.parse().map_err(|_| Problem::not_found("plan", id))?;
    let mut fields: Vec<FieldError> =
        asked.policy.iter().flat_map(|policy| within("policy", policy.problems())).collect();
    fields.extend(asked.problems);
    if !fields.is_empty() {
        return Err(Rejection::Invalid { fields }.into());
    }
    let policy = asked.policy.or(spec.retention).ok_or_else(no_retention)?;
    let question = Question {
        plan,
        policy: Some(policy.clone()),
        by_hand: false,
        schedule: asked.schedule,
        from: asked.from,
        until: asked.until,
    };
    // What was held or made a moment ago counts: a list without it would be believed.
    let at_least = match request.at_least.clone() {
        Some(position) => position,
        None => app.bus.position(app.bus.log_state().await?.1),
    };
    let (answer, position) = app.ask("scheduler", view, &question, Some(at_least)).await?;
    Ok((answer, policy, position))
}

fn no_retention() -> Problem {
    let detail = "this plan keeps all of its archives; give it a 'retention', or ask what one would do: POST a policy \
                  to /retention/preview, /retention/replay or /retention/simulate of the plan";
    Problem::conflict("no_retention", detail)
}

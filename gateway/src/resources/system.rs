//! What is about the system itself: nodes, quarantine, what recovery could use.

use crate::app::App;
use crate::body;
use crate::http::{Good, Request};
use crate::problem::Problem;
use serde_json::{Value, json};
use strongroom_domain::lateness::PlanStanding;
use strongroom_domain::view::{Capabilities, Node, Quarantined};
use warp::http::StatusCode;

/// `GET /api/v1`.
pub fn version() -> Good {
    Good::new(
        StatusCode::OK,
        json!({ "name": "strongroom", "version": env!("CARGO_PKG_VERSION"), "api": "v1" }),
    )
}

/// `GET /nodes`.
pub async fn nodes(app: &App, request: &Request) -> Result<Good, Problem> {
    let (mut nodes, position): (Vec<Node>, _) =
        app.ask("catalog", "nodes", &(), request.at_least.clone()).await?;
    for node in &mut nodes {
        node.last_heartbeat_at = app.live.heartbeat_of(&node.id);
    }
    Ok(Good::at(position, json!({ "items": nodes, "next": Value::Null })))
}

/// `GET /lateness`.
pub async fn lateness(app: &App, request: &Request) -> Result<Good, Problem> {
    let (items, position): (Vec<PlanStanding>, _) =
        app.ask("scheduler", "lateness", &(), request.at_least.clone()).await?;
    Ok(Good::at(position, json!({ "items": items, "next": Value::Null })))
}

/// `GET /quarantine`.
pub async fn quarantine(app: &App, request: &Request) -> Result<Good, Problem> {
    let (items, position): (Vec<Quarantined>, _) =
        app.ask("catalog", "quarantine", &(), request.at_least.clone()).await?;
    Ok(Good::at(position, json!({ "items": items, "next": Value::Null })))
}

/// `POST /quarantine/{id}/redrive`.
pub async fn redrive(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    body::nothing(request)?;
    // `<consumer>.<kind>.<id>`: the consumer itself tries again.
    let (consumer, aggregate) =
        id.split_once('.').ok_or_else(|| Problem::not_found("quarantined message", id))?;
    if !matches!(consumer, "catalog" | "scheduler" | "notifier") {
        return Err(Problem::not_found("quarantined message", id));
    }
    let ((), position): ((), _) = app.ask(consumer, "redrive", &aggregate, None).await?;
    Ok(Good::at(position, json!({ "id": id, "taken_in": true })))
}

/// `GET /recovery/capabilities`.
pub async fn capabilities(app: &App) -> Result<Good, Problem> {
    let (capabilities, position): (Capabilities, _) = app.ask("recovery", "capabilities", &(), None).await?;
    Ok(Good::at(position, json!(capabilities)))
}

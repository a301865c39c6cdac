//! What holds for the whole system: how many jobs may run at once.

use super::definition::{etag, event_id};
use crate::app::App;
use crate::body;
use crate::conditions::Conditions;
use crate::http::{Good, Request};
use crate::problem::Problem;
use serde_json::{Value, json};
use strongroom_bus::{History, NewEvent};
use strongroom_domain::admission::Limits;
use strongroom_domain::definition::Validate;
use strongroom_domain::settings::LimitsSpec;
use strongroom_domain::{Aggregate, Event, Kind, Rejection};
use strongroom_service::clock;
use warp::http::{Method, header};

/// `GET` and `PUT /settings/limits`.
pub async fn limits(app: &App, request: &Request) -> Result<Good, Problem> {
    if request.method == Method::PUT {
        return put(app, request).await;
    }
    let history = app.bus.journal().load(&aggregate()).await?;
    let version = history.events.len() as u64;
    if let Some(same) = Conditions::of(&request.headers)?.check_read(version)? {
        return Ok(same);
    }
    // What was not said here is as the scheduler was started, which only it knows.
    let at_least = app.bus.position(history.head.sequence);
    let (effective, position): (Limits, _) = app.ask("scheduler", "limits", &(), Some(at_least)).await?;
    let mut shown = shown(&present(&history));
    if let Value::Object(fields) = &mut shown {
        fields.insert("effective".into(), json!(effective));
    }
    Ok(Good::at(position, shown).with(header::ETAG, etag(version)))
}

async fn put(app: &App, request: &Request) -> Result<Good, Problem> {
    let spec: LimitsSpec = body::read(request)?;
    let fields = spec.problems();
    if !fields.is_empty() {
        return Err(Rejection::Invalid { fields }.into());
    }
    let conditions = Conditions::of(&request.headers)?;
    let (id, at) = (event_id(request), clock::now());
    let context = request.context(Some(id.to_string()));
    let aggregate = aggregate();
    let decided = app.bus.journal().decide(&aggregate, &context, |history| {
        if history.events.iter().all(|event| event.id != id) {
            conditions.check(!history.events.is_empty(), history.events.len() as u64)?;
            if present(history) == spec {
                return Ok::<_, Rejection>(None);
            }
        }
        Ok(Some(NewEvent { id, at, event: Event::SettingsLimitsDefined(spec.clone()) }))
    });
    let (appended, history) = decided.await?;
    let (version, sequence) = match appended {
        Some(appended) => (appended.head.version, appended.head.sequence),
        None => (history.events.len() as u64, history.head.sequence),
    };
    Ok(Good::at(app.bus.position(sequence), shown(&spec)).with(header::ETAG, etag(version)))
}

fn aggregate() -> Aggregate {
    Aggregate::new(Kind::Settings, "limits")
}

fn present(history: &History) -> LimitsSpec {
    let last = history.events.iter().rev().find_map(|recorded| match &recorded.event {
        Event::SettingsLimitsDefined(spec) => Some(spec.clone()),
        _ => None,
    });
    last.unwrap_or_default()
}

fn shown(spec: &LimitsSpec) -> Value {
    serde_json::to_value(spec).unwrap_or_default()
}

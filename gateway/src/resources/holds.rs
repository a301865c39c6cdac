//! Holds of archives: who says that one must not go.
//!
//! The accident that this prevents is P3: an archive is held, everybody believes that it stays, and a removal that was asked
//! for before takes it all the same. So nobody can hold what is being deleted, and nobody can delete what is held.

use super::archives::{being_deleted, find};
use super::definition::{event_id, gone, key_reused};
use crate::app::App;
use crate::body;
use crate::http::{Good, Request};
use crate::problem::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_bus::{History, NewEvent, Position};
use strongroom_domain::archive::{Held, Released};
use strongroom_domain::retention::{Hold, Holds};
use strongroom_domain::view::Archive;
use strongroom_domain::{Aggregate, Event, Kind, Rejection};
use strongroom_service::clock;
use warp::http::{Method, StatusCode};

#[derive(Debug, Serialize, Deserialize)]
struct HoldBody {
    reason: String,
    #[serde(default)]
    until: Option<Timestamp>,
}

/// `PUT` and `DELETE /archives/{id}/holds/{name}`.
pub async fn one(app: &App, request: &Request, id: &str, name: &str) -> Result<Good, Problem> {
    let (_, last) = app.bus.log_state().await?;
    let at = app.bus.position(last);
    if request.method == Method::DELETE {
        return release(app, request, id, name, at).await;
    }
    let HoldBody { reason, until } = body::read(request)?;
    let hold = Hold { name: name.to_owned(), by: request.context(None).actor, reason, until };
    put(app, request, id, hold, at).await
}

async fn put(app: &App, request: &Request, id: &str, hold: Hold, at: Position) -> Result<Good, Problem> {
    let (event_id, now) = (event_id(request), clock::now());
    let aggregate = Aggregate::new(Kind::Archive, id);
    let history = app.bus.journal().load(&aggregate).await?;
    let before = history.events.iter().find(|e| e.id == event_id);
    if let Some(before) = before {
        // It was made by this very request, sent before: what has become of the archive since changes nothing about that.
        return match &before.event {
            Event::ArchiveHeld(there) if is_same(&there.hold, &hold) => {
                Ok(Good::at(app.bus.position(before.sequence), shown(id, &there.hold)))
            }
            _ => Err(key_reused().into()),
        };
    }
    let (archive, _) = find(app, id, Some(at.clone())).await?;
    let fields = hold.problems(now);
    if !fields.is_empty() {
        return Err(Rejection::Invalid { fields }.into());
    }
    if let Some(job) = being_deleted(app, &archive, at).await? {
        let detail = format!(
            "job {} removes this archive already; cancel that first: POST /api/v1/jobs/{}/cancel",
            job.id, job.id
        );
        return Err(Problem::conflict("being_deleted", detail));
    }
    let context = request.context(Some(event_id.to_string()));
    let event = Event::ArchiveHeld(Held { repository: archive.repository.clone(), hold: hold.clone() });
    let decided = app.bus.journal().decide(&aggregate, &context, |history| {
        if history.events.iter().all(|e| e.id != event_id) {
            is_there(history, id)?;
            // What is so already needs no event.
            if let Some(there) = holds_of(history).named(&hold.name) {
                if is_same(there, &hold) {
                    return Ok::<_, Rejection>(None);
                }
                // To end it earlier is to release it, which takes more than holding.
                if ends_earlier(&hold, there) && there.holds(now) {
                    let detail = "this hold ends later, or not at all: release it first (DELETE), or take another name";
                    return Err(Rejection::conflict("hold_ends_later", detail));
                }
            }
        }
        Ok(Some(NewEvent { id: event_id, at: now, event: event.clone() }))
    });
    let (appended, history) = decided.await?;
    let known = holds_of(&history).named(&hold.name).cloned();
    let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let (hold, sequence) = match appended {
        Some(appended) => (hold, appended.head.sequence),
        None => (known.unwrap_or(hold), history.head.sequence),
    };
    let mut good = Good::new(status, shown(id, &hold));
    good.position = Some(app.bus.position(sequence));
    Ok(good)
}

async fn release(app: &App, request: &Request, id: &str, name: &str, at: Position) -> Result<Good, Problem> {
    let event_id = event_id(request);
    let aggregate = Aggregate::new(Kind::Archive, id);
    let history = app.bus.journal().load(&aggregate).await?;
    if let Some(done) = history.events.iter().find(|e| e.id == event_id) {
        return Ok(gone(Some(app.bus.position(done.sequence))));
    }
    let (archive, _) = find(app, id, Some(at)).await?;
    let context = request.context(Some(event_id.to_string()));
    let event =
        Event::ArchiveReleased(Released { repository: archive.repository.clone(), name: name.to_owned() });
    let now = clock::now();
    let decided = app.bus.journal().decide(&aggregate, &context, |history| {
        if history.events.iter().all(|e| e.id != event_id) && holds_of(history).named(name).is_none() {
            return Err(Rejection::NotFound { kind: "hold".into(), id: name.into() });
        }
        Ok(Some(NewEvent { id: event_id, at: now, event: event.clone() }))
    });
    let (appended, _) = decided.await?;
    Ok(gone(appended.map(|a| app.bus.position(a.head.sequence))))
}

/// Why an archive must not be deleted: the first of those who hold it, and how it is released.
pub fn why_held(archive: &Archive, now: Timestamp) -> Option<Problem> {
    let hold = archive.holds.iter().find(|hold| hold.holds(now))?;
    let until = hold.until.map(|until| format!(" until {until}")).unwrap_or_default();
    let detail = format!(
        "{} holds this archive{until}: {}; when it may go after all, DELETE /api/v1/archives/{}/holds/{} releases it",
        hold.by, hold.reason, archive.id, hold.name
    );
    Some(Problem::conflict("archive_held", detail))
}

/// Whether one ends before the other.
fn ends_earlier(a: &Hold, b: &Hold) -> bool {
    match (a.until, b.until) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(a), Some(b)) => a < b,
    }
}

/// Whether two say the same, whoever says it.
fn is_same(a: &Hold, b: &Hold) -> bool {
    (&a.name, &a.reason, a.until) == (&b.name, &b.reason, b.until)
}

/// The archive's own history may know that it is gone, while the views do not yet.
fn is_there(history: &History, id: &str) -> Result<(), Rejection> {
    let last = history.events.iter().rev().find_map(|e| match e.event {
        Event::ArchiveDeleted(_) => Some(false),
        Event::ArchiveAdopted(_) => Some(true),
        _ => None,
    });
    if last == Some(false) {
        return Err(Rejection::NotFound { kind: "archive".into(), id: id.into() });
    }
    Ok(())
}

fn holds_of(history: &History) -> Holds {
    let mut holds = Holds::default();
    history.events.iter().for_each(|e| holds.evolve(&e.event));
    holds
}

fn shown(archive: &str, hold: &Hold) -> Value {
    let mut body = json!(hold);
    if let Value::Object(fields) = &mut body {
        fields.insert("archive".into(), json!(archive));
    }
    body
}

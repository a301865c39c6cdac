//! Tokens: issued, listed without their text, revoked.

use super::definition::{etag, event_id, gone, key_reused, was_shown};
use crate::app::App;
use crate::conditions::Conditions;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{auth, body};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_bus::NewEvent;
use strongroom_domain::definition::Validate;
use strongroom_domain::token::{Issued, Revoked, Scope};
use strongroom_domain::view::{Definition, ListQuestion, Page};
use strongroom_domain::{Aggregate, Event, Kind, Rejection, TokenId};
use strongroom_service::clock;
use warp::http::{Method, StatusCode, header};

#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    id: TokenId,
    scope: Scope,
    #[serde(default)]
    description: String,
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// `GET` and `POST` of all.
pub async fn all(app: &App, request: &Request) -> Result<Good, Problem> {
    if request.method == Method::POST {
        return issue(app, request).await;
    }
    let question = ListQuestion {
        after: request.query("after").map(str::to_owned),
        limit: body::limit(request, 500)?,
        ..ListQuestion::default()
    };
    let (page, position): (Page<Definition<Issued>>, _) =
        app.ask("catalog", "tokens", &question, request.at_least.clone()).await?;
    let items: Vec<Value> = page.items.iter().map(show).collect();
    Ok(Good::at(position, json!({ "items": items, "next": page.next })))
}

/// `GET` and `DELETE` of one.
pub async fn one(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let name: TokenId = id.parse().map_err(|_| Problem::not_found("token", id))?;
    if request.method == Method::DELETE {
        return revoke(app, request, &name).await;
    }
    let (found, position): (Option<Definition<Issued>>, _) =
        app.ask("catalog", "token", &name.as_str(), request.at_least.clone()).await?;
    let found = found.ok_or_else(|| Problem::not_found("token", id))?;
    if let Some(same) = Conditions::of(&request.headers)?.check_read(found.version)? {
        return Ok(same);
    }
    Ok(Good::at(position, show(&found)).with(header::ETAG, etag(found.version)))
}

/// Everything but the hash: it is of no use to anybody who may look.
fn show(token: &Definition<Issued>) -> Value {
    json!({
        "id": token.id, "version": token.version, "defined_at": token.defined_at, "scope": token.spec.scope,
        "description": token.spec.description, "expires_at": token.spec.expires_at,
    })
}

async fn issue(app: &App, request: &Request) -> Result<Good, Problem> {
    let wanted: Wanted = body::read(request)?;
    if wanted.expires_at.is_some_and(|end| end <= clock::now()) {
        return Err(Problem::field("expires_at", "must lie in the future"));
    }
    let text = auth::draw(&wanted.id);
    let issued = Issued {
        sha256: auth::digest(&text),
        scope: wanted.scope,
        description: wanted.description,
        expires_at: wanted.expires_at,
    };
    let problems = issued.problems();
    if !problems.is_empty() {
        return Err(Rejection::Invalid { fields: problems }.into());
    }
    let aggregate = Aggregate::new(Kind::Token, &wanted.id);
    let (event_id, at) = (event_id(request), clock::now());
    let context = request.context(Some(event_id.to_string()));
    let decided = app.bus.journal().decide(&aggregate, &context, |history| {
        let new = NewEvent { id: event_id, at, event: Event::TokenIssued(issued.clone()) };
        if history.events.iter().any(|e| e.id == event_id) {
            return Ok(Some(new));
        }
        if matches!(history.events.last().map(|e| &e.event), Some(Event::TokenIssued(_))) {
            return Err(Rejection::Exists { kind: "token".into(), id: wanted.id.to_string() });
        }
        Ok(Some(new))
    });
    let (appended, _) = decided.await?;
    let was_there = appended.as_ref().is_some_and(|a| a.was_there);
    let head = appended.map(|a| a.head).unwrap_or_default();
    if was_there {
        // By this request, whose first try went well unheard; or by another with the same key, whose text is another.
        let history = app.bus.journal().load(&aggregate).await?;
        let there = history.events.iter().find(|e| e.id == event_id).map(|e| &e.event);
        match there {
            Some(Event::TokenIssued(there)) if there.sha256 == issued.sha256 => {}
            Some(Event::TokenIssued(there)) if is_same(there, &issued) => {
                return Err(was_shown("token", wanted.id.as_str(), "text", "revoke it and issue it again"));
            }
            _ => return Err(key_reused().into()),
        }
    }
    app.tokens.hear(&wanted.id, head.sequence);
    let body = json!({
        "id": wanted.id, "version": head.version, "scope": issued.scope, "description": issued.description,
        "expires_at": issued.expires_at, "token": text,
    });
    let mut good = Good::new(StatusCode::CREATED, body)
        .with(header::ETAG, etag(head.version))
        .with(header::LOCATION, format!("/api/v1/tokens/{}", wanted.id));
    good.position = Some(app.bus.position(head.sequence));
    Ok(good)
}

/// Whether two requests ask for the same, beside the text, which is drawn for each.
fn is_same(there: &Issued, wanted: &Issued) -> bool {
    let part = |i: &Issued| (i.scope, i.description.clone(), i.expires_at);
    part(there) == part(wanted)
}

async fn revoke(app: &App, request: &Request, name: &TokenId) -> Result<Good, Problem> {
    let conditions = Conditions::of(&request.headers)?;
    let aggregate = Aggregate::new(Kind::Token, name);
    let (event_id, at) = (event_id(request), clock::now());
    let context = request.context(Some(event_id.to_string()));
    let decided = app.bus.journal().decide(&aggregate, &context, |history| {
        let new = NewEvent { id: event_id, at, event: Event::TokenRevoked(Revoked::default()) };
        match history.events.last().map(|e| &e.event) {
            _ if history.events.iter().any(|e| e.id == event_id) => Ok(Some(new)),
            Some(Event::TokenIssued(_)) => {
                conditions.check(true, history.head.version)?;
                Ok(Some(new))
            }
            _ => Err(Rejection::NotFound { kind: "token".into(), id: name.to_string() }),
        }
    });
    let (appended, _) = decided.await?;
    if let Some(appended) = &appended {
        app.tokens.hear(name, appended.head.sequence);
    }
    Ok(gone(appended.map(|a| app.bus.position(a.head.sequence))))
}

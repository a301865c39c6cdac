//! What all definitions have in common: list, show, define, retire; versions as ETags; what uses what.

use crate::app::App;
use crate::body;
use crate::conditions::Conditions;
use crate::http::{Good, Request};
use crate::problem::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use strongroom_bus::{Fault, History, NewEvent, Position, Recorded};
use strongroom_domain::definition::{Definition, Precondition, Retired, Validate};
use strongroom_domain::id::is_slug;
use strongroom_domain::view::{self, ListQuestion, Page};
use strongroom_domain::{Aggregate, Event, EventId, FieldError, Kind, Rejection};
use strongroom_service::clock;
use warp::http::{Method, StatusCode, header};

/// A kind of definition.
pub trait Resource: Sized + Send + Sync {
    /// How it is defined.
    type Spec: Clone + PartialEq + Validate + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Its kind of aggregate.
    const KIND: Kind;
    /// Its place in the API, which is also the catalog's view of all of them.
    const PLURAL: &'static str;
    /// The catalog's view of one.
    const SINGULAR: &'static str;
    /// Fields of the spec that are the gateway's business and nobody else's, as JSON pointers.
    const HIDDEN: &'static [&'static str] = &[];

    /// Fields of a request that are no part of the spec: what they hold is sealed and cannot be compared.
    const SEALED: &'static [&'static str] = &[];

    /// What is drawn, and what to do when the only answer that showed it was lost.
    const LOST: (&'static str, &'static str) = ("secret", "delete it and make it again");

    /// Whether a request for a new one has a secret drawn for it, which its answer shows once.
    fn draws(_fields: &Map<String, Value>) -> bool {
        false
    }

    /// The spec of an event that defines one.
    fn pick(event: &Event) -> Option<Self::Spec>;
    /// The event that defines one.
    fn defined(spec: Self::Spec) -> Event;
    /// The event that retires one.
    fn retired(retired: Retired) -> Event;

    /// Makes a spec of what was sent: checks what it refers to, seals secrets. `old` is the present definition.
    fn prepare(
        app: &App,
        request: &Request,
        id: &str,
        fields: Map<String, Value>,
        old: Option<&Self::Spec>,
    ) -> impl Future<Output = Result<Prepared<Self::Spec>, Problem>> + Send;

    /// What refers to it; nothing, when it may go.
    fn users(
        _app: &App,
        _id: &str,
        _at: Position,
    ) -> impl Future<Output = Result<Vec<String>, Problem>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// What follows when it was defined for the first time; what is to be answered besides.
    fn created(
        _app: &App,
        _request: &Request,
        _id: &str,
        _spec: &Self::Spec,
        _version: u64,
    ) -> impl Future<Output = Result<Followed, Problem>> + Send {
        std::future::ready(Ok(Followed::default()))
    }

    /// What is shown besides the spec.
    fn extras(_id: &str, _spec: &Self::Spec) -> Map<String, Value> {
        Map::new()
    }
}

/// A spec that may be written, and what is shown once.
pub struct Prepared<T> {
    /// The spec.
    pub spec: T,
    /// What is answered this once and kept nowhere.
    pub shown_once: Map<String, Value>,
}

impl<T> From<T> for Prepared<T> {
    fn from(spec: T) -> Self {
        Self { spec, shown_once: Map::new() }
    }
}

/// What followed from a definition.
#[derive(Default)]
pub struct Followed {
    /// What is to be answered besides.
    pub shown: Map<String, Value>,
    /// The position of what was written.
    pub sequence: Option<u64>,
}

/// `GET` and `POST` of the collection.
pub async fn list<R: Resource>(app: &App, request: &Request) -> Result<Good, Problem> {
    if request.method == Method::POST {
        let mut fields = body::object(request)?;
        let id = body::take_text(&mut fields, "id")?.ok_or_else(|| Problem::field("id", "is needed"))?;
        return define::<R>(app, request, &id, fields, Precondition::Absent, &Conditions::default()).await;
    }
    // A filter that the kind does not have is refused by the catalog, and one that nobody knows here.
    let question = super::jobs::list_question(request, false)?;
    let (page, position): (Page<view::Definition<R::Spec>>, _) =
        app.ask("catalog", R::PLURAL, &question, request.at_least.clone()).await?;
    let items: Vec<Value> = page.items.iter().map(show::<R>).collect();
    Ok(Good::at(position, json!({ "items": items, "next": page.next })))
}

/// `GET`, `PUT` and `DELETE` of one.
pub async fn one<R: Resource>(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let conditions = Conditions::of(&request.headers)?;
    match request.method {
        Method::PUT => {
            let mut fields = body::object(request)?;
            if let Some(named) = body::take_text(&mut fields, "id")?
                && named != id
            {
                return Err(Problem::field("id", format!("must be '{id}', as the path says")));
            }
            define::<R>(app, request, id, fields, Precondition::Any, &conditions).await
        }
        Method::DELETE => retire::<R>(app, request, id, &conditions).await,
        _ => {
            known_id::<R>(id)?;
            // The log itself is read: who has just defined something finds it as it is, whatever the views have seen.
            let history = app.bus.journal().load(&Aggregate::new(R::KIND, id)).await?;
            let found = as_defined::<R>(id, &history).ok_or_else(|| Problem::not_found(R::SINGULAR, id))?;
            let position = app.bus.position(history.head.sequence);
            if let Some(mut same) = conditions.check_read(found.version)? {
                same.position = Some(position);
                return Ok(same);
            }
            Ok(Good::at(position, show::<R>(&found)).with(header::ETAG, etag(found.version)))
        }
    }
}

async fn define<R: Resource>(
    app: &App,
    request: &Request,
    id: &str,
    fields: Map<String, Value>,
    precondition: Precondition,
    conditions: &Conditions,
) -> Result<Good, Problem> {
    if !is_slug(id) {
        return Err(Problem::field(
            "id",
            "must be 1 to 63 of a-z, 0-9 and '-', and begin with a letter or a digit",
        ));
    }
    let aggregate = Aggregate::new(R::KIND, id);
    let history = app.bus.journal().load(&aggregate).await?;
    let event_id = event_id(request);
    let repeated = history.events.iter().any(|e| e.id == event_id);
    let before = fold::<R>(&history);
    if !repeated {
        // Looked at before anything is sealed, so that a refused request stores no secret.
        if precondition == Precondition::Absent && before.spec.is_some() {
            return Err(Rejection::Exists { kind: R::SINGULAR.into(), id: id.to_owned() }.into());
        }
        conditions.check(before.spec.is_some(), before.version)?;
    }
    let Prepared { spec, shown_once } = if repeated {
        let spec = history.events.iter().find(|e| e.id == event_id).and_then(|e| R::pick(&e.event));
        let spec = spec.filter(|spec| is_same::<R>(&fields, spec)).ok_or_else(key_reused)?;
        spec.into()
    } else {
        R::prepare(app, request, id, fields.clone(), before.spec.as_ref()).await?
    };
    let at = clock::now();
    let context = request.context(Some(event_id.to_string()));
    let decided = app.bus.journal().decide(&aggregate, &context, |history| {
        let new = NewEvent { id: event_id, at, event: R::defined(spec.clone()) };
        if history.events.iter().any(|e| e.id == event_id) {
            return Ok(Some(new));
        }
        let now = fold::<R>(history);
        now.check_define(&spec, precondition, R::SINGULAR, id)?;
        // What was prepared was prepared for what was there then.
        if now.version != before.version {
            return Err(Rejection::Changed { current: now.version });
        }
        Ok(Some(new))
    });
    let (appended, _) = decided.await?;
    let head = appended.map(|a| a.head).unwrap_or_default();
    // As it stands in the log: a request that is repeated with its key is answered like the first one, also when both are
    // under way at once. Each has drawn a secret then, and only one of the two is the one that counts.
    let mut written = app.bus.journal().load(&aggregate).await?.events;
    let there = written.iter().position(|e| e.id == event_id);
    let there =
        there.ok_or_else(|| Fault::Transient(format!("no replica shows what was written to {aggregate}")))?;
    written.truncate(there + 1);
    let is_new = fold_events::<R>(written.iter().take(there)).spec.is_none();
    let counts = written.last().and_then(|e| R::pick(&e.event)).ok_or_else(key_reused)?;
    if counts != spec && !is_same::<R>(&fields, &counts) {
        return Err(key_reused().into());
    }
    let is_mine = !repeated && counts == spec;
    let mut sequence = head.sequence;
    let mut shown = if is_mine { shown_once } else { Map::new() };
    if is_new {
        let followed = R::created(app, request, id, &counts, head.version).await?;
        sequence = followed.sequence.unwrap_or(sequence);
        shown.extend(followed.shown);
        if !is_mine && R::draws(&fields) {
            let (secret, advice) = R::LOST;
            return Err(was_shown(R::SINGULAR, id, secret, advice));
        }
    }
    let written = History { events: written, head: head.clone() };
    let definition = as_defined::<R>(id, &written).ok_or_else(|| Problem::not_found(R::SINGULAR, id))?;
    let mut body = show::<R>(&definition);
    if let Value::Object(fields) = &mut body {
        fields.extend(shown);
    }
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut good = Good::new(status, body).with(header::ETAG, etag(head.version));
    good.position = Some(app.bus.position(sequence));
    if is_new {
        good = good.with(header::LOCATION, format!("/api/v1/{}/{id}", R::PLURAL));
    }
    Ok(good)
}

/// Whether fields that were sent under a used key say what was defined under it, as far as it can be seen.
fn is_same<R: Resource>(fields: &Map<String, Value>, spec: &R::Spec) -> bool {
    let mut fields = fields.clone();
    fields.retain(|name, _| !R::SEALED.contains(&name.as_str()));
    body::understand::<R::Spec>(fields).is_ok_and(|sent| open_part::<R>(&sent) == open_part::<R>(spec))
}

/// What was answered once cannot be answered again, and an answer without it would look like the whole of it.
pub fn was_shown(kind: &str, id: &str, secret: &str, advice: &str) -> Problem {
    let detail = format!(
        "{kind} '{id}' was made by this very request, sent before; its {secret} was in the answer to that and is kept \
         nowhere. If that answer was lost: {advice}"
    );
    Problem::conflict("shown_once", detail)
}

/// A key was used before, for something else.
pub fn key_reused() -> Rejection {
    let message = "this Idempotency-Key was used for another request; take a new one";
    Rejection::conflict("idempotency_key_reused", message)
}

async fn retire<R: Resource>(
    app: &App,
    request: &Request,
    id: &str,
    conditions: &Conditions,
) -> Result<Good, Problem> {
    known_id::<R>(id)?;
    let aggregate = Aggregate::new(R::KIND, id);
    let history = app.bus.journal().load(&aggregate).await?;
    let event_id = event_id(request);
    if let Some(done) = history.events.iter().find(|e| e.id == event_id) {
        return Ok(gone(Some(app.bus.position(done.sequence))));
    }
    let before = fold::<R>(&history);
    before.check_retire(Precondition::Any, R::SINGULAR, id)?;
    conditions.check(true, before.version)?;
    // What was looked at is what goes.
    let precondition =
        if conditions.is_empty() { Precondition::Any } else { Precondition::Version(before.version) };
    let (_, last) = app.bus.log_state().await?;
    let users = R::users(app, id, app.bus.position(last)).await?;
    if !users.is_empty() {
        let detail =
            format!("{} '{id}' is used by {}; delete or change that first", R::SINGULAR, users.join(", "));
        return Err(Problem::conflict("in_use", detail));
    }
    let at = clock::now();
    let context = request.context(Some(event_id.to_string()));
    let decided = app.bus.journal().decide(&aggregate, &context, |history| {
        if history.events.iter().all(|e| e.id != event_id) {
            fold::<R>(history).check_retire(precondition, R::SINGULAR, id)?;
        }
        Ok::<_, Rejection>(Some(NewEvent { id: event_id, at, event: R::retired(Retired::default()) }))
    });
    let (appended, _) = decided.await?;
    Ok(gone(appended.map(|a| app.bus.position(a.head.sequence))))
}

/// 204: it is not there any more.
pub fn gone(position: Option<Position>) -> Good {
    Good { status: StatusCode::NO_CONTENT, body: None, position, headers: Vec::new() }
}

/// The present definition, read from the log itself; a rejection of this field when there is none.
pub async fn referred<R: Resource>(app: &App, field: &str, id: &str) -> Result<R::Spec, Problem> {
    let missing = || Problem::field(field, format!("there is no {} '{id}'", R::SINGULAR));
    present::<R>(app, id).await?.spec.ok_or_else(missing)
}

/// The present definition, read from the log itself; 404 when there is none.
pub async fn existing<R: Resource>(app: &App, id: &str) -> Result<R::Spec, Problem> {
    present::<R>(app, id).await?.spec.ok_or_else(|| Problem::not_found(R::SINGULAR, id))
}

/// The state of a definition, read from the log itself.
pub async fn present<R: Resource>(app: &App, id: &str) -> Result<Definition<R::Spec>, Problem> {
    known_id::<R>(id)?;
    Ok(fold::<R>(&app.bus.journal().load(&Aggregate::new(R::KIND, id)).await?))
}

/// The state that a history tells.
pub fn fold<R: Resource>(history: &History) -> Definition<R::Spec> {
    fold_events::<R>(history.events.iter())
}

fn fold_events<'a, R: Resource>(events: impl Iterator<Item = &'a Recorded>) -> Definition<R::Spec> {
    let mut definition = Definition::default();
    for recorded in events {
        definition.evolve(&recorded.event, R::pick);
    }
    definition
}

fn as_defined<R: Resource>(id: &str, history: &History) -> Option<view::Definition<R::Spec>> {
    let state = fold::<R>(history);
    // A definition begins anew after each retirement.
    let retired = history.events.iter().rposition(|e| e.event.retires()).map_or(0, |n| n + 1);
    Some(view::Definition {
        id: id.to_owned(),
        version: state.version,
        paused: state.paused,
        defined_at: history.events.get(retired)?.at,
        changed_at: history.events.last()?.at,
        spec: state.spec?,
    })
}

/// All definitions of a kind, page by page; for looking who uses what.
pub async fn all<R: Resource>(app: &App, at: &Position) -> Result<Vec<view::Definition<R::Spec>>, Problem> {
    let mut items = Vec::new();
    let mut question = ListQuestion { limit: Some(500), ..ListQuestion::default() };
    loop {
        let (page, _): (Page<view::Definition<R::Spec>>, _) =
            app.ask("catalog", R::PLURAL, &question, Some(at.clone())).await?;
        items.extend(page.items);
        if page.next.is_none() {
            return Ok(items);
        }
        question.after = page.next;
    }
}

/// A spec without what is hidden.
fn open_part<R: Resource>(spec: &R::Spec) -> Value {
    let mut spec = serde_json::to_value(spec).unwrap_or_default();
    for pointer in R::HIDDEN {
        if let Some((parent, field)) = pointer.rsplit_once('/')
            && let Some(Value::Object(parent)) = spec.pointer_mut(parent)
        {
            parent.remove(field);
        }
    }
    spec
}

fn show<R: Resource>(definition: &view::Definition<R::Spec>) -> Value {
    let spec = open_part::<R>(&definition.spec);
    let mut body = json!({
        "id": definition.id, "version": definition.version, "paused": definition.paused,
        "defined_at": definition.defined_at, "changed_at": definition.changed_at,
    });
    if let (Value::Object(body), Value::Object(spec)) = (&mut body, spec) {
        body.extend(spec);
        body.extend(R::extras(&definition.id, &definition.spec));
    }
    body
}

fn known_id<R: Resource>(id: &str) -> Result<(), Problem> {
    if is_slug(id) { Ok(()) } else { Err(Problem::not_found(R::SINGULAR, id)) }
}

/// The id of the fact that a request leads to: the same when the request is repeated with its key.
pub fn event_id(request: &Request) -> EventId {
    EventId::of_command(&request.command(), 0)
}

/// A version as an entity tag (RFC 9110, 8.8.3).
pub fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// A field that a kind does not let people change.
pub fn immutable(field: &str) -> Problem {
    let mut problem =
        Problem::conflict("immutable", format!("{field} was chosen once and cannot be changed"));
    problem.errors = vec![FieldError::new(field, "cannot be changed; define another one instead")];
    problem
}

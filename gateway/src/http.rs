//! One request from its bytes to its answer: room, span, authorisation, dispatch, numbers.

use crate::app::App;
use crate::auth::Caller;
use crate::body::{self, LIMIT};
use crate::connections::{self, Limits};
use crate::problem::Problem;
use crate::route::{Definitions, Route};
use crate::{events, health, resources};
use bytes::{Buf, Bytes};
use futures::{Stream, TryStreamExt};
use hyper_util::service::TowerToHyperService;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strongroom_bus::{Context, Position};
use strongroom_domain::token::Scope;
use strongroom_service::trace;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;
use warp::Filter;
use warp::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use warp::reply::{Reply, Response as WarpResponse};

/// The header of log positions.
pub const POSITION: &str = "strongroom-position";
/// How much of a body that is too large is still read, so that its sender sees the answer.
const DRAINED: usize = 64 << 20;
/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A request that was let in.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query, decoded.
    pub query: Vec<(String, String)>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Who asks.
    pub caller: Caller,
    /// The position that the answer must have reached.
    pub at_least: Option<Position>,
    /// Its place among those that are worked on.
    pub room: Mutex<Option<OwnedSemaphorePermit>>,
}

/// A good answer: a status, a body, headers.
pub struct Good {
    /// The status.
    pub status: StatusCode,
    /// The body; nothing for 204 and 304.
    pub body: Option<serde_json::Value>,
    /// The position that it speaks for, or that was reached.
    pub position: Option<Position>,
    /// More headers.
    pub headers: Vec<(header::HeaderName, String)>,
}

impl Good {
    /// An answer with a body.
    pub fn new(status: StatusCode, body: serde_json::Value) -> Self {
        Self { status, body: Some(body), position: None, headers: Vec::new() }
    }

    /// 200 with a body that speaks for a position.
    pub fn at(position: Position, body: serde_json::Value) -> Self {
        Self { position: Some(position), ..Self::new(StatusCode::OK, body) }
    }

    /// With a header.
    pub fn with(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn response(self) -> Response<Vec<u8>> {
        let has_body = self.body.is_some();
        let mut response = Response::new(self.body.map(|b| b.to_string().into_bytes()).unwrap_or_default());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if has_body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let position = self.position.map(|p| (header::HeaderName::from_static(POSITION), p.to_string()));
        for (name, value) in self.headers.into_iter().chain(position) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

impl Request {
    /// What surrounds a fact that follows from this request.
    pub fn context(&self, correlation: Option<String>) -> Context {
        Context {
            actor: format!("token:{}", self.caller.token),
            correlation,
            causation: None,
            traceparent: trace::traceparent(&tracing::Span::current()),
        }
    }

    /// A value of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// Gives its place to others: what only waits from now on must not keep them waiting.
    pub fn leave_room(&self) {
        self.room.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// A seed for ids: the same for the same request repeated with its `Idempotency-Key`, else new.
    pub fn command(&self) -> String {
        match self.header("idempotency-key").filter(|key| !key.is_empty()) {
            // Neither a path nor a key holds a line break, so no other path and key read like these two.
            Some(key) => format!("http/{}/{}/{}\n{key}", self.caller.token, self.method, self.path),
            None => format!("http/{}", uuid::Uuid::now_v7()),
        }
    }
}

/// Serves until shutdown, and lets open requests end.
pub async fn serve(app: Arc<App>, listener: tokio::net::TcpListener) {
    let shutdown = app.shutdown.clone();
    let filter = warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or_else(|_| async { Ok::<_, warp::Rejection>((String::new(),)) }))
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method: Method, path: warp::path::FullPath, query: String, headers: HeaderMap, body| {
            let app = app.clone();
            async move { answer(app, method, path.as_str().to_owned(), query, headers, body).await }
        });
    let service = TowerToHyperService::new(warp::service(filter));
    connections::serve(listener, service, Limits::default(), shutdown).await;
}

async fn answer<S, B>(
    app: Arc<App>,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: S,
) -> WarpResponse
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf + Send,
{
    let began = Instant::now();
    let span = tracing::info_span!("http", method = %method, path, status = tracing::field::Empty);
    trace::continue_from(&span, headers.get("traceparent").and_then(|v| v.to_str().ok()));
    let name = Route::find(&path).map_or("none", |route| route.name());
    let is_head = method == Method::HEAD;
    let label = label_of(&method);
    let mut response = async {
        match handle(app.clone(), method, path, query, headers, body).await {
            Ok(response) => response,
            Err(problem) => problem.response().into_response(),
        }
    }
    .instrument(span.clone())
    .await;
    if is_head {
        *response.body_mut() = Response::new(String::new()).into_response().into_body();
    }
    span.record("status", response.status().as_u16());
    app.metrics.request(label, name, response.status().as_u16(), began.elapsed());
    response
}

/// A method in metrics: anybody can make up another word, and each would be a number of its own for ever.
fn label_of(method: &Method) -> &'static str {
    const KNOWN: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
    ];
    const WORDS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
    let known = KNOWN.iter().position(|known| known == method);
    known.and_then(|n| WORDS.get(n)).copied().unwrap_or("other")
}

async fn handle<S, B>(
    app: Arc<App>,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: S,
) -> Result<WarpResponse, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + 'static,
    B: Buf + Send,
{
    let no_path = || Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}"));
    let route = Route::find(&path).ok_or_else(no_path)?;
    // HEAD is GET without the body.
    let known = route.methods().contains(&method);
    if !known {
        let allowed: Vec<&str> = route.methods().iter().map(Method::as_str).collect();
        let detail = format!("{path} has no {method}; it has {}", allowed.join(", "));
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
            .with(header::ALLOW, allowed.join(", ")));
    }
    match route {
        Route::Alive => return Ok(Response::new("alive\n").into_response()),
        Route::Ready => return Ok(health::ready(&app).await.response().into_response()),
        _ => {}
    }
    let caller = app.tokens.admit(&app.bus, &headers).await?;
    let needed = scope(&route, &method);
    if caller.scope < needed {
        let detail = format!("this needs a token with the scope '{needed}'; yours has '{}'", caller.scope);
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    // Before it takes room: bodies that come slowly must not keep those waiting that have come.
    let body = read_body(&headers, body).await?;
    let room = app.room.clone().acquire_owned().await.map_err(|_| shutting_down())?;
    let at_least = match headers.get(POSITION) {
        Some(value) => Some(body::position(value)?),
        None => None,
    };
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let request = Request {
        method: method.clone(),
        path: path.clone(),
        query,
        headers,
        body,
        caller,
        at_least,
        room: Mutex::new(Some(room)),
    };
    dispatch(&app, &route, &request).await
}

fn shutting_down() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the gateway is ending")
        .with(header::RETRY_AFTER, "1")
}

/// The whole body, when it comes in time.
async fn read_body<S, B>(headers: &HeaderMap, body: S) -> Result<Bytes, Problem>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    tokio::time::timeout(BODY_WITHIN, collect(headers, body)).await.map_err(|_| {
        let detail = format!("the body of the request did not come within {} s", BODY_WITHIN.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).with(header::CONNECTION, "close")
    })?
}

async fn collect<S, B>(headers: &HeaderMap, body: S) -> Result<Bytes, Problem>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let too_large = || {
        let detail = format!("the body is larger than {LIMIT} bytes");
        // What was not read makes the connection useless for another request.
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail).with(header::CONNECTION, "close")
    };
    let told = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|n| n > DRAINED as u64) {
        return Err(too_large());
    }
    let mut out = Vec::new();
    let mut total = 0;
    let mut body = std::pin::pin!(body);
    let cut = |_| Problem::new(StatusCode::BAD_REQUEST, "cut_off", "the body of the request was cut off");
    while let Some(mut part) = body.try_next().await.map_err(cut)? {
        total += part.remaining();
        if total > DRAINED {
            return Err(too_large());
        }
        if total <= LIMIT {
            out.extend_from_slice(&part.copy_to_bytes(part.remaining()));
        } else {
            // Read to its end and thrown away: a client that is still sending would see a broken connection and not
            // the answer.
            out = Vec::new();
        }
    }
    if total > LIMIT { Err(too_large()) } else { Ok(out.into()) }
}

/// What a token must be allowed to do for this.
fn scope(route: &Route<'_>, method: &Method) -> Scope {
    if let Route::Download(_) = route {
        // It is work for a node, and what comes of it is all that somebody has.
        return Scope::Operate;
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return Scope::Read;
    }
    match route {
        // They tell, and change nothing.
        Route::PreviewSchedule
        | Route::PreviewRetention(_)
        | Route::ReplayRetention(_)
        | Route::SimulateRetention(_) => Scope::Read,
        // To hold can lose nothing; to release is a step of deleting.
        Route::Hold(..) if *method == Method::PUT => Scope::Operate,
        Route::Run(_)
        | Route::Pause(_)
        | Route::Resume(_)
        | Route::Init(_)
        | Route::Scan(_)
        | Route::TestChannel(_)
        | Route::TestDestination(_)
        | Route::Copy(_)
        | Route::Cancel(_)
        | Route::Retry(_)
        | Route::Index(_)
        | Route::Restore(_)
        | Route::RestoreCluster(_)
        | Route::RestoreDatabase(_)
        | Route::RestoreDump(_) => Scope::Operate,
        _ => Scope::Admin,
    }
}

async fn dispatch(app: &Arc<App>, route: &Route<'_>, request: &Request) -> Result<WarpResponse, Problem> {
    use resources::{
        archives, channels, cleanup, cluster_restores, database_restores, definition, holds, jobs,
        plan_retention, plans, repositories, schedules, settings, system, tokens,
    };
    let good = match route {
        Route::Events => return events::stream(app, request).await,
        Route::Metrics => return Ok(health::metrics(app).await),
        Route::Download(id) => return resources::downloads::download(app, request, id).await,
        Route::Alive | Route::Ready => return Err(Problem::not_found("path", &request.path)),
        Route::Version => Ok(system::version()),
        Route::List(kind) => match kind {
            Definitions::Servers => definition::list::<resources::servers::Servers>(app, request).await,
            Definitions::Destinations => {
                definition::list::<resources::destinations::Destinations>(app, request).await
            }
            Definitions::Repositories => definition::list::<repositories::Repositories>(app, request).await,
            Definitions::Plans => definition::list::<plans::Plans>(app, request).await,
            Definitions::Channels => definition::list::<channels::Channels>(app, request).await,
        },
        Route::One(kind, id) => match kind {
            Definitions::Servers => definition::one::<resources::servers::Servers>(app, request, id).await,
            Definitions::Destinations => {
                definition::one::<resources::destinations::Destinations>(app, request, id).await
            }
            Definitions::Repositories => {
                definition::one::<repositories::Repositories>(app, request, id).await
            }
            Definitions::Plans => definition::one::<plans::Plans>(app, request, id).await,
            Definitions::Channels => definition::one::<channels::Channels>(app, request, id).await,
        },
        Route::Run(id) => plans::run(app, request, id).await,
        Route::Pause(id) => plans::pause(app, request, id).await,
        Route::Resume(id) => plans::resume(app, request, id).await,
        Route::Retention(id) => plan_retention::show(app, request, id).await,
        Route::PreviewRetention(id) => plan_retention::preview(app, request, id).await,
        Route::ReplayRetention(id) => plan_retention::replay(app, request, id).await,
        Route::SimulateRetention(id) => plan_retention::simulate(app, request, id).await,
        Route::PreviewSchedule => schedules::preview(app, request).await,
        Route::Cleanup(id) => cleanup::run(app, request, id).await,
        Route::Hold(id, name) => holds::one(app, request, id, name).await,
        Route::Init(id) => repositories::init(app, request, id).await,
        Route::Scan(id) => repositories::scan(app, request, id).await,
        Route::TestSource => resources::probes::source(app, request).await,
        Route::Usage(id) => resources::usage::show(app, request, id).await,
        Route::TestDestination(id) => resources::probes::destination(app, request, id).await,
        Route::TestChannel(id) => channels::test(app, request, id).await,
        Route::Tokens => tokens::all(app, request).await,
        Route::Token(id) => tokens::one(app, request, id).await,
        Route::Jobs => jobs::list(app, request).await,
        Route::Job(id) => jobs::show(app, request, id).await,
        Route::Cancel(id) => jobs::cancel(app, request, id).await,
        Route::Retry(id) => jobs::retry(app, request, id).await,
        Route::JobLog(id) => jobs::log(app, request, id).await,
        Route::Archives => archives::list(app, request).await,
        Route::Archive(id) if request.method == Method::DELETE => archives::delete(app, request, id).await,
        Route::Archive(id) => archives::show(app, request, id).await,
        Route::Files(id) => archives::files(app, request, id).await,
        Route::Index(id) => archives::index(app, request, id).await,
        Route::Copy(id) => archives::copy(app, request, id).await,
        Route::Restore(id) => archives::restore(app, request, id).await,
        Route::RestoreCluster(id) => cluster_restores::restore(app, request, id).await,
        Route::RestoreDatabase(id) => database_restores::restore(app, request, id).await,
        Route::RestoreDump(id) => resources::dump_restores::restore(app, request, id).await,
        Route::Nodes => system::nodes(app, request).await,
        Route::Quarantine => system::quarantine(app, request).await,
        Route::Redrive(id) => system::redrive(app, request, id).await,
        Route::Capabilities => system::capabilities(app).await,
        Route::Limits => settings::limits(app, request).await,
        Route::Lateness => system::lateness(app, request).await,
    };
    Ok(good?.response().into_response())
}

impl Good {
    /// For those that are no part of the dispatch.
    pub fn into_response(self) -> Response<Vec<u8>> {
        self.response()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use futures::StreamExt;

    fn drops(count: usize, every: Duration) -> impl Stream<Item = Result<Bytes, warp::Error>> {
        futures::stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(every).await;
            Ok(Bytes::from_static(b"x"))
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_to_an_end_is_not_waited_for() {
        let began = tokio::time::Instant::now();
        let headers = HeaderMap::new();
        // One that never comes, and one that always has another byte to give.
        let silent = futures::stream::pending::<Result<Bytes, warp::Error>>();
        let silent = read_body(&headers, silent).await.unwrap_err();
        let dribble = read_body(&headers, drops(usize::MAX, Duration::from_secs(1))).await.unwrap_err();
        for problem in [silent, dribble] {
            assert_eq!((problem.status.as_u16(), problem.code.as_str()), (408, "timeout"));
            assert_eq!(problem.header, Some((header::CONNECTION, "close".into())));
        }
        assert!(began.elapsed() < 2 * BODY_WITHIN + Duration::from_secs(1));
        let whole = read_body(&headers, drops(9, Duration::from_secs(1))).await.unwrap();
        assert_eq!(whole.len(), 9);
    }

    #[test]
    fn a_method_that_nobody_knows_is_no_number_of_its_own() {
        assert_eq!(label_of(&Method::PUT), "PUT");
        assert_eq!(label_of(&Method::from_bytes(b"BREW").unwrap()), "other");
    }
}

//! Server-sent events: the log as it grows, each event with its sequence as its id, so that `Last-Event-ID` goes on
//! exactly where a connection was cut; progress in between, without an id.
//!
//! Every stream follows the log by itself and at its own pace: a slow reader holds up nobody and misses nothing.

use crate::app::App;
use crate::auth::Caller;
use crate::body;
use crate::http::Request;
use crate::problem::Problem;
use futures::Stream;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use strongroom_bus::{Delivery, Follower, Recorded};
use strongroom_domain::wire::Progress;
use strongroom_domain::{Event, JobId, Kind};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};
use warp::sse;

/// Frames that are made before the reader has taken those before them.
const AHEAD: usize = 16;
/// How often a stream without news says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct State {
    follower: Follower,
    progress: Receiver<Progress>,
    job: Option<JobId>,
    kinds: Vec<Kind>,
    caller: Caller,
    app: Arc<App>,
    _room: tokio::sync::OwnedSemaphorePermit,
}

/// `GET /events`.
pub async fn stream(app: &Arc<App>, request: &Request) -> Result<Response, Problem> {
    let full = || {
        let detail = format!("{} streams are open already; close one, or try again", crate::app::STREAMS);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail)
            .with(header::RETRY_AFTER, "5")
    };
    let room = app.streams.clone().try_acquire_owned().map_err(|_| full())?;
    let job = body::query::<JobId>(request, "job").map_err(|_| Problem::field("job", "is no id of a job"))?;
    let mut kinds = Vec::new();
    for word in request.query("kinds").unwrap_or_default().split(',').filter(|w| !w.is_empty()) {
        let unknown = |_| Problem::field("kinds", format!("'{word}' is no kind of aggregate"));
        kinds.push(word.parse::<Kind>().map_err(unknown)?);
    }
    let (_, last) = app.bus.log_state().await?;
    let after = match request.header("last-event-id").or_else(|| request.query("after")) {
        None => last,
        Some(text) => {
            let wrong = || Problem::field("after", format!("must be a sequence of the log, at most {last}"));
            text.parse::<u64>().ok().filter(|n| *n <= last).ok_or_else(wrong)?
        }
    };
    let state = State {
        follower: app.bus.follow(after),
        progress: app.live.progress(),
        job,
        kinds,
        caller: request.caller.clone(),
        app: app.clone(),
        _room: room,
    };
    let reply = sse::reply(sse::keep_alive().interval(KEEP_ALIVE).stream(frames(state)));
    let mut response = reply.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that collects a stream before it passes it on would show nothing.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Frames of a few places ahead of the reader. The task that makes them ends with the stream.
fn frames(state: State) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let (app, caller) = (state.app.clone(), state.caller.clone());
        tokio::select! {
            () = app.shutdown.cancelled() => {}
            () = sender.closed() => {}
            () = app.tokens.until_ended(&app.bus, &caller) => {}
            () = feed(state, &sender) => {}
        }
    });
    futures::stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((Ok(event), receiver))
    })
}

async fn feed(mut state: State, sender: &mpsc::Sender<sse::Event>) {
    loop {
        let next = tokio::select! {
            delivery = state.follower.next() => match delivery {
                // Who is not let in any more hears nothing of what came after.
                Ok(Delivery::Event(recorded)) if is_revoked_by(&state.app, &state.caller, &recorded).await => return,
                Ok(Delivery::Event(recorded)) => state.wants(&recorded).then(|| frame(&recorded)),
                Ok(_) => None,
                Err(strongroom_bus::FollowError::Fault(fault)) if fault.is_transient() => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    None
                }
                // The reader comes again with its last id, and is told then what is wrong.
                Err(_) => return,
            },
            progress = state.progress.recv() => match progress {
                Ok(progress) => {
                    let wanted = state.job.is_none_or(|job| job == progress.job);
                    wanted.then(|| sse::Event::default().event("progress").data(json!(progress).to_string()))
                }
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return,
            },
        };
        if let Some(event) = next
            && sender.send(event).await.is_err()
        {
            return;
        }
    }
}

/// A revocation ends the stream unless the token was issued anew since: this one may be long ago.
async fn is_revoked_by(app: &App, caller: &Caller, recorded: &Recorded) -> bool {
    let token = &caller.token;
    if !matches!(recorded.event, Event::TokenRevoked(_)) || recorded.aggregate.id != token.as_str() {
        return false;
    }
    app.tokens.hear(token, recorded.sequence);
    !app.tokens.is_let_in(&app.bus, caller).await
}

impl State {
    fn wants(&self, recorded: &Recorded) -> bool {
        let about = self.job.is_none_or(|job| match &recorded.event {
            Event::QueueAdmitted(admitted) => admitted.job == job,
            _ => recorded.aggregate.kind == Kind::Job && recorded.aggregate.id == job.to_string(),
        });
        about && (self.kinds.is_empty() || self.kinds.contains(&recorded.aggregate.kind))
    }
}

fn frame(recorded: &Recorded) -> sse::Event {
    let data = json!({
        "sequence": recorded.sequence, "id": recorded.id, "type": recorded.event.type_name(),
        "aggregate": recorded.aggregate.to_string(), "version": recorded.version, "at": recorded.at,
        "actor": recorded.context.actor, "correlation": recorded.context.correlation,
        "data": without_hashes(recorded.event.to_json()),
    });
    sse::Event::default()
        .id(recorded.sequence.to_string())
        .event(recorded.event.type_name())
        .data(data.to_string())
}

/// A token's hash is of no use to anybody who may look.
fn without_hashes(mut data: Value) -> Value {
    if let Value::Object(fields) = &mut data {
        fields.remove("sha256");
    }
    data
}

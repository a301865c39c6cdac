//! `/healthz`, `/readyz`, `/metrics`.

use crate::app::App;
use crate::exposition::Exposition;
use crate::http::Good;
use crate::plan_numbers;
use futures::future::join_all;
use serde_json::{Map, Value, json};
use std::time::Duration;
use strongroom_bus::server::monitor;
use strongroom_domain::view::Health;
use warp::http::{Response, StatusCode, header};
use warp::reply::Reply;

/// Services that answer for themselves.
const PARTS: &[&str] = &["scheduler", "catalog", "notifier", "recovery"];
/// How long a part may take to answer.
const WITHIN: Duration = Duration::from_secs(3);

/// The answer of `/readyz`.
pub struct Readiness {
    ready: bool,
    body: Value,
}

impl Readiness {
    /// 200 when ready, 503 when not.
    pub fn response(self) -> Response<Vec<u8>> {
        let status = if self.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Good::new(status, self.body).into_response()
    }
}

/// Whether everything does its work.
pub async fn ready(app: &App) -> Readiness {
    let (log, parts) = tokio::join!(log(app), parts(app));
    let mut ready = log.ready;
    let mut shown = Map::new();
    shown.insert("log".into(), show(&log));
    for (name, health) in parts {
        ready &= health.ready;
        shown.insert(name.to_owned(), show(&health));
    }
    Readiness { ready, body: json!({ "ready": ready, "parts": shown }) }
}

/// What is open to everybody: no numbers, which belong to `/metrics`.
fn show(health: &Health) -> Value {
    json!({ "ready": health.ready, "problems": health.problems })
}

async fn log(app: &App) -> Health {
    let state = tokio::time::timeout(WITHIN, app.bus.log_state()).await;
    let problem = match state {
        Ok(Ok(_)) => match &app.nats_monitor {
            None => return Health { ready: true, ..Health::default() },
            Some(address) => match tokio::time::timeout(WITHIN, monitor::check(address)).await {
                Ok(Ok(())) => return Health { ready: true, ..Health::default() },
                Ok(Err(unfit)) => unfit.to_string(),
                Err(_) => format!("nats-server does not say how it is on {address}"),
            },
        },
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => "the log does not answer".to_owned(),
    };
    Health { ready: false, problems: vec![problem], ..Health::default() }
}

async fn parts(app: &App) -> Vec<(&'static str, Health)> {
    let asked = PARTS.iter().map(|name| async move {
        let health = match tokio::time::timeout(WITHIN, app.bus.ask(name, "health", &(), None, None)).await {
            Ok(Ok((health, _))) => health,
            Ok(Err(_)) | Err(_) => {
                Health { ready: false, problems: vec!["it does not answer".to_owned()], ..Health::default() }
            }
        };
        (*name, health)
    });
    join_all(asked).await
}

/// All numbers in Prometheus' text form (version 0.0.4).
pub async fn metrics(app: &App) -> warp::reply::Response {
    let mut numbers = Exposition::default();
    let version = Some(("version", env!("CARGO_PKG_VERSION")));
    numbers.add("strongroom_build_info", "Which version it is.", version, 1.0);
    for (name, health) in parts(app).await {
        let ready = f64::from(u8::from(health.ready));
        numbers.add("strongroom_ready", "Whether a service does its work.", Some(("service", name)), ready);
        for (number, value) in &health.numbers {
            numbers.add_named(number, *value);
        }
    }
    plan_numbers::add(app, &mut numbers).await;
    let text = app.metrics.render() + &numbers.text();
    let mut response = Response::new(text).into_response();
    let kind = warp::http::HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

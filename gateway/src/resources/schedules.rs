//! Schedules before they are saved: what they say, and when they would run.

use crate::app::App;
use crate::body;
use crate::http::{Good, Request};
use crate::problem::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_domain::cron::{Language, ScheduleSpec, Upcoming, Window};
use strongroom_domain::{FieldError, Rejection};
use strongroom_service::clock;

/// How many runs are told when nobody says, and at most.
const COUNT: (u16, u16) = (5, 100);

/// What is asked beside the schedule itself.
#[derive(Debug, Serialize, Deserialize)]
struct Which {
    #[serde(default)]
    count: Option<u16>,
    #[serde(default)]
    after: Option<Timestamp>,
}

/// `POST /schedules/preview`.
pub async fn preview(app: &App, request: &Request) -> Result<Good, Problem> {
    let mut fields = body::object(request)?;
    let which = ["count", "after"].into_iter().filter_map(|name| fields.remove_entry(name)).collect();
    let Which { count, after } = body::understand(which)?;
    let spec: ScheduleSpec = body::understand(fields)?;
    let mut problems = spec.problems();
    let count = count.unwrap_or(COUNT.0);
    if !(1..=COUNT.1).contains(&count) {
        problems.push(FieldError::new("count", format!("must be 1 to {}", COUNT.1)));
    }
    if !problems.is_empty() {
        return Err(Rejection::Invalid { fields: problems }.into());
    }
    let schedule = spec.parse().map_err(|field| Problem::from(Rejection::Invalid { fields: vec![field] }))?;
    let after = after.unwrap_or_else(clock::now);
    let next: Vec<Value> = schedule
        .upcoming(after, usize::from(count))
        .iter()
        .map(|upcoming| shown(upcoming, &spec.blackout))
        .collect();
    let (_, last) = app.bus.log_state().await?;
    let body = json!({
        "sentence": { "en": schedule.sentence(Language::English), "fr": schedule.sentence(Language::French) },
        "cron": spec.cron, "time_zone": spec.time_zone, "next": next,
    });
    Ok(Good::at(app.bus.position(last), body))
}

fn shown(upcoming: &Upcoming, windows: &[Window]) -> Value {
    let blackout = upcoming.swallowed_by.map(|n| {
        let reason = windows.get(n).map(|window| match window {
            Window::Weekly { reason, .. } | Window::Dated { reason, .. } => reason,
        });
        json!({ "window": n, "reason": reason.filter(|reason| !reason.is_empty()) })
    });
    json!({ "at": upcoming.at, "local": upcoming.local, "note": upcoming.note, "blackout": blackout })
}

//! Waiting for a job, with a progress bar: follows the log's events and looks at the job whenever one comes.

use crate::client::{Client, ClientError};
use crate::output::{bytes, printable};
use eventsource_stream::Eventsource;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long the stream may be silent before the job is looked at anyway.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);

/// How often in a row it may go wrong.
const FAILURES: u32 = 60;
/// A stream that lived for this long was a good one.
const WENT_WELL: Duration = Duration::from_secs(10);

/// Waits until the job has ended; gives it as it is then.
pub async fn for_job(
    client: &Client,
    job: &str,
    position: Option<&str>,
    show: bool,
) -> Result<Value, ClientError> {
    let bar = if show { progress_bar() } else { ProgressBar::hidden() };
    let mut failures = 0_u32;
    let ended = loop {
        let begun = Instant::now();
        let tried = follow(client, job, position, &bar).await;
        if begun.elapsed() > WENT_WELL {
            failures = 0;
        }
        match tried {
            Ok(ended) => break ended,
            // The server was started anew, or the connection was cut: the job goes on without us, and so do we.
            Err(ClientError::Other(_)) if failures < FAILURES => failures += 1,
            Err(e) if e.leaves_it_open() && failures < FAILURES => failures += 1,
            Err(e) => return Err(e),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    bar.finish_and_clear();
    Ok(ended)
}

async fn follow(
    client: &Client,
    job: &str,
    position: Option<&str>,
    bar: &ProgressBar,
) -> Result<Value, ClientError> {
    let after = position.and_then(|p| p.rsplit(':').next()).unwrap_or_default();
    let mut query = vec![("job", job)];
    if !after.is_empty() {
        query.push(("after", after));
    }
    let request = client.request(reqwest::Method::GET, "/events").query(&query);
    let mut events = client.open(request).await?.bytes_stream().eventsource();
    let generation = position.and_then(|p| p.rsplit_once(':')).map(|(g, _)| g.to_owned());
    let mut seen = position.map(str::to_owned);
    loop {
        match tokio::time::timeout(LOOK_ANYWAY, events.next()).await {
            Ok(None) => return Err(ClientError::Other("the stream of events ended".into())),
            Ok(Some(Err(e))) => return Err(ClientError::Other(e.to_string())),
            Ok(Some(Ok(event))) if event.event == "progress" => {
                show_progress(bar, &serde_json::from_str(&event.data).unwrap_or_default());
                continue;
            }
            Ok(Some(Ok(event))) => {
                if let Some(generation) = generation.as_ref().filter(|_| !event.id.is_empty()) {
                    seen = Some(format!("{generation}:{}", event.id));
                }
            }
            Err(_) => {}
        }
        let now = client.get_at(&format!("/jobs/{job}"), seen.as_deref()).await?.body;
        let phase = now.pointer("/phase").and_then(Value::as_str).unwrap_or_default();
        if !matches!(phase, "waiting" | "running") {
            return Ok(now);
        }
        bar.set_prefix(phase.to_owned());
        if let Some(waiting) = now.pointer("/waiting/waits_for").and_then(Value::as_str) {
            bar.set_message(format!("waits for {}", waiting.replace('_', " ")));
        }
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(150));
    bar
}

fn show_progress(bar: &ProgressBar, progress: &Value) {
    let number = |field: &str| progress.get(field).and_then(Value::as_u64).unwrap_or(0);
    let text = |field: &str| progress.get(field).and_then(Value::as_str).unwrap_or_default();
    bar.set_prefix(printable(text("step")));
    bar.set_message(format!(
        "{} files, {} read, {} new, {}/s  {}",
        number("files"),
        bytes(number("original_size_bytes")),
        bytes(number("deduplicated_size_bytes")),
        bytes(number("rate_bytes_per_s")),
        printable(text("path")),
    ));
}

//! Waiting for a job, with a progress bar: follows the log's events and looks at the job whenever one comes.

use crate::client::{Client, ClientError};
use crate::commands::escape;
use crate::output::{bytes, printable};
use eventsource_stream::Eventsource;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::time::Duration;

/// How long the stream may be silent before the job is looked at anyway.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);

/// How often in a row it may go wrong.
const FAILURES: u32 = 60;
/// The pause before the next try.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until the job has ended; gives it as it is then.
pub async fn for_job(
    client: &Client,
    job: &str,
    position: Option<&str>,
    show: bool,
) -> Result<Value, ClientError> {
    let bar = if show { progress_bar() } else { ProgressBar::hidden() };
    let ended = until_ended(client, job, position, &bar, PAUSE).await?;
    bar.finish_and_clear();
    Ok(ended)
}

async fn until_ended(
    client: &Client,
    job: &str,
    position: Option<&str>,
    bar: &ProgressBar,
    pause: Duration,
) -> Result<Value, ClientError> {
    let mut failures = 0_u32;
    loop {
        match follow(client, job, position, bar, &mut failures).await {
            Ok(ended) => return Ok(ended),
            // The server was started anew, or the connection was cut: the job goes on without us, and so do we.
            Err(ClientError::Other(_)) if failures < FAILURES => failures += 1,
            Err(e) if e.leaves_it_open() && failures < FAILURES => failures += 1,
            Err(e) => return Err(e),
        }
        tokio::time::sleep(pause).await;
    }
}

/// Follows the events until the job has ended. Each look at it that is answered forgives what went wrong before: a job may
/// take days, and a proxy may cut each stream.
async fn follow(
    client: &Client,
    job: &str,
    position: Option<&str>,
    bar: &ProgressBar,
    failures: &mut u32,
) -> Result<Value, ClientError> {
    // It may have ended long ago, or there is no such job.
    if let Some(ended) = look(client, job, position, bar, failures).await? {
        return Ok(ended);
    }
    let after = position.and_then(|p| p.rsplit(':').next()).unwrap_or_default();
    let mut query = vec![("job", job)];
    if !after.is_empty() {
        query.push(("after", after));
    }
    let request = client.request(reqwest::Method::GET, "/events").query(&query);
    // When there is no place for another stream, the job was looked at all the same, and is again.
    let mut events = client.open_stream(request).await?.bytes_stream().eventsource();
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
        if let Some(ended) = look(client, job, seen.as_deref(), bar, failures).await? {
            return Ok(ended);
        }
    }
}

/// Looks at the job; gives it when it has ended.
async fn look(
    client: &Client,
    job: &str,
    seen: Option<&str>,
    bar: &ProgressBar,
    failures: &mut u32,
) -> Result<Option<Value>, ClientError> {
    let now = client.get_at(&format!("/jobs/{}", escape(job)), seen).await?.body;
    *failures = 0;
    let phase = now.pointer("/phase").and_then(Value::as_str).unwrap_or_default();
    if !matches!(phase, "waiting" | "running") {
        return Ok(Some(now));
    }
    bar.set_prefix(phase.to_owned());
    if let Some(waiting) = now.pointer("/waiting/waits_for").and_then(Value::as_str) {
        bar.set_message(format!("waits for {}", waiting.replace('_', " ")));
    }
    Ok(None)
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
    let of = progress.get("expected_bytes").and_then(Value::as_u64);
    let left = progress.get("remaining_s").and_then(Value::as_u64);
    bar.set_message(format!(
        "{} files, {}{} read, {} new, {}/s{}  {}",
        number("files"),
        bytes(number("original_size_bytes")),
        of.map(|of| format!(" of about {}", bytes(of))).unwrap_or_default(),
        bytes(number("deduplicated_size_bytes")),
        bytes(number("rate_bytes_per_s")),
        left.map(|left| format!(", about {} left", span(left))).unwrap_or_default(),
        printable(text("path")),
    ));
}

/// Seconds for people.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::fake_server::{Answer, FakeServer};

    #[test]
    fn how_long_it_will_take_is_told_as_people_do() {
        assert_eq!([9, 61, 3600, 7325].map(span), ["9 s", "2 min", "1 h 0 min", "2 h 2 min"]);
    }

    async fn wait_on(server: &FakeServer) -> Result<Value, ClientError> {
        let client = Client::with(&server.url, "srt_x").unwrap();
        let bar = ProgressBar::hidden();
        until_ended(&client, "j", Some("g:7"), &bar, Duration::from_millis(1)).await
    }

    /// The job runs for so many looks and is complete then.
    fn running(looks: usize, asked: usize) -> Answer {
        let phase = if asked < looks { "running" } else { "complete" };
        Answer::new(200, &format!("{{\"id\":\"j\",\"phase\":\"{phase}\"}}"))
    }

    #[tokio::test]
    async fn a_job_outlasts_any_number_of_cuts_when_it_is_seen_in_between() {
        let server = FakeServer::start(|path, asked| match path {
            "/api/v1/events" => match asked % 4 {
                0 => Answer::new(502, "a proxy's page"),
                1 => Answer::new(503, "{\"code\":\"too_many_streams\"}"),
                2 => Answer::new(504, ""),
                _ => Answer::new(200, "").with("content-type", "text/event-stream"),
            },
            _ => running(3 * FAILURES as usize, asked),
        });
        let ended = wait_on(&server.await).await.unwrap();
        assert_eq!(ended["phase"], "complete");
    }

    #[tokio::test]
    async fn what_is_not_seen_for_long_is_told_and_so_is_what_will_not_pass() {
        let away = FakeServer::start(|_, _| Answer::new(502, "")).await;
        let error = wait_on(&away).await.unwrap_err();
        assert!(matches!(&error, ClientError::Problem(p) if p.status == 502), "{error}");
        assert!(away.asked() > FAILURES as usize);
        let refused = FakeServer::start(|_, _| Answer::new(401, "{\"code\":\"unauthorized\"}")).await;
        let error = wait_on(&refused).await.unwrap_err();
        assert!(matches!(&error, ClientError::Problem(p) if p.status == 401), "{error}");
        assert_eq!(refused.asked(), 1);
        // Neither one that there is not nor one that ended before is waited for.
        let none = FakeServer::start(|_, _| Answer::new(404, "{\"code\":\"not_found\"}")).await;
        let error = wait_on(&none).await.unwrap_err();
        assert!(matches!(&error, ClientError::Problem(p) if p.status == 404), "{error}");
        let ended = FakeServer::start(|_, asked| running(0, asked)).await;
        wait_on(&ended).await.unwrap();
        assert_eq!((none.asked(), ended.asked()), (1, 1));
    }
}

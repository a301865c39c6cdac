//! How the system is: `status`, `nodes`, `events`, `quarantine`.

use super::definitions::{Changes, Limit, escape};
use super::{Outcome, Session};
use crate::args::Output;
use crate::client::{ClientError, SILENCE};
use crate::exit::Exit;
use crate::output::Format::{Plain, Time};
use crate::output::{self, printable};
use clap::Subcommand;
use eventsource_stream::Eventsource;
use futures::StreamExt;
use serde_json::{Value, json};

/// Which events.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    /// Begin after this sequence of the log; 0 prints all of it. Only new ones, when absent.
    #[arg(long)]
    after: Option<u64>,
    /// Only what is about this job.
    #[arg(long)]
    job: Option<String>,
    /// Only what is about this kind of thing (job, plan, queue, ...); give it once for each.
    #[arg(long = "kind")]
    kinds: Vec<String>,
}

/// The limits of the whole system.
#[derive(Debug, clap::Args)]
pub struct LimitsArgs {
    /// On all servers together; `none` for what the scheduler was started with, here and in the next ones.
    #[arg(long, value_name = "NUMBER")]
    max_jobs: Option<Limit>,
    /// For one server whose definition does not say.
    #[arg(long, value_name = "NUMBER")]
    max_jobs_per_server: Option<Limit>,
    /// At one destination whose definition does not say.
    #[arg(long, value_name = "NUMBER")]
    max_jobs_per_destination: Option<Limit>,
    /// In one repository whose definition does not say, of those that only read.
    #[arg(long, value_name = "NUMBER")]
    max_jobs_per_repository: Option<Limit>,
}

/// What can be done with what was set aside.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// All of it.
    List,
    /// Let the service try again.
    Redrive {
        /// Its id, as the list has it.
        id: String,
    },
}

/// `strongroom status`.
pub async fn status(session: &Session) -> Outcome {
    let (ready, body) = session.client.ready().await?;
    match session.output {
        Output::Json => output::json(&body),
        Output::Table => {
            say!("{}", if ready { "ready" } else { "not ready" });
            print_parts(&body);
        }
    }
    Ok((!ready).then_some(Exit::Unavailable))
}

fn print_parts(body: &Value) {
    for (name, part) in body.get("parts").and_then(Value::as_object).into_iter().flatten() {
        let ready = part.get("ready").and_then(Value::as_bool).unwrap_or(false);
        say!("  {name:<12} {}", if ready { "ready" } else { "not ready" });
        for problem in part.get("problems").and_then(Value::as_array).into_iter().flatten() {
            say!("               {}", printable(problem.as_str().unwrap_or_default()));
        }
    }
}

/// `strongroom nodes`.
pub async fn nodes(session: &Session) -> Outcome {
    let items = session.client.list("/nodes", usize::MAX).await?;
    let columns = [
        ("name", "/id", Plain),
        ("joined", "/joined_at", Time),
        ("last heartbeat", "/last_heartbeat_at", Time),
        ("version", "/joined/version", Plain),
        ("borg", "/joined/capabilities/borg_version", Plain),
    ];
    output::list(session.output, &items, &columns);
    Ok(None)
}

/// `strongroom lateness`.
pub async fn lateness(session: &Session) -> Outcome {
    let items = session.client.list("/lateness", usize::MAX).await?;
    let columns = [
        ("plan", "/plan", Plain),
        ("", "/state", Plain),
        ("since", "/since", Time),
        ("in time until", "/until", Time),
        ("newest good archive", "/last_good_at", Time),
        ("failed in a row", "/failures_in_a_row", Plain),
        ("why not", "/why", Plain),
    ];
    output::list(session.output, &items, &columns);
    Ok(None)
}

/// `strongroom limits`.
pub async fn limits(args: &LimitsArgs, session: &Session) -> Outcome {
    let said = Changes::default()
        .with(&["max_jobs"], args.max_jobs)
        .with(&["max_jobs_per_server"], args.max_jobs_per_server)
        .with(&["max_jobs_per_destination"], args.max_jobs_per_destination)
        .with(&["max_jobs_per_repository"], args.max_jobs_per_repository)
        .done();
    let mut shown = session.client.get("/settings/limits").await?.body;
    if !said.is_empty() {
        let mut limits = shown.as_object().cloned().unwrap_or_default();
        limits.remove("effective");
        limits.extend(said);
        session.client.put("/settings/limits", &Value::Object(limits), None).await?;
        shown = session.client.get("/settings/limits").await?.body;
    }
    match session.output {
        Output::Json => output::json(&shown),
        Output::Table => {
            let effective = |name: &str| shown.pointer(&format!("/effective/{name}")).and_then(Value::as_u64);
            let all = [
                ("on all servers together", "global"),
                ("for one server", "per_server"),
                ("at one destination", "per_destination"),
                ("in one repository, of those that only read", "per_repository"),
            ];
            for (words, name) in all {
                let number = effective(name).map_or_else(|| "any number".to_owned(), |n| n.to_string());
                say!("{words:<43} {number}");
            }
        }
    }
    Ok(None)
}

/// `strongroom capabilities`.
pub async fn capabilities(session: &Session) -> Outcome {
    let body = session.client.get("/recovery/capabilities").await?.body;
    if session.output == Output::Json {
        output::json(&body);
        return Ok(None);
    }
    let parts = body.as_object().into_iter().flatten();
    let items: Vec<Value> = parts
        .map(|(name, part)| {
            let mut part = part.clone();
            if let Value::Object(fields) = &mut part {
                fields.insert("name".into(), json!(name));
            }
            part
        })
        .collect();
    let columns = [
        ("name", "/name", Plain),
        ("usable", "/usable", Plain),
        ("version", "/version", Plain),
        ("problem", "/problem", Plain),
    ];
    output::list(session.output, &items, &columns);
    Ok(None)
}

/// `strongroom events`.
pub async fn events(args: &EventsArgs, session: &Session) -> Outcome {
    let mut query: Vec<(&str, String)> = Vec::new();
    query.extend(args.after.map(|after| ("after", after.to_string())));
    query.extend(args.job.clone().map(|job| ("job", job)));
    query.extend((!args.kinds.is_empty()).then(|| ("kinds", args.kinds.join(","))));
    let request = session.client.request(reqwest::Method::GET, "/events").query(&query);
    let mut stream = session.client.open_stream(request).await?.bytes_stream().eventsource();
    let silent = |_| ClientError::Other(format!("the server has said nothing for {} s", SILENCE.as_secs()));
    while let Some(event) = tokio::time::timeout(SILENCE, stream.next()).await.map_err(silent)? {
        let event = event.map_err(|e| ClientError::Other(e.to_string()))?;
        let data: Value = serde_json::from_str(&event.data).unwrap_or(Value::String(event.data));
        let sequence: Option<u64> = event.id.parse().ok();
        say!("{}", json!({ "sequence": sequence, "event": event.event, "data": data }));
    }
    Err(ClientError::Other("the server ended the stream; begin again after the last sequence".into()))
}

/// `strongroom quarantine`.
pub async fn quarantine(command: QuarantineCommand, session: &Session) -> Outcome {
    match command {
        QuarantineCommand::List => {
            let items = session.client.list("/quarantine", usize::MAX).await?;
            let columns = [
                ("id", "/id", Plain),
                ("sequence", "/sequence", Plain),
                ("at", "/at", Time),
                ("why", "/reason", Plain),
            ];
            output::list(session.output, &items, &columns);
        }
        QuarantineCommand::Redrive { id } => {
            let path = format!("/quarantine/{}/redrive", escape(&id));
            let answer = session.client.post(&path, &json!({})).await?;
            match session.output {
                Output::Json => output::json(&answer.body),
                Output::Table => say!("{id} was taken in"),
            }
        }
    }
    Ok(None)
}

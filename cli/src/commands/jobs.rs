//! `strongroom jobs`.

use super::definitions::escape;
use super::{Outcome, Session};
use crate::args::Output;
use crate::client::Answer;
use crate::exit::Exit;
use crate::output::Format::{Bytes, Duration, Plain, Rate, Time};
use crate::output::{self, Column, printable};
use crate::wait;
use clap::Subcommand;
use serde_json::{Value, json};

const COLUMNS: &[Column] = &[
    ("id", "/id", Plain),
    ("kind", "/kind", Plain),
    ("phase", "/phase", Plain),
    ("plan", "/requested/spec/plan", Plain),
    ("server", "/requested/server", Plain),
    ("requested", "/requested_at", Time),
    ("ended", "/ended_at", Time),
    ("cause", "/failure/code", Plain),
];

const FIELDS: &[Column] = &[
    ("id", "/id", Plain),
    ("kind", "/kind", Plain),
    ("phase", "/phase", Plain),
    ("server", "/requested/server", Plain),
    ("plan", "/requested/spec/plan", Plain),
    ("repository", "/requested/spec/access/repository", Plain),
    ("node", "/requested/node", Plain),
    ("requested", "/requested_at", Time),
    ("started", "/started_at", Time),
    ("ended", "/ended_at", Time),
    ("attempts", "/attempts", Plain),
    ("waits for", "/waiting/waits_for", Plain),
    ("archive", "/result/archive/id", Plain),
    ("archive name", "/result/archive/name", Plain),
    ("files", "/result/archive/stats/files|/result/files|/progress/files", Plain),
    (
        "original",
        "/result/archive/stats/original_size_bytes|/result/size_bytes|/progress/original_size_bytes",
        Bytes,
    ),
    ("compressed", "/result/archive/stats/compressed_size_bytes|/progress/compressed_size_bytes", Bytes),
    (
        "new in repository",
        "/result/archive/stats/deduplicated_size_bytes|/progress/deduplicated_size_bytes",
        Bytes,
    ),
    ("duration", "/result/archive/stats/duration_ms", Duration),
    ("rate", "/result/archive/stats/average_rate_bytes_per_s|/progress/rate_bytes_per_s", Rate),
    ("restored to", "/result/target|/result/database", Plain),
    ("tables", "/result/tables", Plain),
    ("kept as", "/result/kept", Plain),
    ("recognised", "/result/recognised", Plain),
    ("tables as dumped", "/result/check/tables_equal", Plain),
    ("tables not as dumped", "/result/check/tables_differing", Plain),
    ("tables not compared", "/result/check/tables_not_compared", Plain),
    ("schema as dumped", "/result/check/schema_equal", Plain),
    ("check answered", "/result/check/answer/text", Plain),
    ("server", "/result/cluster/target", Plain),
    ("recovered", "/result/cluster/recovered", Plain),
    ("up to", "/result/cluster/reached_lsn", Plain),
    ("last transaction", "/result/cluster/reached_at", Time),
    ("databases", "/result/cluster/databases", Plain),
    ("place", "/result/probe/place", Plain),
    ("version", "/result/probe/server_version", Plain),
    ("program", "/result/probe/tool", Plain),
    ("parts", "/result/probe/parts_total", Plain),
    ("size", "/result/probe/size_bytes", Bytes),
    ("free", "/result/probe/space/free_bytes", Bytes),
    ("failure", "/failure/code", Plain),
    ("what happened", "/failure/message", Plain),
    ("what to do", "/failure/advice", Plain),
    ("missing data", "/incomplete_total", Plain),
];

/// What a restore of files would do.
const FILES_PREVIEW: &[Column] = &[
    ("would restore to", "/target", Plain),
    ("files", "/files", Plain),
    ("size", "/size_bytes", Bytes),
    ("free", "/free_bytes", Bytes),
    ("would be created", "/created/total", Plain),
    ("there, and alike", "/alike/total", Plain),
    ("would be overwritten", "/overwritten/total", Plain),
    ("would be renamed", "/renamed/total", Plain),
    ("in the way", "/in_the_way/total", Plain),
    ("would be refused", "/refusal", Plain),
];

/// What a restore of a database would do.
const DATABASE_PREVIEW: &[Column] = &[
    ("would restore", "/database", Plain),
    ("on", "/server", Plain),
    ("version", "/server_version", Plain),
    ("program", "/tool", Plain),
    ("dumped from", "/dumped_from", Plain),
    ("dump", "/dump_bytes", Bytes),
    ("tables in it", "/dump_tables", Plain),
    ("rows in it", "/dump_rows", Plain),
    ("would", "/action", Plain),
    ("what stands there", "/standing/size_bytes", Bytes),
    ("tables there", "/standing/tables", Plain),
    ("connected there", "/standing/clients", Plain),
    ("would be kept as", "/kept_as", Plain),
    ("file on the node", "/file_bytes", Bytes),
    ("how", "/note", Plain),
    ("would be refused", "/refusal", Plain),
];

/// What a restore of a whole server would do.
const CLUSTER_PREVIEW: &[Column] = &[
    ("would become", "/target", Plain),
    ("size", "/size_bytes", Bytes),
    ("free", "/free_bytes", Bytes),
    ("program", "/tool", Plain),
    ("earliest moment", "/earliest", Time),
    ("latest moment", "/latest", Time),
    ("would be refused", "/refusal", Plain),
];

/// PostgreSQL servers on the node.
const CLUSTERS: &[Column] = &[
    ("runs on the node", "/version", Plain),
    ("port", "/port", Plain),
    ("socket", "/socket", Plain),
    ("data", "/data_folder", Plain),
];

const PARTS: &[Column] =
    &[("part", "/kind", Plain), ("name", "/name", Plain), ("size", "/size_bytes", Bytes)];

const PHASES: [&str; 7] =
    ["waiting", "running", "complete", "incomplete", "failed", "cancelled", "abandoned"];

/// What can be done with them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The newest ones.
    List {
        /// Of this plan.
        #[arg(long)]
        plan: Option<String>,
        /// Of this server.
        #[arg(long)]
        server: Option<String>,
        /// Of this repository.
        #[arg(long)]
        repository: Option<String>,
        /// In this phase.
        #[arg(long, value_parser = PHASES)]
        phase: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One of them.
    Show {
        /// Its id.
        id: String,
    },
    /// Stop one, waiting or running.
    Cancel {
        /// Its id.
        id: String,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
        /// Wait until it has ended.
        #[arg(long)]
        wait: bool,
    },
    /// Do one again that ended badly.
    Retry {
        /// Its id.
        id: String,
        /// Wait until it is done.
        #[arg(long)]
        wait: bool,
    },
    /// The last lines of its log.
    Log {
        /// Its id.
        id: String,
    },
    /// Wait until one has ended; the exit code says how.
    Wait {
        /// Its id.
        id: String,
    },
}

/// Does it.
pub async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List { plan, server, repository, phase, limit } => {
            let filters = [("plan", plan), ("server", server), ("repository", repository), ("phase", phase)];
            let items = session.client.list(&format!("/jobs{}", query(filters)), limit).await?;
            output::list(session.output, &items, COLUMNS);
            Ok(None)
        }
        Command::Show { id } => {
            let job = session.client.get(&at(&id)).await?.body;
            show(session, &job);
            Ok(None)
        }
        Command::Cancel { id, reason, wait } => {
            let answer =
                session.client.post(&format!("{}/cancel", at(&id)), &json!({ "reason": reason })).await?;
            if wait {
                // That it was stopped is what was asked for, and no failure.
                let ended =
                    wait::for_job(&session.client, &id, answer.position.as_deref(), session.shows_progress());
                show(session, &ended.await?);
            } else if session.output == Output::Json {
                output::json(&answer.body);
            } else {
                say!("job {id} is asked to stop");
            }
            Ok(None)
        }
        Command::Retry { id, wait } => {
            let answer = session.client.post(&format!("{}/retry", at(&id)), &json!({})).await?;
            asked(session, &answer, wait).await
        }
        Command::Log { id } => {
            let body = session.client.get(&format!("{}/log", at(&id))).await?.body;
            match (session.output, body.get("lines").and_then(Value::as_array)) {
                (Output::Table, Some(lines)) => {
                    lines.iter().filter_map(Value::as_str).for_each(|l| say!("{}", printable(l)));
                }
                (Output::Table, None) => say!("{}", printable(body.as_str().unwrap_or_default())),
                (Output::Json, _) => output::json(&body),
            }
            Ok(None)
        }
        Command::Wait { id } => wait_and_tell(session, &id, None).await,
    }
}

/// Filters as a query; what is not given is left out.
pub fn query<const N: usize>(filters: [(&str, Option<String>); N]) -> String {
    let given: Vec<String> =
        filters.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", escape(&value?)))).collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

fn at(id: &str) -> String {
    format!("/jobs/{}", escape(id))
}

/// Tells that a job was asked for, or waits for it and tells how it ended.
pub async fn asked(session: &Session, answer: &Answer, wait: bool) -> Outcome {
    let id = answer.body.get("id").or_else(|| answer.body.get("job")).and_then(Value::as_str);
    match (id, session.output) {
        (Some(id), _) if wait => wait_and_tell(session, id, answer.position.as_deref()).await,
        (Some(id), Output::Table) => {
            say!("job {id} is asked for");
            Ok(None)
        }
        _ => {
            output::json(&answer.body);
            Ok(None)
        }
    }
}

/// Waits for a job, tells how it ended, and gives the exit code for it.
pub async fn wait_and_tell(session: &Session, id: &str, position: Option<&str>) -> Outcome {
    let job = wait::for_job(&session.client, id, position, session.shows_progress()).await?;
    show(session, &job);
    Ok(Exit::of_phase(job.get("phase").and_then(Value::as_str).unwrap_or_default()))
}

fn show(session: &Session, job: &Value) {
    output::one(session.output, job, FIELDS);
    if session.output == Output::Json {
        return;
    }
    if let Some(parts) = job.pointer("/result/probe/parts").and_then(Value::as_array) {
        say!("");
        output::list(session.output, parts, PARTS);
    }
    if let Some(clusters) = job.pointer("/result/probe/clusters").and_then(Value::as_array) {
        say!("");
        output::list(session.output, clusters, CLUSTERS);
    }
    if let Some(preview) = job.pointer("/result/preview") {
        show_preview(session, preview);
    }
    for finding in job.get("findings").and_then(Value::as_array).into_iter().flatten() {
        let text = |field: &str| printable(finding.get(field).and_then(Value::as_str).unwrap_or_default());
        say!("  {}: {} {}", text("severity"), text("message"), text("path"));
    }
    for note in job.get("notes").and_then(Value::as_array).into_iter().flatten() {
        say!("  note: {}", printable(note.as_str().unwrap_or_default()));
    }
}

/// What a restore would do, with the first paths and roles that it is about.
fn show_preview(session: &Session, preview: &Value) {
    say!("");
    let columns = if preview.get("files").is_some() {
        FILES_PREVIEW
    } else if preview.get("archives").is_some() {
        CLUSTER_PREVIEW
    } else {
        DATABASE_PREVIEW
    };
    output::one(session.output, preview, columns);
    let texts = |at: &str| {
        let all = preview.pointer(at).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(printable).collect::<Vec<_>>()
    };
    for (words, kind) in [
        ("create", "created"),
        ("leave alone", "alike"),
        ("overwrite", "overwritten"),
        ("rename", "renamed"),
        ("in the way", "in_the_way"),
    ] {
        let first = texts(&format!("/{kind}/first"));
        first.iter().for_each(|path| say!("  {words}: {path}"));
        let total = preview.pointer(&format!("/{kind}/total")).and_then(Value::as_u64).unwrap_or_default();
        let more = total.saturating_sub(first.len() as u64);
        if more > 0 {
            say!("  {words}: and {more} more");
        }
    }
    for archive in texts("/archives") {
        say!("  out of: {archive}");
    }
    for role in texts("/roles_missing") {
        say!("  role that is not there: {role}");
    }
}

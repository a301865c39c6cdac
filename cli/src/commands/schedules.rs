//! `strongroom schedules`.

use super::plans::ScheduleArgs;
use super::{Outcome, Session};
use crate::args::Output;
use crate::output::{self, Column, Format::Plain, printable};
use clap::Subcommand;
use serde_json::{Map, Value, json};

const RUNS: &[Column] = &[
    ("at", "/at", Plain),
    ("there", "/local", Plain),
    ("the clocks", "/note", Plain),
    ("nothing runs", "/blackout", Plain),
];

/// What can be done with them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say in a sentence when a schedule would run, and the next times; nothing is kept.
    Preview {
        #[command(flatten)]
        schedule: Box<ScheduleArgs>,
        /// How many times, 1 to 100.
        #[arg(long)]
        count: Option<u16>,
        /// From when on; from now on, when absent.
        #[arg(long, value_name = "TIME")]
        after: Option<String>,
    },
}

/// Does it.
pub async fn run(command: Command, session: &Session) -> Outcome {
    let Command::Preview { schedule, count, after } = command;
    let body = body(&schedule, count, after);
    let told = session.client.post("/schedules/preview", &Value::Object(body)).await?.body;
    if session.output == Output::Json {
        output::json(&told);
        return Ok(None);
    }
    for language in ["en", "fr"] {
        let sentence = told.pointer(&format!("/sentence/{language}")).and_then(Value::as_str);
        say!("{}", printable(sentence.unwrap_or_default()));
    }
    let cron = told.get("cron").and_then(Value::as_str).unwrap_or_default();
    say!("cron: {}\n", printable(cron));
    let next = told.get("next").and_then(Value::as_array).into_iter().flatten();
    let runs: Vec<Value> = next.map(in_words).collect();
    output::list(session.output, &runs, RUNS);
    Ok(None)
}

fn body(schedule: &ScheduleArgs, count: Option<u16>, after: Option<String>) -> Map<String, Value> {
    let mut body = schedule.fields();
    body.extend(count.map(|count| ("count".to_owned(), json!(count))));
    body.extend(after.map(|after| ("after".to_owned(), json!(after))));
    body
}

/// A run, with words for what clocks and windows do to it.
fn in_words(run: &Value) -> Value {
    let mut run = run.clone();
    let note = match run.get("note").and_then(Value::as_str) {
        Some("gap") => "no such time that day: right after",
        Some("twice") => "comes twice that day: the first",
        Some("changed") => "another offset than before",
        other => other.unwrap_or_default(),
    };
    let (note, blackout) = (json!(note), run.get("blackout").filter(|window| window.is_object()).map(why));
    if let Value::Object(fields) = &mut run {
        fields.insert("note".into(), note);
        fields.insert("blackout".into(), json!(blackout.unwrap_or_default()));
    }
    run
}

fn why(window: &Value) -> String {
    let reason = window.get("reason").and_then(Value::as_str);
    reason.map_or_else(|| "blackout".to_owned(), |reason| format!("blackout: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_what_the_clocks_and_windows_do_to_it() {
        let plain = in_words(&json!({ "at": "a", "note": null, "blackout": null }));
        assert_eq!((plain.get("note"), plain.get("blackout")), (Some(&json!("")), Some(&json!(""))));
        let odd = in_words(&json!({ "note": "gap", "blackout": { "window": 0, "reason": "stocktaking" } }));
        assert_eq!(odd.get("note"), Some(&json!("no such time that day: right after")));
        assert_eq!(odd.get("blackout"), Some(&json!("blackout: stocktaking")));
        let silent = in_words(&json!({ "note": "twice", "blackout": { "window": 1, "reason": null } }));
        assert_eq!(silent.get("blackout"), Some(&json!("blackout")));
        let asked = body(&ScheduleArgs::default(), Some(3), Some("2026-01-01T00:00:00Z".into()));
        assert_eq!(Value::Object(asked), json!({ "count": 3, "after": "2026-01-01T00:00:00Z" }));
    }
}

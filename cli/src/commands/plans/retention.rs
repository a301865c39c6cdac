//! `strongroom plans retention`: what would go, and what would have.

use super::policy::PolicyArgs;
use super::schedule::ScheduleArgs;
use crate::args::Output;
use crate::commands::definitions::{Changes, escape};
use crate::commands::{Outcome, Session};
use crate::output::Format::{Bytes, Plain, Time};
use crate::output::{self, Column, bytes, duration, printable};
use serde_json::{Map, Value};

const VERDICTS: &[Column] = &[
    ("archive", "/name", Plain),
    ("made", "/made_at", Time),
    ("", "/outcome", Plain),
    ("why", "/why", Plain),
    ("added", "/added_bytes", Bytes),
    ("id", "/archive", Plain),
];

const REMAINS: &[Column] =
    &[("archive", "/name", Plain), ("made", "/made_at", Time), ("id", "/archive", Plain)];

const POINTS: &[Column] = &[
    ("month", "/month", Plain),
    ("last run", "/at", Time),
    ("archives", "/archives", Plain),
    ("size", "/added_bytes", Bytes),
];

/// What is asked.
#[derive(Debug, clap::Args)]
pub struct RetentionArgs {
    /// Name of the plan.
    name: String,
    /// Which archives would be there, had it always been so.
    #[arg(long, conflicts_with = "simulate")]
    replay: bool,
    /// How many archives there would be, month by month.
    #[arg(long)]
    simulate: bool,
    /// From when a replay tells; from the first archive, when absent.
    #[arg(long, value_name = "TIME", requires = "replay")]
    from: Option<String>,
    /// Until when a replay (now, when absent) or a simulation (a year) tells.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Another policy than the plan's: what is not said here is not in it.
    #[command(flatten)]
    policy: PolicyArgs,
    /// Of a simulation, another schedule than the plan's.
    #[command(flatten)]
    schedule: ScheduleArgs,
}

impl RetentionArgs {
    /// What is to be asked of the API: the path below the plan, and the body of a `POST`; a `GET` without.
    fn question(&self) -> Result<(&'static str, Option<Value>), String> {
        let said = |fields: Map<String, Value>| (!fields.is_empty()).then_some(fields);
        let (policy, schedule) = (said(self.policy.fields()), said(self.schedule.fields()));
        if schedule.is_some() && !self.simulate {
            return Err("a schedule is tried with --simulate".to_owned());
        }
        if self.until.is_some() && !self.simulate && !self.replay {
            return Err("--until is for --replay and --simulate".to_owned());
        }
        let body = Changes::default()
            .with(&["policy"], policy)
            .with(&["schedule"], schedule)
            .with(&["from"], self.from.as_ref())
            .with(&["until"], self.until.as_ref())
            .done();
        Ok(match (self.replay, self.simulate) {
            (true, _) => ("retention/replay", Some(Value::Object(body))),
            (_, true) => ("retention/simulate", Some(Value::Object(body))),
            _ if body.is_empty() => ("retention", None),
            _ => ("retention/preview", Some(Value::Object(body))),
        })
    }
}

/// Does it.
pub async fn run(session: &Session, args: &RetentionArgs) -> Outcome {
    let (path, body) = args.question().map_err(crate::client::ClientError::Usage)?;
    let path = format!("/plans/{}/{path}", escape(&args.name));
    let answer = match body {
        Some(body) => session.client.post(&path, &body).await?,
        None => session.client.get(&path).await?,
    };
    if session.output == Output::Json {
        output::json(&answer.body);
        return Ok(None);
    }
    let repositories = answer.body.get("repositories").and_then(Value::as_array);
    let repositories = repositories.map(Vec::as_slice).unwrap_or_default();
    if repositories.is_empty() {
        say!("plan '{}' has no archives", args.name);
    }
    for of in repositories {
        let lines = if args.replay {
            of_replay(of)
        } else if args.simulate {
            of_simulation(of)
        } else {
            of_review(of)
        };
        lines.iter().for_each(|line| say!("{line}"));
        let (field, columns) = match (args.replay, args.simulate) {
            (_, true) => ("points", POINTS),
            (true, _) => ("archives", REMAINS),
            _ => ("archives", VERDICTS),
        };
        let items = of.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        output::list(session.output, items, columns);
        say!("");
    }
    Ok(None)
}

fn number(of: &Value, field: &str) -> u64 {
    of.get(field).and_then(Value::as_u64).unwrap_or_default()
}

fn text<'a>(of: &'a Value, pointer: &str) -> Option<&'a str> {
    of.pointer(pointer).and_then(Value::as_str)
}

/// Of how many bytes, as far as that is known.
fn about(of: &Value, field: &str) -> String {
    of.get(field)
        .and_then(Value::as_u64)
        .map_or_else(|| "an unknown size".to_owned(), |n| format!("about {}", bytes(n)))
}

fn repository(of: &Value) -> String {
    printable(text(of, "/repository").unwrap_or_default())
}

/// What is said above the archives of a repository.
pub fn of_review(of: &Value) -> Vec<String> {
    let freed = about(of, "freed_bytes");
    let counts =
        format!("{} kept, {} would go, which frees {freed}", number(of, "kept"), number(of, "going"));
    let mut lines = vec![format!("repository '{}': {counts}", repository(of))];
    lines.extend(text(of, "/gate/why").map(|why| format!("nothing goes now: {}", printable(why))));
    lines
}

fn of_replay(of: &Value) -> Vec<String> {
    let mut lines = vec![format!(
        "repository '{}': {} would be there, of {}; {} would have gone",
        repository(of),
        number(of, "kept"),
        about(of, "added_bytes"),
        number(of, "deleted")
    )];
    if let Some(gap) = of.get("worst_gap").filter(|gap| gap.is_object()) {
        let (from, to) = (text(gap, "/from").unwrap_or_default(), text(gap, "/to").unwrap_or_default());
        let long = duration(number(gap, "duration_s").saturating_mul(1000));
        lines.push(format!("longest time without an archive: {long}, from {from} to {to}"));
    }
    for change in of.get("clock_changes").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("clocks were changed on {}", text(change, "/day").unwrap_or_default()));
    }
    lines.extend(cut(of));
    lines
}

fn of_simulation(of: &Value) -> Vec<String> {
    let until = text(of, "/until").unwrap_or_default();
    let each = about(of, "added_bytes_each");
    let runs = number(of, "runs");
    let mut lines =
        vec![format!("repository '{}': {runs} runs until {until}, each of {each}", repository(of))];
    lines.extend(cut(of));
    lines
}

fn cut(of: &Value) -> Option<String> {
    text(of, "/cut_at").map(|at| format!("there is more than can be followed: this is how it is at {at}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RetentionArgs,
    }

    fn question(words: &str) -> Result<(&'static str, Option<Value>), String> {
        let line = Line::try_parse_from(["x", "web"].into_iter().chain(words.split_whitespace()));
        line.map_err(|e| e.to_string())?.args.question()
    }

    #[test]
    fn what_is_asked_follows_from_what_is_said() {
        assert_eq!(question("").unwrap(), ("retention", None));
        let tried = json!({ "policy": { "keep_daily": 7 } });
        assert_eq!(question("--keep-daily 7").unwrap(), ("retention/preview", Some(tried)));
        assert_eq!(question("--replay").unwrap(), ("retention/replay", Some(json!({}))));
        let replay = json!({ "policy": { "keep_last": 2 }, "from": "a", "until": "b" });
        assert_eq!(question("--replay --from a --until b --keep-last 2").unwrap().1, Some(replay));
        let simulated = json!({ "schedule": { "cron": "30 2 * * *" }, "until": "b" });
        let asked = question("--simulate --daily-at 02:30 --until b").unwrap();
        assert_eq!(asked, ("retention/simulate", Some(simulated)));
        for wrong in
            ["--daily-at 02:30", "--until b", "--from a", "--replay --simulate", "--replay --cron @daily"]
        {
            assert!(question(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_gate_is_said_before_the_archives_and_what_is_unknown_is_no_number() {
        let of = json!({
            "repository": "site", "kept": 4, "going": 2, "freed_bytes": 2000, "gate": { "why": "the newest run failed" },
        });
        assert_eq!(
            of_review(&of),
            [
                "repository 'site': 4 kept, 2 would go, which frees about 2.0 kB",
                "nothing goes now: the newest run failed",
            ]
        );
        let of = json!({ "repository": "site", "kept": 4, "going": 2, "freed_bytes": null, "gate": null });
        assert_eq!(of_review(&of), ["repository 'site': 4 kept, 2 would go, which frees an unknown size"]);
        let of = json!({
            "repository": "site", "kept": 2, "deleted": 3, "added_bytes": 10,
            "worst_gap": { "from": "a", "to": "b", "duration_s": 7200 }, "clock_changes": [{ "day": "2026-03-29" }],
        });
        assert_eq!(
            of_replay(&of),
            [
                "repository 'site': 2 would be there, of about 10 B; 3 would have gone",
                "longest time without an archive: 2 h 0 min, from a to b",
                "clocks were changed on 2026-03-29",
            ]
        );
    }
}

//! `strongroom repositories cleanup`.

use crate::args::Output;
use crate::commands::{Outcome, Session, jobs, plans};
use crate::output::Format::{Bytes, Plain, Time};
use crate::output::{self, Column, bytes, printable};
use serde_json::{Value, json};

const GOING: &[Column] = &[
    ("archive", "/name", Plain),
    ("made", "/made_at", Time),
    ("why it goes", "/why", Plain),
    ("added", "/added_bytes", Bytes),
    ("id", "/archive", Plain),
];

/// Does it.
pub async fn run(session: &Session, name: &str, days: u32, dry_run: bool, wait: bool) -> Outcome {
    let path = format!("/repositories/{}/cleanup", crate::commands::escape(name));
    let answer = session.client.post(&path, &json!({ "retention_days": days, "dry_run": dry_run })).await?;
    if session.output == Output::Json && !wait {
        output::json(&answer.body);
        return Ok(None);
    }
    if session.output == Output::Table {
        if dry_run {
            show(session, &answer.body);
        }
        summary(&answer.body).iter().for_each(|line| say!("{line}"));
    }
    let mut worst = None;
    for job in list(&answer.body, "jobs").iter().filter(|_| wait) {
        let id = job.get("id").and_then(Value::as_str).unwrap_or_default();
        // One that went wrong is what the whole went like; the others are waited for all the same.
        let ended = jobs::wait_and_tell(session, id, answer.position.as_deref()).await?;
        worst = worst.or(ended);
    }
    Ok(worst)
}

fn list<'a>(body: &'a Value, field: &str) -> &'a [Value] {
    body.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// What would go, plan by plan.
fn show(session: &Session, body: &Value) {
    for of in list(body, "plans") {
        let plan = printable(of.get("plan").and_then(Value::as_str).unwrap_or_default());
        let lines = plans::of_review(of);
        say!("plan '{plan}', {}", lines.join("; "));
        let going = |archive: &&Value| archive.get("outcome").and_then(Value::as_str) == Some("go");
        let going: Vec<Value> = list(of, "archives").iter().filter(going).cloned().collect();
        output::list(session.output, &going, GOING);
        say!("");
    }
}

/// How much goes, how much is left for the next time, and what was not looked at.
fn summary(body: &Value) -> Vec<String> {
    let number = |field: &str| body.get(field).and_then(Value::as_u64);
    let is_dry = body.get("dry_run").and_then(Value::as_bool).unwrap_or_default();
    let listed = number("listed").unwrap_or_default();
    let mut lines = Vec::new();
    match list(body, "jobs") {
        [] if is_dry => {
            let freed = number("freed_bytes").map_or_else(String::new, |n| format!(", about {}", bytes(n)));
            lines.push(format!(
                "{} archives would go{freed}; nothing was done",
                number("going").unwrap_or_default()
            ));
        }
        [] => lines.push("nothing is that old: nothing was done".to_owned()),
        jobs => {
            for job in jobs {
                let text =
                    |field: &str| printable(job.get(field).and_then(Value::as_str).unwrap_or_default());
                let listed = job.get("listed").and_then(Value::as_u64).unwrap_or_default();
                lines.push(format!(
                    "job {} is asked for: {listed} archives of plan '{}'",
                    text("id"),
                    text("plan")
                ));
            }
            lines.push(format!("{listed} archives go"));
        }
    }
    if let Some(left) = number("left").filter(|left| *left > 0 && !is_dry) {
        lines.push(format!("{left} are left: behind a gate, or for the next clean-up"));
    }
    for aside in list(body, "not_looked_at") {
        let text = |field: &str| aside.get(field).and_then(Value::as_str).map(printable);
        let whose = text("plan").map_or_else(|| "of no plan".to_owned(), |plan| format!("of plan '{plan}'"));
        let archives = aside.get("archives").and_then(Value::as_u64).unwrap_or_default();
        lines.push(format!("{archives} archives {whose} stay: {}", text("why").unwrap_or_default()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_what_is_left_and_what_stays_is_said() {
        let body = json!({
            "dry_run": false, "going": 207, "listed": 200, "left": 7,
            "jobs": [{ "id": "j1", "plan": "web", "listed": 200 }],
            "not_looked_at": [{ "plan": null, "archives": 2, "why": "x" }, { "plan": "old", "archives": 3, "why": "y" }],
        });
        assert_eq!(
            summary(&body),
            [
                "job j1 is asked for: 200 archives of plan 'web'",
                "200 archives go",
                "7 are left: behind a gate, or for the next clean-up",
                "2 archives of no plan stay: x",
                "3 archives of plan 'old' stay: y",
            ]
        );
        let dry =
            json!({ "dry_run": true, "going": 3, "listed": 0, "left": 3, "freed_bytes": 3000, "jobs": [] });
        assert_eq!(summary(&dry), ["3 archives would go, about 3.0 kB; nothing was done"]);
        let none = json!({ "dry_run": false, "going": 0, "listed": 0, "left": 0, "jobs": [] });
        assert_eq!(summary(&none), ["nothing is that old: nothing was done"]);
    }
}

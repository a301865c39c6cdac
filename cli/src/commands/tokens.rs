//! `strongroom tokens`.

use super::definitions::{Changes, Kind};
use super::{Outcome, Session};
use crate::args::Output;
use crate::output::Format::{Plain, Time};
use clap::Subcommand;
use serde_json::Value;

/// Tokens, as the API has them.
pub const KIND: Kind = Kind {
    path: "tokens",
    columns: &[
        ("name", "/id", Plain),
        ("scope", "/scope", Plain),
        ("issued", "/defined_at", Time),
        ("expires", "/expires_at", Time),
        ("description", "/description", Plain),
    ],
};

/// What can be done with them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All of them, without their text.
    List,
    /// One of them, without its text.
    Show {
        /// Its name.
        name: String,
    },
    /// Issue one. Its text is shown once.
    Issue {
        /// Its name.
        name: String,
        /// What it may do; `operate` also runs, cancels and restores, `admin` also defines and deletes.
        #[arg(long, default_value = "read", value_parser = ["read", "operate", "admin"])]
        scope: String,
        /// When it ends by itself, as `2027-01-31T00:00:00Z`.
        #[arg(long)]
        expires_at: Option<String>,
        /// Words for people.
        #[arg(long)]
        description: Option<String>,
    },
    /// Withdraw one.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// Does it.
pub async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List => KIND.list(session).await,
        Command::Show { name } => KIND.show(session, &name).await,
        Command::Issue { name, scope, expires_at, description } => {
            let body = Changes::default()
                .with(&["id"], Some(&name))
                .with(&["scope"], Some(scope))
                .with(&["expires_at"], expires_at)
                .with(&["description"], description);
            let answer = session.client.post("/tokens", &Value::Object(body.done())).await?;
            match session.output {
                Output::Json => crate::output::json(&answer.body),
                Output::Table => say!(
                    "token '{name}', shown this once:\n\n  {}\n",
                    answer.body.get("token").and_then(Value::as_str).unwrap_or_default()
                ),
            }
            Ok(None)
        }
        Command::Revoke { name } => KIND.delete(session, &name).await,
    }
}

//! `strongroom channels`.

use super::definitions::{Changes, Kind, escape};
use super::{Outcome, Session};
use crate::args::Output;
use crate::client::ClientError;
use crate::exit::Exit;
use crate::output::{self, Format::Plain};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Channels, as the API has them.
pub const KIND: Kind = Kind {
    path: "channels",
    columns: &[
        ("name", "/id", Plain),
        ("type", "/target/type", Plain),
        ("url", "/target/url", Plain),
        ("description", "/description", Plain),
    ],
};

/// What can be done with them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All of them.
    List,
    /// One of them.
    Show {
        /// Its name.
        name: String,
    },
    /// Define a webhook. Its signing secret is shown once, unless one is given.
    Create {
        /// Its name.
        name: String,
        /// Where to.
        #[arg(long)]
        url: String,
        /// File with the signing secret (`whsec_...`); without it, one is generated.
        #[arg(long)]
        secret_file: Option<PathBuf>,
        /// Words for people.
        #[arg(long)]
        description: Option<String>,
    },
    /// Send a test message and say what came back.
    Test {
        /// Its name.
        name: String,
    },
    /// Forget one.
    Delete {
        /// Its name.
        name: String,
    },
}

/// Does it.
pub async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List => KIND.list(session).await,
        Command::Show { name } => KIND.show(session, &name).await,
        Command::Delete { name } => KIND.delete(session, &name).await,
        Command::Create { name, url, secret_file, description } => {
            let secret = match secret_file {
                Some(file) => Some(
                    std::fs::read_to_string(&file)
                        .map(|s| s.trim().to_owned())
                        .map_err(|e| ClientError::Usage(format!("{}: {e}", file.display())))?,
                ),
                None => None,
            };
            let body = Changes::default()
                .with(&["id"], Some(&name))
                .with(&["target", "type"], Some("webhook"))
                .with(&["target", "url"], Some(url))
                .with(&["secret"], secret)
                .with(&["description"], description);
            let answer = session.client.post("/channels", &Value::Object(body.done())).await?;
            KIND.say_defined(session, &name, &answer);
            if let (Output::Table, Some(secret)) =
                (session.output, answer.body.get("secret").and_then(Value::as_str))
            {
                say!("its signing secret, shown this once:\n\n  {secret}\n");
            }
            Ok(None)
        }
        Command::Test { name } => {
            let answer =
                session.client.post(&format!("/channels/{}/test", escape(&name)), &json!({})).await?;
            let fields = [
                ("delivered", "/delivered", Plain),
                ("status", "/status", Plain),
                ("problem", "/problem", Plain),
            ];
            output::one(session.output, &answer.body, &fields);
            let delivered = answer.body.get("delivered").and_then(Value::as_bool).unwrap_or(false);
            Ok((!delivered).then_some(Exit::Failure))
        }
    }
}

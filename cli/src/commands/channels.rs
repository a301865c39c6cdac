//! `strongroom channels`.

use super::definitions::{Changes, Kind, escape};
use super::{Outcome, Session};
use crate::args::Output;
use crate::client::{Answer, ClientError};
use crate::exit::Exit;
use crate::output::{self, Format::Plain};
use crate::secret;
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
        /// Where to: an http or https address.
        #[arg(long, value_name = "URL")]
        webhook: String,
        /// File with the signing secret (`whsec_...`); without it, one is generated.
        #[arg(long)]
        secret_file: Option<PathBuf>,
        /// Words for people.
        #[arg(long)]
        description: Option<String>,
    },
    /// Change what is given here. The signing secret stays, unless another is given or drawn.
    Set {
        /// Its name.
        name: String,
        /// Where to: an http or https address.
        #[arg(long, value_name = "URL")]
        webhook: Option<String>,
        /// File with another signing secret (`whsec_...`).
        #[arg(long)]
        secret_file: Option<PathBuf>,
        /// Draw another signing secret, and show it once. The old one signs nothing any more.
        #[arg(long, conflicts_with = "secret_file")]
        new_secret: bool,
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
        Command::Create { name, webhook, secret_file, description } => {
            let given = secret_file.as_deref().map(secret::read).transpose()?;
            let drawn = given.is_none().then(secret::draw_signing_secret);
            let body = Changes::default()
                .with(&["id"], Some(&name))
                .with(&["target", "type"], Some("webhook"))
                .with(&["target", "url"], Some(webhook))
                .with(&["secret"], given.or_else(|| drawn.clone()))
                .with(&["description"], description);
            let asked = session.client.post("/channels", &Value::Object(body.done())).await;
            tell_defined(session, &name, asked, drawn)
        }
        Command::Set { name, webhook, secret_file, new_secret, description } => {
            let given = secret_file.as_deref().map(secret::read).transpose()?;
            let drawn = new_secret.then(secret::draw_signing_secret);
            let changes = Changes::default()
                .with(&["target", "url"], webhook)
                .with(&["secret"], given.or_else(|| drawn.clone()))
                .with(&["description"], description);
            let asked = KIND.try_change(session, &name, changes.done()).await;
            tell_defined(session, &name, asked, drawn)
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

fn tell_defined(
    session: &Session,
    name: &str,
    asked: Result<Answer, ClientError>,
    drawn: Option<String>,
) -> Outcome {
    let warn = |error: &ClientError| secret::warn_of_unknown(error, "signing secret", drawn.as_deref());
    let mut answer = asked.inspect_err(warn)?;
    if let (Some(drawn), Value::Object(fields)) = (&drawn, &mut answer.body) {
        fields.insert("secret".into(), json!(drawn));
    }
    KIND.say_defined(session, name, &answer);
    if let (Output::Table, Some(drawn)) = (session.output, drawn) {
        say!("its signing secret, shown this once:\n\n  {drawn}\n");
    }
    Ok(None)
}

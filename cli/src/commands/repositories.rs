//! `strongroom repositories`.

use super::definitions::{Changes, Kind, escape};
use super::{Outcome, Session, jobs};
use crate::args::Output;
use crate::client::Answer;
use crate::exit::Exit;
use crate::output::Format::Plain;
use crate::{secret, wait};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Repositories, as the API has them.
pub const KIND: Kind = Kind {
    path: "repositories",
    columns: &[
        ("name", "/id", Plain),
        ("server", "/server", Plain),
        ("destination", "/destination", Plain),
        ("encryption", "/encryption", Plain),
        ("description", "/description", Plain),
    ],
};

const ENCRYPTIONS: [&str; 5] = ["none", "authenticated", "authenticated-blake2", "repokey", "repokey-blake2"];

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
    /// Define one; a job makes it with `borg init`.
    Create {
        /// Its name.
        name: String,
        /// Whose data it holds.
        #[arg(long)]
        server: String,
        /// Where it lies.
        #[arg(long)]
        destination: String,
        /// Borg's mode.
        #[arg(long, default_value = "repokey-blake2", value_parser = ENCRYPTIONS)]
        encryption: String,
        /// File with the passphrase; without it, one is generated and shown once.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
        /// Words for people.
        #[arg(long)]
        description: Option<String>,
        /// Wait until it is made.
        #[arg(long)]
        wait: bool,
    },
    /// Change the words for people. All else was chosen once.
    Set {
        /// Its name.
        name: String,
        /// Words for people.
        #[arg(long)]
        description: String,
    },
    /// Say what the passphrase is, when it was changed outside or was wrong.
    SetPassphrase {
        /// Its name.
        name: String,
        /// File with the passphrase.
        #[arg(long)]
        passphrase_file: PathBuf,
    },
    /// Make it, when an earlier try failed.
    Init {
        /// Its name.
        name: String,
        /// Wait until it is done.
        #[arg(long)]
        wait: bool,
    },
    /// Look what is really in it: archives that are not known are taken in, lost ones are told.
    Scan {
        /// Its name.
        name: String,
        /// Wait until it is done.
        #[arg(long)]
        wait: bool,
    },
    /// Forget one. What is stored stays where it is.
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
        Command::Create { name, server, destination, encryption, passphrase_file, description, wait } => {
            let passphrase = passphrase_file.as_deref().map(secret::read).transpose()?;
            let drawn = (passphrase.is_none() && encryption != "none").then(secret::draw_passphrase);
            let body = Changes::default()
                .with(&["id"], Some(&name))
                .with(&["server"], Some(server))
                .with(&["destination"], Some(destination))
                .with(&["encryption"], Some(encryption))
                .with(&["passphrase"], passphrase.or_else(|| drawn.clone()))
                .with(&["description"], description);
            let asked = session.client.post("/repositories", &Value::Object(body.done())).await;
            let mut answer =
                asked.inspect_err(|error| secret::warn_of_unknown(error, "passphrase", drawn.as_deref()))?;
            if let (Some(drawn), Value::Object(fields)) = (drawn, &mut answer.body) {
                fields.insert("passphrase".into(), json!(drawn));
            }
            tell_created(session, &name, &mut answer, wait).await
        }
        Command::Set { name, description } => {
            let changes = Changes::default().with(&["description"], Some(description));
            KIND.change(session, &name, changes.done()).await
        }
        Command::SetPassphrase { name, passphrase_file } => {
            let passphrase = secret::read(&passphrase_file)?;
            let changes = Changes::default().with(&["passphrase"], Some(passphrase));
            KIND.change(session, &name, changes.done()).await
        }
        Command::Init { name, wait } => ask(session, &name, "init", wait).await,
        Command::Scan { name, wait } => ask(session, &name, "scan", wait).await,
    }
}

async fn ask(session: &Session, name: &str, what: &str, wait: bool) -> Outcome {
    let path = format!("/repositories/{}/{what}", escape(name));
    let answer = session.client.post(&path, &json!({})).await?;
    jobs::asked(session, &answer, wait).await
}

/// Tells that it is defined, and how its job ended when that is waited for; as one JSON object for programs.
async fn tell_created(session: &Session, name: &str, answer: &mut Answer, wait: bool) -> Outcome {
    let job = answer.body.pointer("/init_job/id").and_then(Value::as_str).map(str::to_owned);
    let (job, position) = (job.filter(|_| wait), answer.position.clone());
    if session.output == Output::Table {
        say!("repository '{name}' is defined");
        if let Some(passphrase) = answer.body.get("passphrase").and_then(Value::as_str) {
            say!(
                "its passphrase, shown this once (without it nothing can be restored elsewhere):\n\n  {passphrase}\n"
            );
        }
        return match job {
            Some(job) => jobs::wait_and_tell(session, &job, position.as_deref()).await,
            None => Ok(None),
        };
    }
    let Some(job) = job else {
        crate::output::json(&answer.body);
        return Ok(None);
    };
    let ended = wait::for_job(&session.client, &job, position.as_deref(), false).await;
    if let (Ok(ended), Some(there)) = (&ended, answer.body.get_mut("init_job")) {
        *there = ended.clone();
    }
    // Also when the wait failed: nobody shows the passphrase again.
    crate::output::json(&answer.body);
    Ok(Exit::of_phase(ended?.get("phase").and_then(Value::as_str).unwrap_or_default()))
}

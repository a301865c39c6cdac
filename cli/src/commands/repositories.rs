//! `strongroom repositories`.

use super::definitions::{Changes, Kind, escape};
use super::{Outcome, Session, jobs};
use crate::args::Output;
use crate::client::{Answer, ClientError};
use crate::output::Format::Plain;
use base64::Engine;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

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
        /// Borg's mode: none, authenticated, authenticated-blake2, repokey, repokey-blake2.
        #[arg(long, default_value = "repokey-blake2")]
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
            let passphrase = passphrase_file.as_deref().map(read_passphrase).transpose()?;
            // Drawn here and not by the server: an answer that is lost on its way would take it along.
            let drawn = (passphrase.is_none() && encryption != "none").then(draw_passphrase);
            let body = Changes::default()
                .with(&["id"], Some(&name))
                .with(&["server"], Some(server))
                .with(&["destination"], Some(destination))
                .with(&["encryption"], Some(encryption))
                .with(&["passphrase"], passphrase.or_else(|| drawn.clone()))
                .with(&["description"], description);
            let asked = session.client.post("/repositories", &Value::Object(body.done())).await;
            let mut answer = asked.inspect_err(|error| warn_of_unknown(error, drawn.as_deref()))?;
            if let (Some(drawn), Value::Object(fields)) = (drawn, &mut answer.body) {
                fields.insert("passphrase".into(), json!(drawn));
            }
            tell_created(session, &name, &answer);
            wait_for_init(session, &answer, wait).await
        }
        Command::SetPassphrase { name, passphrase_file } => {
            let passphrase = read_passphrase(&passphrase_file)?;
            let changes = Changes::default().with(&["passphrase"], Some(passphrase));
            KIND.set(session, &name, changes.done()).await
        }
        Command::Init { name, wait } => ask(session, &name, "init", wait).await,
        Command::Scan { name, wait } => ask(session, &name, "scan", wait).await,
    }
}

/// A passphrase of 256 bits, of letters and digits that survive being copied.
fn draw_passphrase() -> String {
    let bytes: [u8; 32] = rand::random();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Nobody knows what became of the request: if it was done, this is the passphrase.
fn warn_of_unknown(error: &ClientError, drawn: Option<&str>) {
    if let (true, Some(drawn)) = (error.leaves_it_open(), drawn) {
        eprintln!(
            "it is not known whether the repository was defined; if it was, this is its passphrase, shown this once:\n\n  {drawn}\n"
        );
    }
}

async fn ask(session: &Session, name: &str, what: &str, wait: bool) -> Outcome {
    let path = format!("/repositories/{}/{what}", escape(name));
    let answer = session.client.post(&path, &json!({})).await?;
    jobs::asked(session, &answer, wait).await
}

fn tell_created(session: &Session, name: &str, answer: &Answer) {
    if session.output == Output::Json {
        return crate::output::json(&answer.body);
    }
    say!("repository '{name}' is defined");
    if let Some(passphrase) = answer.body.get("passphrase").and_then(Value::as_str) {
        say!(
            "its passphrase, shown this once (without it nothing can be restored elsewhere):\n\n  {passphrase}\n"
        );
    }
}

async fn wait_for_init(session: &Session, answer: &Answer, wait: bool) -> Outcome {
    let job = answer.body.pointer("/init_job/id").or_else(|| answer.body.pointer("/init_job"));
    match job.and_then(Value::as_str) {
        Some(job) if wait => jobs::wait_and_tell(session, job, answer.position.as_deref()).await,
        _ => Ok(None),
    }
}

/// A passphrase is the file's first line: an editor's line break at the end is no part of it.
fn read_passphrase(file: &Path) -> Result<String, ClientError> {
    let text =
        std::fs::read_to_string(file).map_err(|e| ClientError::Usage(format!("{}: {e}", file.display())))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains('\n') {
        return Err(ClientError::Usage(format!("{}: it must hold one line, the passphrase", file.display())));
    }
    Ok(line.to_owned())
}

//! `strongroom repositories`.

use super::definitions::{Changes, Kind, Limit, escape};
mod cleanup;

use super::{Outcome, Session, archives, jobs};
use crate::args::Output;
use crate::client::{Answer, ClientError};
use crate::exit::Exit;
use crate::output::Format::Plain;
use crate::{secret, wait};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Repositories, as the API has them.
pub const KIND: Kind = Kind {
    path: "repositories",
    columns: &[
        ("name", "/id", Plain),
        ("server", "/server", Plain),
        ("destination", "/destination", Plain),
        ("kind", "/kind", Plain),
        ("encryption", "/encryption", Plain),
        ("deduplicated", "/deduplicate", Plain),
        ("description", "/description", Plain),
    ],
};

const KINDS: [&str; 2] = ["borg", "dump-store"];
const ENCRYPTIONS: [&str; 8] = [
    "none",
    "authenticated",
    "authenticated-blake2",
    "repokey",
    "repokey-blake2",
    "passphrase",
    "age",
    "gpg",
];

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
    /// Define one; a job makes it.
    Create(Box<CreateArgs>),
    /// Change the words for people, or to whom a dump store encrypts. All else was chosen once.
    Set {
        /// Its name.
        name: String,
        /// A public key of age to which a dump store encrypts from now on; may be repeated, and takes the place of all.
        #[arg(long, value_name = "AGE1...")]
        recipient: Vec<String>,
        /// File with a public key of OpenPGP, as `gpg --armor --export` prints it, to which a dump store encrypts from now on;
        /// may be repeated, and takes the place of all.
        #[arg(long, value_name = "FILE", conflicts_with = "recipient")]
        recipient_file: Vec<PathBuf>,
        /// File with a secret key, of age or OpenPGP, that opens what is encrypted to one of them.
        #[arg(long, conflicts_with = "no_identity")]
        identity_file: Option<PathBuf>,
        /// Keep no secret key from now on: whoever restores gives one.
        #[arg(long)]
        no_identity: bool,
        /// How many jobs that only read may run in it at once; `none` for the system's default.
        #[arg(long, value_name = "NUMBER")]
        max_jobs: Option<Limit>,
        /// Words for people.
        #[arg(long)]
        description: Option<String>,
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
    /// Remove archives that are older than so many days, plan by plan, and never what retention guards.
    Cleanup {
        /// Its name.
        name: String,
        /// How old an archive may become.
        #[arg(long)]
        days: u32,
        /// Only say what would go.
        #[arg(long, conflicts_with_all = ["yes", "wait"])]
        dry_run: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Wait until all is done.
        #[arg(long)]
        wait: bool,
    },
    /// Forget one. What is stored stays where it is.
    Delete {
        /// Its name.
        name: String,
    },
}

/// Options of `repositories create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name.
    name: String,
    /// Whose data it holds.
    #[arg(long)]
    server: String,
    /// Where it lies.
    #[arg(long)]
    destination: String,
    /// A borg repository, or a store of dumps that common tools can read.
    #[arg(long, default_value = "borg", value_parser = KINDS)]
    kind: String,
    /// How it is encrypted. Borg's modes, repokey-blake2 when absent; of a dump store 'none', 'passphrase', with
    /// --recipient 'age', or with --recipient-file 'gpg'.
    #[arg(long, value_parser = ENCRYPTIONS)]
    encryption: Option<String>,
    /// Keep once what the archives of a dump store have in common: with the encryptions 'passphrase' and 'none'.
    #[arg(long)]
    deduplicate: bool,
    /// A public key of age to which a dump store encrypts; may be repeated.
    #[arg(long, value_name = "AGE1...")]
    recipient: Vec<String>,
    /// File with a public key of OpenPGP, as `gpg --armor --export` prints it, to which a dump store encrypts; may be repeated.
    #[arg(long, value_name = "FILE", conflicts_with = "recipient")]
    recipient_file: Vec<PathBuf>,
    /// File with a secret key, of age or OpenPGP, that opens what is encrypted to one of them; without it, whoever restores gives one.
    #[arg(long)]
    identity_file: Option<PathBuf>,
    /// File with the passphrase; without it, one is generated and shown once.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
    /// Words for people.
    #[arg(long)]
    description: Option<String>,
    /// Wait until it is made.
    #[arg(long)]
    wait: bool,
}

impl CreateArgs {
    /// How it is encrypted: never not at all, unless somebody says so.
    fn encryption(&self) -> &str {
        match (&self.encryption, self.kind.as_str()) {
            (Some(encryption), _) => encryption,
            (None, "borg") => "repokey-blake2",
            (None, _) if !self.recipient_file.is_empty() => "gpg",
            (None, _) if self.recipient.is_empty() => "passphrase",
            (None, _) => "age",
        }
    }
}

/// Does it.
pub async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List => KIND.list(session).await,
        Command::Show { name } => KIND.show(session, &name).await,
        Command::Delete { name } => KIND.delete(session, &name).await,
        Command::Create(create) => self::create(session, &create).await,
        Command::Set {
            name,
            mut recipient,
            recipient_file,
            identity_file,
            no_identity,
            max_jobs,
            description,
        } => {
            let identity = identity_file.as_deref().map(secret::read_identity).transpose()?;
            recipient.extend(keys(&recipient_file)?);
            let changes = Changes::default()
                .with_list(&["recipients"], &recipient)
                .with(&["identity"], identity)
                .with(&["identity"], no_identity.then_some(Value::Null))
                .with(&["max_concurrent_jobs"], max_jobs)
                .with(&["description"], description);
            KIND.change(session, &name, changes.done()).await
        }
        Command::SetPassphrase { name, passphrase_file } => {
            let passphrase = secret::read(&passphrase_file)?;
            let changes = Changes::default().with(&["passphrase"], Some(passphrase));
            KIND.change(session, &name, changes.done()).await
        }
        Command::Init { name, wait } => ask(session, &name, "init", wait).await,
        Command::Cleanup { name, days, dry_run, yes, wait } => {
            if !dry_run && !yes {
                let question =
                    format!("remove archives of repository '{name}' that are older than {days} days");
                archives::confirm(session, "remove archives", &question, &name)?;
            }
            cleanup::run(session, &name, days, dry_run, wait).await
        }
        Command::Scan { name, wait } => ask(session, &name, "scan", wait).await,
    }
}

async fn create(session: &Session, create: &CreateArgs) -> Outcome {
    let passphrase = create.passphrase_file.as_deref().map(secret::read).transpose()?;
    let identity = create.identity_file.as_deref().map(secret::read_identity).transpose()?;
    let encryption = create.encryption();
    let recipients: Vec<String> =
        create.recipient.iter().cloned().chain(keys(&create.recipient_file)?).collect();
    let needs_one = !matches!(encryption, "none" | "age" | "gpg");
    let drawn = (passphrase.is_none() && needs_one).then(secret::draw_passphrase);
    let body = Changes::default()
        .with(&["id"], Some(&create.name))
        .with(&["server"], Some(&create.server))
        .with(&["destination"], Some(&create.destination))
        .with(&["kind"], Some(&create.kind))
        .with(&["encryption"], Some(encryption))
        .with(&["deduplicate"], create.deduplicate.then_some(true))
        .with_list(&["recipients"], &recipients)
        .with(&["identity"], identity)
        .with(&["passphrase"], passphrase.or_else(|| drawn.clone()))
        .with(&["description"], create.description.as_ref());
    let asked = session.client.post("/repositories", &Value::Object(body.done())).await;
    let mut answer =
        asked.inspect_err(|error| secret::warn_of_unknown(error, "passphrase", drawn.as_deref()))?;
    if let (Some(drawn), Value::Object(fields)) = (drawn, &mut answer.body) {
        fields.insert("passphrase".into(), json!(drawn));
    }
    tell_created(session, &create.name, &mut answer, create.wait).await
}

/// Public keys out of files.
fn keys(files: &[PathBuf]) -> Result<Vec<String>, ClientError> {
    files.iter().map(|file| secret::read_lines(file)).collect()
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

//! `strongroom destinations`.

use super::definitions::{Changes, Kind, Limit, escape};
use super::{Outcome, Session, jobs};
use crate::args::Output;
use crate::client::ClientError;
use crate::output::Format::{Bytes, Plain, Time};
use crate::output::{self, Column};
use crate::secret;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Destinations, as the API has them.
pub const KIND: Kind = Kind {
    path: "destinations",
    columns: &[
        ("name", "/id", Plain),
        ("type", "/location/type", Plain),
        ("place", "/place", Plain),
        ("description", "/description", Plain),
    ],
};

/// How much is used in all.
const USAGE: &[Column] = &[
    ("place", "/place", Plain),
    ("archives", "/used/archives", Plain),
    ("used", "/used/used_bytes", Bytes),
    ("a day", "/used/bytes_per_day", Bytes),
    ("archives of unknown size", "/used/archives_unknown", Plain),
];

/// How much each repository uses.
const REPOSITORIES: &[Column] = &[
    ("repository", "/repository", Plain),
    ("server", "/server", Plain),
    ("archives", "/archives", Plain),
    ("used", "/used_bytes", Bytes),
    ("a day", "/bytes_per_day", Bytes),
    ("newest", "/newest_at", Time),
];

/// The room that each node saw.
const SPACE: &[Column] = &[
    ("seen from", "/server", Plain),
    ("free", "/free_bytes", Bytes),
    ("of", "/total_bytes", Bytes),
    ("at", "/at", Time),
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
    /// Define one, or change what is given here.
    Set(Box<SetArgs>),
    /// How much of one is used, how fast that grows, and how much room there is.
    Usage {
        /// Its name.
        name: String,
    },
    /// Write to one, read back, list and remove, by the node of a server; waits for the answer.
    Test {
        /// Its name.
        name: String,
        /// The server whose node tries it.
        #[arg(long)]
        server: String,
    },
    /// Forget one.
    Delete {
        /// Its name.
        name: String,
    },
}

/// Options of `destinations set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Its name.
    name: String,
    /// A folder that the node sees as a local path; with --sftp, one of that machine.
    #[arg(long)]
    path: Option<String>,
    /// The machine of an SFTP server.
    #[arg(long, value_name = "HOST", group = "kind")]
    sftp: Option<String>,
    /// A bucket of Amazon S3, or of what speaks like it.
    #[arg(long, value_name = "BUCKET", group = "kind")]
    s3: Option<String>,
    /// A bucket of Google Cloud Storage.
    #[arg(long, value_name = "BUCKET", group = "kind")]
    gcs: Option<String>,
    /// A container of Azure Blob Storage.
    #[arg(long, value_name = "ACCOUNT/CONTAINER", group = "kind")]
    azure: Option<String>,
    /// What the names of all objects begin with, in a bucket or container.
    #[arg(long)]
    prefix: Option<String>,
    /// The address of the service, when it is not the provider's own.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The region of a bucket of S3.
    #[arg(long)]
    region: Option<String>,
    /// Whether the bucket of S3 stands in the path of the address (the default) or in the name of the host.
    #[arg(long)]
    path_style: Option<bool>,
    /// As whom a bucket of S3 is opened.
    #[arg(long)]
    access_key_id: Option<String>,
    /// The class in which S3 stores objects: STANDARD_IA, ...
    #[arg(long)]
    storage_class: Option<String>,
    /// How S3 encrypts what it stores: 's3', or 'kms:' and the key.
    #[arg(long, value_parser = server_side_encryption)]
    sse: Option<Value>,
    /// How long S3 keeps what is stored from being removed for good: 'governance:30' or 'compliance:30', in days.
    #[arg(long, value_parser = object_lock)]
    object_lock: Option<Value>,
    /// The port of an SFTP server.
    #[arg(long)]
    port: Option<u16>,
    /// As whom an SFTP server is entered.
    #[arg(long)]
    user: Option<String>,
    /// A key by which an SFTP server is known, as in 'ssh-ed25519 AAAA...' (ssh-keyscan prints it); may be repeated.
    #[arg(long, value_name = "KEY")]
    host_key: Vec<String>,
    /// File with what opens the place: the private key of SFTP, the secret access key of S3, the service account of GCS as
    /// JSON, the key or shared access signature of Azure.
    #[arg(long, conflicts_with = "no_secret")]
    secret_file: Option<PathBuf>,
    /// The node opens the place by itself, from now on.
    #[arg(long)]
    no_secret: bool,
    /// Its repositories were moved to the new place already.
    #[arg(long)]
    moved: bool,
    /// How many jobs may run at once in repositories that lie there; `none` for the system's default.
    #[arg(long, value_name = "NUMBER")]
    max_jobs: Option<Limit>,
    /// Words for people.
    #[arg(long)]
    description: Option<String>,
}

fn server_side_encryption(text: &str) -> Result<Value, String> {
    match text.split_once(':') {
        None if text == "s3" => Ok(json!({ "type": "s3" })),
        Some(("kms", key_id)) if !key_id.is_empty() => Ok(json!({ "type": "kms", "key_id": key_id })),
        _ => Err("must be 's3', or 'kms:' and the key".to_owned()),
    }
}

fn object_lock(text: &str) -> Result<Value, String> {
    match text.split_once(':').map(|(mode, days)| (mode, days.parse::<u32>())) {
        Some((mode @ ("governance" | "compliance"), Ok(days))) => Ok(json!({ "mode": mode, "days": days })),
        _ => Err("must be 'governance:' or 'compliance:', and a number of days".to_owned()),
    }
}

/// Does it.
pub async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List => KIND.list(session).await,
        Command::Show { name } => KIND.show(session, &name).await,
        Command::Delete { name } => KIND.delete(session, &name).await,
        Command::Usage { name } => {
            let usage = session.client.get(&format!("/destinations/{}/usage", escape(&name))).await?.body;
            output::one(session.output, &usage, USAGE);
            let rows = |field: &str| usage.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
            if session.output == Output::Table {
                for (rows, columns) in [(rows("repositories"), REPOSITORIES), (rows("space"), SPACE)] {
                    if !rows.is_empty() {
                        say!("");
                        output::list(session.output, &rows, columns);
                    }
                }
            }
            Ok(None)
        }
        Command::Test { name, server } => {
            let path = format!("/destinations/{}/test", escape(&name));
            let answer = session.client.post(&path, &json!({ "server": server })).await?;
            jobs::asked(session, &answer, true).await
        }
        Command::Set(set) => {
            let query = if set.moved { "?moved=true" } else { "" };
            KIND.set_with(session, &set.name, set.changes()?, query).await
        }
    }
}

impl SetArgs {
    fn changes(&self) -> Result<Map<String, Value>, ClientError> {
        let secret = self.secret_file.as_deref().map(secret::read_lines).transpose()?;
        let (account, container) = match self.azure.as_deref().map(|text| text.split_once('/')) {
            None => (None, None),
            Some(Some((account, container))) => (Some(account), Some(container)),
            Some(None) => {
                let message = "--azure: must be the account and the container, with '/' between them";
                return Err(ClientError::Usage(message.to_owned()));
            }
        };
        let kind = if self.sftp.is_some() {
            Some("sftp")
        } else if self.s3.is_some() {
            Some("s3")
        } else if self.gcs.is_some() {
            Some("gcs")
        } else if self.azure.is_some() {
            Some("azure")
        } else {
            self.path.as_ref().map(|_| "local")
        };
        let changes = Changes::default()
            .with(&["location", "type"], kind)
            .with(&["location", "path"], self.path.as_ref())
            .with(&["location", "host"], self.sftp.as_ref())
            .with(&["location", "bucket"], self.s3.as_ref().or(self.gcs.as_ref()))
            .with(&["location", "account"], account)
            .with(&["location", "container"], container)
            .with(&["location", "prefix"], self.prefix.as_ref())
            .with(&["location", "endpoint"], self.endpoint.as_ref())
            .with(&["location", "region"], self.region.as_ref())
            .with(&["location", "path_style"], self.path_style)
            .with(&["location", "access_key_id"], self.access_key_id.as_ref())
            .with(&["location", "storage_class"], self.storage_class.as_ref())
            .with(&["location", "server_side_encryption"], self.sse.as_ref())
            .with(&["location", "object_lock"], self.object_lock.as_ref())
            .with(&["location", "port"], self.port)
            .with(&["location", "user"], self.user.as_ref())
            .with_list(&["location", "host_keys"], &self.host_key)
            .with(&["secret"], secret)
            .with(&["secret"], self.no_secret.then_some(Value::Null))
            .with(&["max_concurrent_jobs"], self.max_jobs)
            .with(&["description"], self.description.as_ref())
            .done();
        Ok(changes)
    }
}

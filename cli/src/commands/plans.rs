//! `strongroom plans`.

mod policy;
mod retention;
mod schedule;

pub use retention::of_review;
pub use schedule::ScheduleArgs;

use self::policy::PolicyArgs;
use self::retention::RetentionArgs;
use super::definitions::{Changes, Kind, Limit, escape};
use super::{Outcome, Session, apply, jobs};
use crate::client::ClientError;
use crate::output::Format::{Plain, Time};
use crate::secret;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Plans, as the API has them.
pub const KIND: Kind = Kind {
    path: "plans",
    columns: &[
        ("name", "/id", Plain),
        ("server", "/server", Plain),
        ("repository", "/repository", Plain),
        ("source", "/source/type", Plain),
        ("paths", "/source/paths", Plain),
        ("databases", "/source/databases", Plain),
        ("schedule", "/schedule/cron", Plain),
        ("next run", "/next_run_at", Time),
        ("paused", "/paused", Plain),
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
    /// Define one, or change what is given here.
    Set(Box<SetArgs>),
    /// Look at its source as a backup would, and go no further; waits for the answer.
    Test {
        /// Its name.
        name: String,
    },
    /// Run it now.
    Run {
        /// Its name.
        name: String,
        /// Make a full archive this time, or say the plan's own variant.
        #[arg(long, value_parser = ["full", "incremental", "differential"])]
        variant: Option<String>,
        /// Wait until it is done, with a progress bar.
        #[arg(long)]
        wait: bool,
    },
    /// Say which of its archives would go now and why; by another policy too, over its history, or a year ahead.
    Retention(Box<RetentionArgs>),
    /// Keep its schedule silent until it is resumed.
    Pause {
        /// Its name.
        name: String,
        /// Why, for those who come after.
        #[arg(long)]
        reason: String,
    },
    /// Let its schedule run again.
    Resume {
        /// Its name.
        name: String,
    },
    /// Forget one. Its archives stay.
    Delete {
        /// Its name.
        name: String,
    },
}

/// The fields of a plan.
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    /// Its name.
    name: String,
    /// Whose data.
    #[arg(long)]
    server: Option<String>,
    /// Into which repository.
    #[arg(long)]
    repository: Option<String>,
    /// A further repository, into which each archive is copied; may be repeated.
    #[arg(long = "copy-to", value_name = "REPOSITORY")]
    copies: Vec<String>,
    /// Make no copies any more.
    #[arg(long, conflicts_with = "copies")]
    no_copies: bool,
    /// Protect databases and files together, as one archive: then --path, --sqlite and --postgresql or --mysql add to each
    /// other. Say it with each change of such a plan.
    #[arg(long)]
    application: bool,
    /// An absolute path to protect; give it once for each. The list takes the place of the old one.
    #[arg(long = "path")]
    paths: Vec<String>,
    /// A borg exclude pattern; give it once for each. The list takes the place of the old one.
    #[arg(long = "exclude")]
    excludes: Vec<String>,
    /// Exclude nothing any more.
    #[arg(long, conflicts_with = "excludes")]
    no_excludes: bool,
    /// Stay on the file system of each path.
    #[arg(long)]
    one_file_system: Option<bool>,
    /// Leave out folders that are tagged as caches.
    #[arg(long)]
    exclude_caches: Option<bool>,
    /// An absolute path of an SQLite database to protect; give it once for each. The list takes the place of the old one.
    #[arg(long = "sqlite", value_name = "PATH")]
    sqlite: Vec<String>,
    /// Protect the databases of a PostgreSQL server.
    #[arg(long)]
    postgresql: bool,
    /// Protect the databases of a MySQL or MariaDB server. With neither host, user nor password, what opens it is found on
    /// the node.
    #[arg(long, conflicts_with = "postgresql")]
    mysql: bool,
    /// Protect the databases of a MongoDB server.
    #[arg(long, conflicts_with_all = ["postgresql", "mysql", "application"])]
    mongodb: bool,
    /// A database; give it once for each. All of the server, when absent. The list takes the place of the old one.
    #[arg(long = "database")]
    databases: Vec<String>,
    /// All databases of the server again.
    #[arg(long, conflicts_with = "databases")]
    all_databases: bool,
    /// A database to leave out; give it once for each. The list takes the place of the old one.
    #[arg(long = "exclude-database", value_name = "DATABASE")]
    excluded: Vec<String>,
    /// The database server's name or address; or its socket, absolute: the folder of it for PostgreSQL, itself for MySQL.
    #[arg(long = "db-host", value_name = "HOST")]
    host: Option<String>,
    /// The database server's port.
    #[arg(long = "db-port", value_name = "PORT")]
    port: Option<u16>,
    /// The role that dumps.
    #[arg(long = "db-user", value_name = "USER")]
    user: Option<String>,
    /// File with the role's password.
    #[arg(long = "db-password-file", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The role has no password any more.
    #[arg(long = "db-no-password", conflicts_with = "password_file")]
    no_password: bool,
    /// The system user that dumps, for peer authentication of PostgreSQL.
    #[arg(long = "db-os-user", value_name = "USER")]
    os_user: Option<String>,
    /// The database of MongoDB that knows the user; `admin` when absent.
    #[arg(long = "db-auth-database", value_name = "DATABASE")]
    auth_database: Option<String>,
    /// The name of MongoDB's replica set.
    #[arg(long = "db-replica-set", value_name = "NAME")]
    replica_set: Option<String>,
    /// Whether TLS is used for the database, and what is checked.
    #[arg(long = "db-tls", value_parser = ["disable", "prefer", "require", "verify-ca", "verify-full"])]
    tls: Option<String>,
    /// How dumps of PostgreSQL are written.
    #[arg(long = "dump-format", value_parser = ["custom", "plain"])]
    format: Option<String>,
    /// How a server of PostgreSQL or MariaDB is read: each database as its dump program writes it, or the whole server, as
    /// its files are.
    #[arg(long = "db-method", value_parser = ["dump", "physical"])]
    method: Option<String>,
    /// By which means archives of changes of a whole PostgreSQL server are made: its log, which can be restored to any
    /// moment; or the blocks of its files that have changed, which hold one moment each (17 and newer).
    #[arg(long = "db-increments", value_parser = ["wal", "blocks"])]
    increments: Option<String>,
    /// How much each archive of a whole server holds: all of it, what has changed since the last archive, or since the last
    /// full one.
    #[arg(long, value_parser = ["full", "incremental", "differential"])]
    variant: Option<String>,
    /// Make a full archive again after so many archives of changes; `none` for no such number.
    #[arg(long, value_name = "ARCHIVES")]
    full_every: Option<Limit>,
    /// Make a full archive again when the last one is so many days old; `none` for no such age. Seven days, when neither is
    /// said.
    #[arg(long, value_name = "DAYS")]
    full_every_days: Option<Limit>,
    /// Borg's compression: none, lz4, zstd[,1-22], zlib[,0-9], lzma[,0-6], optionally after `auto,`; of a dump store: none, gzip[,1-9], zstd[,1-22], zip.
    #[arg(long)]
    compression: Option<String>,
    /// When it runs by itself.
    #[command(flatten)]
    schedule: ScheduleArgs,
    /// Never run by itself.
    #[arg(long, conflicts_with_all = ["when", "at", "time_zone", "blackout", "overlap", "catch_up", "catch_up_limit", "jitter", "priority", "start_within"])]
    no_schedule: bool,
    /// How old its newest good archive may become before it is late, in seconds; `none` for what its schedule promises.
    #[arg(long, value_name = "SECONDS")]
    rpo: Option<Limit>,
    /// How many seconds later than that it is late; `none` for the usual: none beside --rpo, else a tenth of the time between
    /// two runs.
    #[arg(long, value_name = "SECONDS")]
    grace: Option<Limit>,
    /// Which archives are kept; all of them, while no rule is said.
    #[command(flatten)]
    policy: PolicyArgs,
    /// Look at these times which archives are kept no longer, as cron; after each backup, when absent.
    #[arg(long, value_name = "CRON", conflicts_with = "no_retention_schedule")]
    retention_cron: Option<String>,
    /// Look after each backup again which archives are kept no longer.
    #[arg(long)]
    no_retention_schedule: bool,
    /// Keep all archives from now on.
    #[arg(long, conflicts_with_all = ["keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_quarterly", "keep_yearly", "keep_within", "keep_minimum", "require_verified", "retention_time_zone", "retention_cron"])]
    no_retention: bool,
    /// Upload at most this many KiB a second; `none` for no limit.
    #[arg(long, value_name = "KIB")]
    upload_rate: Option<Limit>,
    /// End a run as failed after this many seconds; `none` for no limit.
    #[arg(long, value_name = "SECONDS")]
    max_duration: Option<Limit>,
    /// Wait this many seconds for a lock that somebody else holds on the repository; `none` for the usual 60.
    #[arg(long, value_name = "SECONDS")]
    lock_wait: Option<Limit>,
    /// JSON file with what runs before and after: {"before":[{"command":["/path","word"]}],"after":[...]}; `-` reads the
    /// standard input. It takes the place of the old one.
    #[arg(long = "hooks", value_name = "FILE")]
    hooks_file: Option<PathBuf>,
    /// Nothing runs before and after any more.
    #[arg(long, conflicts_with = "hooks_file")]
    no_hooks: bool,
    /// JSON file with a list of what is stopped while data is read: [{"stop":{"command":["/path","word"]},
    /// "start":{"command":["/path","word"]}}]; `-` reads the standard input. It takes the place of the old one.
    #[arg(long = "quiesce", value_name = "FILE")]
    quiesce_file: Option<PathBuf>,
    /// Nothing is stopped any more.
    #[arg(long, conflicts_with = "quiesce_file")]
    no_quiesce: bool,
    /// Words for people.
    #[arg(long)]
    description: Option<String>,
}

/// Does it.
pub async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List => KIND.list(session).await,
        Command::Show { name } => KIND.show(session, &name).await,
        Command::Delete { name } => KIND.delete(session, &name).await,
        Command::Set(args) => {
            KIND.set_checked(session, &args.name, args.changes()?, "", |spec| args.check(spec)).await
        }
        Command::Test { name } => {
            let answer = session.client.post("/sources/test", &json!({ "plan": name })).await?;
            jobs::asked(session, &answer, true).await
        }
        Command::Run { name, variant, wait } => {
            let body = Value::Object(Changes::default().with(&["variant"], variant).done());
            let answer = session.client.post(&format!("/plans/{}/run", escape(&name)), &body).await?;
            jobs::asked(session, &answer, wait).await
        }
        Command::Retention(args) => retention::run(session, &args).await,
        Command::Pause { name, reason } => {
            let path = format!("/plans/{}/pause", escape(&name));
            let answer = session.client.post(&path, &json!({ "reason": reason })).await?;
            tell(session, &answer.body, &format!("plan '{name}' is paused"));
            Ok(None)
        }
        Command::Resume { name } => {
            let path = format!("/plans/{}/resume", escape(&name));
            let answer = session.client.post(&path, &json!({})).await?;
            tell(session, &answer.body, &format!("plan '{name}' is resumed"));
            Ok(None)
        }
    }
}

fn tell(session: &Session, body: &Value, sentence: &str) {
    match session.output {
        crate::args::Output::Json => crate::output::json(body),
        crate::args::Output::Table => say!("{sentence}"),
    }
}

impl SetArgs {
    /// What is said of a database server belongs to a plan of one; of which system, only the plan or its own option says.
    fn check(&self, spec: &Map<String, Value>) -> Result<(), ClientError> {
        let of_a_server = !self.databases.is_empty()
            || !self.excluded.is_empty()
            || self.all_databases
            || [
                &self.host,
                &self.user,
                &self.os_user,
                &self.auth_database,
                &self.replica_set,
                &self.tls,
                &self.format,
                &self.method,
                &self.increments,
            ]
            .iter()
            .any(|o| o.is_some())
            || self.port.is_some()
            || self.password_file.is_some();
        let kind = spec.get("source").and_then(|source| source.get("type")).and_then(Value::as_str);
        match kind {
            _ if !of_a_server => Ok(()),
            Some("postgresql" | "mysql" | "mongodb") => Ok(()),
            Some("application") if self.application && (self.postgresql || self.mysql) => Ok(()),
            Some(other) => Err(ClientError::Usage(format!(
                "plan '{}' is of the type '{other}', which has no database server; say --postgresql, --mysql or --mongodb for another type",
                self.name
            ))),
            None => Err(ClientError::Usage(
                "say of which system the database server is: --postgresql, --mysql or --mongodb".to_owned(),
            )),
        }
    }

    fn changes(&self) -> Result<Map<String, Value>, ClientError> {
        let password = self.password_file.as_deref().map(secret::read).transpose()?;
        let mut hooks = match &self.hooks_file {
            Some(file) => Some(apply::read_json(file)?),
            None => self.no_hooks.then(|| json!({})),
        };
        let quiesce = match &self.quiesce_file {
            Some(file) => Some(apply::read_json(file)?),
            None => self.no_quiesce.then(|| json!([])),
        };
        // What the file does not name is not there any more.
        if let Some(Value::Object(hooks)) = &mut hooks {
            for phase in ["before", "after"] {
                hooks.entry(phase).or_insert_with(|| json!([]));
            }
        }
        let files = !self.paths.is_empty()
            || !self.excludes.is_empty()
            || self.no_excludes
            || self.one_file_system.is_some()
            || self.exclude_caches.is_some();
        // What is said of a server does not say of which system it is: a plan that there is keeps its own.
        let kinds: Vec<&str> = [
            ("mysql", self.mysql),
            ("mongodb", self.mongodb),
            ("postgresql", self.postgresql),
            ("sqlite", !self.sqlite.is_empty()),
            ("files", files),
        ]
        .into_iter()
        .filter_map(|(kind, said)| said.then_some(kind))
        .collect();
        let kind = match kinds.as_slice() {
            _ if self.application => Some("application"),
            [] => None,
            [one] => Some(*one),
            several => {
                let message = format!(
                    "a plan has one source: {}; --application takes them together",
                    several.join(" or ")
                );
                return Err(ClientError::Usage(message));
            }
        };
        // Where each member stands: by itself it is the source, else a part of it.
        let of = |member: &'static str, fields: &[&'static str]| -> Vec<&'static str> {
            let inner = self.application.then_some(member);
            std::iter::once("source").chain(inner).chain(fields.iter().copied()).collect()
        };
        let server = if self.mysql { "mysql" } else { "postgresql" };
        let empty = |wanted: bool| (self.application && wanted).then(|| json!({}));
        let said = |fields: Map<String, Value>| (!fields.is_empty()).then_some(fields);
        // Without times of its own, retention has no zone for them.
        let zone = self.retention_cron.as_ref().and_then(|_| self.policy.time_zone());
        let zone = zone.map(|zone| if zone.is_null() { json!("UTC") } else { zone });
        let no_times = self.no_retention_schedule || self.no_retention;
        let changes = Changes::default()
            .with(&["source", "type"], kind)
            .with(&of(server, &[]), empty(self.mysql || self.postgresql))
            .with_list_or_none(&of(server, &["databases"]), &self.databases, self.all_databases)
            .with_list(&of(server, &["excludes"]), &self.excluded)
            .with(&of(server, &["connection", "host"]), self.host.as_ref())
            .with(&of(server, &["connection", "port"]), self.port)
            .with(&of(server, &["connection", "user"]), self.user.as_ref())
            .with(&of(server, &["connection", "os_user"]), self.os_user.as_ref())
            .with(&of(server, &["connection", "auth_database"]), self.auth_database.as_ref())
            .with(&of(server, &["connection", "replica_set"]), self.replica_set.as_ref())
            .with(&of(server, &["connection", "tls"]), self.tls.as_ref())
            .with(&of(server, &["format"]), self.format.as_ref())
            .with(&of(server, &["method"]), self.method.as_ref())
            .with(&of(server, &["increments"]), self.increments.as_ref())
            .with(&["variant"], self.variant.as_ref())
            .with(&["full_every", "archives"], self.full_every)
            .with(&["full_every", "days"], self.full_every_days)
            .with(&["password"], password)
            .with(&["password"], self.no_password.then_some(Value::Null))
            .with(&["server"], self.server.as_ref())
            .with(&["repository"], self.repository.as_ref())
            .with_list_or_none(&["copies"], &self.copies, self.no_copies)
            .with_list(&of("files", &["paths"]), &self.paths)
            .with_list(&of("sqlite", &["paths"]), &self.sqlite)
            .with_list_or_none(&of("files", &["excludes"]), &self.excludes, self.no_excludes)
            .with(&of("files", &["one_file_system"]), self.one_file_system)
            .with(&of("files", &["exclude_caches"]), self.exclude_caches)
            .with(&["compression"], self.compression.as_ref())
            .with(&["schedule"], said(self.schedule.fields()))
            .with(&["schedule"], self.no_schedule.then_some(Value::Null))
            .with(&["retention"], said(self.policy.fields()))
            .with(&["retention_schedule", "cron"], self.retention_cron.as_ref())
            .with(&["retention_schedule", "time_zone"], zone)
            .with(&["retention"], self.no_retention.then_some(Value::Null))
            .with(&["retention_schedule"], no_times.then_some(Value::Null))
            .with(&["objective", "rpo_s"], self.rpo)
            .with(&["objective", "grace_s"], self.grace)
            .with(&["limits", "upload_rate_kib_per_s"], self.upload_rate)
            .with(&["limits", "max_duration_s"], self.max_duration)
            .with(&["limits", "lock_wait_s"], self.lock_wait)
            .with(&["hooks"], hooks)
            .with(&["quiesce"], quiesce)
            .with(&["description"], self.description.as_ref())
            .done();
        Ok(changes)
    }
}

#[cfg(test)]
mod tests;

//! Where a restored database goes, and what is asked of it: the options that all restores of databases have.

use super::definitions::Changes;
use super::{Outcome, Session, jobs};
use crate::client::ClientError;
use crate::secret;
use clap::Args;
use serde_json::Value;
use std::path::PathBuf;

/// The options.
#[derive(Debug, Args)]
pub struct Into {
    /// The database server: its name or address, or its socket, absolute.
    #[arg(long = "db-host", value_name = "HOST")]
    host: Option<String>,
    /// Its port.
    #[arg(long = "db-port", value_name = "PORT")]
    port: Option<u16>,
    /// The role that restores there.
    #[arg(long = "db-user", value_name = "USER")]
    user: Option<String>,
    /// Whether TLS is used there, and what is checked.
    #[arg(long = "db-tls", value_parser = ["disable", "prefer", "require", "verify-ca", "verify-full"])]
    tls: Option<String>,
    /// The system user that restores there, for peer authentication of PostgreSQL.
    #[arg(long = "db-os-user", value_name = "USER")]
    os_user: Option<String>,
    /// MongoDB: the database that knows the user.
    #[arg(long = "db-auth-database", value_name = "DATABASE")]
    auth_database: Option<String>,
    /// MongoDB: the name of the replica set.
    #[arg(long = "db-replica-set", value_name = "NAME")]
    replica_set: Option<String>,
    /// File with the role's password.
    #[arg(long = "db-password-file", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// When a database of that name is there and not empty. MySQL and MongoDB cannot keep both.
    #[arg(long, default_value = "fail", value_parser = ["fail", "keep_both", "overwrite"])]
    on_conflict: String,
    /// Everything belongs to the role that restores: for a PostgreSQL server without the roles of the old one.
    #[arg(long)]
    no_owner: bool,
    /// Restore over so many connections at once (1 to 64): dumps of PostgreSQL in the custom format, which then lie in a file
    /// on the node's disk meanwhile.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: Option<u32>,
    /// Ask the restored database this: one statement that reads.
    #[arg(long, value_name = "SQL")]
    check: Option<String>,
    /// What it must answer: rows in lines, columns parted by tabs.
    #[arg(long, value_name = "TEXT", requires = "check")]
    expect: Option<String>,
    /// File with what opens the dump, when its repository keeps nothing that does: a secret key of age or OpenPGP, or for
    /// dumps of others the passphrase.
    #[arg(long, value_name = "FILE")]
    identity_file: Option<PathBuf>,
    /// Only say what it would do, and touch nothing.
    #[arg(long)]
    dry_run: bool,
    /// Wait until it is done, with a progress bar.
    #[arg(long)]
    wait: bool,
}

impl Into {
    /// Refuses what says of another server more than where it is.
    pub fn needs_host(&self) -> Result<(), ClientError> {
        let words = [&self.user, &self.tls, &self.os_user, &self.auth_database, &self.replica_set];
        if self.host.is_none() && (self.port.is_some() || words.iter().any(|word| word.is_some())) {
            let message = "--db-port, --db-user, --db-tls, --db-os-user, --db-auth-database and --db-replica-set say more of \
                           another server: give --db-host with them. The plan's own server is taken as the plan has it, and \
                           --db-password-file alone gives another password for it";
            return Err(ClientError::Usage(message.into()));
        }
        Ok(())
    }

    /// Asks for the restore; `changes` says of what.
    pub async fn ask(self, session: &Session, path: &str, changes: Changes) -> Outcome {
        let body = changes
            .with(&["connection", "host"], self.host)
            .with(&["connection", "port"], self.port)
            .with(&["connection", "user"], self.user)
            .with(&["connection", "tls"], self.tls)
            .with(&["connection", "os_user"], self.os_user)
            .with(&["connection", "auth_database"], self.auth_database)
            .with(&["connection", "replica_set"], self.replica_set)
            .with(&["password"], self.password_file.as_deref().map(secret::read).transpose()?)
            .with(&["identity"], self.identity_file.as_deref().map(secret::read_identity).transpose()?)
            .with(&["on_conflict"], Some(self.on_conflict))
            .with(&["no_owner"], Some(self.no_owner))
            .with(&["parallel_jobs"], self.jobs)
            .with(&["check", "query"], self.check)
            .with(&["check", "expected"], self.expect)
            .with(&["dry_run"], Some(self.dry_run))
            .done();
        let answer = session.client.post(path, &Value::Object(body)).await?;
        jobs::asked(session, &answer, self.wait || self.dry_run).await
    }
}

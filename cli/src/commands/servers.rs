//! `strongroom servers`.

use super::definitions::{Changes, Kind, Limit, escape};
use super::{Outcome, Session, jobs};
use crate::output::Format::Plain;
use crate::secret;
use clap::Subcommand;
use serde_json::Value;
use std::path::PathBuf;

/// Servers, as the API has them.
pub const KIND: Kind = Kind {
    path: "servers",
    columns: &[
        ("name", "/id", Plain),
        ("node", "/node", Plain),
        ("restore roots", "/restore_roots", Plain),
        ("dump roots", "/dump_roots", Plain),
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
    /// Define one, or change what is given here.
    Set {
        /// Its name.
        name: String,
        /// Which node works for it.
        #[arg(long)]
        node: Option<String>,
        /// A folder under which restores may write; give it once for each. The list takes the place of the old one.
        #[arg(long = "restore-root")]
        restore_roots: Vec<String>,
        /// Let restores write nowhere any more.
        #[arg(long, conflicts_with = "restore_roots")]
        no_restore_roots: bool,
        /// A folder under which dumps of others may be read; give it once for each. The list takes the place of the old one.
        #[arg(long = "dump-root")]
        dump_roots: Vec<String>,
        /// Let dumps be read nowhere any more.
        #[arg(long, conflicts_with = "dump_roots")]
        no_dump_roots: bool,
        /// How many jobs may run at once for it; `none` for the system's default.
        #[arg(long)]
        max_jobs: Option<Limit>,
        /// Words for people.
        #[arg(long)]
        description: Option<String>,
    },
    /// Restore a dump out of a file on its node, of whatever origin: its form is found out by itself. What stands at the
    /// database's name is not touched before all of the dump has been restored beside it.
    RestoreDump {
        /// The server's name.
        name: String,
        /// The file, absolute, below one of the server's dump roots.
        file: String,
        /// The database system that takes it.
        #[arg(long, value_parser = ["postgresql", "mysql"])]
        system: String,
        /// What the database is to be called.
        #[arg(long = "as", value_name = "NAME")]
        database: String,
        /// Which member of the file, when it holds several dumps.
        #[arg(long)]
        member: Option<String>,
        /// The database server: its name or address, or its socket, absolute; the one on the node, when absent.
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
        /// File with the role's password.
        #[arg(long = "db-password-file", value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// File with the secret key of age, or the passphrase, that opens the dump.
        #[arg(long, value_name = "FILE")]
        identity_file: Option<PathBuf>,
        /// When a database of that name is there and not empty. MySQL cannot keep both.
        #[arg(long, default_value = "fail", value_parser = ["fail", "keep_both", "overwrite"])]
        on_conflict: String,
        /// Everything belongs to the role that restores: for a PostgreSQL server without the roles of the old one.
        #[arg(long)]
        no_owner: bool,
        /// Ask the restored database this: one statement that reads.
        #[arg(long, value_name = "SQL")]
        check: Option<String>,
        /// What it must answer: rows in lines, columns parted by tabs.
        #[arg(long, value_name = "TEXT", requires = "check")]
        expect: Option<String>,
        /// Only say what it would do, and touch nothing.
        #[arg(long)]
        dry_run: bool,
        /// Wait until it is done, with a progress bar.
        #[arg(long)]
        wait: bool,
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
        Command::RestoreDump {
            name,
            file,
            system,
            database,
            member,
            host,
            port,
            user,
            tls,
            os_user,
            password_file,
            identity_file,
            on_conflict,
            no_owner,
            check,
            expect,
            dry_run,
            wait,
        } => {
            let body = Changes::default()
                .with(&["path"], Some(file))
                .with(&["system"], Some(system))
                .with(&["as"], Some(database))
                .with(&["member"], member)
                .with(&["connection", "host"], host)
                .with(&["connection", "port"], port)
                .with(&["connection", "user"], user)
                .with(&["connection", "tls"], tls)
                .with(&["connection", "os_user"], os_user)
                .with(&["password"], password_file.as_deref().map(secret::read).transpose()?)
                .with(&["identity"], identity_file.as_deref().map(secret::read_identity).transpose()?)
                .with(&["on_conflict"], Some(on_conflict))
                .with(&["no_owner"], Some(no_owner))
                .with(&["check", "query"], check)
                .with(&["check", "expected"], expect)
                .with(&["dry_run"], Some(dry_run))
                .done();
            let path = format!("/servers/{}/restore-dump", escape(&name));
            let answer = session.client.post(&path, &Value::Object(body)).await?;
            jobs::asked(session, &answer, wait || dry_run).await
        }
        Command::Set {
            name,
            node,
            restore_roots,
            no_restore_roots,
            dump_roots,
            no_dump_roots,
            max_jobs,
            description,
        } => {
            let changes = Changes::default()
                .with(&["node"], node)
                .with_list_or_none(&["restore_roots"], &restore_roots, no_restore_roots)
                .with_list_or_none(&["dump_roots"], &dump_roots, no_dump_roots)
                .with(&["max_concurrent_jobs"], max_jobs)
                .with(&["description"], description);
            KIND.set(session, &name, changes.done()).await
        }
    }
}

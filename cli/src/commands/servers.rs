//! `strongroom servers`.

use super::definitions::{Changes, Kind, Limit, escape};
use super::into::Into;
use super::{Outcome, Session};
use crate::output::Format::Plain;
use clap::Subcommand;

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
        /// Into the database server on the node, when no other is named.
        #[command(flatten)]
        into: Into,
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
        Command::RestoreDump { name, file, system, database, member, into } => {
            let changes = Changes::default()
                .with(&["path"], Some(file))
                .with(&["system"], Some(system))
                .with(&["as"], Some(database))
                .with(&["member"], member);
            into.ask(session, &format!("/servers/{}/restore-dump", escape(&name)), changes).await
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

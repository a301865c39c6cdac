//! `strongroom servers`.

use super::definitions::{Changes, Kind, Limit};
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
        /// How many jobs may run at once for it; `none` for the system's default.
        #[arg(long)]
        max_jobs: Option<Limit>,
        /// Words for people.
        #[arg(long)]
        description: Option<String>,
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
        Command::Set { name, node, restore_roots, no_restore_roots, max_jobs, description } => {
            let changes = Changes::default()
                .with(&["node"], node)
                .with_list_or_none(&["restore_roots"], &restore_roots, no_restore_roots)
                .with(&["max_concurrent_jobs"], max_jobs)
                .with(&["description"], description);
            KIND.set(session, &name, changes.done()).await
        }
    }
}

//! `strongroom destinations`.

use super::definitions::{Changes, Kind};
use super::{Outcome, Session};
use crate::output::Format::Plain;
use clap::Subcommand;

/// Destinations, as the API has them.
pub const KIND: Kind = Kind {
    path: "destinations",
    columns: &[
        ("name", "/id", Plain),
        ("type", "/location/type", Plain),
        ("path", "/location/path", Plain),
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
        /// A folder that the node sees as a local path.
        #[arg(long)]
        path: Option<String>,
        /// Its repositories were moved to the new path already.
        #[arg(long)]
        moved: bool,
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
        Command::Set { name, path, moved, description } => {
            let changes = Changes::default()
                .with(&["location", "type"], path.as_ref().map(|_| "local"))
                .with(&["location", "path"], path)
                .with(&["description"], description);
            let query = if moved { "?moved=true" } else { "" };
            KIND.set_with(session, &name, changes.done(), query).await
        }
    }
}

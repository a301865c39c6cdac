//! The client's commands: a file for each kind of thing.

mod apply;
mod archives;
mod channels;
mod definitions;
mod destinations;
mod download;
mod into;
mod jobs;
mod plans;
mod repositories;
mod schedules;
mod servers;
mod system;
mod tokens;

pub use archives::first_file;
pub use definitions::escape;

use crate::args::Output;
use crate::client::{Client, ClientError, Connection};
use crate::exit::Exit;
use crate::options;
use clap::Subcommand;
use std::io::IsTerminal;
use std::process::ExitCode;

/// Everything that is a request to the API.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// How the system is: ready or not, and why not.
    Status,
    /// Machines with data to protect.
    #[command(subcommand)]
    Servers(servers::Command),
    /// Where bytes go.
    #[command(subcommand)]
    Destinations(destinations::Command),
    /// Borg repositories.
    #[command(subcommand)]
    Repositories(repositories::Command),
    /// Standing instructions: what, where to, when.
    #[command(subcommand)]
    Plans(plans::Command),
    /// When something would run, before it is saved.
    #[command(subcommand)]
    Schedules(schedules::Command),
    /// Pieces of work: running, done, failed.
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Stored backups: browse, restore, delete.
    #[command(subcommand)]
    Archives(archives::Command),
    /// Where people are told.
    #[command(subcommand)]
    Channels(channels::Command),
    /// Access tokens.
    #[command(subcommand)]
    Tokens(tokens::Command),
    /// Running executors.
    Nodes,
    /// Which plans are late, and until when the others are not.
    Lateness,
    /// How many jobs may run at once: shows it, or changes what is given here.
    Limits(system::LimitsArgs),
    /// What restores into running systems could use on the server's machine: Docker, FUSE, borg.
    Capabilities,
    /// Define things from JSON: one object or a list, each with `kind` and `id`.
    Apply(apply::Args),
    /// Print the log's events as they come, one JSON object a line.
    Events(system::EventsArgs),
    /// Messages that a service could not take in.
    #[command(subcommand)]
    Quarantine(system::QuarantineCommand),
}

/// What a command needs: the server, and how to print.
pub struct Session {
    /// The server.
    pub client: Client,
    /// How to print.
    pub output: Output,
}

impl Session {
    /// Whether a progress bar makes sense: for people at a terminal.
    pub fn shows_progress(&self) -> bool {
        self.output == Output::Table && std::io::stderr().is_terminal()
    }
}

/// How a command ends when nothing is wrong with the request itself.
pub type Outcome = Result<Option<Exit>, ClientError>;

/// Runs one command, which has these options.
pub fn main(command: Command, connection: &Connection, output: Output, options: &[String]) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("strongroom: {e}");
            return Exit::Failure.into();
        }
    };
    let client = match command {
        Command::Status => Client::without_token(connection),
        _ => Client::new(connection),
    };
    let result = client.and_then(|client| runtime.block_on(run(command, &Session { client, output })));
    match result {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(exit)) => exit.into(),
        Err(error) => {
            let error = options::name(error, options);
            eprintln!("strongroom: {error}");
            Exit::of(&error).into()
        }
    }
}

async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::Status => system::status(session).await,
        Command::Servers(command) => servers::run(command, session).await,
        Command::Destinations(command) => destinations::run(command, session).await,
        Command::Repositories(command) => repositories::run(command, session).await,
        Command::Plans(command) => plans::run(command, session).await,
        Command::Schedules(command) => schedules::run(command, session).await,
        Command::Jobs(command) => jobs::run(command, session).await,
        Command::Archives(command) => archives::run(command, session).await,
        Command::Channels(command) => channels::run(command, session).await,
        Command::Tokens(command) => tokens::run(command, session).await,
        Command::Nodes => system::nodes(session).await,
        Command::Lateness => system::lateness(session).await,
        Command::Limits(args) => system::limits(&args, session).await,
        Command::Capabilities => system::capabilities(session).await,
        Command::Apply(args) => apply::run(&args, session).await,
        Command::Events(args) => system::events(&args, session).await,
        Command::Quarantine(command) => system::quarantine(command, session).await,
    }
}

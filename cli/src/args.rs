//! The command line.

use crate::client::Connection;
use crate::commands;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use strongroom_domain::NodeId;

/// Where the API listens when nothing else is said: loopback only.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8420";

/// Backups that prove themselves: plans, jobs, archives, restores.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, after_help = crate::exit::TABLE, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where the server is.
    #[command(flatten)]
    pub connection: Connection,
    /// How answers are printed.
    #[arg(long, short, value_enum, default_value_t = Output::Table, global = true)]
    pub output: Output,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables for people.
    Table,
    /// The API's JSON for programs.
    Json,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine in one process, with its nats-server beneath.
    Up(UpArgs),
    /// Show what it does: back up a real folder twice, browse, restore, compare.
    Demo(DemoArgs),
    /// Make keys, nats-server's configuration, streams and consumers, for running the services one by one.
    Provision(ProvisionArgs),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// A client of the HTTP API.
    #[command(flatten)]
    Client(commands::Command),
}

/// `strongroom up`.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Folder that keeps everything: the log, keys, views. Two processes never share one.
    #[arg(long, env = "STRONGROOM_DATA")]
    pub data: Option<PathBuf>,
    /// Where the API listens. Port 0 takes any free one; the address is printed and kept in the data folder.
    #[arg(long, env = "STRONGROOM_LISTEN", default_value = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// Name of this machine's node.
    #[arg(long, env = "STRONGROOM_NODE", default_value = "local")]
    pub node: NodeId,
    /// Further nodes whose executors run on other machines; each gets a key in the data folder (keys).
    #[arg(long = "remote-node")]
    pub remote_nodes: Vec<NodeId>,
    /// Where nats-server listens for them. Port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub nats_listen: SocketAddr,
    /// How many jobs may run at once, on all servers together.
    #[arg(long, default_value_t = 8)]
    pub max_jobs: u32,
    /// How many jobs may run at once for a server whose definition does not say.
    #[arg(long, default_value_t = 4)]
    pub max_jobs_per_server: u32,
    /// After how many seconds of silence a node's attempts are taken from it.
    #[arg(long, default_value_t = 60)]
    pub lease_s: u64,
    /// The borg to use.
    #[arg(long, env = "STRONGROOM_BORG", default_value = "borg")]
    pub borg: PathBuf,
    /// A folder with programs that plans may run as hooks on this machine; give it once for each. None runs without it.
    #[arg(long, env = "STRONGROOM_ALLOW_HOOKS", value_delimiter = ':', value_name = "FOLDER")]
    pub allow_hooks: Vec<PathBuf>,
    /// A folder in which programs of PostgreSQL and MongoDB are looked for before the PATH; give it once for each.
    #[arg(long, env = "STRONGROOM_PROGRAMS", value_delimiter = ':', value_name = "FOLDER")]
    pub programs: Vec<PathBuf>,
    #[command(flatten)]
    pub containers: strongroom_executor::ContainerSettings,
    /// Largest size of the log in bytes; can be raised later. 40 % of the free space at the first start, at most 20 GiB,
    /// when absent.
    #[arg(long)]
    pub log_max_bytes: Option<u64>,
}

/// `strongroom demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Folder that keeps everything of the demo.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Where the API listens.
    #[arg(long, default_value = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// The folder to back up; one of the system's documentation folders when absent.
    #[arg(long)]
    pub folder: Option<PathBuf>,
    /// End with a verdict instead of running until Ctrl-C.
    #[arg(long)]
    pub exit: bool,
}

/// `strongroom provision`.
#[derive(Debug, Clone, Args)]
pub struct ProvisionArgs {
    /// Folder of the keys; made when missing, what is there stays.
    #[arg(long)]
    pub keys: PathBuf,
    /// A node; give it once for each.
    #[arg(long = "node")]
    pub nodes: Vec<NodeId>,
    /// Write nats-server's configuration here.
    #[arg(long)]
    pub nats_config: Option<PathBuf>,
    /// Do not connect: keys and configuration only.
    #[arg(long)]
    pub config_only: bool,
    /// Address of NATS.
    #[arg(long, env = "STRONGROOM_NATS_URL", default_value = "nats://127.0.0.1:4222")]
    pub nats_url: String,
    /// Copies of each stream: 1 on one server, 3 on a cluster.
    #[arg(long, default_value_t = 1)]
    pub replicas: u32,
    /// Size of the log in bytes.
    #[arg(long, default_value_t = 10_737_418_240)]
    pub log_max_bytes: u64,
    /// Size of the file indexes in bytes.
    #[arg(long, default_value_t = 5_368_709_120)]
    pub indexes_max_bytes: u64,
    /// Where nats-server keeps the log, in the written configuration.
    #[arg(long, default_value = "/data")]
    pub store: PathBuf,
    /// Where it listens, in the written configuration.
    #[arg(long, default_value = "0.0.0.0:4222")]
    pub listen: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// An option with the name of one that all commands have takes its place: `channels create --url <webhook>` once sent
    /// the administrator's token to the webhook.
    #[test]
    fn no_option_takes_the_place_of_one_that_all_commands_have() {
        let cli = Cli::command();
        let of_all: Vec<_> = cli.get_arguments().filter(|a| a.is_global_set()).collect();
        assert!(of_all.len() >= 4);
        let mut left: Vec<(String, &clap::Command)> =
            cli.get_subcommands().map(|c| (c.get_name().to_owned(), c)).collect();
        while let Some((path, command)) = left.pop() {
            for own in command.get_arguments() {
                let taken = of_all.iter().any(|all| {
                    all.get_id() == own.get_id()
                        || all.get_long().is_some_and(|long| own.get_long() == Some(long))
                });
                // What hosts the services means the same folder.
                let same = own.get_id() == "data" && matches!(path.as_str(), "up" | "demo");
                assert!(!taken || same, "{path} --{}", own.get_id());
            }
            left.extend(command.get_subcommands().map(|c| (format!("{path} {}", c.get_name()), c)));
        }
    }
}

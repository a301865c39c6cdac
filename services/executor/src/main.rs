//! The executor as a process of its own.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_bus::NodeBus;
use strongroom_domain::NodeId;
use strongroom_executor::{Config, ContainerSettings, run};
use strongroom_service::ServiceArgs;

/// Does the work of one node: backups, restores, scans.
#[derive(Parser)]
#[command(name = "strongroom-executor", version)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// The name of this node.
    #[arg(long, env = "STRONGROOM_NODE")]
    node: NodeId,
    /// The borg to use.
    #[arg(long, env = "STRONGROOM_BORG", default_value = "borg")]
    borg: PathBuf,
    /// A folder with programs that plans may run as hooks; give it once for each. None runs without it.
    #[arg(long, env = "STRONGROOM_ALLOW_HOOKS", value_delimiter = ':', value_name = "FOLDER")]
    allow_hooks: Vec<PathBuf>,
    /// A folder in which programs of PostgreSQL and MongoDB are looked for before the PATH; give it once for each.
    #[arg(long, env = "STRONGROOM_PROGRAMS", value_delimiter = ':', value_name = "FOLDER")]
    programs: Vec<PathBuf>,
    #[command(flatten)]
    containers: ContainerSettings,
    /// How many jobs are done at once.
    #[arg(long, env = "STRONGROOM_CAPACITY", default_value_t = 8)]
    capacity: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    strongroom_service::main("strongroom-executor", async |shutdown| {
        let user = format!("node-{}", args.node);
        let bus = NodeBus::connect(&args.service.connection(&user), args.node.clone()).await?;
        let config = Config {
            borg: args.borg,
            allow_hooks: args.allow_hooks,
            programs: args.programs,
            containers: args.containers,
            capacity: args.capacity,
            ..Config::new(args.node, args.service.state_dir.clone())
        };
        run(config, bus, shutdown).await
    })
}

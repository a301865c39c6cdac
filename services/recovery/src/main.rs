//! Recovery as a process of its own.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_bus::Bus;
use strongroom_recovery::{Config, run};
use strongroom_service::ServiceArgs;

/// Instant recovery: says whether this machine has what it takes.
#[derive(Parser)]
#[command(name = "strongroom-recovery", version)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// The socket of Docker's engine.
    #[arg(long, env = "STRONGROOM_DOCKER_SOCKET", default_value = "/var/run/docker.sock")]
    docker_socket: PathBuf,
    /// The borg to use.
    #[arg(long, env = "STRONGROOM_BORG", default_value = "borg")]
    borg: PathBuf,
}

fn main() -> ExitCode {
    let Args { service, docker_socket, borg } = Args::parse();
    strongroom_service::main("strongroom-recovery", async |shutdown| {
        let bus = Bus::connect(&service.connection("recovery")).await?;
        run(Config { docker_socket, borg, ..Config::default() }, bus, shutdown).await
    })
}

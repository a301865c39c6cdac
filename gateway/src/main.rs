//! The gateway as a process of its own.

use clap::Parser;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use strongroom_bus::Bus;
use strongroom_gateway::{Config, run};
use strongroom_service::ServiceArgs;

/// The HTTP API.
#[derive(Parser)]
#[command(name = "strongroom-gateway", version)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// Where it listens.
    #[arg(long, env = "STRONGROOM_LISTEN", default_value = "127.0.0.1:8420")]
    listen: SocketAddr,
    /// The monitoring address of nats-server, host:port; /readyz then checks its version and that it syncs always.
    #[arg(long, env = "STRONGROOM_NATS_MONITOR")]
    nats_monitor: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    strongroom_service::main("strongroom-gateway", async |shutdown| {
        let bus = Bus::connect(&args.service.connection("gateway")).await?;
        let state_dir = args.service.state_dir.clone();
        let token = state_dir.join("token");
        if !token.exists() {
            // Nobody may be reading, which is no reason to end.
            let _ =
                writeln!(std::io::stdout(), "the first administrator's token will be in {}", token.display());
        }
        let config =
            Config { listen: args.listen, state_dir, nats_monitor: args.nats_monitor, on_listening: None };
        run(config, bus, shutdown).await
    })
}

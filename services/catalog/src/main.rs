//! The catalog as a process of its own.

use clap::Parser;
use std::process::ExitCode;
use strongroom_bus::Bus;
use strongroom_catalog::{Config, run};
use strongroom_service::ServiceArgs;

/// Folds the log into views and answers questions about them.
#[derive(Parser)]
#[command(name = "strongroom-catalog", version)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
}

fn main() -> ExitCode {
    let Args { service } = Args::parse();
    strongroom_service::main("strongroom-catalog", async |shutdown| {
        let bus = Bus::connect(&service.connection("catalog")).await?;
        run(Config { state_dir: service.state_dir.clone() }, bus, shutdown).await
    })
}

//! The notifier as a process of its own.

use clap::Parser;
use std::process::ExitCode;
use strongroom_bus::Bus;
use strongroom_notifier::{Config, run};
use strongroom_service::ServiceArgs;

/// Tells people what happened: webhooks for every job that ends.
#[derive(Parser)]
#[command(name = "strongroom-notifier", version)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
}

fn main() -> ExitCode {
    let Args { service } = Args::parse();
    strongroom_service::main("strongroom-notifier", async |shutdown| {
        let bus = Bus::connect(&service.connection("notifier")).await?;
        run(Config::new(&service.state_dir), bus, shutdown).await
    })
}

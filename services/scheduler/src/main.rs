//! The scheduler as a process of its own.

use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;
use strongroom_bus::Bus;
use strongroom_domain::admission::Limits;
use strongroom_scheduler::{Config, run};
use strongroom_service::ServiceArgs;

/// Fires schedules, admits jobs, and writes what nodes report as facts.
#[derive(Parser)]
#[command(name = "strongroom-scheduler", version)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// How many jobs may run at once, on all servers together.
    #[arg(long, env = "STRONGROOM_MAX_JOBS", default_value_t = 8)]
    max_jobs: u32,
    /// How many jobs may run at once for a server whose definition does not say.
    #[arg(long, env = "STRONGROOM_MAX_JOBS_PER_SERVER", default_value_t = 4)]
    max_jobs_per_server: u32,
    /// After how many seconds of silence an attempt is taken from its node.
    #[arg(long, env = "STRONGROOM_LEASE_S", default_value_t = 60)]
    lease_s: u64,
    /// How often the log is compared with what nodes were woken for, in seconds.
    #[arg(long, env = "STRONGROOM_RECONCILE_S", default_value_t = 60)]
    reconcile_s: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    strongroom_service::main("strongroom-scheduler", async |shutdown| {
        let bus = Bus::connect(&args.service.connection("scheduler")).await?;
        let config = Config {
            limits: Limits {
                global: args.max_jobs,
                per_server: args.max_jobs_per_server,
                ..Limits::default()
            },
            lease_s: args.lease_s,
            reconcile_every: Duration::from_secs(args.reconcile_s),
            ..Config::default()
        };
        Box::pin(run(config, bus, shutdown)).await
    })
}

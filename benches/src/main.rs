//! What is measured against its rivals: one command each, ratios in one run.
//!
//! `cargo run --release -p strongroom-benches -- run|rebuild|archives|dump|memory`, after `cargo build --release -p strongroom`.
#![allow(clippy::indexing_slicing, reason = "a benchmark that panics has measured nothing")]

mod archives;
mod dump;
mod fill;
mod memory;
mod numbers;
mod rebuild;
mod run;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// `strongroom plans run --wait` against bare `borg create`.
    Run(run::Args),
    /// The catalog's rebuild against a consumer that only decodes.
    Rebuild(rebuild::Args),
    /// `GET /api/v1/archives` against a bare handler that asks NATS once.
    Archives(archives::Args),
    /// A dump into a dump store, against the same programs in a shell.
    Dump(dump::Args),
    /// Memory of `strongroom up`: idle, with a long log, and over time.
    Memory(memory::Args),
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match Args::parse().bench {
            Bench::Run(args) => run::bench(&args).await,
            Bench::Rebuild(args) => rebuild::bench(&args).await,
            Bench::Archives(args) => archives::bench(&args).await,
            Bench::Dump(args) => dump::bench(&args).await,
            Bench::Memory(args) => memory::bench(&args).await,
        }
    })
}

//! The `strongroom` binary: hosts everything on one machine (`up`), and is a client of the HTTP API for everything else.

/// Prints a line. A reader that has gone away (`| head`) ends the program without a word, as it ends others.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}

/// Prints a line of a program that goes on when nobody reads it.
macro_rules! mention {
    ($($text:tt)*) => { $crate::output::aside(format_args!($($text)*)) };
}

mod args;
mod client;
mod commands;
mod demo;
mod exit;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod fake_server;
mod options;
mod output;
mod provision;
mod secret;
mod up;
mod wait;

use clap::{CommandFactory, FromArgMatches};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut known = args::Cli::command();
    let matches = known.clone().get_matches();
    let cli = args::Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    // One TLS implementation for all HTTP in this process; a second call finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli.command {
        args::Command::Up(args) => up::main(args),
        args::Command::Demo(args) => demo::main(args),
        args::Command::Provision(args) => provision::main(&args),
        args::Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut known, "strongroom", &mut script);
            say!("{}", String::from_utf8_lossy(&script));
            ExitCode::SUCCESS
        }
        args::Command::Client(command) => {
            let options = options::of(&known, &matches);
            commands::main(command, &cli.connection, cli.output, &options)
        }
    }
}

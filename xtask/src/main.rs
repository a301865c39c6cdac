//! `cargo xtask demo` shows the product on this machine, `cargo xtask test` runs everything that checks it.
//!
//! The standard library only, so that the first line of output comes a second after the command.

mod child;
mod demo;
mod processes;
mod step;
mod summary;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

const HELP: &str = "\
The two commands of this repository:

  cargo xtask demo [--exit] [--data DIR] [--port N]
      Installs what is missing (after saying so), builds strongroom, starts everything in one process,
      backs up a folder twice, restores a file, and keeps running until Ctrl-C.
      --exit      end with a verdict instead of running on
      --data DIR  keep everything in this folder
      --port N    listen on this loopback port (0: any free one)

  cargo xtask test [--quick]
      Runs everything that checks the project and ends in one summary.
      --quick     leave out the tests of the running system, the API docs and the demo
";

/// What went wrong, as a sentence for the person who typed the command.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let asks_for_help = rest.iter().any(|a| matches!(a.as_str(), "--help" | "-h"));
    let outcome = match command.as_deref() {
        Some("demo" | "test") if asks_for_help => help(),
        Some("demo") => demo::run(&rest),
        Some("test") => test::run(&rest),
        None | Some("help" | "--help" | "-h") => help(),
        Some(other) => Err(format!("there is no command {other:?}\n\n{HELP}")),
    };
    outcome.unwrap_or_else(|problem| {
        eprintln!("xtask: {problem}");
        ExitCode::from(2)
    })
}

fn help() -> Result<ExitCode> {
    print!("{HELP}");
    Ok(ExitCode::SUCCESS)
}

//! The checkout that this command works on, and the cargo that it calls.

use std::path::PathBuf;
use std::process::Command;

/// The folder with the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    // Cargo says it at run time, so a binary from a shared target folder never works on another checkout.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), PathBuf::from)
}

/// `cargo` with these arguments; `--locked` where a change of `Cargo.lock` would go unseen.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = cargo_itself();
    let Some((subcommand, rest)) = arguments.split_first() else { return command };
    command.arg(subcommand);
    // `cargo fmt` resolves nothing and knows no such flag; `cargo deny` knows it in this place only.
    if std::env::var_os("CI").is_some() && *subcommand != "fmt" {
        command.arg("--locked");
    }
    command.args(rest);
    command
}

/// `cargo` without arguments, as it was called to run this.
pub fn cargo_itself() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    without_cargo_run(&mut command);
    command
}

/// Takes away what `cargo run` set for this process: build scripts that watch these variables would run again at every
/// change between a plain `cargo build` and one from here.
fn without_cargo_run(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text.starts_with("CARGO_BIN_")
        {
            command.env_remove(&name);
        }
    }
}

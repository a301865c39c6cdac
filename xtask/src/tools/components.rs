//! Parts of the Rust toolchain that a small installation leaves out.

use crate::{child, workspace};
use std::process::{Command, Stdio};
use std::time::Duration;

/// One of them: its name for rustup, its command for cargo, and what it is for.
pub struct Component {
    name: &'static str,
    command: &'static str,
    why: &'static str,
}

/// Formats the code.
pub const RUSTFMT: Component =
    Component { name: "rustfmt", command: "fmt", why: "checks the format of the code" };
/// Finds what the compiler lets pass.
pub const CLIPPY: Component =
    Component { name: "clippy", command: "clippy", why: "checks the code for what the compiler lets pass" };

const DEADLINE: Duration = Duration::from_secs(5 * 60);

/// Whether it is there, after an attempt to install it through rustup where it is not.
pub fn ensure(component: &Component) -> bool {
    if is_there(component) {
        return true;
    }
    println!("installing {}: {} (a component of this Rust, through rustup)", component.name, component.why);
    let outcome = child::run(Command::new("rustup").args(["component", "add", component.name]), DEADLINE);
    if let Err(problem) = outcome {
        println!("    {problem}");
    }
    is_there(component)
}

fn is_there(component: &Component) -> bool {
    let mut command = workspace::cargo_itself();
    command
        .args([component.command, "--version"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

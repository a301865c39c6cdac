//! `cargo xtask demo`: from a fresh checkout to a running system that has shown what it does.

use crate::{Result, tools, workspace};
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

/// Installs, builds, and becomes the demo.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let passed_on = translate(arguments)?;
    let tools = tools::ensure()?;
    println!("building strongroom (the first time takes some minutes)");
    let status = workspace::cargo(&["build", "--package", "strongroom", "--bin", "strongroom"])
        .current_dir(workspace::root())
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if !status.success() {
        return Err("strongroom does not build; the compiler's messages are above".to_owned());
    }
    let manifest = workspace::root().join("Cargo.toml");
    let manifest = manifest.to_string_lossy();
    let mut line = vec![
        "run",
        "--quiet",
        "--manifest-path",
        &manifest,
        "--package",
        "strongroom",
        "--bin",
        "strongroom",
    ];
    line.extend(["--", "demo"]);
    line.extend(passed_on.iter().map(String::as_str));
    // The demo takes the place of this process, so that Ctrl-C reaches it and its exit code is this command's.
    let error = workspace::cargo(&line).env("NATS_SERVER", &tools.nats_server).exec();
    Err(format!("cargo does not start: {error}"))
}

/// The demo's own arguments.
fn translate(arguments: &[String]) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value =
            |what: &str| rest.next().cloned().ok_or_else(|| format!("{argument} needs {what} after it"));
        match argument.as_str() {
            "--exit" => out.push("--exit".to_owned()),
            "--data" => out.extend(["--data".to_owned(), value("a folder")?]),
            "--port" => {
                let text = value("a port number")?;
                let port: u16 =
                    text.parse().map_err(|_| format!("{text:?} is not a port number (0 to 65535)"))?;
                out.extend(["--listen".to_owned(), format!("127.0.0.1:{port}")]);
            }
            other => {
                return Err(format!("demo has no option {other:?}; it has --exit, --data DIR and --port N"));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Result<Vec<String>> {
        translate(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_passed_on_and_the_port_stays_on_loopback() {
        let words = translated("--exit --data d --port 8080").unwrap_or_default();
        assert_eq!(words, ["--exit", "--data", "d", "--listen", "127.0.0.1:8080"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(translated("--port 70000").is_err_and(|e| e.contains("70000")));
        assert!(translated("--data").is_err_and(|e| e.contains("a folder")));
        assert!(translated("--fast").is_err_and(|e| e.contains("--fast")));
    }
}

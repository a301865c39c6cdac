//! `cargo xtask test`: everything that checks the project, one step after the other, and one summary.

use crate::step::{Counting, Step};
use crate::summary::{self, Counts, Row};
use crate::tools::{self, Tools, components, databases, destinations, docker, fuse};
use crate::{Result, workspace};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// All steps together end within this, so that a summary is printed before a build machine gives up.
const ALL_TOGETHER: Duration = Duration::from_secs(85 * 60);

/// A step, or why it is not made.
enum Planned {
    /// To be run.
    Step(Box<Step>),
    /// It needs something that is not here, or was not asked for.
    Skipped { name: &'static str, reason: &'static str },
}

/// Runs all steps, those after a failed one too.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let quick = match arguments {
        [] => false,
        [only] if only == "--quick" => true,
        _ => return Err("test has one option: --quick".to_owned()),
    };
    let started = Instant::now();
    let scratch = Scratch::make()?;
    let (mut rows, tools) = install();
    let plan = plan(tools.as_ref(), &scratch.0, quick);
    let count = plan.len();
    for (index, planned) in plan.into_iter().enumerate() {
        let row = match planned {
            Planned::Skipped { name, reason } => Row {
                name,
                counts: Counts::ONE_SKIPPED,
                took: Duration::ZERO,
                notes: vec![reason.to_owned()],
            },
            Planned::Step(step) => {
                println!("[{}/{count}] {}", index + 1, step.name);
                step.run(ALL_TOGETHER.saturating_sub(started.elapsed()))
            }
        };
        rows.push(row);
    }
    let total = summary::total(&rows);
    println!("\n{}", summary::table(&rows));
    println!("{}", summary::closing_line(total));
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Installs what is missing. What fails here is one failed step: much can be checked without these programs.
fn install() -> (Vec<Row>, Option<Tools>) {
    let started = Instant::now();
    let ensured = tools::ensure()
        .and_then(|tools| databases::ensure().map(|()| tools))
        .and_then(|tools| destinations::ensure().map(|()| tools))
        .and_then(|tools| fuse::ensure().map(|()| tools));
    docker::ensure_where_asked();
    let (tools, counts, notes) = match ensured {
        Ok(tools) => (Some(tools), Counts::ONE_PASSED, Vec::new()),
        Err(problem) => {
            println!("xtask: {problem}");
            (None, Counts::ONE_FAILED, vec![problem])
        }
    };
    (vec![Row { name: "programs", counts, took: started.elapsed(), notes }], tools)
}

fn plan(tools: Option<&Tools>, scratch: &Path, quick: bool) -> Vec<Planned> {
    let step = |name, minutes: u64, counting, line: &[&str]| {
        let mut command = workspace::cargo(line);
        command.current_dir(workspace::root());
        if let Some(tools) = tools {
            command.env("NATS_SERVER", &tools.nats_server);
        }
        Step { name, command, deadline: Duration::from_secs(minutes * 60), counting }
    };
    let check =
        |name, minutes, line: &[&str]| Planned::Step(Box::new(step(name, minutes, Counting::One, line)));
    let tests =
        |name, minutes, line: &[&str]| Planned::Step(Box::new(step(name, minutes, Counting::Tests, line)));
    let with = |component, planned, name| {
        let reason = "this Rust has no such component, and rustup could not add it";
        if components::ensure(component) { planned } else { Planned::Skipped { name, reason } }
    };

    let format = check("format", 5, &["fmt", "--all", "--check"]);
    let clippy = check("clippy", 30, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    let mut plan = vec![
        with(&components::RUSTFMT, format, "format"),
        tests("repository checks", 10, &["test", "--package", "xtask", "--no-fail-fast"]),
        with(&components::CLIPPY, clippy, "clippy"),
        // All binaries and tests in one build, so that the deadlines below are for running and not for compiling.
        check("build", 40, &["build", "--workspace", "--bins", "--tests", "--keep-going"]),
        tests(
            "tests",
            45,
            &["test", "--workspace", "--exclude", "strongroom-e2e", "--exclude", "xtask", "--no-fail-fast"],
        ),
        licences(step("licences", 5, Counting::One, &["deny", "check", "licenses", "bans", "sources"])),
    ];
    if quick {
        let reason = "left out by --quick";
        plan.extend(["stories", "faults", "api docs", "demo"].map(|name| Planned::Skipped { name, reason }));
        return plan;
    }
    let stories = ["test", "--package", "strongroom-e2e", "--no-fail-fast", "--lib", "--test", "stories"];
    let faults = ["test", "--package", "strongroom-e2e", "--no-fail-fast", "--test", "faults"];
    plan.push(tests("stories", 25, &stories));
    plan.push(tests("faults", 30, &faults));
    let mut docs = step("api docs", 20, Counting::One, &["doc", "--no-deps", "--workspace"]);
    docs.command.env("RUSTDOCFLAGS", "-D warnings");
    plan.push(Planned::Step(Box::new(docs)));
    plan.push(match tools {
        Some(tools) => Planned::Step(Box::new(demo(tools, scratch))),
        None => {
            Planned::Skipped { name: "demo", reason: "it needs the programs that could not be installed" }
        }
    });
    plan
}

/// Licences and sources of dependencies; an extra, because cargo-deny is no part of a fresh machine.
fn licences(step: Step) -> Planned {
    if tools::on_path("cargo-deny").is_some() {
        return Planned::Step(Box::new(step));
    }
    Planned::Skipped {
        name: step.name,
        reason: "cargo-deny is not installed ('cargo install cargo-deny' adds this step)",
    }
}

/// The first command of the README, as a person runs it, in a folder of its own and on any free port.
fn demo(tools: &Tools, scratch: &Path) -> Step {
    let mut command = Command::new(std::env::current_exe().unwrap_or_else(|_| PathBuf::from("xtask")));
    command.args(["demo", "--exit", "--port", "0", "--data"]).arg(scratch.join("demo"));
    command.env("NATS_SERVER", &tools.nats_server);
    Step { name: "demo", command, deadline: Duration::from_secs(15 * 60), counting: Counting::One }
}

/// A folder that goes with the run.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("strongroom-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It lies in the temporary folder: what cannot be removed now is removed with that.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

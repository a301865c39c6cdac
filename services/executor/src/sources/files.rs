//! Files as a part of a dump: what the system's `tar` prints, for dump stores. Borg reads files by itself.

use crate::child::{Input, Plan};
use crate::control::NoOutcome;
use crate::core::tar::{self, KIND, PATH, Told};
use crate::jobs::Bench;
use crate::parts::{From, Part, Program};
use crate::program;
use crate::sources::Prepared;
use crate::streams::Streams;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use strongroom_domain::source::Files;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::file;

/// Adds them to what is dumped.
pub async fn add(
    bench: &Bench<'_>,
    files: &Files,
    streams: &Streams,
    prepared: &mut Prepared,
) -> Result<(), NoOutcome> {
    let (program, version) = find(bench).await?;
    let list = streams.path().join("files");
    file::write_private(&list, &tar::list(&files.paths))
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("the list of paths: {e}")))?;
    let plan = Plan {
        program,
        arguments: tar::create(files, &list.display().to_string()),
        environment: program::environment(),
        folder: None,
        input: Input::Nothing,
        user: None,
        notes: bench.state.children(),
        inside: None,
    };
    prepared.parts.push(Part {
        path: PATH.into(),
        kind: KIND,
        database: None,
        format: Some("tar".into()),
        expected_bytes: None,
        may_vanish: false,
        from: From::Program(Box::new(Program {
            plan,
            cause: |_| FailureCode::DumpFailed,
            words: |lines| lines.last().cloned().unwrap_or_default(),
            counting: None,
            told: Some(Arc::new(Mutex::new(Told::default()))),
        })),
    });
    prepared.tool = if prepared.tool.is_empty() { version } else { format!("{}; {version}", prepared.tool) };
    Ok(())
}

/// The `tar` of this node, which must be that of GNU: others know neither its lists nor its words.
pub async fn find(bench: &Bench<'_>) -> Result<(PathBuf, String), NoOutcome> {
    let missing = |why: &str| {
        let message = format!("{why}: install the package tar (GNU tar)");
        NoOutcome::from(Failure::new(FailureCode::ToolMissing, message))
    };
    let program = program::find("tar", &[])
        .into_iter()
        .next()
        .ok_or_else(|| missing("there is no tar on this node"))?;
    let plan = Plan {
        program: program.clone(),
        arguments: vec!["--version".into()],
        environment: program::environment(),
        folder: None,
        input: Input::Nothing,
        user: None,
        notes: bench.state.children(),
        inside: None,
    };
    let said = program::ask(plan, bench.control.clone()).await?;
    let first = String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default().to_owned();
    if !first.contains("GNU tar") {
        return Err(missing(&format!("{} is not GNU tar, but '{first}'", program.display())));
    }
    Ok((program, first))
}

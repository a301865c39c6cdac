//! MariaDB as a whole: its files, or the pages of them that have changed, as `mariadb-backup` gives them.
//!
//! The accident that this file prevents: changes that are added to what they do not belong to. A server counts on when its
//! data folder was put back to yesterday, so the folder itself is part of what must be the same.

use super::{benign, settings};
use crate::child::Input;
use crate::control::NoOutcome;
use crate::core::findings::Findings;
use crate::core::mysql::physical::{self as forms, RIGHTS, STATE, State, TIME, cause, words};
use crate::core::mysql::program::Flavour;
use crate::jobs::Bench;
use crate::mysql::{CLIENT, Client, Tool};
use crate::parts::{From, Part, Program};
use crate::program::{self, Place};
use crate::sources::{self, Prepared};
use crate::streams::Streams;
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use strongroom_domain::archive::Target;
use strongroom_domain::chain::{Base, Physical, Position, RedoPosition, Variant};
use strongroom_domain::source::Mysql;
use strongroom_domain::{Failure, FailureCode};

/// The names of the program that takes a server's files.
const BACKUP: &[&str] = &["mariadb-backup", "mariabackup"];
/// Where it writes down from where to where a backup goes.
const CHECKPOINTS: &str = "xtrabackup_checkpoints";

/// What is known of an archive before it is made.
pub struct Pending {
    folder: PathBuf,
    data_id: String,
    series: String,
    variant: Variant,
    base: Option<(Target, u64)>,
}

/// Finds the program in the series of a server.
pub async fn tool(bench: &Bench<'_>, series: &str) -> Result<Tool, NoOutcome> {
    for path in BACKUP.iter().flat_map(|name| program::find(name, &[])) {
        let plan = crate::child::Plan {
            program: path.clone(),
            arguments: vec!["--no-defaults".into(), "--version".into()],
            environment: program::environment(),
            folder: Some("/".into()),
            input: Input::Nothing,
            user: None,
            notes: bench.state.children(),
            inside: None,
        };
        let said = program::ask(plan, bench.control.clone()).await?;
        // It says it where others say what is wrong.
        let printed = String::from_utf8_lossy(&said.stdout).into_owned();
        let said = said.tail.into_iter().chain(printed.lines().map(str::to_owned));
        let said: Vec<String> = said.filter(|line| forms::series(line).is_some()).collect();
        if let Some(line) = said.into_iter().find(|line| forms::series(line).as_deref() == Some(series)) {
            return Ok(Tool {
                place: Place::Node(path),
                said: line,
                flavour: Flavour::MariaDb,
                version: (0, 0, 0),
            });
        }
    }
    let message = format!(
        "there is no mariadb-backup of the series {series} on this node; install the package mariadb-backup in that version"
    );
    Err(Failure::new(FailureCode::ToolMissing, message).into())
}

/// Looks at a server, and says of what an archive will consist.
pub async fn prepare(
    bench: &Bench<'_>,
    source: &Mysql,
    streams: &Streams,
    base: Option<&Base>,
    variant: Variant,
) -> Result<Prepared, NoOutcome> {
    let unfit = |message: String| Failure::new(FailureCode::SourceUnfit, message);
    let client = Client::new(bench, &source.connection, streams)?;
    let survey = client.survey().await?;
    let series = forms::series(&survey.version).filter(|_| survey.flavour() == Flavour::MariaDb);
    let series = series.ok_or_else(|| {
        unfit(format!(
            "the server is no MariaDB ({}), whose files mariadb-backup knows; choose the method 'dump'",
            survey.version
        ))
    })?;
    for right in RIGHTS {
        if !survey.grants.has_global(right) {
            let message =
                format!("user '{}' lacks the right {right}: GRANT {right} ON *.* TO it", survey.user);
            return Err(Failure::new(FailureCode::AccessDenied, message).into());
        }
    }
    let tool = tool(bench, &series).await?;
    let asker = client.tool(CLIENT, Flavour::MariaDb).await?;
    let said = client.ask_by(&asker, None, STATE).await?;
    let state = State::read(&said)
        .ok_or_else(|| Failure::new(FailureCode::Unknown, format!("the state of the server: {said}")))?;
    let data_id = state.data_id(&birth(source, &state.datadir)?);
    let base = match base {
        Some(base) => Some((base.archive.clone(), forms::goes_on_from(base, &data_id, &series)?)),
        None => None,
    };
    let folder = streams.path().join("checkpoints");
    std::fs::create_dir(&folder)
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("{}: {e}", folder.display())))?;
    let mut arguments = vec!["--backup".to_owned(), "--stream=xbstream".into()];
    // It writes nothing else there, but wants to be told where its files would be.
    arguments.extend(["--extra-lsndir", "--target-dir"].map(|name| format!("{name}={}", folder.display())));
    arguments.extend(base.as_ref().map(|(_, lsn)| format!("--incremental-lsn={lsn}")));
    let plan = client.plan(&tool, arguments, Input::Nothing);
    let (kind, path) =
        if base.is_some() { ("changes", "mysql/changes.xb") } else { ("base", "mysql/base.xb") };
    let size: u64 = survey.databases.iter().map(|database| database.size_bytes).sum();
    let mut parts = vec![Part {
        path: path.into(),
        kind,
        database: None,
        format: Some("xbstream".into()),
        expected_bytes: base.is_none().then_some(size),
        may_vanish: false,
        from: From::Program(Box::new(Program { plan, cause, words, counting: None, told: None })),
    }];
    let mut findings = Findings::default();
    parts.extend(settings(&mut findings));
    if base.is_some() && survey.databases.iter().any(|database| !database.plain.is_empty()) {
        benign(
            &mut findings,
            "tables of engines without a log of changes are taken as a whole each time".into(),
        );
    }
    let names: Vec<&String> = survey.databases.iter().map(|database| &database.name).collect();
    let properties = json!({ "databases": names });
    let physical = Some(sources::Pending::Mysql(Pending { folder, data_id, series, variant, base }));
    Ok(Prepared { server_version: survey.version, tool: tool.said, parts, findings, properties, physical })
}

/// What tells a data folder from another one in its place; it must be here, and readable.
fn birth(source: &Mysql, datadir: &str) -> Result<String, Failure> {
    let file = Path::new(datadir).join("ibdata1");
    let opened = std::fs::File::open(&file).and_then(|file| file.metadata());
    match opened {
        Ok(there) if source.connection.is_local() => {
            let born = there.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            Ok(format!("{} {}", there.ino(), born.map_or(0, |at| at.as_nanos())))
        }
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            let message = format!(
                "the executor may not read the server's files in {datadir}; run it as root, or as the server's user"
            );
            Err(Failure::new(FailureCode::PermissionDenied, message))
        }
        Ok(_) | Err(_) => {
            let message = format!(
                "the files of the server ({datadir}) are not on this node, where mariadb-backup reads them; let an executor run on the server's machine, connect to it over its socket or localhost, or choose the method 'dump'"
            );
            Err(Failure::new(FailureCode::SourceUnfit, message))
        }
    }
}

/// What an archive is, once its parts are made.
pub async fn conclude(
    bench: &Bench<'_>,
    source: &Mysql,
    streams: &Streams,
    pending: sources::Pending,
) -> Result<Physical, NoOutcome> {
    let sources::Pending::Mysql(Pending { folder, data_id, series, variant, base }) = pending else {
        return Err(Failure::new(FailureCode::Unknown, "it is of another database system").into());
    };
    let unclear = |what: String| Failure::new(FailureCode::DumpFailed, what);
    let path = folder.join(CHECKPOINTS);
    let text = std::fs::read_to_string(&path).map_err(|e| unclear(format!("{}: {e}", path.display())))?;
    let number = |name: &str| {
        forms::checkpoint(&text, name)
            .ok_or_else(|| unclear(format!("mariadb-backup does not say its {name}")))
    };
    let (from_lsn, to_lsn) = (number("from_lsn")?, number("to_lsn")?);
    let begin = base.as_ref().map_or(0, |(_, lsn)| *lsn);
    if from_lsn != begin || to_lsn < from_lsn {
        let message = format!(
            "the server's log does not go on where the last archive ends ({begin}): it goes from {from_lsn} to {to_lsn}"
        );
        return Err(Failure::new(FailureCode::ChainBroken, message).into());
    }
    let client = Client::new(bench, &source.connection, streams)?;
    let time = client.ask_by(&client.tool(CLIENT, Flavour::MariaDb).await?, None, TIME).await?;
    let stopped_at = time.parse().map_err(|e| unclear(format!("the server's time, '{time}': {e}")))?;
    let variant = match (&base, variant) {
        (None, _) => Variant::Full,
        (Some(_), Variant::Differential) => Variant::Differential,
        (Some(_), _) => Variant::Incremental,
    };
    let position = Position::Mysql(RedoPosition { from_lsn, to_lsn, data_id, series, stopped_at });
    Ok(Physical { variant, base: base.map(|(target, _)| target), position })
}

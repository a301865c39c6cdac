//! MySQL and MariaDB as a source: users, settings, and each database, as parts of one archive; or [all of it](physical).

pub mod physical;

use crate::child::Input;
use crate::control::NoOutcome;
use crate::core::along::Along;
use crate::core::ending::Writer;
use crate::core::file_name::file_name;
use crate::core::findings::Findings;
use crate::core::mysql::option_file::{Include, includes};
use crate::core::mysql::program::{Flavour, What, dump, finds_events};
use crate::core::mysql::{Database, Survey, cause, words};
use crate::jobs::Bench;
use crate::mysql::{CLIENT, Client, DUMP, Tool};
use crate::parts::{From, Part, Program};
use crate::sources::Prepared;
use crate::streams::Streams;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::path::PathBuf;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::source::{Mysql, Wanted};
use strongroom_domain::{Failure, FailureCode};

/// Where a server begins to read its settings.
const SETTINGS: [&str; 2] = ["/etc/my.cnf", "/etc/mysql/my.cnf"];
/// More files than this are no settings.
const SETTINGS_FILES: usize = 200;
/// And a larger one is none.
const SETTINGS_BYTES: u64 = 1 << 20;
/// Tables that are named in a finding.
const NAMED: usize = 5;

/// Looks at the server, and says of what its dump will consist.
pub async fn prepare(bench: &Bench<'_>, source: &Mysql, streams: &Streams) -> Result<Prepared, NoOutcome> {
    let client = Client::new(bench, &source.connection, streams)?;
    let survey = client.survey().await?;
    let chosen = survey.chosen(&source.databases, &source.excludes)?;
    let flavour = survey.flavour();
    let tool = client.tool(DUMP, flavour).await?;
    let mut findings = Findings::default();
    for name in survey.unknown(&source.excludes) {
        benign(&mut findings, format!("there is no database '{name}' to be left out"));
    }
    let mut parts = Vec::new();
    if source.globals != Wanted::Never {
        parts.extend(users(&client, &tool, source.globals, &mut findings).await?);
    }
    if source.connection.is_local() {
        parts.extend(settings(&mut findings));
    }
    let sees_all = ["SHOW DATABASES", "SELECT"].iter().any(|right| survey.grants.has_global(right));
    if source.databases.is_empty() && !sees_all {
        let message = format!(
            "user '{}' may not see all databases: only those that it may see are kept; grant it SHOW DATABASES, or \
             name the databases in the plan",
            survey.user
        );
        benign(&mut findings, message);
    }
    let position = survey.log_bin && survey.grants.may_tell_position();
    let mut properties = Map::new();
    // A restore needs it as well; better to know it now.
    let asker = client.tool(CLIENT, flavour).await?;
    for database in &chosen {
        let events = told(&mut findings, &survey, flavour, database);
        let tables = [("database", "databases", What::Tables { position })];
        let events = events.then_some(("events", "events", What::Events));
        for (kind, folder, what) in tables.into_iter().chain(events) {
            let arguments = dump(tool.flavour, tool.version, what, &database.name);
            let plan = client.plan(&tool, arguments, Input::Nothing);
            let counting = (kind == "database").then(|| client.counting(&asker, flavour, &database.name));
            parts.push(Part {
                path: format!("mysql/{folder}/{}.sql", file_name(&database.name)),
                kind,
                database: Some(database.name.clone()),
                format: Some("plain".into()),
                // Of all there are, one may be dropped before its turn comes.
                expected_bytes: (kind == "database").then_some(database.size_bytes),
                may_vanish: source.databases.is_empty(),
                from: From::Heard(
                    Box::new(Program { plan, cause, words, counting, told: None }),
                    Box::new(if kind == "database" { Along::mysql() } else { Along::sql(Writer::Mysql) }),
                ),
            });
        }
        properties.insert(
            database.name.clone(),
            json!({ "character_set": database.character_set, "collation": database.collation }),
        );
    }
    of_another_moment(&mut findings, &chosen);
    Ok(Prepared {
        server_version: survey.version,
        tool: tool.said,
        parts,
        findings,
        properties: Value::Object(properties),
        physical: None,
    })
}

/// Tells what of a database will not be in its dump, and says whether its events are to be dumped.
fn told(findings: &mut Findings, survey: &Survey, flavour: Flavour, database: &Database) -> bool {
    let mut lacks = |message: String| {
        findings.add(Finding { severity: Severity::Incomplete, path: None, message });
    };
    for (what, right) in survey.grants.unseen(flavour, &database.name) {
        lacks(format!(
            "user '{}' may not see {what} of database '{}', and so they are not kept; grant it {right}",
            survey.user, database.name
        ));
    }
    if database.views > 0 && survey.grants.lacks(flavour, "SHOW VIEW", &database.name) {
        lacks(format!(
            "a backup would fail: user '{}' may not read how the {} views of database '{}' were made; grant it SHOW VIEW \
             on it",
            survey.user, database.views, database.name
        ));
    }
    let events = finds_events(&database.name);
    if events && survey.grants.lacks(flavour, "EVENT", &database.name) {
        lacks(format!(
            "a backup would fail: user '{}' may not see the events of database '{}'; grant it EVENT on it",
            survey.user, database.name
        ));
    }
    if !events && database.events > 0 {
        lacks(format!(
            "{} events of database '{}' are not kept: the dump programs do not find the events of a database with \
             quotes, backslashes or line breaks in its name",
            database.events, database.name
        ));
    }
    if database.versioned > 0 {
        lacks(format!(
            "what was in {} system-versioned tables of database '{}' before is not kept, but only what is in them now",
            database.versioned, database.name
        ));
    }
    // When there are none in sight, but some that are not seen, the program says what it takes.
    events && (database.events > 0 || !survey.grants.has("EVENT", &database.name))
}

/// Tables that know no transactions go on changing while they are dumped.
fn of_another_moment(findings: &mut Findings, chosen: &[&Database]) {
    let all: Vec<String> = chosen
        .iter()
        .flat_map(|d| d.plain.iter().map(|(table, engine)| format!("{}.{table} ({engine})", d.name)))
        .collect();
    if all.is_empty() {
        return;
    }
    let mut named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        named.push_str(&format!(" and {} more", all.len() - NAMED));
    }
    let message = format!(
        "{} tables know no transactions, and are not of the same moment as the rest: {named}",
        all.len()
    );
    benign(findings, message);
}

/// Users and what they may, as SQL. It is short, and so it is asked for before anything is begun: what the user may not
/// read is known then.
async fn users(
    client: &Client<'_>,
    tool: &Tool,
    wanted: Wanted,
    findings: &mut Findings,
) -> Result<Option<Part>, NoOutcome> {
    if tool.flavour == Flavour::MySql {
        let message = "MySQL's own dump program cannot tell users and grants; that of MariaDB can (package mariadb-client)";
        if wanted == Wanted::Always {
            return Err(Failure::new(FailureCode::ToolMissing, message).into());
        }
        benign(findings, format!("no users and grants are kept: {message}"));
        return Ok(None);
    }
    // What cannot be told of one user is no reason to lose the others.
    let words = ["--system=users", "--skip-comments", "--skip-dump-date", "--force"];
    let said = client.say(tool, words.map(str::to_owned).to_vec()).await?;
    if !said.status.success() {
        let failure = client.failure("reading users and grants", &said.tail);
        if failure.code == FailureCode::ServerUnreachable {
            return Err(failure.into());
        }
        if wanted == Wanted::Always {
            let message = format!("{}; and the plan says 'always'", failure.message);
            return Err(Failure::new(FailureCode::AccessDenied, message).with_log(failure.log_tail).into());
        }
        let what = if has_users(&said.stdout) { "not all users and grants" } else { "no users and grants" };
        benign(findings, format!("{what} are kept: {}", failure.message));
    }
    Ok(has_users(&said.stdout).then(|| Part {
        path: "mysql/globals.sql".into(),
        kind: "globals",
        database: None,
        format: Some("plain".into()),
        expected_bytes: None,
        may_vanish: false,
        from: From::Bytes(said.stdout),
    }))
}

fn has_users(sql: &[u8]) -> bool {
    sql.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"CREATE USER "))
}

/// The files that rule a server of this node.
fn settings(findings: &mut Findings) -> Vec<Part> {
    let mut waiting: VecDeque<PathBuf> = SETTINGS.iter().map(PathBuf::from).collect();
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut parts = Vec::new();
    while let Some(path) = waiting.pop_front() {
        if seen.contains(&path) || seen.len() >= SETTINGS_FILES {
            continue;
        }
        seen.push(path.clone());
        let bytes = match std::fs::metadata(&path) {
            Ok(file) if file.is_file() && file.len() <= SETTINGS_BYTES => std::fs::read(&path),
            Ok(_) => continue,
            Err(e) => Err(e),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => {
                benign(findings, format!("a settings file is not kept: {}: {e}", path.display()));
                continue;
            }
        };
        for include in includes(&String::from_utf8_lossy(&bytes)) {
            match include {
                Include::File(file) => waiting.push_back(file),
                Include::Folder(folder) => waiting.extend(option_files(&folder)),
            }
        }
        let Some(name) = path.to_str().and_then(|path| path.strip_prefix('/')) else { continue };
        let name: Vec<String> = name.split('/').filter(|part| !part.is_empty()).map(file_name).collect();
        parts.push(Part {
            path: format!("mysql/settings/{}", name.join("/")),
            kind: "settings",
            database: None,
            format: None,
            expected_bytes: None,
            may_vanish: false,
            from: From::Bytes(bytes),
        });
    }
    parts
}

fn option_files(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "cnf"))
        .collect();
    files.sort();
    files
}

fn benign(findings: &mut Findings, message: String) {
    findings.add(Finding { severity: Severity::Benign, path: None, message });
}

//! MongoDB as a source: all databases as one dump, or each that is named as one of its own.

use crate::child::Input;
use crate::control::NoOutcome;
use crate::core::along::Along;
use crate::core::file_name::file_name;
use crate::core::findings::Findings;
use crate::core::mongodb::shell::Survey;
use crate::core::mongodb::{cause, told, words};
use crate::jobs::Bench;
use crate::mongodb::{Client, DUMP, Tool};
use crate::parts::{From, Part, Program};
use crate::sources::Prepared;
use crate::streams::Streams;
use serde_json::Value;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::source::{Mongodb, Wanted};
use strongroom_domain::{Failure, FailureCode};

/// How a dump is written that holds what was written meanwhile, too.
pub const WITH_OPLOG: &str = "archive+oplog";

/// Looks at the server, as far as a shell is there to look with, and says of what its dump will consist.
pub async fn prepare(bench: &Bench<'_>, source: &Mongodb, streams: &Streams) -> Result<Prepared, NoOutcome> {
    let client = Client::new(bench, &source.connection, streams)?;
    let tool = client.tool(DUMP).await?;
    let mut findings = Findings::default();
    let survey = match client.shell().await? {
        Some(shell) => Some(client.survey(&shell).await?),
        None => {
            let message = "the server was not looked at before: there is no mongosh on this node (package mongodb-mongosh of MongoDB), \
                           which a restore needs to see whether a database is there";
            benign(&mut findings, message.to_owned());
            None
        }
    };
    let parts = if source.databases.is_empty() {
        vec![all(&client, &tool, source, survey.as_ref(), &mut findings)?]
    } else {
        each(&client, &tool, source, survey.as_ref(), &mut findings)?
    };
    let server_version = survey.map(|survey| survey.version).unwrap_or_default();
    Ok(Prepared { server_version, tool: tool.said, parts, findings, properties: Value::Null, physical: None })
}

/// All databases, as one dump.
fn all(
    client: &Client<'_>,
    tool: &Tool,
    source: &Mongodb,
    survey: Option<&Survey>,
    findings: &mut Findings,
) -> Result<Part, NoOutcome> {
    let router = survey.is_some_and(|survey| survey.router);
    let in_set = match survey {
        Some(survey) => survey.set.is_some() && !router,
        None => source.connection.replica_set.is_some(),
    };
    let oplog = match (source.oplog, in_set) {
        (Wanted::Never, _) => false,
        (Wanted::Always, false) if survey.is_some() => {
            let message =
                "the server is no member of a replica set, and has no oplog; and the plan says 'always'";
            return Err(Failure::new(FailureCode::DumpFailed, message).into());
        }
        (Wanted::Always, _) => true,
        (Wanted::IfAllowed, in_set) => in_set,
    };
    if !oplog {
        of_several_moments(findings);
    }
    let format = if oplog { WITH_OPLOG } else { "archive" };
    let bytes = survey.map(Survey::all_bytes);
    Ok(part(client, tool, "mongodb/all.archive".into(), None, format, bytes))
}

/// Databases that are named, each as a dump of its own.
fn each(
    client: &Client<'_>,
    tool: &Tool,
    source: &Mongodb,
    survey: Option<&Survey>,
    findings: &mut Findings,
) -> Result<Vec<Part>, NoOutcome> {
    let unknown = |survey: &&Survey| {
        source.databases.iter().find(|name| !survey.databases.iter().any(|d| d.name == **name))
    };
    if let Some(name) = survey.as_ref().and_then(unknown) {
        let message = format!("there is no database '{name}' that the user may see");
        return Err(Failure::new(FailureCode::DatabaseMissing, message).into());
    }
    of_several_moments(findings);
    let one = |name: &String| {
        let path = format!("mongodb/databases/{}.archive", file_name(name));
        part(client, tool, path, Some(name), "archive", survey.and_then(|survey| survey.bytes(name)))
    };
    Ok(source.databases.iter().map(one).collect())
}

fn part(
    client: &Client<'_>,
    tool: &Tool,
    path: String,
    database: Option<&String>,
    format: &str,
    expected_bytes: Option<u64>,
) -> Part {
    let arguments = told::dump(database.map(String::as_str), format == WITH_OPLOG);
    let plan = client.plan(tool, arguments, Input::Nothing);
    Part {
        path,
        kind: "database",
        database: database.cloned(),
        format: Some(format.into()),
        expected_bytes,
        may_vanish: false,
        from: From::Heard(
            Box::new(Program { plan, cause, words, counting: None, told: None }),
            Box::new(Along::mongodb()),
        ),
    }
}

fn of_several_moments(findings: &mut Findings) {
    let message = "each collection is as it was when its turn came: only a dump of all databases of a replica set has the oplog, \
                   by which a restore brings them to one moment";
    benign(findings, message.to_owned());
}

fn benign(findings: &mut Findings, message: String) {
    findings.add(Finding { severity: Severity::Benign, path: None, message });
}

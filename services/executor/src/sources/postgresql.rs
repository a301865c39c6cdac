//! PostgreSQL as a source: roles, settings, and each database, as parts of one archive; or [all of it](physical).

pub mod physical;
pub mod rights;

use crate::child::Input;
use crate::control::NoOutcome;
use crate::core::along::Along;
use crate::core::ending::Writer;
use crate::core::file_name::file_name;
use crate::core::findings::Findings;
use crate::core::postgresql::{Survey, cause, literal, words};
use crate::jobs::Bench;
use crate::parts::{From, Part, Program};
use crate::postgresql::{Client, ENCODING};
use crate::sources::Prepared;
use crate::streams::Streams;
use base64::Engine;
use serde_json::Value;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::source::postgresql::{Format, Postgresql};
use strongroom_domain::source::{Method, Wanted};
use strongroom_domain::{Failure, FailureCode};

/// What a database was made with, for a restore to make it so again. The columns differ from version to version, so all
/// of them are kept.
const PROPERTIES: &str = "select coalesce(json_object_agg(d.datname, to_jsonb(d) - 'datacl' || jsonb_build_object(
  'encoding_name', pg_encoding_to_char(d.encoding), 'owner', pg_get_userbyid(d.datdba),
  'comment', shobj_description(d.oid, 'pg_database'),
  'settings', (select to_jsonb(s.setconfig) from pg_db_role_setting s where s.setdatabase = d.oid and s.setrole = 0),
  'role_settings', (select jsonb_agg(jsonb_build_object('role', pg_get_userbyid(s.setrole), 'settings', to_jsonb(s.setconfig)))
     from pg_db_role_setting s where s.setdatabase = d.oid and s.setrole <> 0),
  'rights', case when d.datacl is not null then (select coalesce(jsonb_agg(jsonb_build_object(
     'to', case when a.grantee <> 0 then pg_get_userbyid(a.grantee) end, 'privilege', a.privilege_type,
     'grantable', a.is_grantable)), '[]') from aclexplode(d.datacl) a) end)),
  '{}') from pg_database d where not d.datistemplate;";

/// Looks at the server, and says of what its dump will consist.
pub async fn prepare(
    bench: &Bench<'_>,
    source: &Postgresql,
    streams: &Streams,
) -> Result<Prepared, NoOutcome> {
    let client = Client::new(bench, &source.connection, streams).await?;
    let survey = client.survey().await?;
    let chosen = survey.chosen(&source.databases, &source.excludes)?;
    let mut findings = Findings::default();
    for name in survey.unknown(&source.excludes) {
        let message = format!("there is no database '{name}' to be left out");
        findings.add(Finding { severity: Severity::Benign, path: None, message });
    }
    let dump = client.tool("pg_dump", survey.major()).await?;
    let mut parts = Vec::new();
    if source.globals != Wanted::Never {
        let all = client.tool("pg_dumpall", survey.major()).await?;
        let mut arguments = vec!["--globals-only", "--no-password"];
        if !survey.superuser {
            refuse_if_needed(source.globals, &survey, "read the passwords of roles")?;
            arguments.push("--no-role-passwords");
            note(&mut findings, &survey, "roles are kept without their passwords");
        }
        let plan = client.plan(&all.place, &arguments, source.connection.database.as_deref(), Input::Nothing);
        parts.push(Part {
            path: "postgresql/globals.sql".into(),
            kind: "globals",
            database: None,
            format: Some("plain".into()),
            expected_bytes: None,
            may_vanish: false,
            from: From::Heard(
                Box::new(Program { plan, cause, words, counting: None, told: None }),
                Box::new(Along::sql(Writer::Postgresql)),
            ),
        });
    }
    parts.extend(settings_if_allowed(&client, source, &survey, &mut findings).await?);
    let psql = client.psql().await?;
    for database in &chosen {
        let (format, suffix, along) = match source.format {
            Format::Custom => ("--format=custom", "dump", Along::postgresql()),
            Format::Plain => ("--format=plain", "sql", Along::sql(Writer::Postgresql)),
        };
        // Compressed by borg, after it has found what is there already.
        let arguments = [format, "--compress=0", "--no-password"];
        let mut plan = client.plan(&dump.place, &arguments, Some(&database.name), Input::Nothing);
        // As it is in the database, which is what pg_dump does by itself: not everything there is has another form.
        plan.environment.retain(|(name, _)| *name != ENCODING);
        parts.push(Part {
            path: format!("postgresql/databases/{}.{suffix}", file_name(&database.name)),
            kind: "database",
            database: Some(database.name.clone()),
            format: Some(source.format.to_string()),
            // Of all there are, one may be dropped before its turn comes.
            expected_bytes: database.size_bytes,
            may_vanish: source.databases.is_empty(),
            from: From::Heard(
                Box::new(Program {
                    plan,
                    cause,
                    words,
                    counting: Some(client.counting(psql, &database.name)),
                    told: None,
                }),
                Box::new(along),
            ),
        });
    }
    let asked = source.connection.database.as_deref().unwrap_or("postgres");
    let properties = client.ask(asked, PROPERTIES).await?;
    let properties: Value = serde_json::from_str(&properties)
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("the databases' properties: {e}")))?;
    Ok(Prepared {
        server_version: survey.version,
        tool: dump.shown(),
        parts,
        findings,
        properties,
        physical: None,
    })
}

/// The files that rule the server, as far as they are wanted and may be read.
async fn settings_if_allowed(
    client: &Client<'_>,
    source: &Postgresql,
    survey: &Survey,
    findings: &mut Findings,
) -> Result<Vec<Part>, NoOutcome> {
    if source.settings == Wanted::Never {
        return Ok(Vec::new());
    }
    if survey.superuser {
        return settings(client, source).await;
    }
    refuse_if_needed(source.settings, survey, "read the server's settings files")?;
    if source.method == Method::Physical {
        // They are there in most installations but those of Debian.
        note(findings, survey, "the server's settings files are kept only where they lie in the data folder");
    } else {
        note(findings, survey, "the server's settings files are not kept");
    }
    Ok(Vec::new())
}

/// The files that rule the server, as it reads them.
async fn settings(client: &Client<'_>, source: &Postgresql) -> Result<Vec<Part>, NoOutcome> {
    let asked = source.connection.database.as_deref().unwrap_or("postgres");
    let mut parts = Vec::new();
    for (setting, name) in
        [("config_file", "postgresql.conf"), ("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf")]
    {
        let sql =
            format!("select encode(pg_read_binary_file(current_setting({})), 'base64');", literal(setting));
        let text: String = client.ask(asked, &sql).await?.split_whitespace().collect();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|e| Failure::new(FailureCode::Unknown, format!("{name}: {e}")))?;
        parts.push(Part {
            path: format!("postgresql/settings/{name}"),
            kind: "settings",
            database: None,
            format: None,
            expected_bytes: None,
            may_vanish: false,
            from: From::Bytes(bytes),
        });
    }
    Ok(parts)
}

fn refuse_if_needed(wanted: Wanted, survey: &Survey, what: &str) -> Result<(), Failure> {
    if wanted == Wanted::Always {
        let message =
            format!("role '{}' may not {what}: it is no superuser, and the plan says 'always'", survey.role);
        return Err(Failure::new(FailureCode::AccessDenied, message));
    }
    Ok(())
}

fn note(findings: &mut Findings, survey: &Survey, what: &str) {
    let message = format!("{what}: role '{}' is no superuser", survey.role);
    findings.add(Finding { severity: Severity::Benign, path: None, message });
}

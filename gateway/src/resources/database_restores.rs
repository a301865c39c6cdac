//! `POST /archives/{id}/restore-database`: a dump, back into a database server.

use super::archives::{find_whole, target_of};
use super::database_connection::{Connection, check_conflict, check_jobs, check_name, one};
use super::definition::existing;
use super::plans::Plans;
use super::repositories::reach_to_read;
use crate::app::App;
use crate::body::Secret;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{body, seal, work};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strongroom_domain::archive::{Artefact, Dump};
use strongroom_domain::census::CheckQuery;
use strongroom_domain::job::{Conflict, DatabaseTarget, JobSpec, Requested, RestoreDatabaseSpec, Trigger};
use strongroom_domain::view::Archive;
use strongroom_domain::{FieldError, Rejection};

#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    /// Which of the databases that were dumped; may be left out when there is one.
    #[serde(default)]
    database: Option<String>,
    /// What it is to be called; as it was, when absent.
    #[serde(default, rename = "as")]
    name: Option<String>,
    /// Where to, in the words of the database system; to where the plan of the archive finds it, when absent.
    #[serde(default)]
    connection: Option<Map<String, Value>>,
    #[serde(default)]
    on_conflict: Conflict,
    #[serde(default)]
    no_owner: bool,
    /// Over how many connections at once.
    #[serde(default = "one")]
    parallel_jobs: u32,
    /// What the restored database is asked.
    #[serde(default)]
    check: Option<CheckQuery>,
    /// Only say what it would do.
    #[serde(default)]
    dry_run: bool,
}

/// `POST /archives/{id}/restore-database`.
pub async fn restore(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let mut fields = body::object(request)?;
    let password = body::take_secret(&mut fields, "password")?;
    let identity = body::take_text(&mut fields, "identity")?;
    body::refuse_sealed(&fields, &["/connection/password"], "password")?;
    let wanted: Wanted = body::understand(fields)?;
    let (archive, _) = find_whole(app, request, id).await?;
    let (dump, part) = part(&archive, wanted.database.as_deref())?;
    let system = dump.system_of(part);
    // A dump of all databases of MongoDB is one part: which of them is asked for is looked up in it by the node.
    let from = part.database.clone().or_else(|| wanted.database.clone()).unwrap_or_default();
    let database = wanted.name.clone().unwrap_or_else(|| from.clone());
    let connection = wanted.connection.clone();
    let connection = connection.map(|fields| Connection::understand(system, fields)).transpose()?;
    check(&wanted, system, part, &database, connection.as_ref())?;
    let same = |spec: &JobSpec| {
        let JobSpec::RestoreDatabase(there) = spec else { return false };
        let (into, place) = Connection::of_target(&there.into);
        let from_there = match &there.into {
            DatabaseTarget::Mongodb { from, .. } => from,
            _ => &from,
        };
        (&there.path, into, there.on_conflict, there.no_owner, there.archive.id, &there.check, there.dry_run)
            == (
                &part.path,
                &database,
                wanted.on_conflict,
                wanted.no_owner,
                archive.id,
                &wanted.check,
                wanted.dry_run,
            )
            && there.parallel_jobs == wanted.parallel_jobs
            && *from_there == from
            && connection.as_ref().is_none_or(|wanted| place.is_where(wanted))
    };
    if let Some(answer) = work::asked_before(app, request, same).await? {
        return Ok(answer);
    }
    let (access, server, definition) = reach_to_read(app, archive.repository.as_str(), identity).await?;
    let of_plan = connection_of_plan(app, &archive, system).await?;
    let Some(mut connection) = connection.or_else(|| of_plan.clone()) else {
        let message = "is needed: the plan of this archive is gone, or another one by now";
        return Err(Problem::field("connection", message));
    };
    let sealed = match password {
        Secret::None => None,
        Secret::Kept => of_plan
            .filter(|of_plan| connection.is_where(of_plan))
            .and_then(|of_plan| of_plan.password().clone()),
        Secret::Given(text) => {
            connection.takes_password()?;
            let name = format!("restore-{id}");
            Some(seal::store_for_node(app, &name, "password", &text, &definition).await?)
        }
    };
    connection.set_password(sealed);
    let spec = JobSpec::RestoreDatabase(RestoreDatabaseSpec {
        access,
        archive: target_of(&archive),
        path: part.path.clone(),
        into: connection.target(database, from),
        on_conflict: wanted.on_conflict,
        no_owner: wanted.no_owner,
        parallel_jobs: wanted.parallel_jobs,
        check: wanted.check,
        dry_run: wanted.dry_run,
    });
    let requested =
        Requested { spec, server, node: definition.node, trigger: Trigger::Manual, deadline_s: None };
    work::ask(app, request, requested).await
}

/// What a database system cannot do is refused before anything is asked of a node.
fn check(
    wanted: &Wanted,
    system: &str,
    part: &Artefact,
    database: &str,
    connection: Option<&Connection>,
) -> Result<(), Problem> {
    let mut problems = Vec::new();
    if system == "mysql" {
        check_name(&mut problems, system, database);
        check_conflict(&mut problems, system, wanted.on_conflict);
        if wanted.no_owner {
            let message = "must be absent: databases of MySQL have no owner, and who defines views, triggers and procedures is part of the dump";
            problems.push(FieldError::new("no_owner", message));
        }
    } else if system == "mongodb" {
        of_mongodb(wanted, part, database, &mut problems);
    } else {
        check_name(&mut problems, system, database);
        if wanted.no_owner && part.format.as_deref() == Some("plain") {
            let message = "is for dumps in the custom format: a plain one names its owners in its text";
            problems.push(FieldError::new("no_owner", message));
        }
    }
    check_jobs(&mut problems, system, part.format.as_deref() == Some("plain"), wanted.parallel_jobs);
    if let Some(problem) = wanted.check.as_ref().and_then(CheckQuery::problem) {
        problems.push(FieldError::new("check.query", problem));
    }
    problems.extend(connection.iter().flat_map(|connection| connection.problems("connection")));
    if problems.is_empty() { Ok(()) } else { Err(Rejection::Invalid { fields: problems }.into()) }
}

/// What MongoDB cannot do.
fn of_mongodb(wanted: &Wanted, part: &Artefact, database: &str, problems: &mut Vec<FieldError>) {
    let all = part.database.is_none() && wanted.database.is_none();
    if all && wanted.name.is_some() {
        let message = "must be absent when all databases are restored: each has its own name";
        problems.push(FieldError::new("as", message));
    }
    if !all {
        check_name(problems, "mongodb", database);
    }
    check_conflict(problems, "mongodb", wanted.on_conflict);
    if wanted.no_owner {
        problems.push(FieldError::new("no_owner", "must be absent: databases of MongoDB have no owner"));
    }
    if wanted.check.is_some() {
        let message = "must be absent: it is SQL; the documents of each collection are counted and compared by themselves";
        problems.push(FieldError::new("check", message));
    }
}

/// The database in an archive.
fn part<'a>(archive: &'a Archive, wanted: Option<&str>) -> Result<(&'a Dump, &'a Artefact), Problem> {
    let dump = archive.facts.dump.as_ref().ok_or_else(|| {
        Problem::conflict("no_databases", "no database was dumped into this archive; restore its files")
    })?;
    if dump.physical.is_some() {
        let detail = "this archive holds a whole server and no single databases: restore it with POST /api/v1/archives/{id}/restore-cluster";
        return Err(Problem::conflict("no_databases", detail));
    }
    if !dump.artefacts.iter().any(|a| a.kind == "database") {
        let detail = "no database was dumped into this archive; restore its files";
        return Err(Problem::conflict("no_databases", detail));
    }
    let is_of_server = |a: &&Artefact| a.kind == "database" && dump.system_of(a) != "sqlite";
    if !dump.artefacts.iter().any(|a| is_of_server(&a)) && dump.artefacts.iter().any(|a| a.kind == "database")
    {
        let detail = "databases of SQLite are files: restore them with POST /api/v1/archives/{id}/restore, by their paths below sqlite/";
        return Err(Problem::conflict("no_databases", detail));
    }
    let mut databases = dump.artefacts.iter().filter(is_of_server);
    let found = match wanted {
        Some(name) => databases.find(|a| a.database.as_deref() == Some(name) || a.database.is_none()),
        None => databases.next().filter(|_| databases.next().is_none()),
    };
    found.map(|part| (dump, part)).ok_or_else(|| {
        let names = dump
            .artefacts
            .iter()
            .filter(is_of_server)
            .filter_map(|a| a.database.as_deref())
            .collect::<Vec<_>>()
            .join(", ");
        Problem::field("database", format!("must be one that is in the archive: {names}"))
    })
}

/// Where the plan of an archive finds its databases now, when there still is one on the same server, of the same system.
async fn connection_of_plan(
    app: &App,
    archive: &Archive,
    system: &str,
) -> Result<Option<Connection>, Problem> {
    let Some(plan) = &archive.plan else { return Ok(None) };
    match existing::<Plans>(app, plan.as_str()).await {
        Ok(spec) if spec.server == archive.server => {
            Ok(Connection::of_source(spec.source).filter(|connection| connection.system() == system))
        }
        Ok(_) => Ok(None),
        Err(problem) if problem.status == warp::http::StatusCode::NOT_FOUND => Ok(None),
        Err(problem) => Err(problem),
    }
}

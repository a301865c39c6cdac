//! `POST /servers/{id}/restore-dump`: a dump in a file on a node, of whatever origin, into a database server.

use super::archives::is_inside;
use super::database_connection::{Connection, check_conflict, check_jobs, check_name, one};
use super::definition::existing;
use super::servers::Servers;
use crate::app::App;
use crate::body::Secret;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{body, seal, work};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strongroom_domain::census::CheckQuery;
use strongroom_domain::definition::check_absolute_path;
use strongroom_domain::job::{Conflict, JobSpec, Requested, RestoreDumpSpec, Trigger};
use strongroom_domain::{FieldError, Rejection, ServerId};

/// A name in an archive is no longer.
const MEMBER_BYTES: usize = 4096;

#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    /// The file on the node.
    path: String,
    /// Which member of it.
    #[serde(default)]
    member: Option<String>,
    /// Into which database system.
    system: System,
    /// What the database is to be called.
    #[serde(rename = "as")]
    name: String,
    /// Where to; the server on the node itself, when absent.
    #[serde(default)]
    connection: Map<String, Value>,
    #[serde(default)]
    on_conflict: Conflict,
    #[serde(default)]
    no_owner: bool,
    #[serde(default = "one")]
    parallel_jobs: u32,
    #[serde(default)]
    check: Option<CheckQuery>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum System {
    Postgresql,
    Mysql,
}

impl System {
    /// The word for its sources.
    fn word(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Mysql => "mysql",
        }
    }
}

/// `POST /servers/{id}/restore-dump`.
pub async fn restore(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let mut fields = body::object(request)?;
    let password = body::take_secret(&mut fields, "password")?;
    let identity = body::take_text(&mut fields, "identity")?;
    let identity = identity.map(|text| body::one_line("identity", text.trim().to_owned())).transpose()?;
    if fields.get("connection").and_then(|c| c.get("password")).is_some() {
        return Err(Problem::field("connection.password", "is not known here; give 'password'"));
    }
    let wanted: Wanted = body::understand(fields)?;
    let mut connection = Connection::understand(wanted.system.word(), wanted.connection.clone())?;
    let same = |spec: &JobSpec| {
        let JobSpec::RestoreDump(there) = spec else { return false };
        let (into, place) = Connection::of_target(&there.into);
        (&there.path, &there.member, into, there.on_conflict, there.no_owner, &there.check, there.dry_run)
            == (
                &wanted.path,
                &wanted.member,
                &wanted.name,
                wanted.on_conflict,
                wanted.no_owner,
                &wanted.check,
                wanted.dry_run,
            )
            && there.parallel_jobs == wanted.parallel_jobs
            && place.is_where(&connection)
    };
    if let Some(answer) = work::asked_before(app, request, same).await? {
        return Ok(answer);
    }
    let server = id.parse::<ServerId>().map_err(|_| Problem::not_found("server", id))?;
    let definition = existing::<Servers>(app, id).await?;
    check(&wanted, &definition.dump_roots, &connection)?;
    let name = format!("restore-{id}");
    let password = match password {
        Secret::None | Secret::Kept => None,
        Secret::Given(text) => {
            connection.takes_password()?;
            Some(seal::store_for_node(app, &name, "password", &text, &definition).await?)
        }
    };
    connection.set_password(password);
    let identity = match identity {
        Some(text) => Some(seal::store_for_node(app, &name, "identity", &text, &definition).await?),
        None => None,
    };
    let spec = JobSpec::RestoreDump(RestoreDumpSpec {
        path: wanted.path,
        allowed_roots: definition.dump_roots,
        member: wanted.member,
        identity,
        into: connection.target(wanted.name, String::new()),
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

/// What can be seen without looking at the server: the node looks again, with links resolved.
fn check(wanted: &Wanted, roots: &[String], connection: &Connection) -> Result<(), Problem> {
    let mut problems = Vec::new();
    check_absolute_path(&mut problems, "path", &wanted.path);
    if roots.is_empty() {
        let message = "no dump can be read on this server: it has no dump_roots";
        problems.push(FieldError::new("path", message));
    } else if problems.is_empty() && !is_inside(roots, &wanted.path) {
        let message = format!("must lie in one of the server's dump_roots: {}", roots.join(", "));
        problems.push(FieldError::new("path", message));
    }
    if wanted.member.as_ref().is_some_and(|member| member.is_empty() || member.len() > MEMBER_BYTES) {
        problems.push(FieldError::new("member", "must be 1 to 4096 bytes"));
    }
    let system = wanted.system.word();
    check_name(&mut problems, system, &wanted.name);
    check_conflict(&mut problems, system, wanted.on_conflict);
    if wanted.system == System::Mysql && wanted.no_owner {
        problems.push(FieldError::new("no_owner", "must be absent: databases of MySQL have no owner"));
    }
    check_jobs(&mut problems, system, false, wanted.parallel_jobs);
    if let Some(problem) = wanted.check.as_ref().and_then(CheckQuery::problem) {
        problems.push(FieldError::new("check.query", problem));
    }
    problems.extend(connection.problems("connection"));
    if problems.is_empty() { Ok(()) } else { Err(Rejection::Invalid { fields: problems }.into()) }
}

//! Archives: stored backups.

use super::definition::{existing, referred};
use super::holds::why_held;
use super::jobs::list_question;
use super::repositories::{Repositories, reach_named, reach_to_read};
use crate::app::App;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{body, work};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_bus::Position;
use strongroom_domain::archive::Target;
use strongroom_domain::definition::check_absolute_path;
use strongroom_domain::job::{
    Conflict, CopySpec, JobSpec, Phase, Requested, RestoreSpec, RestoreTarget, Trigger,
};
use strongroom_domain::view::{Archive, Browse, BrowseQuestion, Job, ListQuestion, Page};
use strongroom_domain::{ArchiveId, FieldError, Rejection, RepositoryId};
use strongroom_service::clock;
use warp::http::StatusCode;

/// How long after a backup the index of its archive may not even have been asked for.
const ASKED_FOR_WITHIN: SignedDuration = SignedDuration::from_mins(1);

#[derive(Debug, Serialize, Deserialize)]
struct RestoreBody {
    #[serde(default)]
    paths: Vec<String>,
    target: RestoreTarget,
    #[serde(default)]
    on_conflict: Conflict,
    /// Only say what it would do.
    #[serde(default)]
    dry_run: bool,
}

/// `GET /archives`.
pub async fn list(app: &App, request: &Request) -> Result<Good, Problem> {
    let question = list_question(request, false)?;
    let (page, position): (Page<Archive>, _) =
        app.ask("catalog", "archives", &question, request.at_least.clone()).await?;
    let (now, Page { items, next }) = (clock::now(), page);
    let items: Vec<Value> = items.into_iter().map(|archive| shown(archive, now)).collect();
    Ok(Good::at(position, work::page(&Page { items, next })))
}

/// `GET /archives/{id}`.
pub async fn show(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let (archive, position) = find(app, id, request.at_least.clone()).await?;
    Ok(Good::at(position, shown(archive, clock::now())))
}

/// An archive as people are shown it: with the holds that hold. What has ended is history, which the log tells.
fn shown(mut archive: Archive, now: Timestamp) -> Value {
    archive.holds.retain(|hold| hold.holds(now));
    let mut body = json!(archive);
    if let Value::Object(fields) = &mut body {
        fields.insert("holds".into(), json!(archive.holds));
    }
    body
}

/// An archive by the id in a path.
pub async fn find(app: &App, id: &str, at_least: Option<Position>) -> Result<(Archive, Position), Problem> {
    let archive: ArchiveId = id.parse().map_err(|_| Problem::not_found("archive", id))?;
    let (found, position): (Option<Archive>, _) = app.ask("catalog", "archive", &archive, at_least).await?;
    Ok((found.ok_or_else(|| Problem::not_found("archive", id))?, position))
}

/// An archive from which something can be restored.
pub async fn find_whole(app: &App, request: &Request, id: &str) -> Result<(Archive, Position), Problem> {
    let found = find(app, id, request.at_least.clone()).await?;
    if found.0.missing {
        return Err(Problem::conflict(
            "archive_missing",
            "a scan did not find this archive in its repository",
        ));
    }
    Ok(found)
}

/// How a job names an archive.
pub fn target_of(archive: &Archive) -> Target {
    Target { id: archive.id, name: archive.facts.name.clone(), borg_id: archive.facts.borg_id.clone() }
}

/// `GET /archives/{id}/files`.
pub async fn files(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let archive: ArchiveId = id.parse().map_err(|_| Problem::not_found("archive", id))?;
    let question = BrowseQuestion {
        archive,
        path: request.query("path").unwrap_or_default().to_owned(),
        after: request.query("after").map(str::to_owned),
        limit: body::limit(request, 1000)?,
    };
    let (browse, position): (Browse, _) =
        app.ask("catalog", "browse", &question, request.at_least.clone()).await?;
    match browse {
        Browse::Ready { page } => Ok(Good::at(position, work::page(&page))),
        Browse::None => Err(without_index(app, id, position).await?),
    }
}

/// Why an archive cannot be browsed.
async fn without_index(app: &App, id: &str, at: Position) -> Result<Problem, Problem> {
    let (archive, _) = find(app, id, Some(at.clone())).await?;
    let indexes = |spec: &JobSpec| matches!(spec, JobSpec::IndexArchive { archive: target, .. } if target.id == archive.id);
    // One that a scan found is indexed when somebody asks for it.
    let is_new = archive.job.is_some()
        && archive.facts.ended_at.is_some_and(|at| clock::now().duration_since(at) < ASKED_FOR_WITHIN);
    let pending = if let Some(job) = open_job(app, &archive, at, indexes).await? {
        format!("job {} makes the index of its files", job.id)
    } else if is_new {
        "the index of its files is about to be made".to_owned()
    } else {
        let detail = format!("the archive has no file index; POST /api/v1/archives/{id}/index makes one");
        return Ok(Problem::conflict("no_index", detail));
    };
    let problem = Problem::conflict("index_pending", format!("{pending}; ask again in a moment"));
    Ok(problem.with(warp::http::header::RETRY_AFTER, "1"))
}

/// A job that has not ended and does this to the archive.
async fn open_job(
    app: &App,
    archive: &Archive,
    at: Position,
    does: impl Fn(&JobSpec) -> bool,
) -> Result<Option<Job>, Problem> {
    for phase in [Phase::Waiting, Phase::Running] {
        let question = ListQuestion {
            repository: Some(archive.repository.clone()),
            phase: Some(phase),
            limit: Some(500),
            ..ListQuestion::default()
        };
        let (open, _): (Page<Job>, _) = app.ask("catalog", "jobs", &question, Some(at.clone())).await?;
        if let Some(job) = open.items.into_iter().find(|job| does(&job.requested.spec)) {
            return Ok(Some(job));
        }
    }
    Ok(None)
}

/// `POST /archives/{id}/index`.
pub async fn index(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    body::nothing(request)?;
    if let Some(answer) = work::asked_before(app, request, |_| true).await? {
        return Ok(answer);
    }
    let (archive, _) = find(app, id, request.at_least.clone()).await?;
    ask(app, request, &archive, |access, archive| JobSpec::IndexArchive { access, archive, sample: false })
        .await
}

/// `POST /archives/{id}/restore`.
pub async fn restore(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let mut fields = body::object(request)?;
    let identity = body::take_text(&mut fields, "identity")?;
    let wanted: RestoreBody = body::understand(fields)?;
    let same = |spec: &JobSpec| {
        matches!(spec, JobSpec::Restore(there) if (&there.paths, &there.target, there.on_conflict, there.dry_run)
            == (&wanted.paths, &wanted.target, wanted.on_conflict, wanted.dry_run))
    };
    if let Some(answer) = work::asked_before(app, request, same).await? {
        return Ok(answer);
    }
    let (archive, _) = find_whole(app, request, id).await?;
    let (access, server, definition) = reach_to_read(app, archive.repository.as_str(), identity).await?;
    check(&wanted, &definition.restore_roots)?;
    let RestoreBody { paths, target, on_conflict, dry_run } = wanted;
    let (archive, allowed_roots) = (target_of(&archive), definition.restore_roots);
    let spec = RestoreSpec { access, archive, paths, target, on_conflict, allowed_roots, dry_run };
    let spec = JobSpec::Restore(spec);
    let requested =
        Requested { spec, server, node: definition.node, trigger: Trigger::Manual, deadline_s: None };
    work::ask(app, request, requested).await
}

/// Whether paths can be those of an archive.
pub fn check_paths(problems: &mut Vec<FieldError>, field: &str, paths: &[String]) {
    for (n, path) in paths.iter().enumerate() {
        let normal = !path.is_empty()
            && !path.starts_with('/')
            && path.split('/').all(|p| !matches!(p, "" | "." | ".."));
        if !normal {
            let message = "must be a path as the archive has it: without a leading slash and without '..'";
            problems.push(FieldError::new(format!("{field}[{n}]"), message));
        }
    }
}

/// What can be seen without looking at the server: the node looks again, with links resolved.
fn check(wanted: &RestoreBody, roots: &[String]) -> Result<(), Problem> {
    let mut problems = Vec::new();
    check_paths(&mut problems, "paths", &wanted.paths);
    if roots.is_empty() {
        problems.push(FieldError::new(
            "target",
            "nothing can be restored onto this server: it has no restore_roots",
        ));
    }
    let inside = |path: &str| is_inside(roots, path);
    match &wanted.target {
        RestoreTarget::Folder { path } => {
            check_absolute_path(&mut problems, "target.path", path);
            if problems.is_empty() && !inside(path.trim_end_matches('/')) {
                let message = format!("must lie in one of the server's restore_roots: {}", roots.join(", "));
                problems.push(FieldError::new("target.path", message));
            }
        }
        RestoreTarget::Original => {
            if wanted.paths.is_empty() {
                problems.push(FieldError::new("paths", "must name what goes back over the original"));
            }
            for (n, path) in wanted.paths.iter().enumerate() {
                if problems.is_empty() && !inside(&format!("/{path}")) {
                    let message =
                        format!("must lie in one of the server's restore_roots: {}", roots.join(", "));
                    problems.push(FieldError::new(format!("paths[{n}]"), message));
                }
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Rejection::Invalid { fields: problems }.into()) }
}

#[derive(Debug, Serialize, Deserialize)]
struct CopyBody {
    to: RepositoryId,
}

/// `POST /archives/{id}/copy`.
pub async fn copy(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let CopyBody { to } = body::read(request)?;
    let same = |spec: &JobSpec| matches!(spec, JobSpec::CopyArchive(there) if there.access.repository == to);
    if let Some(answer) = work::asked_before(app, request, same).await? {
        return Ok(answer);
    }
    let (archive, _) = find_whole(app, request, id).await?;
    if let Some(base) = base_of(&archive) {
        let detail = format!(
            "this archive needs {}, and a copy of it alone could not be restored; copy full archives",
            base.name
        );
        return Err(Problem::conflict("archive_needs_base", detail));
    }
    let from = existing::<Repositories>(app, archive.repository.as_str()).await?;
    let into = referred::<Repositories>(app, "to", to.as_str()).await?;
    if to == archive.repository {
        return Err(Problem::field("to", "must be another repository than that of the archive"));
    }
    if let Some(why) = from.cannot_be_copied_to(&into) {
        return Err(Problem::field("to", why));
    }
    let (from, ..) = reach_named(app, archive.repository.as_str()).await?;
    let (access, server, definition) = reach_named(app, to.as_str()).await?;
    let (plan, incomplete, archive) = (archive.plan.clone(), archive.incomplete, target_of(&archive));
    let spec = JobSpec::CopyArchive(CopySpec { from, archive, plan, incomplete, access });
    let requested =
        Requested { spec, server, node: definition.node, trigger: Trigger::Manual, deadline_s: None };
    work::ask(app, request, requested).await
}

/// Whether a path is one of these folders or below one.
pub fn is_inside(roots: &[String], path: &str) -> bool {
    roots.iter().any(|root| {
        let root = root.trim_end_matches('/');
        path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
    })
}

/// `DELETE /archives/{id}`.
pub async fn delete(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    if let Some(answer) = work::asked_before(app, request, |_| true).await? {
        return Ok(answer);
    }
    let (_, last) = app.bus.log_state().await?;
    let at = app.bus.position(last);
    let (archive, _) = find(app, id, Some(at.clone())).await?;
    if let Some(job) = being_deleted(app, &archive, at.clone()).await? {
        return Err(Problem::conflict(
            "being_deleted",
            format!("job {} deletes this archive already", job.id),
        ));
    }
    if let Some(held) = why_held(&archive, clock::now()) {
        return Err(held);
    }
    let needed_by = needed_by(app, &archive, &at).await?;
    if !needed_by.is_empty() {
        let detail = format!(
            "this archive is needed by {}: without it they could not be restored; delete them first, the last one at the beginning",
            needed_by.join(", ")
        );
        return Err(Problem::conflict("archive_is_base", detail));
    }
    // What is made on it until its turn comes is added by the scheduler.
    let delete =
        |access, archive| JobSpec::DeleteArchive { access, archive, needed_by: Vec::new(), held: None };
    ask(app, request, &archive, delete).await
}

/// Refuses what nobody may delete because somebody holds it. One that is gone is held by nobody.
pub async fn is_free(app: &App, id: &str) -> Result<(), Problem> {
    let (_, last) = app.bus.log_state().await?;
    match find(app, id, Some(app.bus.position(last))).await {
        Ok((archive, _)) => why_held(&archive, clock::now()).map_or(Ok(()), Err),
        Err(problem) if problem.status == StatusCode::NOT_FOUND => Ok(()),
        Err(problem) => Err(problem),
    }
}

/// The job that removes an archive, alone or among others, and has not ended.
pub async fn being_deleted(app: &App, archive: &Archive, at: Position) -> Result<Option<Job>, Problem> {
    open_job(app, archive, at, |spec| spec.removed().contains(&archive.id)).await
}

/// The archives that are nothing without this one, as people would name them; the first few.
async fn needed_by(app: &App, archive: &Archive, at: &Position) -> Result<Vec<String>, Problem> {
    // What a backup of ours has made says whether it is of a whole server; others need none.
    let alone = match &archive.facts.dump {
        Some(dump) => dump.physical.is_none(),
        None => archive.job.is_some(),
    };
    let mut needed_by = Vec::new();
    let mut others = Archives::of_repository(archive.repository.clone(), at.clone());
    while !alone && needed_by.len() < 5 {
        let Some(page) = others.next_page(app).await? else { break };
        let needs = |other: &&Archive| base_of(other).is_some_and(|base| base.id == archive.id);
        needed_by
            .extend(page.iter().filter(needs).map(|other| format!("{} ({})", other.facts.name, other.id)));
    }
    Ok(needed_by)
}

/// All archives of a repository, page by page.
pub struct Archives {
    /// The next page; nothing after the last.
    next: Option<ListQuestion>,
    at: Position,
}

impl Archives {
    /// As the catalog has them when it has reached this position.
    pub fn of_repository(repository: RepositoryId, at: Position) -> Self {
        let limit = Some(500);
        let next = ListQuestion { repository: Some(repository), limit, ..ListQuestion::default() };
        Self { next: Some(next), at }
    }

    /// The next ones.
    pub async fn next_page(&mut self, app: &App) -> Result<Option<Vec<Archive>>, Problem> {
        let Some(question) = self.next.take() else { return Ok(None) };
        let (page, _): (Page<Archive>, _) =
            app.ask("catalog", "archives", &question, Some(self.at.clone())).await?;
        self.next = page.next.map(|after| ListQuestion { after: Some(after), ..question });
        Ok(Some(page.items))
    }
}

/// The archive that another one needs.
fn base_of(archive: &Archive) -> Option<&Target> {
    archive.facts.dump.as_ref()?.physical.as_ref()?.base.as_ref()
}

/// Asks for work on an archive, by the server that it belongs to.
async fn ask(
    app: &App,
    request: &Request,
    archive: &Archive,
    spec: impl FnOnce(strongroom_domain::repository::Access, Target) -> JobSpec,
) -> Result<Good, Problem> {
    let (access, server, definition) = reach_named(app, archive.repository.as_str()).await?;
    let spec = spec(access, target_of(archive));
    let requested =
        Requested { spec, server, node: definition.node, trigger: Trigger::Manual, deadline_s: None };
    work::ask(app, request, requested).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn fields(body: serde_json::Value) -> Vec<String> {
        let wanted: RestoreBody = serde_json::from_value(body).unwrap();
        match check(&wanted, &["/srv/restore".to_owned(), "/home/".to_owned()]) {
            Ok(()) => Vec::new(),
            Err(problem) => problem.errors.into_iter().map(|e| e.field).collect(),
        }
    }

    #[test]
    fn a_target_outside_of_the_roots_is_refused_by_name() {
        let to = |path: &str| json!({ "target": { "type": "folder", "path": path } });
        assert_eq!(fields(to("/srv/restore/x")), Vec::<String>::new());
        assert_eq!(fields(to("/home")), Vec::<String>::new());
        for outside in ["/srv/restored", "/etc", "relative", "/srv/restore/../x"] {
            assert_eq!(fields(to(outside)), ["target.path"], "{outside}");
        }
        let back = |path: &str| json!({ "paths": [path], "target": { "type": "original" } });
        assert_eq!(fields(back("home/u/x")), Vec::<String>::new());
        assert_eq!(fields(back("etc/passwd")), ["paths[0]"]);
        assert_eq!(fields(json!({ "target": { "type": "original" } })), ["paths"]);
        assert_eq!(fields(back("/home/u")), ["paths[0]"]);
    }
}

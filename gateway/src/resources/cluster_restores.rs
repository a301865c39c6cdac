//! `POST /archives/{id}/restore-cluster`: a whole server, out of a chain of archives, as a folder.

use super::archives::{find_whole, is_inside, target_of};
use super::repositories::reach_to_read;
use crate::app::App;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{body, work};
use serde::{Deserialize, Serialize};
use strongroom_domain::chain::{Physical, Position, Until};
use strongroom_domain::definition::check_absolute_path;
use strongroom_domain::job::{JobSpec, Requested, RestoreClusterSpec, Trigger};
use strongroom_domain::source::postgresql::check_system_user;
use strongroom_domain::view::Archive;
use strongroom_domain::{FieldError, Rejection};

#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    /// The folder that it becomes.
    target: String,
    #[serde(default)]
    until: Option<Until>,
    #[serde(default)]
    os_user: Option<String>,
    /// Only say what it would do.
    #[serde(default)]
    dry_run: bool,
}

/// `POST /archives/{id}/restore-cluster`.
pub async fn restore(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let mut fields = body::object(request)?;
    let identity = body::take_text(&mut fields, "identity")?;
    let wanted: Wanted = body::understand(fields)?;
    let same = |spec: &JobSpec| {
        matches!(spec, JobSpec::RestoreCluster(there) if (&there.target, there.until, &there.os_user, there.dry_run)
            == (&wanted.target, wanted.until, &wanted.os_user, wanted.dry_run))
    };
    if let Some(answer) = work::asked_before(app, request, same).await? {
        return Ok(answer);
    }
    let (archive, _) = find_whole(app, request, id).await?;
    let physical = physical(&archive)?;
    let (access, server, definition) = reach_to_read(app, archive.repository.as_str(), identity).await?;
    check(&wanted, physical, &definition.restore_roots)?;
    let Wanted { target, until, os_user, dry_run } = wanted;
    let (archive, allowed_roots) = (target_of(&archive), definition.restore_roots);
    let spec = RestoreClusterSpec { access, archive, target, until, os_user, allowed_roots, dry_run };
    let spec = JobSpec::RestoreCluster(spec);
    let requested =
        Requested { spec, server, node: definition.node, trigger: Trigger::Manual, deadline_s: None };
    work::ask(app, request, requested).await
}

/// What the archive is. Of one that a scan has found in a borg repository only the node can say it.
fn physical(archive: &Archive) -> Result<Option<&Physical>, Problem> {
    let none = || {
        Problem::conflict(
            "no_cluster",
            "this archive holds no whole server; restore its files, or its databases one by one",
        )
    };
    match &archive.facts.dump {
        Some(dump) => dump.physical.as_deref().map(Some).ok_or_else(none),
        None if archive.job.is_some() => Err(none()),
        None => Ok(None),
    }
}

/// What can be seen without looking at the server and at the archives below this one: the node looks again.
fn check(wanted: &Wanted, physical: Option<&Physical>, roots: &[String]) -> Result<(), Problem> {
    let mut problems = Vec::new();
    check_absolute_path(&mut problems, "target", &wanted.target);
    if roots.is_empty() {
        let message = "nothing can be restored onto this server: it has no restore_roots";
        problems.push(FieldError::new("target", message));
    } else if problems.is_empty() && !is_inside(roots, wanted.target.trim_end_matches('/')) {
        let message = format!("must lie below one of the server's restore_roots: {}", roots.join(", "));
        problems.push(FieldError::new("target", message));
    }
    if let Some(user) = &wanted.os_user {
        check_system_user(&mut problems, "os_user", user);
    }
    problems.extend(wanted.until.zip(physical).and_then(|(until, physical)| beyond(until, physical)));
    if problems.is_empty() { Ok(()) } else { Err(Rejection::Invalid { fields: problems }.into()) }
}

/// Why no moment can be said.
const ONE_MOMENT_EACH: &str =
    "must be absent: these archives hold one moment each; choose the last one before that moment";

/// A moment after the end of the archive; whether it is before the beginning of its chain, the node knows.
fn beyond(until: Until, physical: &Physical) -> Option<FieldError> {
    if physical.base.is_none() {
        let message = "must be absent: this archive is a full one, which holds one moment and no changes";
        return Some(FieldError::new("until", message));
    }
    let (end, is_beyond) = match (until, &physical.position) {
        (_, Position::Mysql(_)) => return Some(FieldError::new("until", ONE_MOMENT_EACH)),
        (_, Position::Postgresql(position)) if position.blocks.is_some() => {
            return Some(FieldError::new("until", ONE_MOMENT_EACH));
        }
        (Until::Time(at), Position::Postgresql(position)) => {
            (position.stopped_at.to_string(), at > position.stopped_at)
        }
        (Until::Lsn(lsn), Position::Postgresql(position)) => {
            (position.stop_lsn.to_string(), lsn > position.stop_lsn)
        }
    };
    let message = format!("must not be after {end}, where this archive ends; choose a later one");
    is_beyond.then(|| FieldError::new("until", message))
}

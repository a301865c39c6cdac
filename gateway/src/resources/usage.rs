//! `GET /destinations/{id}/usage`: how much of a destination is used, how much room there is, and how fast it fills.

use super::definition::{all, existing};
use super::destinations::Destinations;
use super::repositories::Repositories;
use crate::app::App;
use crate::http::{Good, Request};
use crate::problem::Problem;
use serde_json::json;
use strongroom_bus::Position;
use strongroom_domain::RepositoryId;
use strongroom_domain::archive::Facts;
use strongroom_domain::job::{JobResult, JobSpec};
use strongroom_domain::usage::{OfRepository, Room, TREND_DAYS, Usage, newest_of_each};
use strongroom_domain::view::{Archive, Job, ListQuestion, Page};
use strongroom_service::clock;

/// How many archives and jobs are asked for at once.
const PAGE: u32 = 500;
/// In how many of the newest jobs of a repository it is looked for what its node has seen.
const JOBS_LOOKED_AT: u32 = 50;

/// `GET /destinations/{id}/usage`.
pub async fn show(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let spec = existing::<Destinations>(app, id).await?;
    let (_, last) = app.bus.log_state().await?;
    let at = request.at_least.clone().unwrap_or_else(|| app.bus.position(last));
    let now = clock::now();
    let (mut repositories, mut seen) = (Vec::new(), Vec::new());
    for repository in all::<Repositories>(app, &at).await? {
        if repository.spec.destination.as_str() != id {
            continue;
        }
        let Ok(name) = repository.id.parse::<RepositoryId>() else { continue };
        let archives = archives(app, &name, &at).await?;
        let usage = Usage::of(&archives, now);
        repositories.push(OfRepository { repository: name.clone(), server: repository.spec.server, usage });
        let of_repository =
            ListQuestion { repository: Some(name), limit: Some(JOBS_LOOKED_AT), ..ListQuestion::default() };
        seen.extend(jobs(app, &of_repository, &at).await?.into_iter().filter_map(|job| room(job, |_| true)));
    }
    let newest = ListQuestion { limit: Some(PAGE), ..ListQuestion::default() };
    let place = spec.location.place();
    let is_here =
        |spec: &JobSpec| matches!(spec, JobSpec::TestDestination { place: there } if there.place() == place);
    seen.extend(jobs(app, &newest, &at).await?.into_iter().filter_map(|job| room(job, is_here)));
    let used = repositories.iter().fold(Usage::default(), |sum, of| sum.and(&of.usage));
    let space = newest_of_each(seen);
    let body = json!({
        "id": id, "place": place, "used": used, "repositories": repositories, "space": space, "trend_days": TREND_DAYS,
    });
    Ok(Good::at(at, body))
}

async fn archives(app: &App, repository: &RepositoryId, at: &Position) -> Result<Vec<Facts>, Problem> {
    let mut found = Vec::new();
    let mut question =
        ListQuestion { repository: Some(repository.clone()), limit: Some(PAGE), ..ListQuestion::default() };
    loop {
        let (page, _): (Page<Archive>, _) =
            app.ask("catalog", "archives", &question, Some(at.clone())).await?;
        found.extend(page.items.into_iter().filter(|archive| !archive.missing).map(|archive| archive.facts));
        if page.next.is_none() {
            return Ok(found);
        }
        question.after = page.next;
    }
}

async fn jobs(app: &App, question: &ListQuestion, at: &Position) -> Result<Vec<Job>, Problem> {
    let (page, _): (Page<Job>, _) = app.ask("catalog", "jobs", question, Some(at.clone())).await?;
    Ok(page.items)
}

/// What a job has seen of the room at its destination.
fn room(job: Job, is_here: impl Fn(&JobSpec) -> bool) -> Option<Room> {
    if !is_here(&job.requested.spec) {
        return None;
    }
    let space = match job.result? {
        JobResult::Backup { space, .. } => space?,
        JobResult::TestDestination { probe } => probe.space?,
        _ => return None,
    };
    Some(Room { server: job.requested.server, at: job.ended_at?, space })
}

//! What monitoring wants to know of each plan: when it last made an archive, how large, how long it took, and whether its
//! newest run failed. They are read from the views, so they are right from the first scrape after a start on.

use crate::app::App;
use crate::exposition::Exposition;
use crate::resources::definition::all;
use crate::resources::plans::Plans;
use futures::StreamExt;
use strongroom_bus::Position;
use strongroom_domain::job::Phase;
use strongroom_domain::view::{Archive, Job, ListQuestion, Page};

/// How many plans are told of: names become time series, which monitoring pays for.
const PLANS: usize = 2000;
/// How many are looked at at once.
const AT_ONCE: usize = 8;

/// Adds them. A catalog that does not answer is told by its own number, and leaves these out.
pub async fn add(app: &App, numbers: &mut Exposition) {
    let Ok((_, last)) = app.bus.log_state().await else { return };
    let at = app.bus.position(last);
    let plans = match all::<Plans>(app, &at).await {
        Ok(plans) => plans,
        Err(problem) => {
            tracing::debug!(problem = problem.detail, "plans could not be counted");
            return;
        }
    };
    let looked = futures::stream::iter(plans.into_iter().take(PLANS).map(|plan| {
        let at = &at;
        async move {
            let newest = newest(app, &plan.id, at).await;
            (plan.id, newest)
        }
    }));
    let looked: Vec<_> = looked.buffered(AT_ONCE).collect().await;
    for (plan, (archive, job)) in looked {
        let mut tell = |name: &str, help: &str, value: f64| {
            numbers.add(&format!("strongroom_plan_{name}"), help, Some(("plan", &plan)), value);
        };
        if let Some(archive) = archive {
            let began = archive.facts.started_at.as_second() as f64;
            tell("last_archive_timestamp_seconds", "When its newest archive was begun.", began);
            tell(
                "last_archive_incomplete",
                "Whether data is missing from its newest archive.",
                f64::from(u8::from(archive.incomplete)),
            );
            if let Some(stats) = archive.facts.stats {
                let seconds = stats.duration_ms as f64 / 1000.0;
                tell("last_archive_duration_seconds", "How long borg worked on it.", seconds);
                tell("last_archive_files", "Regular files in it.", stats.files as f64);
                let original = stats.original_size_bytes as f64;
                tell("last_archive_original_size_bytes", "Bytes of them.", original);
                let new = stats.deduplicated_size_bytes as f64;
                tell("last_archive_deduplicated_size_bytes", "Bytes that were new to the repository.", new);
            }
        }
        if let Some(job) = job {
            let failed = matches!(job.phase, Phase::Failed | Phase::Abandoned);
            tell(
                "last_run_failed",
                "Whether its newest run that ended has failed.",
                f64::from(u8::from(failed)),
            );
        }
    }
}

/// The newest archive of a plan, and its newest run that has ended.
async fn newest(app: &App, plan: &str, at: &Position) -> (Option<Archive>, Option<Job>) {
    let question =
        |limit| ListQuestion { plan: plan.parse().ok(), limit: Some(limit), ..ListQuestion::default() };
    let archives = app.ask::<_, Page<Archive>>("catalog", "archives", &question(1), Some(at.clone())).await;
    // The newest may wait or run; there are not many of those at once.
    let jobs = app.ask::<_, Page<Job>>("catalog", "jobs", &question(5), Some(at.clone())).await;
    let archive = archives.ok().and_then(|(page, _)| page.items.into_iter().next());
    let job = jobs.ok().and_then(|(page, _)| page.items.into_iter().find(|job| job.phase.is_terminal()));
    (archive, job)
}

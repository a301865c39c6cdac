//! The clean-up of a repository, for people who think in days.
//!
//! The accident that this prevents is P3: a clean-up by age that looks at what lies in a repository, and takes the last good
//! archive of a plan that has not run for a month, what somebody holds, and what belongs to others. So it asks, plan by plan,
//! what retention says, behind the same gates and guards, and asks for the removal of exactly that list.

use super::archives::Archives;
use super::definition::key_reused;
use super::repositories::reach_named;
use super::reviews::{self, Counts};
use crate::app::App;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{body, work};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use strongroom_bus::Position;
use strongroom_domain::job::{JobSpec, PRUNED_AT_ONCE, PruneSpec, Requested, Trigger};
use strongroom_domain::retention::{Policy, Question, Review};
use strongroom_domain::{PlanId, RepositoryId};
use warp::http::{StatusCode, header};

/// The longest age that can be asked for, in days: a hundred years.
const MOST_DAYS: u32 = 36_500;

#[derive(Debug, Serialize, Deserialize)]
struct CleanupBody {
    retention_days: u32,
    /// Only say what would go.
    #[serde(default)]
    dry_run: bool,
}

/// A removal that was asked for.
struct Removal {
    asked: work::Asked,
    plan: PlanId,
    listed: u64,
}

/// What retention says of the archives of a plan in this repository.
struct OfPlan {
    plan: PlanId,
    review: Review,
}

impl OfPlan {
    /// How many archives one job takes now.
    fn listed(&self) -> u64 {
        if self.review.decision.gated.is_some() {
            return 0;
        }
        self.review.going.len().min(PRUNED_AT_ONCE) as u64
    }
}

/// `POST /repositories/{id}/cleanup`.
pub async fn run(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    let CleanupBody { retention_days, dry_run } = body::read(request)?;
    if !(1..=MOST_DAYS).contains(&retention_days) {
        return Err(Problem::field("retention_days", format!("must be 1 to {MOST_DAYS}")));
    }
    let repository: RepositoryId = id.parse().map_err(|_| Problem::not_found("repository", id))?;
    let policy = Policy::of_days(retention_days);
    let (_, last) = app.bus.log_state().await?;
    let at = app.bus.position(last);
    let owners = owners(app, &repository, &at).await?;
    if !dry_run {
        let before = asked_before(app, request, &owners, &repository, &policy).await?;
        if !before.is_empty() {
            return Ok(answer_again(app, &repository, retention_days, &before));
        }
    }
    let (access, server, definition) = reach_named(app, id).await?;
    let (of_plans, unreviewed) = review(app, &owners, &repository, &policy, &at).await?;
    let mut removals: Vec<Removal> = Vec::new();
    if !dry_run {
        refuse_when_gated(&of_plans)?;
        for of in of_plans.iter().filter(|of| of.listed() > 0) {
            let spec = PruneSpec {
                plan: of.plan.clone(),
                access: access.clone(),
                policy: policy.clone(),
                by_hand: true,
                archives: of.review.going.iter().take(PRUNED_AT_ONCE).cloned().collect(),
                spared: Vec::new(),
            };
            let requested = Requested {
                spec: JobSpec::Prune(spec),
                server: server.clone(),
                node: definition.node.clone(),
                trigger: Trigger::Manual,
                deadline_s: None,
            };
            let job = work::job_of_part(request, of.plan.as_str());
            removals.extend(removal(work::request(app, request, job, requested).await?));
        }
    }
    let going: u64 = of_plans.iter().map(|of| of.review.going.len() as u64).sum();
    let listed: u64 = if dry_run {
        of_plans.iter().map(OfPlan::listed).sum()
    } else {
        removals.iter().map(|removal| removal.listed).sum()
    };
    let freed = Counts::sum(of_plans.iter().map(|of| Counts::of(&of.review)));
    let body = json!({
        "repository": repository, "retention_days": retention_days, "dry_run": dry_run,
        "archives": owners.values().sum::<u64>(), "going": going, "listed": listed, "left": going.saturating_sub(listed),
        "freed_bytes": freed.freed_bytes, "jobs": jobs(&removals),
        "plans": of_plans.iter().map(shown).collect::<Vec<_>>(), "not_looked_at": unreviewed,
    });
    Ok(answered(app, &removals, body, at))
}

/// Whose archives lie in the repository, and how many; those that are nobody's by that name.
async fn owners(
    app: &App,
    repository: &RepositoryId,
    at: &Position,
) -> Result<BTreeMap<Option<PlanId>, u64>, Problem> {
    let mut owners = BTreeMap::new();
    let mut archives = Archives::of_repository(repository.clone(), at.clone());
    while let Some(page) = archives.next_page(app).await? {
        for archive in page.into_iter().filter(|archive| archive.repository == *repository) {
            *owners.entry(archive.plan).or_default() += 1;
        }
    }
    Ok(owners)
}

/// What this very request has asked for, sent before. It is never more than the first time: what has become old since then
/// was not in the list that people were shown.
async fn asked_before(
    app: &App,
    request: &Request,
    owners: &BTreeMap<Option<PlanId>, u64>,
    repository: &RepositoryId,
    policy: &Policy,
) -> Result<Vec<Removal>, Problem> {
    let mut found = Vec::new();
    for plan in owners.keys().flatten() {
        let Some(asked) = work::part_asked_before(app, request, plan.as_str()).await? else { continue };
        match &asked.requested.spec {
            JobSpec::Prune(spec) if spec.policy == *policy && spec.access.repository == *repository => {
                found.extend(removal(asked));
            }
            _ => return Err(key_reused().into()),
        }
    }
    Ok(found)
}

/// Asks the scheduler about each plan; tells whose archives it says nothing of, which therefore stay.
async fn review(
    app: &App,
    owners: &BTreeMap<Option<PlanId>, u64>,
    repository: &RepositoryId,
    policy: &Policy,
    at: &Position,
) -> Result<(Vec<OfPlan>, Vec<Value>), Problem> {
    let (mut of_plans, mut unreviewed) = (Vec::new(), Vec::new());
    for (plan, archives) in owners {
        let stays = |why: &str| json!({ "plan": plan, "archives": archives, "why": why });
        let Some(plan) = plan else {
            unreviewed.push(stays("nobody knows of which plan they are; they can be deleted one by one"));
            continue;
        };
        let question = Question {
            plan: plan.clone(),
            policy: Some(policy.clone()),
            by_hand: true,
            schedule: None,
            from: None,
            until: None,
        };
        let asked = app.ask("scheduler", "retention", &question, Some(at.clone())).await;
        let reviews: Vec<Review> = match asked {
            Ok((reviews, _)) => reviews,
            Err(problem) if problem.status == StatusCode::NOT_FOUND => {
                unreviewed.push(stays(
                    "nobody knows the plan any more, and its archives stay; they can be deleted one by one",
                ));
                continue;
            }
            // One that cannot be told is no reason to leave the others.
            Err(problem) if problem.status == StatusCode::CONFLICT => {
                unreviewed.push(stays(&problem.detail));
                continue;
            }
            Err(problem) => return Err(problem),
        };
        // A plan has archives elsewhere too, and they are none of this repository's business.
        match reviews.into_iter().find(|review| review.repository == *repository) {
            Some(review) => of_plans.push(OfPlan { plan: plan.clone(), review }),
            None => unreviewed.push(stays("they are missing, or are being deleted")),
        }
    }
    Ok((of_plans, unreviewed))
}

/// When all that would go stands behind gates, nothing was done, and that is no success.
fn refuse_when_gated(of_plans: &[OfPlan]) -> Result<(), Problem> {
    let would_go: Vec<&OfPlan> = of_plans.iter().filter(|of| !of.review.going.is_empty()).collect();
    let gates: Vec<String> = would_go
        .iter()
        .filter_map(|of| Some(format!("plan '{}': {}", of.plan, of.review.decision.gated.as_ref()?)))
        .collect();
    if gates.is_empty() || gates.len() < would_go.len() {
        return Ok(());
    }
    Err(Problem::conflict(
        "retention_gated",
        format!("nothing goes; {}; a plan that is paused is cleaned up all the same", gates.join("; ")),
    ))
}

fn removal(asked: work::Asked) -> Option<Removal> {
    let JobSpec::Prune(spec) = &asked.requested.spec else { return None };
    Some(Removal { plan: spec.plan.clone(), listed: spec.archives.len() as u64, asked })
}

fn jobs(removals: &[Removal]) -> Vec<Value> {
    let of = |removal: &Removal| {
        let job = removal.asked.job;
        let url = format!("/api/v1/jobs/{job}");
        json!({ "id": job, "url": url, "plan": removal.plan, "listed": removal.listed })
    };
    removals.iter().map(of).collect()
}

fn shown(of: &OfPlan) -> Value {
    let (listed, going) = (of.listed(), of.review.going.len() as u64);
    let mut shown = reviews::shown(&of.review);
    if let Value::Object(fields) = &mut shown {
        fields.insert("plan".into(), json!(of.plan));
        fields.insert("listed".into(), json!(listed));
        fields.insert("left".into(), json!(going - listed));
    }
    shown
}

/// What was said before of the jobs; what else there is to be said is another thing by now.
fn answer_again(app: &App, repository: &RepositoryId, retention_days: u32, removals: &[Removal]) -> Good {
    let listed: u64 = removals.iter().map(|removal| removal.listed).sum();
    let body = json!({
        "repository": repository, "retention_days": retention_days, "dry_run": false, "repeated": true,
        "listed": listed, "jobs": jobs(removals),
    });
    let last = removals.iter().map(|removal| removal.asked.sequence).max().unwrap_or_default();
    answered(app, removals, body, app.bus.position(last))
}

/// 202 with what is under way; 200 when there is nothing to do.
fn answered(app: &App, removals: &[Removal], body: Value, at: Position) -> Good {
    let Some(last) = removals.iter().map(|removal| removal.asked.sequence).max() else {
        return Good::at(at, body);
    };
    let mut good = Good::new(StatusCode::ACCEPTED, body);
    good.position = Some(app.bus.position(last));
    if let [only] = removals {
        good = good.with(header::LOCATION, format!("/api/v1/jobs/{}", only.asked.job));
    }
    good
}

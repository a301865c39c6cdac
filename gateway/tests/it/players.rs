//! The services that the gateway asks, as small as they can be: each question is answered from the whole log.

use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use strongroom_bus::{Answer, Bus, Question, Recorded};
use strongroom_domain::admission::Waiting;
use strongroom_domain::archive::Target;
use strongroom_domain::job::State;
use strongroom_domain::retention::{self, Candidate, Holds, Replayed, Review, Simulated};
use strongroom_domain::view::{
    Archive, Browse, BrowseQuestion, Capabilities, ChannelTest, Definition, Entry, Health, Job, ListQuestion,
    Node, Page, Quarantined,
};
use strongroom_domain::{
    Aggregate, ArchiveId, ChannelId, Event, JobId, Kind, PlanId, Rejection, RepositoryId,
};
use strongroom_service::clock;

/// What the players know besides the log.
#[derive(Default)]
pub struct Facts {
    pub archives: Mutex<Vec<Archive>>,
    /// What retention has to decide about.
    pub kept: Mutex<Vec<(PlanId, RepositoryId, Vec<Candidate>)>>,
    /// How often the plans' runs have failed since one succeeded.
    pub failures_in_a_row: AtomicUsize,
    pub indexes: Mutex<BTreeMap<String, Vec<Entry>>>,
    pub quarantine: Mutex<Vec<Quarantined>>,
    pub waiting: Mutex<Vec<(JobId, Waiting)>>,
    pub standings: Mutex<Vec<strongroom_domain::lateness::PlanStanding>>,
    /// The catalog has not caught up, whatever is asked for.
    pub behind: AtomicBool,
    /// How often a job was asked for.
    pub jobs_asked: AtomicUsize,
    /// The scheduler says that it is not ready.
    pub ailing: AtomicBool,
    /// The notifier's public key.
    pub recipient: Mutex<String>,
}

/// Answers as this service.
pub async fn answer(facts: &Facts, bus: &Bus, service: &str, view: &str, question: &Question) -> Answer {
    let (generation, last) = bus.log_state().await.unwrap();
    let position = bus.position(last);
    if let Some(wanted) = &question.at_least {
        if wanted.generation != generation {
            return Answer::OtherLog { position };
        }
        if wanted.sequence > last || service == "catalog" && facts.behind.load(Ordering::SeqCst) {
            return Answer::Behind { position };
        }
    }
    let ok = |body: &dyn erased::Body| body.answer(position.clone());
    match (service, view) {
        ("scheduler", "waiting") => ok(&facts.waiting.lock().unwrap().clone()),
        ("scheduler", "health") => {
            let mut health = healthy("scheduler_plans", 3.0);
            if facts.ailing.load(Ordering::SeqCst) {
                (health.ready, health.problems) = (false, vec!["it is being read".into()]);
            }
            ok(&health)
        }
        ("scheduler", "lateness") => ok(&facts.standings.lock().unwrap().clone()),
        ("scheduler", "limits") => ok(&strongroom_domain::admission::Limits::default()),
        ("scheduler", "retention") => match reviews(facts, &question.read().unwrap()) {
            Ok(reviews) => ok(&reviews),
            Err(rejection) => Answer::Rejected { rejection },
        },
        ("scheduler", "retention-replay") => {
            let (asked, of) = what_if(facts, question);
            let replayed = of.into_iter().map(|(repository, candidates)| {
                let (from, until) =
                    (asked.from.unwrap_or(Timestamp::UNIX_EPOCH), asked.until.unwrap_or_else(clock::now));
                let rules = asked.policy.as_ref().unwrap().parse().unwrap();
                Replayed { repository, replay: retention::replay(&rules, &candidates, from, until) }
            });
            ok(&replayed.collect::<Vec<_>>())
        }
        ("scheduler", "retention-simulation") => {
            let (asked, of) = what_if(facts, question);
            let simulated = of.into_iter().map(|(repository, candidates)| {
                let (schedule, rules) = (asked.schedule.as_ref().unwrap(), asked.policy.as_ref().unwrap());
                let (schedule, rules) = (schedule.parse().unwrap(), rules.parse().unwrap());
                let simulation =
                    retention::simulate(&rules, &schedule, &candidates, clock::now(), asked.until.unwrap());
                Simulated { repository, simulation }
            });
            ok(&simulated.collect::<Vec<_>>())
        }
        ("catalog", "health") => ok(&healthy("jobs{phase=\"failed\"}", 2.0)),
        ("recovery" | "notifier", "health") => ok(&healthy(&format!("{service}_position"), 1.0)),
        ("recovery", "capabilities") => ok(&Capabilities::default()),
        ("notifier", "recipient") => ok(&facts.recipient.lock().unwrap().clone()),
        ("notifier", "test") => {
            let channel: ChannelId = question.read().unwrap();
            let problem = Some(format!("played for {channel}"));
            ok(&ChannelTest { delivered: false, status: Some(500), problem })
        }
        (_, "redrive") => {
            let aggregate: String = question.read().unwrap();
            let known =
                facts.quarantine.lock().unwrap().iter().any(|q| q.id == format!("{service}.{aggregate}"));
            if known {
                ok(&())
            } else {
                let rejection = Rejection::conflict("not_halted", format!("{aggregate} is not halted"));
                Answer::Rejected { rejection }
            }
        }
        ("catalog", view) => catalog(facts, bus, view, question, &ok).await,
        _ => panic!("nobody is asked for {service}.{view}"),
    }
}

async fn catalog(
    facts: &Facts,
    bus: &Bus,
    view: &str,
    question: &Question,
    ok: &(dyn Fn(&dyn erased::Body) -> Answer + Sync),
) -> Answer {
    let log = read(bus).await;
    if let Some(kind) = kind_of(view) {
        let all = definitions(&log, kind);
        if plural(kind) == view {
            let list: ListQuestion = question.read().unwrap();
            return ok(&page(all.into_values().collect(), &list, |d| d.id.clone()));
        }
        let id: String = question.read().unwrap();
        return ok(&all.get(&id));
    }
    match view {
        "jobs" => {
            let list: ListQuestion = question.read().unwrap();
            let mut jobs = jobs(&log);
            jobs.reverse();
            jobs.retain(|job| {
                list.plan.as_ref().is_none_or(|p| job.requested.spec.plan() == Some(p))
                    && list.server.as_ref().is_none_or(|s| job.requested.server == *s)
                    && list.repository.as_ref().is_none_or(|r| job.requested.spec.repository() == Some(r))
                    && list.phase.is_none_or(|p| job.phase == p)
            });
            ok(&page(jobs, &list, |job| job.id.to_string()))
        }
        "job" => {
            facts.jobs_asked.fetch_add(1, Ordering::SeqCst);
            let id: JobId = question.read().unwrap();
            ok(&jobs(&log).into_iter().find(|job| job.id == id))
        }
        "archives" => {
            let list: ListQuestion = question.read().unwrap();
            // Whoever asks for those of a repository must not rely on being given no others.
            ok(&page(archives(facts, &log), &list, |a| a.id.to_string()))
        }
        "archive" => {
            let id: ArchiveId = question.read().unwrap();
            ok(&archives(facts, &log).into_iter().find(|a| a.id == id))
        }
        "browse" => {
            let asked: BrowseQuestion = question.read().unwrap();
            let indexes = facts.indexes.lock().unwrap();
            ok(&match indexes.get(&asked.archive.to_string()) {
                None => Browse::None,
                Some(entries) => {
                    let inside = |e: &&Entry| {
                        let rest = match asked.path.as_str() {
                            "" => Some(e.path.as_str()),
                            path => e.path.strip_prefix(path).and_then(|r| r.strip_prefix('/')),
                        };
                        rest.is_some_and(|r| !r.contains('/'))
                    };
                    let items = entries.iter().filter(inside).cloned().collect();
                    let list =
                        ListQuestion { after: asked.after, limit: asked.limit, ..ListQuestion::default() };
                    Browse::Ready { page: page(items, &list, |e: &Entry| e.path.clone()) }
                }
            })
        }
        "nodes" => ok(&nodes(&log)),
        "quarantine" => ok(&facts.quarantine.lock().unwrap().clone()),
        _ => panic!("the catalog is asked for {view}"),
    }
}

/// What the plan has, by repository.
fn what_if(facts: &Facts, question: &Question) -> (retention::Question, Vec<(RepositoryId, Vec<Candidate>)>) {
    let asked: retention::Question = question.read().unwrap();
    let kept = facts.kept.lock().unwrap();
    let of = kept.iter().filter(|(plan, ..)| *plan == asked.plan);
    let of = of.map(|(_, repository, candidates)| (repository.clone(), candidates.clone())).collect();
    (asked, of)
}

/// As the scheduler decides; a plan that has nothing is unknown to it.
fn reviews(facts: &Facts, asked: &retention::Question) -> Result<Vec<Review>, Rejection> {
    let kept = facts.kept.lock().unwrap();
    let of: Vec<_> = kept.iter().filter(|(plan, ..)| *plan == asked.plan).collect();
    if of.is_empty() {
        return Err(Rejection::NotFound { kind: "plan".into(), id: asked.plan.to_string() });
    }
    let rules = asked.policy.as_ref().unwrap().parse().unwrap();
    let failures_in_a_row = u32::try_from(facts.failures_in_a_row.load(Ordering::SeqCst)).unwrap();
    let of = of.into_iter().map(|(_, repository, candidates)| {
        let known = retention::Facts { failures_in_a_row, ..retention::Facts::default() };
        let decision = retention::decide(&rules, candidates, &known, clock::now());
        let target =
            |v: &retention::Verdict| Target { id: v.archive, name: v.name.clone(), borg_id: v.name.clone() };
        let going = decision.going().map(target).collect();
        Review { repository: repository.clone(), decision, going }
    });
    Ok(of.collect())
}

/// The archives, with what the log says of who holds them.
fn archives(facts: &Facts, log: &[Recorded]) -> Vec<Archive> {
    let mut all = facts.archives.lock().unwrap().clone();
    for archive in &mut all {
        let mut holds = Holds::default();
        let own = log.iter().filter(|r| r.aggregate == Aggregate::new(Kind::Archive, archive.id));
        own.for_each(|recorded| holds.evolve(&recorded.event));
        archive.holds = holds.to_vec();
    }
    all
}

fn healthy(number: &str, value: f64) -> Health {
    Health { ready: true, problems: Vec::new(), numbers: [(number.to_owned(), value)].into() }
}

/// The whole log.
pub async fn read(bus: &Bus) -> Vec<Recorded> {
    let mut events = Vec::new();
    let mut next = 1;
    loop {
        let batch = bus.journal().store().read(None, next, 500).await.unwrap();
        let Some(last) = batch.last() else { return events };
        next = last.sequence + 1;
        events.extend(batch.iter().filter_map(|raw| Recorded::read(raw).ok()));
    }
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Server => "servers",
        Kind::Destination => "destinations",
        Kind::Repository => "repositories",
        Kind::Plan => "plans",
        Kind::Channel => "channels",
        Kind::Token => "tokens",
        other => panic!("{other} is no definition"),
    }
}

/// The kind that a view is about, when it is one of definitions.
fn kind_of(view: &str) -> Option<Kind> {
    let kinds = [Kind::Server, Kind::Destination, Kind::Repository, Kind::Plan, Kind::Channel, Kind::Token];
    kinds.into_iter().find(|kind| plural(*kind) == view || kind.to_string() == view)
}

fn definitions(log: &[Recorded], kind: Kind) -> BTreeMap<String, Definition<Value>> {
    let mut all: BTreeMap<String, Definition<Value>> = BTreeMap::new();
    for recorded in log.iter().filter(|r| r.aggregate.kind == kind) {
        let id = recorded.aggregate.id.clone();
        if recorded.event.retires() {
            all.remove(&id);
            continue;
        }
        let (spec, paused) = match &recorded.event {
            Event::PlanPaused(paused) => (None, Some(paused.reason.clone())),
            Event::PlanResumed(_) => (None, None),
            defined => (Some(defined.to_json()), all.get(&id).and_then(|d| d.paused.clone())),
        };
        let before = all.get(&id);
        let definition = Definition {
            version: recorded.version,
            paused,
            defined_at: before.map_or(recorded.at, |d| d.defined_at),
            changed_at: recorded.at,
            spec: spec.or_else(|| before.map(|d| d.spec.clone())).unwrap(),
            id: id.clone(),
        };
        all.insert(id, definition);
    }
    all
}

fn jobs(log: &[Recorded]) -> Vec<Job> {
    let mut all: Vec<(JobId, State, Option<&Recorded>)> = Vec::new();
    for recorded in log.iter().filter(|r| r.aggregate.kind == Kind::Job) {
        let id: JobId = recorded.aggregate.id.parse().unwrap();
        match all.iter_mut().find(|(known, _, _)| *known == id) {
            Some((_, state, end)) => {
                state.evolve(&recorded.event, recorded.at);
                *end = Some(recorded).filter(|r| r.event.ends_job());
            }
            None => all.push((id, State::begin(&recorded.event, recorded.at).unwrap(), None)),
        }
    }
    let failure = |end: &Recorded| match &end.event {
        Event::JobFailed(failed) => Some(failed.failure.clone()),
        _ => None,
    };
    let result = |end: &Recorded| match &end.event {
        Event::JobSucceeded(done) => Some(done.outcome.result.clone()),
        _ => None,
    };
    let shown = all.into_iter().map(|(id, state, end)| Job {
        id,
        kind: state.requested.spec.kind().to_owned(),
        phase: state.phase,
        requested_at: state.requested_at,
        started_at: None,
        ended_at: end.map(|end| end.at),
        attempts: state.attempts,
        cancel_requested: state.cancel_requested,
        result: end.and_then(result),
        findings: Vec::new(),
        incomplete_total: 0,
        benign_total: 0,
        failure: end.and_then(failure),
        notes: Vec::new(),
        log_tail: Vec::new(),
        traceparent: None,
        waiting: None,
        requested: state.requested,
    });
    shown.collect()
}

fn nodes(log: &[Recorded]) -> Vec<Node> {
    let joined = log.iter().filter_map(|r| match &r.event {
        Event::NodeJoined(joined) => Some(Node {
            id: r.aggregate.id.parse().unwrap(),
            joined: joined.clone(),
            joined_at: r.at,
            last_heartbeat_at: None,
        }),
        _ => None,
    });
    joined.collect()
}

fn page<T>(items: Vec<T>, question: &ListQuestion, cursor: impl Fn(&T) -> String) -> Page<T> {
    let begin = match &question.after {
        None => 0,
        Some(after) => items.iter().position(|i| cursor(i) == *after).map_or(items.len(), |n| n + 1),
    };
    let limit = question.limit.unwrap_or(50) as usize;
    let more = items.len() > begin + limit;
    let items: Vec<T> = items.into_iter().skip(begin).take(limit).collect();
    Page { next: if more { items.last().map(&cursor) } else { None }, items }
}

mod erased {
    //! An answer of any type, behind one closure.
    use serde::Serialize;
    use strongroom_bus::{Answer, Position};

    pub trait Body {
        fn answer(&self, position: Position) -> Answer;
    }

    impl<T: Serialize> Body for T {
        fn answer(&self, position: Position) -> Answer {
            Answer::ok(position, self)
        }
    }
}

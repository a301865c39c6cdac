//! Lists, filters, cursors, and what is refused.

use super::fresh;
use super::log::{
    Log, adopted, archive, archive_of, backup, copied, copy_job, deleted, failed, held, index_job, indexed,
    indexed_with, job, job_of, made, missing, plan_defined, plan_of, released, started,
};
use crate::core::list::Refused;
use crate::core::memory::Memory;
use crate::core::question::answer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_bus::Question;
use strongroom_domain::Rejection;
use strongroom_domain::event::{decode_payload, encode_payload};
use strongroom_domain::job::Phase;
use strongroom_domain::view::{Archive, Definition, Job, ListQuestion, Page};
use strongroom_domain::{definition, plan};

fn ask<A: DeserializeOwned>(memory: &Memory, view: &str, body: &impl Serialize) -> Result<A, Rejection> {
    let question = Question { at_least: None, body: encode_payload(body).unwrap(), traceparent: None };
    match answer(memory, view, &question) {
        Ok(body) => Ok(decode_payload(&body).unwrap()),
        Err(Refused::Rejected(rejection)) => Err(rejection),
        Err(Refused::Store(error)) => panic!("{error}"),
    }
}

/// All items of a list, page by page.
fn all<T: DeserializeOwned>(memory: &Memory, view: &str, question: &ListQuestion) -> Vec<T> {
    let mut question = question.clone();
    let mut items = Vec::new();
    loop {
        let page: Page<T> = ask(memory, view, &question).unwrap();
        assert!(page.next.is_none() || !page.items.is_empty());
        items.extend(page.items);
        match page.next {
            Some(next) => question.after = Some(next),
            None => return items,
        }
    }
}

fn some_jobs() -> Memory {
    let mut log = Log::default();
    for n in 0..7 {
        log.event(job_of(n), backup(n % 2));
    }
    for n in 0..4 {
        log.event(job_of(n), started(1));
    }
    log.event(job_of(0), made(0)).event(job_of(1), made(1)).event(job_of(2), failed());
    fresh(&log.items, 3).1
}

#[test]
fn jobs_are_listed_newest_first_and_by_every_filter() {
    let memory = some_jobs();
    for limit in [1, 2, 3, 7, 500] {
        let question = ListQuestion { limit: Some(limit), ..ListQuestion::default() };
        let ids: Vec<_> = all::<Job>(&memory, "jobs", &question).iter().map(|j| j.id).collect();
        assert_eq!(ids, [6, 5, 4, 3, 2, 1, 0].map(job));
    }
    let count = |question: ListQuestion| {
        all::<Job>(&memory, "jobs", &ListQuestion { limit: Some(2), ..question }).len()
    };
    let none = ListQuestion::default;
    let plan = || Some("plan0".parse().unwrap());
    assert_eq!(count(ListQuestion { phase: Some(Phase::Waiting), ..none() }), 3);
    assert_eq!(count(ListQuestion { phase: Some(Phase::Running), ..none() }), 1);
    assert_eq!(count(ListQuestion { phase: Some(Phase::Complete), ..none() }), 1);
    assert_eq!(count(ListQuestion { phase: Some(Phase::Incomplete), ..none() }), 1);
    assert_eq!(count(ListQuestion { plan: plan(), ..none() }), 4);
    assert_eq!(count(ListQuestion { plan: plan(), phase: Some(Phase::Waiting), ..none() }), 2);
    assert_eq!(count(ListQuestion { plan: plan(), phase: Some(Phase::Failed), ..none() }), 1);
    assert_eq!(count(ListQuestion { server: Some("www1".parse().unwrap()), ..none() }), 7);
    assert_eq!(count(ListQuestion { server: Some("www2".parse().unwrap()), ..none() }), 0);
    assert_eq!(count(ListQuestion { repository: Some("web".parse().unwrap()), plan: plan(), ..none() }), 4);
}

#[test]
fn a_job_alone_has_what_lists_leave_out() {
    let memory = some_jobs();
    let alone: Option<Job> = ask(&memory, "job", &job(2)).unwrap();
    let alone = alone.unwrap();
    assert_eq!(alone.log_tail, ["tail"]);
    assert_eq!(alone.failure.as_ref().unwrap().log_tail, ["tail"]);
    let incomplete: Option<Job> = ask(&memory, "job", &job(1)).unwrap();
    assert_eq!(incomplete.unwrap().findings.len(), 1);
    let listed = all::<Job>(&memory, "jobs", &ListQuestion::default());
    assert!(listed.iter().all(|j| j.log_tail.is_empty() && j.findings.is_empty()));
    assert_eq!(listed.iter().find(|j| j.id == job(1)).unwrap().incomplete_total, 1);
    assert_eq!(ask::<Option<Job>>(&memory, "job", &job(99)).unwrap(), None);
}

#[test]
fn limits_and_cursors_that_are_not_ours_are_refused_by_field() {
    let memory = some_jobs();
    let refused = |view: &str, question: ListQuestion| match ask::<Page<Job>>(&memory, view, &question) {
        Err(Rejection::Invalid { fields }) => fields[0].field.clone(),
        other => panic!("{other:?}"),
    };
    let question = ListQuestion::default;
    for view in ["jobs", "archives", "plans"] {
        assert_eq!(refused(view, ListQuestion { limit: Some(0), ..question() }), "limit");
        assert_eq!(refused(view, ListQuestion { limit: Some(501), ..question() }), "limit");
        for after in ["", "..", "é", "A*", &"+f".repeat(24)] {
            assert_eq!(refused(view, ListQuestion { after: Some(after.into()), ..question() }), "after");
        }
    }
    for after in ["zz", &"g".repeat(48), &"0".repeat(47)] {
        assert_eq!(refused("jobs", ListQuestion { after: Some(after.into()), ..question() }), "after");
    }
    assert_eq!(refused("archives", ListQuestion { phase: Some(Phase::Failed), ..question() }), "phase");
    let by_plan = ListQuestion { plan: Some("web".parse().unwrap()), ..question() };
    assert_eq!(refused("servers", by_plan), "plan");
    assert_eq!(ask::<()>(&memory, "nothing", &()).unwrap_err().code(), "not_found");
    assert_eq!(ask::<Page<Job>>(&memory, "jobs", &"text").unwrap_err().code(), "invalid");
}

#[test]
fn a_copy_is_an_archive_of_its_own_and_no_prettier_than_what_it_is_of() {
    let mut log = Log::default();
    log.event(job_of(1), backup(0)).event(job_of(1), made(1));
    log.event(job_of(2), copy_job(1, true)).event(job_of(2), copied(9));
    let (_, memory) = fresh(&log.items, 2);
    let listed = all::<Archive>(&memory, "archives", &ListQuestion::default());
    assert_eq!(listed.iter().map(|a| a.id).collect::<Vec<_>>(), [archive(9), archive(1)]);
    assert_eq!((listed[0].plan.as_ref().unwrap().as_str(), listed[0].job), ("plan0", Some(job(2))));
    assert!(listed[0].incomplete, "data is missing from what it is a copy of");
}

#[test]
fn an_archive_comes_with_its_job_and_goes_when_it_is_deleted() {
    let mut log = Log::default();
    log.event(job_of(1), backup(0)).event(job_of(1), made(1)).event(job_of(2), backup(1));
    log.event(job_of(2), made(2)).event(job_of(3), index_job(1)).event(job_of(3), indexed(7));
    log.event(archive_of(2), missing());
    let (_, memory) = fresh(&log.items, 2);
    let listed = all::<Archive>(&memory, "archives", &ListQuestion { limit: Some(1), ..Default::default() });
    assert_eq!(listed.iter().map(|a| a.id).collect::<Vec<_>>(), [archive(2), archive(1)]);
    assert!(listed[0].missing && !listed[0].incomplete);
    assert!(!listed[1].missing && listed[1].incomplete);
    assert_eq!(listed[1].facts.index.as_ref().unwrap().entries, 7);
    assert_eq!((listed[1].plan.as_ref().unwrap().as_str(), listed[1].job), ("plan0", Some(job(1))));
    let by_plan = ListQuestion { plan: Some("plan1".parse().unwrap()), ..Default::default() };
    assert_eq!(all::<Archive>(&memory, "archives", &by_plan).len(), 1);

    log.event(archive_of(2), deleted());
    let (state, memory) = fresh(&log.items, 3);
    assert_eq!(all::<Archive>(&memory, "archives", &ListQuestion::default()).len(), 1);
    assert_eq!(ask::<Option<Archive>>(&memory, "archive", &archive(2)).unwrap(), None);
    assert!(ask::<Option<Archive>>(&memory, "archive", &archive(1)).unwrap().is_some());
    assert_eq!(state.counts.numbers()[0], ("archives".to_owned(), 1));
}

#[test]
fn an_archive_shows_who_holds_it_until_it_is_released_or_gone() {
    let mut log = Log::default();
    log.event(job_of(1), backup(0)).event(job_of(1), made(1));
    // What is said first of the archive itself takes nothing away from what its job has said.
    log.event(archive_of(1), held("audit", "2025")).event(archive_of(1), held("repair", "x"));
    log.event(archive_of(1), held("audit", "2026")).event(archive_of(1), missing());
    let holds = |log: &Log, batch: usize| -> Vec<String> {
        let (_, memory) = fresh(&log.items, batch);
        let alone: Option<Archive> = ask(&memory, "archive", &archive(1)).unwrap();
        let listed = all::<Archive>(&memory, "archives", &ListQuestion::default());
        assert_eq!(listed.first(), alone.as_ref(), "lists say the same");
        let holds = alone.map(|archive| archive.holds).unwrap_or_default();
        holds.into_iter().map(|hold| format!("{} by {}: {}", hold.name, hold.by, hold.reason)).collect()
    };
    for batch in [1, 2, 9] {
        assert_eq!(holds(&log, batch), ["audit by token:ana: 2026", "repair by token:ana: x"]);
    }
    log.event(archive_of(1), released("audit"));
    assert_eq!(holds(&log, 1), ["repair by token:ana: x"]);
    // It went, and a scan has found it again: what was said of it before is void.
    log.event(archive_of(1), deleted()).event(archive_of(1), adopted(1));
    assert_eq!(holds(&log, 2), Vec::<String>::new());
}

#[test]
fn a_later_index_does_not_take_away_what_was_recorded_when_the_archive_was_made() {
    let mut log = Log::default();
    log.event(job_of(1), backup(0)).event(job_of(1), made(1));
    log.event(job_of(3), index_job(1)).event(job_of(3), indexed_with(7, &["a"]));
    log.event(job_of(4), index_job(1)).event(job_of(4), indexed(8));
    let (_, memory) = fresh(&log.items, 2);
    let found = ask::<Option<Archive>>(&memory, "archive", &archive(1)).unwrap().unwrap();
    let index = found.facts.index.unwrap();
    let sampled: Vec<&str> = index.sample.iter().map(|sampled| &*sampled.path).collect();
    assert_eq!((index.entries, sampled), (8, vec!["a"]));
}

#[test]
fn definitions_are_listed_by_id_until_they_are_retired() {
    let mut log = Log::default();
    for n in 0..5 {
        log.event(plan_of(n), plan_defined(n));
    }
    log.event(plan_of(1), strongroom_domain::Event::PlanRetired(definition::Retired::default()));
    log.event(plan_of(2), strongroom_domain::Event::PlanPaused(plan::Paused { reason: "move".into() }));
    let (_, memory) = fresh(&log.items, 4);
    type Plan = Definition<plan::Spec>;
    for limit in [1, 2, 500] {
        let question = ListQuestion { limit: Some(limit), ..ListQuestion::default() };
        let plans = all::<Plan>(&memory, "plans", &question);
        let ids: Vec<_> = plans.iter().map(|p| p.id.as_str()).collect();
        assert_eq!(ids, ["plan0", "plan2", "plan3", "plan4"]);
        assert_eq!((plans[1].paused.as_deref(), plans[1].version), (Some("move"), 2));
    }
    let of_server = ListQuestion { server: Some("www0".parse().unwrap()), ..ListQuestion::default() };
    assert_eq!(all::<Plan>(&memory, "plans", &of_server).len(), 3);
    assert_eq!(ask::<Option<Plan>>(&memory, "plan", &"plan1").unwrap(), None);
    assert_eq!(ask::<Option<Plan>>(&memory, "plan", &"plan0").unwrap().unwrap().version, 1);
    // Defined again: a new life, under a version that goes on.
    log.event(plan_of(1), plan_defined(1));
    let (_, memory) = fresh(&log.items, 4);
    let again = ask::<Option<Plan>>(&memory, "plan", &"plan1").unwrap().unwrap();
    assert_eq!((again.version, again.defined_at), (3, again.changed_at));
}

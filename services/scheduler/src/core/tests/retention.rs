use super::*;
use crate::core::chains::as_given;
use crate::core::due::Due;
use crate::core::retention::{Looked, due, prunes};
use strongroom_domain::archive::{Adopted, Deleted, Held, Released};
use strongroom_domain::job::PruneSpec;
use strongroom_domain::retention::{Decided, Gate};
use strongroom_domain::{Failure, FailureCode};

const DAY: i64 = 24 * 3600;

/// A plan that keeps so much.
fn keeps(given: &mut Given, retention: serde_json::Value) {
    let mut spec =
        json!({ "server": "s", "repository": "r0", "source": { "type": "files", "paths": ["/x"] } });
    spec.as_object_mut().unwrap().extend(retention.as_object().unwrap().clone());
    given.event("plan.p", Event::PlanDefined(read(spec)));
}

fn keeps_last(n: u32) -> Given {
    let mut given = Given::a_fleet();
    keeps(&mut given, json!({ "retention": { "keep_last": n } }));
    given
}

/// A backup of plan `p`, a day after the one before.
fn backs_up(given: &mut Given, n: u128) -> Facts {
    given.after(DAY);
    given.backup(n, 0);
    let epoch = given.admitted(n, 1);
    given.started(n, epoch);
    let made = Facts { started_at: given.now, ..facts(0, &format!("b{n}"), &format!("p-{n}")) };
    given.backed_up(n, epoch, made.clone());
    made
}

fn fails(given: &mut Given, n: u128) {
    given.after(DAY);
    given.backup(n, 0);
    let epoch = given.admitted(n, 1);
    given.started(n, epoch);
    let failure = Failure::new(FailureCode::NoSpace, "full");
    given.event(&format!("job.{}", job(n)), Event::JobFailed(job::Failed { epoch, failure }));
}

fn looks(given: &Given) -> Vec<Due> {
    due(&given.world, &mut Looked::new(), given.now)
}

/// What is decided, which is written down.
fn decides(given: &mut Given) -> Decided {
    let all = looks(given);
    assert_eq!(all.len(), 1, "{all:?}");
    let event = all[0].event.clone();
    given.event("retention.p", event.clone());
    let Event::RetentionDecided(decided) = event else { panic!("{event:?}") };
    decided
}

fn removes(decided: &Decided) -> Vec<String> {
    decided.repositories.iter().flat_map(|of| &of.removes).map(|r| r.archive.name.clone()).collect()
}

/// The removal that was decided is asked for; its spec as it is given to the node.
fn asks(given: &mut Given) -> (JobId, PruneSpec) {
    let (job, requested, _) = prunes(&given.world).remove(0);
    given.event(&format!("job.{job}"), Event::JobRequested(requested));
    (job, is_given(given, job))
}

fn is_given(given: &Given, job: JobId) -> PruneSpec {
    let spec = &given.world.jobs[&job].state.requested.spec;
    let JobSpec::Prune(spec) = as_given(&given.world, spec, given.now) else { panic!("{spec:?}") };
    spec
}

fn is_done(given: &mut Given, id: JobId, deleted: Vec<ArchiveId>) {
    let result = JobResult::Prune { deleted: deleted.clone(), freed_bytes: Some(7) };
    let epoch =
        given.event("queue.main", Event::QueueAdmitted(Admitted { job: id, node: node("n"), attempt: 1 }));
    given.event(
        &format!("job.{id}"),
        Event::JobStarted(job::Started { attempt: 1, node: node("n"), epoch, boot: "boot1".into() }),
    );
    let done = job::Succeeded { epoch, outcome: Outcome::new(result, Vec::new()), log_tail: Vec::new() };
    given.event(&format!("job.{id}"), Event::JobSucceeded(done));
    assert_eq!(given.world.deletions.len(), deleted.len());
    for archive in deleted {
        let event = Event::ArchiveDeleted(Deleted { job: id, repository: repository(0) });
        given.event(&format!("archive.{archive}"), event);
    }
}

#[test]
fn what_a_backup_pushes_out_is_written_down_and_then_removed_and_nothing_else() {
    let mut given = keeps_last(2);
    let first = backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    assert_eq!(looks(&given), [], "there are no more than are kept");
    backs_up(&mut given, 3);
    let decided = decides(&mut given);
    assert_eq!(removes(&decided), ["p-1"]);
    assert_eq!((decided.repositories[0].archives, decided.repositories[0].going), (3, 1));
    // It was decided, and until it is done nothing is decided on top of it, whatever else comes.
    let (id, spec) = asks(&mut given);
    assert_eq!(Some(id), decided.repositories[0].job);
    assert_eq!(spec.to_remove().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["p-1"]);
    backs_up(&mut given, 4);
    assert_eq!(looks(&given), []);
    assert!(given.world.unpruned.is_empty());
    is_done(&mut given, id, vec![first.id]);
    assert_eq!(removes(&decides(&mut given)), ["p-2"]);
    assert!(given.world.deletions.is_empty());
}

#[test]
fn all_schedulers_decide_the_same_and_one_that_has_looked_looks_again_when_there_is_a_reason() {
    let mut given = keeps_last(1);
    backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    assert_eq!(looks(&given), looks(&given));
    let mut looked = Looked::new();
    assert_eq!(due(&given.world, &mut looked, given.now).len(), 1);
    assert_eq!(due(&given.world, &mut looked, given.now).len(), 0, "it has just looked");
    given.after(3601);
    assert_eq!(due(&given.world, &mut looked, given.now).len(), 1, "archives grow old");
    backs_up(&mut given, 3);
    assert_eq!(due(&given.world, &mut looked, given.now).len(), 1, "there is a new one");
}

#[test]
fn nothing_goes_while_the_newest_runs_fail_and_that_is_told_when_it_begins_and_when_it_ends() {
    let mut given = keeps_last(1);
    backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    fails(&mut given, 3);
    let decided = decides(&mut given);
    assert_eq!(decided.repositories[0].gate, Some(Gate::RunsFail { failures_in_a_row: 1 }));
    assert_eq!((removes(&decided).len(), decided.repositories[0].going), (0, 1));
    assert!(prunes(&given.world).is_empty());
    fails(&mut given, 4);
    assert_eq!(looks(&given), [], "one more is told by that run");
    backs_up(&mut given, 5);
    let decided = decides(&mut given);
    assert_eq!(removes(&decided), ["p-2", "p-1"], "the newest goes first");
    assert_eq!(decided.repositories[0].gate, None);
}

#[test]
fn a_run_that_fails_between_the_decision_and_the_removal_stops_it() {
    let mut given = keeps_last(1);
    backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    decides(&mut given);
    let (id, spec) = asks(&mut given);
    assert_eq!(spec.to_remove().count(), 1);
    fails(&mut given, 3);
    let spec = is_given(&given, id);
    assert_eq!(spec.to_remove().count(), 0);
    assert!(spec.spared[0].why.contains("the newest run failed"), "{spec:?}");
}

#[test]
fn what_is_held_stays_also_when_that_comes_after_the_decision() {
    let mut given = keeps_last(1);
    let first = backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    backs_up(&mut given, 3);
    assert_eq!(removes(&decides(&mut given)), ["p-2", "p-1"]);
    let (id, _) = asks(&mut given);
    let hold = json!({ "name": "audit", "by": "token:t", "reason": "asked for", "until": given.now + SignedDuration::from_hours(48) });
    let held = Held { repository: repository(0), hold: read(hold) };
    given.event(&format!("archive.{}", first.id), Event::ArchiveHeld(held));
    let spec = is_given(&given, id);
    assert_eq!(spec.to_remove().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["p-2"]);
    assert!(spec.spared[0].why.contains("audit") || spec.spared[0].why.contains("asked for"), "{spec:?}");
    // A day passes, and the hold is over by itself; or somebody releases it.
    let mut later = Given {
        events: given.events.clone(),
        world: given.world.clone(),
        versions: given.versions.clone(),
        now: given.now,
    };
    later.after(3 * DAY);
    assert_eq!(is_given(&later, id).to_remove().count(), 2);
    let released = Released { repository: repository(0), name: "audit".into() };
    given.event(&format!("archive.{}", first.id), Event::ArchiveReleased(released));
    assert_eq!(is_given(&given, id).to_remove().count(), 2);
}

#[test]
fn archives_of_others_are_none_of_a_plans_business() {
    let mut given = keeps_last(1);
    backs_up(&mut given, 1);
    for (n, plan) in [(7, None), (8, Some("other"))] {
        let adopted = Adopted {
            repository: repository(0),
            server: "s".parse().unwrap(),
            plan: plan.map(|p: &str| p.parse().unwrap()),
            facts: facts(0, &format!("b{n}"), "p-7"),
            job: job(99),
        };
        let id = adopted.facts.id;
        given.event(&format!("archive.{id}"), Event::ArchiveAdopted(adopted));
    }
    assert_eq!(looks(&given), []);
    backs_up(&mut given, 2);
    assert_eq!(removes(&decides(&mut given)), ["p-1"]);
}

#[test]
fn another_policy_spares_what_the_old_one_has_condemned() {
    let mut given = keeps_last(1);
    backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    decides(&mut given);
    let (id, _) = asks(&mut given);
    keeps(&mut given, json!({ "retention": { "keep_last": 5 } }));
    let spec = is_given(&given, id);
    assert_eq!(spec.to_remove().count(), 0);
    assert!(spec.spared[0].why.contains("has changed"), "{spec:?}");
    keeps(&mut given, json!({}));
    assert_eq!(is_given(&given, id).to_remove().count(), 0, "it keeps all now");
}

#[test]
fn an_archive_that_is_gone_is_not_counted_with() {
    let mut given = keeps_last(2);
    backs_up(&mut given, 1);
    let second = backs_up(&mut given, 2);
    let third = backs_up(&mut given, 3);
    // One is missing, one is about to be deleted by a person: the first may be all that there is.
    let missing = strongroom_domain::archive::Missing { job: job(50), repository: repository(0) };
    given.event(&format!("archive.{}", third.id), Event::ArchiveMissing(missing));
    let target = json!({ "id": second.id, "name": second.name, "borg_id": second.borg_id });
    given.requested(60, read(json!({ "kind": "delete-archive", "access": access(0), "archive": target })));
    assert_eq!(looks(&given), []);
}

#[test]
fn a_plan_with_a_schedule_for_it_is_looked_at_then_and_says_so_each_time() {
    let mut given = Given::a_fleet();
    let schedule = json!({ "cron": "0 6 * * 1" });
    keeps(&mut given, json!({ "retention": { "keep_last": 1 }, "retention_schedule": schedule }));
    backs_up(&mut given, 1);
    // 2 March 2026 is a Monday, and it is midnight.
    assert_eq!(looks(&given), []);
    given.after(7 * 3600);
    let decided = decides(&mut given);
    assert_eq!(decided.nominal_at.map(|t| t.to_string()).as_deref(), Some("2026-03-02T06:00:00Z"));
    assert!(removes(&decided).is_empty());
    backs_up(&mut given, 2);
    assert_eq!(looks(&given), [], "not before the next Monday");
    given.after(7 * DAY);
    assert_eq!(removes(&decides(&mut given)), ["p-1"]);
}

#[test]
fn a_message_that_cannot_be_read_may_be_a_hold() {
    let mut given = keeps_last(1);
    let first = backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    backs_up(&mut given, 3);
    let halted = Aggregate::new(Kind::Archive, first.id);
    given.world.poison(1000, Some(halted));
    assert_eq!(removes(&decides(&mut given)), ["p-2"]);
    given.world.poison(1001, Some(Aggregate::new(Kind::Retention, "p")));
    backs_up(&mut given, 4);
    assert_eq!(looks(&given), []);
}

#[test]
fn nothing_goes_of_a_plan_that_is_paused_or_late_however_old_it_is() {
    let mut given = Given::a_fleet();
    let daily = json!({ "cron": "0 3 * * *" });
    keeps(&mut given, json!({ "retention": { "keep_within": "3d" }, "schedule": daily }));
    backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    given.event("plan.p", Event::PlanPaused(strongroom_domain::plan::Paused { reason: "move".into() }));
    given.after(100 * DAY);
    assert_eq!(decides(&mut given).repositories[0].gate, Some(Gate::Paused));
    given.event("plan.p", Event::PlanResumed(strongroom_domain::plan::Resumed {}));
    given.after(3 * DAY);
    let overdue =
        strongroom_domain::schedule::Overdue { since: given.now, last_good_at: None, failures_in_a_row: 0 };
    given.event("schedule.p", Event::ScheduleOverdue(overdue));
    assert_eq!(decides(&mut given).repositories[0].gate, Some(Gate::Overdue { since: given.now }));
    backs_up(&mut given, 3);
    let again =
        strongroom_domain::schedule::InTime { overdue_since: given.now, last_good_at: None, exempt: None };
    given.event("schedule.p", Event::ScheduleInTime(again));
    assert_eq!(removes(&decides(&mut given)), ["p-2", "p-1"]);
}

/// A restore of this archive was asked for and waits.
fn is_read(given: &mut Given, n: u128, archive: &Facts) {
    let target = json!({ "id": archive.id, "name": archive.name, "borg_id": archive.borg_id });
    let spec = json!({ "kind": "restore", "access": access(0), "archive": target, "paths": [], "target": { "type": "original" }, "allowed_roots": [], "on_conflict": "fail" });
    given.requested(n, read(spec));
}

#[test]
fn what_somebody_waits_to_have_back_stays_until_he_has_it() {
    let mut given = keeps_last(1);
    let first = backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    backs_up(&mut given, 3);
    is_read(&mut given, 50, &first);
    assert_eq!(removes(&decides(&mut given)), ["p-2"]);
    let (id, _) = asks(&mut given);
    is_done(&mut given, id, vec![facts(0, "b2", "p-2").id]);
    given.event(&format!("job.{}", job(50)), Event::JobCancelled(job::Cancelled { epoch: 0 }));
    given.after(3600);
    assert_eq!(removes(&decides(&mut given)), ["p-1"]);
}

#[test]
fn what_is_asked_for_between_the_decision_and_the_removal_stays_too() {
    let mut given = keeps_last(1);
    let first = backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    decides(&mut given);
    let (id, _) = asks(&mut given);
    is_read(&mut given, 50, &first);
    let spec = is_given(&given, id);
    assert!(spec.to_remove().count() == 0 && spec.spared[0].why.contains("reads it"), "{spec:?}");
    // And what a scan has missed is nobody's to remove.
    given.event(&format!("job.{}", job(50)), Event::JobCancelled(job::Cancelled { epoch: 0 }));
    let missing = strongroom_domain::archive::Missing { job: job(51), repository: repository(0) };
    given.event(&format!("archive.{}", first.id), Event::ArchiveMissing(missing));
    assert!(is_given(&given, id).spared[0].why.contains("not known to be there"));
}

#[test]
fn archives_of_a_deleted_plan_are_none_of_a_new_one_s_business_though_it_has_the_name() {
    let mut given = keeps_last(1);
    backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    let retired = || strongroom_domain::definition::Retired { reason: None };
    given.event("plan.p", Event::PlanRetired(retired()));
    keeps(&mut given, json!({ "retention": { "keep_last": 1 } }));
    backs_up(&mut given, 3);
    assert_eq!(looks(&given), []);
    backs_up(&mut given, 4);
    assert_eq!(removes(&decides(&mut given)), ["p-3"]);
    // A person who cleans up means all of them.
    let rules = strongroom_domain::retention::Policy::of_days(1).parse().unwrap();
    given.after(10 * DAY);
    let plan = "p".parse().unwrap();
    let reviews = crate::core::retention::review(&given.world, &plan, &rules, true, given.now);
    assert_eq!(reviews[0].going.len(), 2, "{reviews:?}");
    // Where a repository was deleted, nothing is removed any more.
    given.event("repository.r0", Event::RepositoryRetired(retired()));
    assert_eq!(looks(&given), []);
    assert!(crate::core::retention::review(&given.world, &plan, &rules, true, given.now).is_empty());
}

#[test]
fn an_archive_that_a_wrong_clock_has_dated_back_does_not_go_the_moment_it_was_made() {
    let mut given = keeps_last(2);
    backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    given.after(DAY);
    given.backup(3, 0);
    let epoch = given.admitted(3, 1);
    given.started(3, epoch);
    let made = Facts { started_at: "2020-01-01T00:00:00Z".parse().unwrap(), ..facts(0, "b3", "p-3") };
    given.backed_up(3, epoch, made);
    assert_eq!(looks(&given), []);
}

#[test]
fn a_plan_that_is_late_is_known_to_be_before_that_stands_in_the_log() {
    let mut given = Given::a_fleet();
    let daily = json!({ "cron": "0 3 * * *" });
    keeps(&mut given, json!({ "retention": { "keep_within": "3d" }, "schedule": daily }));
    backs_up(&mut given, 1);
    backs_up(&mut given, 2);
    given.after(365 * DAY);
    assert!(matches!(decides(&mut given).repositories[0].gate, Some(Gate::Overdue { .. })));
}

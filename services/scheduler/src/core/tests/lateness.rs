use super::*;
use crate::core::lateness::{Standings, due};
use strongroom_domain::lateness::Exemption;
use strongroom_domain::plan;

const HOUR: i64 = 3600;

/// A plan of every day at three o'clock.
fn daily() -> Given {
    let mut given = Given::a_fleet();
    given.plan("p", json!({ "cron": "0 3 * * *" }));
    given
}

/// What is found out now, which is written down.
fn finds(given: &mut Given, standings: &mut Standings) -> Vec<Event> {
    let facts = due(&given.world, standings, given.now);
    for fact in &facts {
        given.event(&format!("schedule.{}", fact.plan), fact.event.clone());
    }
    assert_eq!(due(&given.world, standings, given.now), [], "it is told once");
    facts.into_iter().map(|fact| fact.event).collect()
}

fn backs_up(given: &mut Given, n: u128) {
    given.backup(n, 0);
    let epoch = given.admitted(n, 1);
    given.started(n, epoch);
    let made = Facts { started_at: given.now, ..facts(0, &format!("b{n}"), &format!("p-{n}")) };
    given.backed_up(n, epoch, made);
}

#[test]
fn a_plan_that_does_not_run_is_late_once_its_grace_is_over_and_in_time_with_its_next_archive() {
    let (mut given, mut standings) = (daily(), Standings::new());
    // It is due at three; its grace is a tenth of a day.
    given.after(5 * HOUR);
    assert_eq!(finds(&mut given, &mut standings), []);
    given.after(HOUR);
    let [Event::ScheduleOverdue(overdue)] = &finds(&mut given, &mut standings)[..] else {
        panic!("it is late")
    };
    assert_eq!(overdue.since.to_string(), "2026-03-01T05:24:00Z");
    assert_eq!((overdue.last_good_at, overdue.failures_in_a_row), (None, 0), "nothing has even begun");
    given.after(48 * HOUR);
    assert_eq!(finds(&mut given, &mut standings), [], "it is still late");
    backs_up(&mut given, 1);
    let [Event::ScheduleInTime(again)] = &finds(&mut given, &mut standings)[..] else {
        panic!("it is in time")
    };
    assert_eq!((again.overdue_since, again.last_good_at), (overdue.since, Some(given.now)));
}

#[test]
fn a_scheduler_that_comes_up_after_days_finds_the_same_as_one_that_has_looked_all_along() {
    let mut given = daily();
    let mut standings = Standings::new();
    due(&given.world, &mut standings, given.now);
    given.after(72 * HOUR);
    let (along, anew) =
        (due(&given.world, &mut standings, given.now), due(&given.world, &mut Standings::new(), given.now));
    assert_eq!(along, anew);
    assert_eq!(along.len(), 1);
}

#[test]
fn an_archive_that_lacks_data_or_is_gone_keeps_no_promise() {
    let (mut given, mut standings) = (daily(), Standings::new());
    given.after(3 * HOUR + 60);
    backs_up(&mut given, 1);
    given.after(12 * HOUR);
    assert_eq!(finds(&mut given, &mut standings), []);
    let id = ArchiveId::of(&repository(0), "b1");
    let missing = strongroom_domain::archive::Missing { job: job(50), repository: repository(0) };
    given.event(&format!("archive.{id}"), Event::ArchiveMissing(missing));
    assert!(matches!(finds(&mut given, &mut standings)[..], [Event::ScheduleOverdue(_)]));
    let found = strongroom_domain::archive::Found { job: job(51), repository: repository(0) };
    given.event(&format!("archive.{id}"), Event::ArchiveFound(found));
    assert!(matches!(finds(&mut given, &mut standings)[..], [Event::ScheduleInTime(_)]));
}

#[test]
fn who_is_paused_is_not_late_and_has_its_grace_anew_afterwards() {
    let (mut given, mut standings) = (daily(), Standings::new());
    given.after(24 * HOUR);
    assert_eq!(finds(&mut given, &mut standings).len(), 1);
    given.event("plan.p", Event::PlanPaused(plan::Paused { reason: "move".into() }));
    let [Event::ScheduleInTime(paused)] = &finds(&mut given, &mut standings)[..] else {
        panic!("it is paused")
    };
    assert_eq!(paused.exempt, Some(Exemption::Paused));
    given.after(100 * HOUR);
    given.event("plan.p", Event::PlanResumed(plan::Resumed {}));
    assert_eq!(finds(&mut given, &mut standings), []);
    given.after(27 * HOUR);
    assert_eq!(finds(&mut given, &mut standings).len(), 1);
}

#[test]
fn a_plan_without_a_schedule_can_promise_something_all_the_same() {
    let (mut given, mut standings) = (Given::a_fleet(), Standings::new());
    let spec = |objective: serde_json::Value| {
        Event::PlanDefined(read(json!({
            "server": "s", "repository": "r0", "source": { "type": "files", "paths": ["/x"] }, "objective": objective,
        })))
    };
    given.event("plan.p", spec(json!({})));
    given.after(1000 * HOUR);
    assert_eq!(finds(&mut given, &mut standings), []);
    given.event("plan.p", spec(json!({ "rpo_s": 7200 })));
    assert_eq!(finds(&mut given, &mut standings), [], "it promises that from now on");
    given.after(3 * HOUR);
    assert_eq!(finds(&mut given, &mut standings).len(), 1);
    given.event("plan.p", spec(json!({})));
    assert!(
        matches!(&finds(&mut given, &mut standings)[..], [Event::ScheduleInTime(e)] if e.exempt == Some(Exemption::NoObjective))
    );
}

#[test]
fn a_plan_that_runs_with_a_spread_is_late_so_much_later() {
    let (mut given, mut standings) = (Given::a_fleet(), Standings::new());
    given.plan("p", json!({ "cron": "0 3 * * *", "jitter_s": 86_400 }));
    let plan = &given.world.plans[&"p".parse().unwrap()];
    let jitter = plan.spec.schedule.as_ref().unwrap().jitter_of("p");
    assert!(jitter > SignedDuration::from_hours(1), "or this shows nothing");
    given.after(3 * HOUR + 2 * HOUR + 24 * 60 - 1 + jitter.as_secs());
    assert_eq!(finds(&mut given, &mut standings), []);
    given.after(1);
    assert_eq!(finds(&mut given, &mut standings).len(), 1);
}

#[test]
fn an_archive_that_is_dated_in_the_future_makes_nobody_deaf_until_then() {
    let (mut given, mut standings) = (daily(), Standings::new());
    given.after(3 * HOUR);
    given.backup(1, 0);
    let epoch = given.admitted(1, 1);
    given.started(1, epoch);
    let made = Facts { started_at: "2036-01-01T00:00:00Z".parse().unwrap(), ..facts(0, "b1", "p-1") };
    given.backed_up(1, epoch, made);
    given.after(48 * HOUR);
    assert_eq!(finds(&mut given, &mut standings).len(), 1);
}

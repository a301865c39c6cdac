use super::*;
use crate::core::reports::{JobHistory, is_admitted, lease};
use strongroom_domain::job::{Refusal, Report};
use strongroom_domain::wire::{LeaseAnswer, LeaseQuestion};

fn history(given: &Given, n: u128) -> JobHistory {
    JobHistory::of(&given.history(n)).unwrap()
}

#[test]
fn only_the_admitted_node_with_the_present_epoch_is_heard() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    let epoch = given.admitted(1, 1);
    let admission = given.world.jobs[&job(1)].admission.clone().unwrap();
    let history = history(&given, 1);
    assert!(history.start(&admission, &node("n"), epoch, "b").is_ok());
    assert_eq!(history.start(&admission, &node("other"), epoch, "b"), Err(Refusal::WrongNode));
    assert_eq!(history.start(&admission, &node("n"), epoch - 1, "b"), Err(Refusal::Stale));
    assert_eq!(history.finish(&admission, &node("other"), epoch, Report::Cancelled), Err(Refusal::WrongNode));
    // The first report was lost on its way: the outcome is true all the same.
    assert!(history.finish(&admission, &node("n"), epoch, Report::Cancelled).is_ok());
    assert!(is_admitted(&given.world, job(1), &node("n"), epoch));
    assert!(!is_admitted(&given.world, job(1), &node("other"), epoch));
}

#[test]
fn a_late_outcome_of_an_attempt_that_was_given_up_is_refused() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    let first = given.admitted(1, 1);
    let admission = given.world.jobs[&job(1)].admission.clone().unwrap();
    given.started(1, first);
    given.event(
        &format!("job.{}", job(1)),
        Event::JobLeaseExpired(job::LeaseExpired { epoch: first, silent_s: 99 }),
    );
    // Another scheduler's fold may still hold the old admission: the job's own events decide.
    let stale = history(&given, 1).finish(&admission, &node("n"), first, Report::Cancelled);
    assert_eq!(stale, Err(Refusal::Stale));
    let second = given.admitted(1, 2);
    let admission = given.world.jobs[&job(1)].admission.clone().unwrap();
    assert!(history(&given, 1).finish(&admission, &node("n"), second, Report::Cancelled).is_ok());
    assert_eq!(history(&given, 1).start(&admission, &node("n"), first, "b"), Err(Refusal::Stale));
}

#[test]
fn a_lease_is_held_until_somebody_else_has_the_job() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    let epoch = given.admitted(1, 1);
    let ask = |given: &Given, epoch| lease(&given.world, &node("n"), &LeaseQuestion { job: job(1), epoch });
    assert_eq!(ask(&given, epoch), LeaseAnswer::Held);
    assert_eq!(ask(&given, epoch + 5), LeaseAnswer::Held, "a fold that is behind kills nobody");
    let other = lease(&given.world, &node("other"), &LeaseQuestion { job: job(1), epoch });
    assert_eq!(other, LeaseAnswer::Stale);
    given.event(&format!("job.{}", job(1)), Event::JobCancelRequested(read(json!({}))));
    assert_eq!(ask(&given, epoch), LeaseAnswer::CancelRequested);
    given.event(&format!("job.{}", job(1)), Event::JobCancelled(job::Cancelled { epoch }));
    assert_eq!(ask(&given, epoch), LeaseAnswer::Stale);
}

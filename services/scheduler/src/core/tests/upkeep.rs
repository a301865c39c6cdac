use super::*;
use crate::core::upkeep::{Hearing, upkeep};

const LEASE_S: u64 = 60;

fn kinds(given: &Given, hearing: &Hearing) -> Vec<&'static str> {
    let facts = upkeep(&given.world, hearing, given.now, LEASE_S);
    facts.iter().map(|f| f.event.type_name().split('.').nth(2).unwrap()).collect()
}

#[test]
fn an_attempt_whose_node_is_silent_is_taken_from_it() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    let epoch = given.admitted(1, 1);
    given.started(1, epoch);
    let mut hearing = Hearing::new(given.now);
    given.after(60);
    assert_eq!(kinds(&given, &hearing), Vec::<&str>::new());
    hearing.heard(&given.world, &node("n"), &[(job(1), epoch)], given.now);
    given.after(60);
    assert_eq!(kinds(&given, &hearing), Vec::<&str>::new());
    // The node lives and does not know of the attempt any more: that is silence too.
    hearing.heard(&given.world, &node("n"), &[], given.now);
    given.after(1);
    assert_eq!(kinds(&given, &hearing), ["lease-expired"]);
}

#[test]
fn a_scheduler_that_has_just_begun_to_listen_expires_nothing() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    let epoch = given.admitted(1, 1);
    given.started(1, epoch);
    given.after(86_400);
    assert_eq!(kinds(&given, &Hearing::new(given.now)), Vec::<&str>::new());
}

#[test]
fn an_executor_that_came_up_anew_has_no_attempt_of_its_earlier_life() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    let epoch = given.admitted(1, 1);
    let joined = |boot: &str| {
        let joined = json!({
            "boot": boot, "age_recipient": "age1x", "version": "0", "started_at": "2026-03-01T00:00:00Z",
        });
        Event::NodeJoined(read(joined))
    };
    given.event("node.n", joined("boot0"));
    given.started(1, epoch);
    let hearing = Hearing::new(given.now);
    assert_eq!(kinds(&given, &hearing), Vec::<&str>::new(), "it came up before, and its word was late");
    given.event("node.n", joined("boot2"));
    assert_eq!(kinds(&given, &hearing), ["interrupted"]);
}

#[test]
fn an_admission_that_a_dead_node_never_took_is_given_back() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    given.admitted(1, 1);
    let mut hearing = Hearing::new(given.now);
    given.after(61);
    hearing.heard(&given.world, &node("n"), &[], given.now);
    assert_eq!(kinds(&given, &hearing), Vec::<&str>::new(), "a node that lives is only busy");
    given.after(61);
    assert_eq!(kinds(&given, &hearing), ["interrupted"]);
}

#[test]
fn a_waiting_job_is_cancelled_at_once_and_given_up_at_its_deadline() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    given.backup(2, 1);
    given.event(&format!("job.{}", job(1)), Event::JobCancelRequested(read(json!({}))));
    assert_eq!(kinds(&given, &Hearing::new(given.now)), ["cancelled"]);
    given.event(&format!("job.{}", job(1)), Event::JobCancelled(job::Cancelled { epoch: 0 }));
    given.after(8 * 86_400);
    assert_eq!(kinds(&given, &Hearing::new(given.now)), ["abandoned"]);
}

#[test]
fn nothing_is_decided_about_a_halted_job() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    given.event(&format!("job.{}", job(1)), Event::JobCancelRequested(read(json!({}))));
    given.world.poison(99, Some(Aggregate::new(Kind::Job, job(1))));
    assert_eq!(kinds(&given, &Hearing::new(given.now)), Vec::<&str>::new());
}

#[test]
fn no_node_keeps_the_attempt_of_another_alive() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    let epoch = given.admitted(1, 1);
    given.started(1, epoch);
    let mut hearing = Hearing::new(given.now);
    given.after(61);
    hearing.heard(&given.world, &node("other"), &[(job(1), epoch)], given.now);
    hearing.heard(&given.world, &node("n"), &[(job(1), epoch + 1)], given.now);
    assert_eq!(kinds(&given, &hearing), ["lease-expired"]);
}

#[test]
fn what_the_scheduler_could_not_hear_is_not_the_silence_of_a_node() {
    let deaf = |hears: bool, gap_s: u64| {
        let mut given = Given::a_fleet();
        given.backup(1, 0);
        given.backup(2, 1);
        let epoch = given.admitted(1, 1);
        given.started(1, epoch);
        given.admitted(2, 1);
        let mut hearing = Hearing::new(given.now);
        hearing.heard(&given.world, &node("n"), &[(job(1), epoch)], given.now);
        given.after(3600);
        hearing.listens(hears, given.now, gap_s);
        let at_once = kinds(&given, &hearing);
        given.after(61);
        hearing.listens(true, given.now, gap_s);
        (at_once, kinds(&given, &hearing))
    };
    let (nothing, both) = (Vec::<&str>::new(), vec!["lease-expired", "interrupted"]);
    assert_eq!(deaf(false, 86_400), (nothing.clone(), both.clone()), "there was no connection");
    assert_eq!(deaf(true, 3599).0, nothing, "the process slept, or the clock was set");
    assert_eq!(deaf(true, 86_400), (both.clone(), both), "it has listened all the time");
}

#[test]
fn a_clock_that_is_set_back_hides_no_silence() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    let epoch = given.admitted(1, 1);
    given.started(1, epoch);
    let mut hearing = Hearing::new(given.now);
    given.after(7200);
    hearing.listens(true, given.now, 86_400);
    hearing.heard(&given.world, &node("n"), &[(job(1), epoch)], given.now);
    given.after(-3600);
    hearing.listens(true, given.now, 86_400);
    assert_eq!(kinds(&given, &hearing), Vec::<&str>::new());
    given.after(61);
    hearing.listens(true, given.now, 86_400);
    assert_eq!(kinds(&given, &hearing), ["lease-expired"]);
}

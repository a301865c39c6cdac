use super::*;
use crate::core::admission::decide;
use std::collections::HashSet;
use strongroom_domain::admission::{Limits, Waiting};

#[test]
fn a_slot_is_held_from_the_admission_to_the_end_of_the_attempt() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    given.backup(2, 0);
    let limits = Limits::default();
    let decided = |given: &Given| decide(&given.world, limits, &HashSet::new());
    assert_eq!(decided(&given).0, [job(1)]);
    let epoch = given.admitted(1, 1);
    assert_eq!(decided(&given), (vec![], vec![(job(2), Waiting::Repository { behind: job(1) })]));
    given.started(1, epoch);
    assert_eq!(decided(&given).0, []);
    given.backed_up(1, epoch, facts(0, "aa", "p-1"));
    assert_eq!(decided(&given), (vec![job(2)], vec![]));
}

#[test]
fn an_interrupted_job_waits_again_and_gives_its_slot_back() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    let epoch = given.admitted(1, 1);
    given.started(1, epoch);
    let expired = Event::JobLeaseExpired(job::LeaseExpired { epoch, silent_s: 61 });
    given.event(&format!("job.{}", job(1)), expired);
    assert_eq!(decide(&given.world, Limits::default(), &HashSet::new()).0, [job(1)]);
    assert_eq!(given.world.jobs[&job(1)].admissions, 1, "the next one is the second");
}

#[test]
fn the_limit_of_a_server_is_its_own() {
    let mut given = Given::a_fleet();
    given.event("server.s", Event::ServerDefined(read(json!({ "node": "n", "max_concurrent_jobs": 1 }))));
    given.backup(1, 0);
    given.backup(2, 1);
    let (admitted, waiting) = decide(&given.world, Limits::default(), &HashSet::new());
    assert_eq!((admitted, waiting), (vec![job(1)], vec![(job(2), Waiting::ServerLimit { limit: 1 })]));
}

#[test]
fn a_job_for_a_silent_node_holds_no_slot() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    let silent = HashSet::from([node("n")]);
    let (admitted, waiting) = decide(&given.world, Limits::default(), &silent);
    assert_eq!((admitted, waiting), (vec![], vec![(job(1), Waiting::Node { node: node("n") })]));
}

#[test]
fn a_job_that_is_to_be_cancelled_is_not_admitted() {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    given.event(&format!("job.{}", job(1)), Event::JobCancelRequested(read(json!({}))));
    assert_eq!(decide(&given.world, Limits::default(), &HashSet::new()), (vec![], vec![]));
}

#[test]
fn limits_are_changed_while_jobs_wait_and_a_destination_has_its_own() {
    let mut given = Given::a_fleet();
    (1..4).for_each(|n| given.backup(n, u8::try_from(n - 1).unwrap()));
    let decided = |given: &Given| decide(&given.world, Limits::default(), &HashSet::new());
    let admits = |given: &Given| decided(given).0.len();
    assert_eq!(admits(&given), 3);
    let limits = |value| Event::SettingsLimitsDefined(read(value));
    given.event("settings.limits", limits(json!({ "max_jobs": 2 })));
    assert_eq!(admits(&given), 2);
    given.event("settings.limits", limits(json!({ "max_jobs_per_destination": 1 })));
    let (admitted, waiting) = decided(&given);
    assert_eq!(admitted, [job(1)]);
    let full = Waiting::DestinationLimit { destination: "d".parse().unwrap(), limit: 1 };
    assert_eq!(waiting, [(job(2), full.clone()), (job(3), full)]);
    let place = json!({ "location": { "type": "local", "path": "/b" }, "max_concurrent_jobs": 2 });
    given.event("destination.d", Event::DestinationDefined(read(place)));
    assert_eq!(admits(&given), 2, "what its definition says counts");
    given.event("settings.limits", limits(json!({})));
    assert_eq!(admits(&given), 2);
}

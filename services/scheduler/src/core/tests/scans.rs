use super::*;
use crate::core::scans::{ScanPage, Scans};

fn scan(given: &mut Given, n: u128) -> u64 {
    given.requested(n, read(json!({ "kind": "scan-repository", "access": access(0) })));
    given.admitted(n, 1)
}

fn page(n: u128, epoch: u64, page: u32, archives: Vec<Facts>, last: bool) -> ScanPage {
    ScanPage { job: job(n), epoch, page, archives, last }
}

fn kinds(facts: &[(ArchiveId, Event)]) -> Vec<&'static str> {
    facts.iter().map(|(_, e)| e.type_name().split('.').nth(2).unwrap()).collect()
}

fn known(given: &mut Given, borg_id: &str) {
    given.backup(1, 0);
    let epoch = given.admitted(1, 1);
    given.started(1, epoch);
    given.backed_up(1, epoch, facts(0, borg_id, "p-x"));
}

#[test]
fn what_is_not_known_is_adopted_with_its_plan_when_the_name_says_it() {
    let mut given = Given::a_fleet();
    given.plan("web", json!(null));
    let epoch = scan(&mut given, 9);
    let ours = facts(0, "aa", &format!("web-{}", job(3)));
    let there = vec![ours, facts(0, "bb", "by-hand"), facts(0, "cc", &format!("gone-{}", job(4)))];
    let mut wrong = facts(0, "dd", "x");
    wrong.id = ArchiveId::of(&repository(1), "dd");
    let taken = Scans::default().take(
        &given.world,
        &repository(0),
        &page(9, epoch, 0, [there, vec![wrong]].concat(), true),
    );
    let plans: Vec<Option<String>> = taken
        .iter()
        .map(|(_, e)| match e {
            Event::ArchiveAdopted(a) => a.plan.as_ref().map(ToString::to_string),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(plans, [Some("web".to_owned()), None, None], "one whose id does not fit is left out");
}

#[test]
fn what_is_on_no_page_is_missing_once_and_found_again() {
    let mut given = Given::a_fleet();
    known(&mut given, "aa");
    let epoch = scan(&mut given, 9);
    let mut scans = Scans::default();
    let taken = scans.take(&given.world, &repository(0), &page(9, epoch, 0, vec![], true));
    assert_eq!(kinds(&taken), ["missing"]);
    given.event(&format!("archive.{}", taken[0].0), taken[0].1.clone());
    let again = scans.take(&given.world, &repository(0), &page(9, epoch, 0, vec![], true));
    assert_eq!(kinds(&again), Vec::<&str>::new());
    let back =
        scans.take(&given.world, &repository(0), &page(9, epoch, 0, vec![facts(0, "aa", "p-x")], true));
    assert_eq!(kinds(&back), ["found"]);
}

#[test]
fn nothing_is_missing_when_a_page_was_not_seen_or_the_archive_is_newer_than_the_scan() {
    let mut given = Given::a_fleet();
    let epoch = scan(&mut given, 9);
    known(&mut given, "aa");
    let taken = Scans::default().take(&given.world, &repository(0), &page(9, epoch, 0, vec![], true));
    assert_eq!(kinds(&taken), Vec::<&str>::new(), "it came into being while the scan ran");
    let later = scan(&mut given, 10);
    let taken = Scans::default().take(&given.world, &repository(0), &page(10, later, 1, vec![], true));
    assert_eq!(kinds(&taken), Vec::<&str>::new(), "page 0 was not seen by this scheduler");
}

#[test]
fn what_a_job_deletes_is_neither_missing_nor_adopted() {
    let mut given = Given::a_fleet();
    known(&mut given, "aa");
    let target = json!({ "id": ArchiveId::of(&repository(0), "aa"), "name": "p-x", "borg_id": "aa" });
    given.requested(5, read(json!({ "kind": "delete-archive", "access": access(0), "archive": target })));
    let epoch = scan(&mut given, 9);
    let taken = Scans::default().take(&given.world, &repository(0), &page(9, epoch, 0, vec![], true));
    assert_eq!(kinds(&taken), Vec::<&str>::new());
}

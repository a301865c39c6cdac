use super::*;
use crate::core::scans::{ScanPage, Scans, WrongId, is_news};

fn scan(given: &mut Given, n: u128) -> u64 {
    given.requested(n, read(json!({ "kind": "scan-repository", "access": access(0) })));
    given.admitted(n, 1)
}

fn page(n: u128, epoch: u64, page: u32, archives: Vec<Facts>, last: bool) -> ScanPage {
    ScanPage { job: job(n), epoch, page, archives, last, all: None }
}

fn take(scans: &mut Scans, given: &Given, page: &ScanPage) -> Vec<(ArchiveId, Event)> {
    scans.take(&given.world, &repository(0), page).unwrap().facts
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
    let taken = take(&mut Scans::default(), &given, &page(9, epoch, 0, there, true));
    let plans: Vec<Option<String>> = taken
        .iter()
        .map(|(_, e)| match e {
            Event::ArchiveAdopted(a) => a.plan.as_ref().map(ToString::to_string),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(plans, [Some("web".to_owned()), None, None]);
}

#[test]
fn what_is_on_no_page_is_missing_once_and_found_again() {
    let mut given = Given::a_fleet();
    known(&mut given, "aa");
    let epoch = scan(&mut given, 9);
    let mut scans = Scans::default();
    let taken = take(&mut scans, &given, &page(9, epoch, 0, vec![], true));
    assert_eq!(kinds(&taken), ["missing"]);
    given.event(&format!("archive.{}", taken[0].0), taken[0].1.clone());
    let again = take(&mut scans, &given, &page(9, epoch, 0, vec![], true));
    assert_eq!(kinds(&again), Vec::<&str>::new());
    let back = take(&mut scans, &given, &page(9, epoch, 0, vec![facts(0, "aa", "p-x")], true));
    assert_eq!(kinds(&back), ["found"]);
}

#[test]
fn nothing_is_missing_when_a_page_was_not_seen_or_the_archive_is_newer_than_the_scan() {
    let mut given = Given::a_fleet();
    let epoch = scan(&mut given, 9);
    known(&mut given, "aa");
    let taken = take(&mut Scans::default(), &given, &page(9, epoch, 0, vec![], true));
    assert_eq!(kinds(&taken), Vec::<&str>::new(), "it came into being while the scan ran");
    let later = scan(&mut given, 10);
    let taken = take(&mut Scans::default(), &given, &page(10, later, 1, vec![], true));
    assert_eq!(kinds(&taken), Vec::<&str>::new(), "page 0 was not seen by this scheduler");
    // Unless the last page names what was on all of them.
    let of_all = |all: Vec<ArchiveId>| ScanPage { all: Some(all), ..page(10, later, 1, vec![], true) };
    let aa = ArchiveId::of(&repository(0), "aa");
    assert!(take(&mut Scans::default(), &given, &of_all(vec![aa])).is_empty());
    assert_eq!(kinds(&take(&mut Scans::default(), &given, &of_all(vec![]))), ["missing"]);
}

#[test]
fn what_a_job_deletes_is_neither_missing_nor_adopted() {
    let mut given = Given::a_fleet();
    known(&mut given, "aa");
    let target = json!({ "id": ArchiveId::of(&repository(0), "aa"), "name": "p-x", "borg_id": "aa" });
    given.requested(5, read(json!({ "kind": "delete-archive", "access": access(0), "archive": target })));
    let epoch = scan(&mut given, 9);
    let taken = take(&mut Scans::default(), &given, &page(9, epoch, 0, vec![], true));
    assert_eq!(kinds(&taken), Vec::<&str>::new());
}

#[test]
fn a_page_with_a_wrong_id_is_not_believed_and_makes_nothing_missing() {
    let mut given = Given::a_fleet();
    known(&mut given, "aa");
    let epoch = scan(&mut given, 9);
    let mut scans = Scans::default();
    let mut disguised = facts(0, "aa", "p-x");
    disguised.id = ArchiveId::of(&repository(1), "aa");
    let lie = page(9, epoch, 0, vec![facts(0, "bb", "by-hand"), disguised], false);
    let refused = scans.take(&given.world, &repository(0), &lie);
    assert_eq!(refused, Err(WrongId { page: 0, borg_id: "aa".into() }));
    let last = scans.take(&given.world, &repository(0), &page(9, epoch, 1, vec![], true)).unwrap();
    assert!(last.facts.is_empty() && last.is_incomplete, "{last:?}");
}

#[test]
fn pages_may_come_in_any_order_and_twice() {
    let mut given = Given::a_fleet();
    known(&mut given, "aa");
    let epoch = scan(&mut given, 9);
    let mut scans = Scans::default();
    let (first, last) = (page(9, epoch, 0, vec![], false), page(9, epoch, 1, vec![], true));
    for (page, expected, incomplete) in [(&last, 0, true), (&last, 0, true), (&first, 1, false)] {
        let taken = scans.take(&given.world, &repository(0), page).unwrap();
        assert_eq!((taken.facts.len(), taken.is_incomplete), (expected, incomplete));
    }
}

#[test]
fn the_last_pages_of_a_scan_may_come_after_its_end_and_from_nobody_else() {
    let mut given = Given::a_fleet();
    let epoch = scan(&mut given, 9);
    given.started(9, epoch);
    let done = json!({ "epoch": epoch, "outcome": {
        "result": { "kind": "scan-repository", "archives": 0 }, "completeness": "complete",
    } });
    given.event(&format!("job.{}", job(9)), Event::JobSucceeded(read(done)));
    assert_eq!(given.world.scan(job(9), &node("n"), epoch).unwrap().repository, repository(0));
    assert!(given.world.scan(job(9), &node("other"), epoch).is_none());
    assert!(given.world.scan(job(9), &node("n"), epoch + 1).is_none());
    for n in 100..200 {
        let epoch = scan(&mut given, n);
        let done = json!({ "epoch": epoch, "outcome": {
            "result": { "kind": "scan-repository", "archives": 0 }, "completeness": "complete",
        } });
        given.event(&format!("job.{}", job(n)), Event::JobSucceeded(read(done)));
    }
    assert!(!given.world.knows_scan(job(9)) && given.world.knows_scan(job(199)), "memory is bounded");
}

#[test]
fn a_scan_says_nothing_about_what_was_written_after_it_began() {
    let mut given = Given::a_fleet();
    let archive = ArchiveId::of(&repository(0), "aa");
    let before = scan(&mut given, 9);
    let deleted = json!({ "job": job(5), "repository": "r0" });
    given.event(&format!("archive.{archive}"), Event::ArchiveDeleted(read(deleted)));
    let after = scan(&mut given, 10);
    let aggregate = Aggregate::new(Kind::Archive, archive);
    let history: Vec<Recorded> = given.events.iter().filter(|e| e.aggregate == aggregate).cloned().collect();
    assert!(!is_news(&history, before), "it was seen, and then it was deleted");
    assert!(is_news(&history, after), "it is there again");
    assert!(is_news(&[], before));
}

//! Holds, as they are made, replaced, released and outlived.

use super::*;
use crate::Event;
use crate::archive::{Deleted, Held, Released};
use crate::retention::Holds;

fn hold(name: &str, reason: &str) -> Hold {
    Hold { name: name.into(), by: "token:ana".into(), reason: reason.into(), until: None }
}

fn held(hold: Hold) -> Event {
    Event::ArchiveHeld(Held { repository: "site".parse().unwrap(), hold })
}

fn released(name: &str) -> Event {
    Event::ArchiveReleased(Released { repository: "site".parse().unwrap(), name: name.into() })
}

#[test]
fn a_name_is_held_once_until_it_is_released_or_the_archive_is_gone() {
    let mut holds = Holds::default();
    for event in [held(hold("audit", "2025")), held(hold("repair", "x")), held(hold("audit", "2026"))] {
        holds.evolve(&event);
    }
    assert_eq!(holds.to_vec(), [hold("audit", "2026"), hold("repair", "x")]);
    holds.evolve(&released("audit"));
    holds.evolve(&released("nothing"));
    assert_eq!((holds.named("audit"), holds.to_vec()), (None, vec![hold("repair", "x")]));
    let job = crate::JobId(Uuid::from_u128(1));
    holds.evolve(&Event::ArchiveDeleted(Deleted { job, repository: "site".parse().unwrap() }));
    assert!(holds.is_empty());
}

#[test]
fn a_hold_says_its_name_and_why_and_ends_in_the_future() {
    let wrong = |hold: Hold| hold.problems(now()).into_iter().map(|e| e.field).collect::<Vec<_>>();
    assert_eq!(wrong(hold("audit", "2026")), Vec::<String>::new());
    assert_eq!(wrong(hold("audit", &"x".repeat(500))), Vec::<String>::new());
    assert_eq!(wrong(hold("Audit!", "2026")), ["name"]);
    for reason in ["", "  ", "two\nlines", &"x".repeat(501)] {
        assert_eq!(wrong(hold("audit", reason)), ["reason"], "{reason}");
    }
    assert_eq!(wrong(Hold { until: Some(now()), ..hold("audit", "x") }), ["until"]);
    let later = now().checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
    assert_eq!(wrong(Hold { until: Some(later), ..hold("audit", "x") }), Vec::<String>::new());
}

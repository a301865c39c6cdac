#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use proptest::prelude::*;

/// What mongodump 100 printed of a database with a collection of three documents, one of one, an empty one, and a view
/// between two of which it changed: made by that program, and kept as it was.
const RECORDED: &[u8] = include_bytes!("recorded.archive");

fn read(bytes: &[u8]) -> Result<Held, Wrong> {
    let mut archive = Archive::default();
    archive.take(bytes)?;
    archive.finish()
}

#[test]
fn what_is_in_an_archive_is_counted() {
    let held = read(RECORDED).unwrap();
    let found: Vec<_> =
        held.collections.iter().map(|c| (c.database.as_str(), c.name.as_str(), c.documents)).collect();
    assert_eq!(
        found,
        [
            ("shop", "Käufe", Some(1)),
            ("shop", "empty", Some(0)),
            ("shop", "newest", None),
            ("shop", "orders", Some(3)),
        ]
    );
    assert!(!held.oplog);
}

#[test]
fn nothing_that_ends_early_is_whole() {
    for end in 0..RECORDED.len() {
        assert!(read(&RECORDED[..end]).is_err(), "the first {end} bytes");
    }
    let mut more = RECORDED.to_vec();
    more.push(0);
    assert_eq!(read(&more), Err(Wrong::CutOff));
}

#[test]
fn something_else_is_no_archive() {
    assert_eq!(read(b"2026-11-21T14:55 mongodump"), Err(Wrong::Magic));
    assert_eq!(read(b""), Err(Wrong::CutOff));
    let odd = [&RECORDED[..4], &[1, 0, 0, 0]].concat();
    assert_eq!(read(&odd), Err(Wrong::Unreadable("a document has an impossible length")));
    assert!(matches!(read(&[&RECORDED[..4], &[0xff; 4]].concat()), Err(Wrong::Unreadable(_))));
}

proptest! {
    #[test]
    fn it_is_the_same_in_whichever_pieces_it_comes(cuts in prop::collection::vec(0..RECORDED.len(), 0..20)) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        let mut archive = Archive::default();
        let mut from = 0;
        for cut in cuts.into_iter().chain([RECORDED.len()]) {
            archive.take(&RECORDED[from..cut]).unwrap();
            from = cut;
        }
        prop_assert_eq!(archive.finish(), read(RECORDED));
    }

    #[test]
    fn no_bytes_make_it_fall(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..RECORDED.len()) {
        let mut archive = Archive::default();
        let _ = archive.take(&bytes);
        let mut changed = RECORDED.to_vec();
        for (n, byte) in bytes.iter().enumerate() {
            if let Some(there) = changed.get_mut(at + n) { *there = *byte; }
        }
        let _ = read(&changed);
    }
}

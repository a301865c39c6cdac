#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;

fn chunk(n: u8, stored_bytes: u32, compression: Compressed, encryption: Encrypted) -> Chunk {
    Chunk { id: Id([n; 32]), stored_bytes, compression, encryption }
}

fn any_chunk() -> impl Strategy<Value = Chunk> {
    let compression = prop_oneof![Just(Compressed::None), Just(Compressed::Gzip), Just(Compressed::Zstd)];
    let encryption = prop_oneof![Just(Encrypted::None), Just(Encrypted::Age)];
    // Few ids, so that one comes in several forms.
    (0..9_u8, 1..=MAX_STORED_BYTES, compression, encryption).prop_map(|(n, b, c, e)| chunk(n, b, c, e))
}

fn any_entry() -> impl Strategy<Value = Entry> {
    (any_chunk(), 1..=4_194_304_u32).prop_map(|(chunk, plain_bytes)| Entry { chunk, plain_bytes })
}

fn read(text: &[u8], at_once: usize) -> Result<Vec<Entry>, Unreadable> {
    let mut lines = Lines::default();
    for piece in text.chunks(at_once) {
        lines.take(piece)?;
    }
    lines.finish()
}

proptest! {
    #[test]
    fn a_list_is_read_as_it_was_written(entries in prop::collection::vec(any_entry(), 0..40), at_once in 1..300_usize) {
        let text: String = entries.iter().map(Entry::line).collect();
        prop_assert_eq!(read(text.as_bytes(), at_once).unwrap(), entries);
    }

    #[test]
    fn a_name_says_what_its_chunk_is(chunk in any_chunk()) {
        prop_assert_eq!(Chunk::of_object(&chunk.object()), Some(chunk));
    }

    /// The law of the sweep: whatever is there, and whatever is needed, what is removed is needed by nobody, and what
    /// stays of ours is needed.
    #[test]
    fn nothing_that_is_needed_is_ever_removed(
        there in prop::collection::vec(any_chunk(), 0..60),
        lists in prop::collection::vec(prop::collection::vec(any_entry(), 0..20), 0..6),
        kept in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut needed: HashSet<Chunk> = lists.iter().flatten().map(|entry| entry.chunk).collect();
        needed.extend(kept.iter().filter(|_| !there.is_empty()).map(|at| *at.get(&there)));
        let mut names: Vec<String> = there.iter().map(Chunk::object).collect();
        names.push("chunks/00/readme".into());
        let removed: HashSet<&str> = unneeded(names.iter().map(String::as_str), &needed).into_iter().collect();
        for chunk in &needed {
            prop_assert!(!removed.contains(chunk.object().as_str()));
        }
        for chunk in &there {
            prop_assert_eq!(removed.contains(chunk.object().as_str()), !needed.contains(chunk));
        }
        prop_assert!(!removed.contains("chunks/00/readme"));
    }
}

#[test]
fn a_list_that_was_cut_or_changed_is_none() {
    let entry = |n| Entry { chunk: chunk(n, 7, Compressed::Zstd, Encrypted::Age), plain_bytes: 9 };
    let text = entry(1).line() + &entry(2).line();
    assert_eq!(text.lines().next().unwrap(), format!("{} 9 7 .zst.age", "01".repeat(32)));
    let plain = Entry { chunk: chunk(1, 7, Compressed::None, Encrypted::None), plain_bytes: 7 };
    assert_eq!(plain.line(), format!("{} 7 7\n", "01".repeat(32)));
    let first = entry(1).line().len();
    for cut in (1..text.len()).filter(|cut| *cut != first) {
        assert!(read(text.as_bytes().get(..cut).unwrap(), 50).is_err(), "{cut}");
    }
    for odd in [
        "\n".to_owned(),
        text.replace('\n', "\r\n"),
        text.replace(".zst.age", ".zst.gpg"),
        text.replace(" 9 ", " 09 "),
        text.replace(" 9 ", " 0 "),
        text.replace(" 9 ", " 4194305 "),
        text.replace(" 7 ", " 0 "),
        text.replace("age\n", "age more\n"),
        text.to_uppercase(),
        "../".repeat(3) + &text,
    ] {
        assert!(read(odd.as_bytes(), 9).is_err(), "{odd}");
    }
    assert!(read(&[b'a'; 10_000], 10).is_err(), "a line has an end");
}

#[test]
fn other_names_are_no_chunks() {
    let id = "ab".repeat(32);
    assert!(Chunk::of_object(&format!("chunks/ab/{id}-12.zst.age")).is_some());
    for odd in [
        format!("chunks/ac/{id}-12.zst.age"),
        format!("chunks/ab/{id}.zst.age"),
        format!("chunks/ab/{id}-012.zst.age"),
        format!("chunks/ab/{id}-12.zst.age.partial"),
        format!("chunks/ab/{id}-99999999.zst"),
        format!("chunks/ab/{}-12", id.to_uppercase()),
        format!("chunks/{id}-12"),
        format!("archives/ab/{id}-12"),
        "chunks/ab/x".into(),
    ] {
        assert_eq!(Chunk::of_object(&odd), None, "{odd}");
    }
}

#[test]
fn ids_are_those_of_the_store_alone() {
    let (open, one, two) = (Naming::open(), Naming::of_secret(b"one"), Naming::of_secret(b"two"));
    // RFC 6234: SHA-256 of "abc".
    let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(open.id_of(b"abc").to_string(), known);
    assert_eq!(one.id_of(b"abc"), Naming::of_secret(b"one").id_of(b"abc"));
    let all: HashSet<Id> = [&open, &one, &two].iter().map(|naming| naming.id_of(b"abc")).collect();
    assert_eq!(all.len(), 3);
    assert!(one.seed() != two.seed() && open.seed() == 0);
    assert_ne!(one.id_of(b"abc"), one.id_of(b"abd"));
}

#[test]
fn what_is_not_whole_is_not_trusted() {
    let (whole, half) =
        (chunk(1, 700, Compressed::Zstd, Encrypted::Age), chunk(2, 700, Compressed::Zstd, Encrypted::Age));
    let names = [(whole.object(), 700), (half.object(), 350), ("chunks/x".to_owned(), 5)];
    let mut index = Index::of(names.iter().map(|(name, size)| (name.as_str(), *size)));
    assert!(index.holds(&whole) && !index.holds(&half));
    assert_eq!((index.bytes(), index.broken(&half.object())), (1055, Some(350)));
    assert!(index.problem(&half).unwrap().contains("350 bytes, and not 700"));
    assert!(!index.is_wanted(whole.id));
    assert!(index.is_wanted(half.id));
    assert!(!index.is_wanted(half.id), "one is at it");
    assert_eq!(index.get(&half.id), None, "and has not stored it so far");
    let other = Chunk { stored_bytes: 690, ..half };
    index.was_stored(other);
    assert_eq!(index.get(&half.id), Some(other));
    // What was there at the beginning may be gone at the end.
    let later = Index::of([(other.object().as_str(), 690)]);
    assert_eq!(index.missing_in(&later), Some(whole));
    let both = [(other.object(), 690), (whole.object(), 700)];
    let later = Index::of(both.iter().map(|(name, size)| (name.as_str(), *size)));
    assert_eq!(index.missing_in(&later), None);
    // One that is there in two forms is there in both.
    let gzip = Chunk { compression: Compressed::Gzip, ..whole };
    let twice = [(whole.object(), 700), (gzip.object(), 700)];
    let index = Index::of(twice.iter().map(|(name, size)| (name.as_str(), *size)));
    assert!(index.holds(&whole) && index.holds(&gzip));
    assert!(index.problem(&Chunk { stored_bytes: 9, ..whole }).unwrap().contains("is not there"));
}

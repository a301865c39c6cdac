#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
//! Golden fixtures: the bytes of every released version, which must be readable for ever.

use super::*;
use crate::event::tests_support::samples;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Writes fixtures for types that have none yet, when asked to by hand. It never touches one that exists: a released
/// version never changes.
#[test]
fn every_type_has_a_fixture_that_reads_as_it_was_written() {
    for event in samples() {
        let path = folder().join(format!("{}.msgpack", event.type_name()));
        if !path.exists() && std::env::var_os("STRONGROOM_WRITE_FIXTURES").is_some() {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&path, event.encode().unwrap()).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap_or_else(|_| {
            panic!(
                "no fixture for {}: run the test once with STRONGROOM_WRITE_FIXTURES=1 and commit it",
                event.type_name()
            )
        });
        assert_eq!(Event::decode(event.type_name(), &bytes).unwrap(), event, "{}", event.type_name());
    }
}

#[test]
fn fixtures_and_registry_know_of_each_other() {
    let known: BTreeSet<String> = Event::TYPES
        .iter()
        .map(|(n, _)| (*n).to_owned())
        .chain(UPCASTERS.iter().map(|u| u.from.to_owned()))
        .collect();
    let sampled: BTreeSet<String> = samples().iter().map(|e| e.type_name().to_owned()).collect();
    let current: BTreeSet<String> = Event::TYPES.iter().map(|(n, _)| (*n).to_owned()).collect();
    assert_eq!(sampled, current, "a type without a sample in tests_support.rs");
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap().trim_end_matches(".msgpack").to_owned())
        .collect();
    assert_eq!(files, known, "fixtures of unknown types, or types without one");
}

#[test]
fn types_say_their_aggregate() {
    for (name, kind) in Event::TYPES {
        assert!(name.starts_with(&format!("strongroom.{kind}.")), "{name}");
        assert!(name.rsplit_once(".v").is_some_and(|(_, v)| v.parse::<u32>().is_ok()), "{name}");
    }
}

#[test]
fn bytes_after_the_end_are_an_error() {
    for event in samples() {
        let mut bytes = event.encode().unwrap();
        bytes.push(0);
        assert_eq!(Event::decode(event.type_name(), &bytes), Err(DecodeError::Trailing(1)));
    }
}

#[test]
fn a_newer_writer_may_add_fields() {
    let mut value: rmpv::Value =
        decode_payload(&Event::QueueAdmitted(sample_admitted()).encode().unwrap()).unwrap();
    let rmpv::Value::Map(fields) = &mut value else { panic!("a map") };
    fields.push(("added_later".into(), 1.into()));
    let bytes = encode_payload(&value).unwrap();
    assert_eq!(
        Event::decode("strongroom.queue.admitted.v1", &bytes).unwrap(),
        Event::QueueAdmitted(sample_admitted())
    );
}

fn sample_admitted() -> crate::queue::Admitted {
    samples().into_iter().find_map(|e| if let Event::QueueAdmitted(a) = e { Some(a) } else { None }).unwrap()
}

proptest::proptest! {
    #[test]
    fn junk_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        for (name, _) in Event::TYPES {
            let _ = Event::decode(name, &bytes);
        }
    }
}

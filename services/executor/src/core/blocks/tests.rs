#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use serde_json::{Value, json};

fn state(changes: Value) -> State {
    let mut state = json!({
        "system_identifier": "7", "segment_bytes": 16 << 20, "in_recovery": false, "timeline": 1, "may_replicate": true,
        "may_switch": false, "tablespaces": 0, "wal_level": "replica", "summarize_wal": "on", "max_wal_senders": 10,
        "max_replication_slots": 0, "size_bytes": null, "slot": null,
    });
    state.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(state).unwrap()
}

fn base(blocks: Value) -> Base {
    serde_json::from_value(json!({
        "archive": { "id": uuid::Uuid::nil(), "name": "pg-1", "borg_id": "b" },
        "physical": { "variant": "full", "position": { "system": "postgresql", "system_identifier": "7", "timeline": 1,
            "segment_bytes": 16 << 20, "start_lsn": "0/2000028", "stop_lsn": "0/2000120",
            "stopped_at": "2026-03-01T00:00:00Z", "blocks": blocks } },
    }))
    .unwrap()
}

#[test]
fn given_a_server_that_takes_note_of_blocks_when_it_is_looked_at_then_neither_slot_nor_switch_is_needed() {
    assert_eq!(cannot_be_followed(&state(json!({})), 17, "17.5"), Ok(1));
}

#[test]
fn given_a_server_without_notes_when_it_is_looked_at_then_it_is_said_what_to_do() {
    let refused = |changes: Value, major: u32, version: &str| {
        let failure = cannot_be_followed(&state(changes), major, version).unwrap_err();
        assert_eq!(failure.code, FailureCode::SourceUnfit);
        failure.message
    };
    assert!(refused(json!({ "summarize_wal": null }), 15, "15.18").contains("'increments': 'wal'"));
    assert!(refused(json!({ "summarize_wal": "off" }), 17, "17.5").contains("summarize_wal = on"));
    let follower = refused(json!({ "in_recovery": true, "timeline": null }), 18, "18.4");
    assert!(follower.contains("follows another one"));
}

#[test]
fn given_a_base_of_another_kind_or_server_when_it_is_to_be_added_to_then_the_chain_is_broken() {
    let blocks = json!({ "manifest_sha256": "d" });
    let (state, good) = (state(json!({})), base(blocks.clone()));
    let (position, found) = goes_on_from(&state, &good, 1).unwrap();
    assert_eq!((position.start_lsn.to_string(), &*found.manifest_sha256), ("0/2000028".into(), "d"));
    let mut other = state.clone();
    other.system_identifier = "8".into();
    for (state, base, timeline, why) in [
        (&state, base(Value::Null), 1, "by the server's log"),
        (&state, base(blocks.clone()), 2, "timeline"),
        (&other, base(blocks), 1, "another cluster"),
    ] {
        let broken = goes_on_from(state, &base, timeline).unwrap_err();
        assert!(broken.code == FailureCode::ChainBroken && broken.message.contains(why), "{broken:?}");
    }
}

#[test]
fn given_what_a_server_says_when_it_does_not_begin_then_it_has_a_cause_and_an_advice() {
    let told = |line: &str| {
        let tail = [format!("pg_basebackup: error: {line}")];
        (cause(&tail), words(&tail))
    };
    let (code, said) = told(
        "could not initiate base backup: ERROR:  incremental backups cannot be taken unless WAL summarization is enabled",
    );
    assert!(code == FailureCode::SourceUnfit && said.contains("summarize_wal = on"), "{said}");
    for line in [
        "could not initiate base backup: ERROR:  WAL summaries are required on timeline 1 from 0/6000028 to 0/8000028, but no summaries for that timeline and LSN range exist",
        "could not initiate base backup: FEHLER:  etwas anderes",
        "could not upload manifest: ERROR:  manifest system identifier is 1, but database system identifier is 2",
    ] {
        let (code, said) = told(line);
        assert!(code == FailureCode::ChainBroken && said.contains("wal_summary_keep_time"), "{said}");
    }
    let (code, _) = told("could not initiate base backup: ERROR:  x: No space left on device");
    assert_eq!(code, FailureCode::NoSpace);
    let (code, _) =
        told("could not initiate base backup: FATAL:  terminating connection due to administrator command");
    assert_eq!(code, FailureCode::DumpFailed);
    let (code, said) = told("could not receive data from server: it went away");
    assert!(code == FailureCode::DumpFailed && !said.contains("summarize_wal"), "{said}");
}

#[test]
fn given_a_version_when_archives_are_combined_then_files_are_linked_where_it_can() {
    let folders = ["full".to_owned(), "changes-0".to_owned()];
    assert_eq!(combine(17, &folders, "data"), ["--no-sync", "--output=data", "full", "changes-0"]);
    assert_eq!(combine(18, &folders, "data"), ["--no-sync", "--output=data", "--link", "full", "changes-0"]);
}

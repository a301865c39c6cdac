#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;
use serde_json::json;

const MIB16: u64 = 16 << 20;

fn position(stop: &str) -> WalPosition {
    WalPosition {
        system_identifier: "7".into(),
        timeline: 1,
        segment_bytes: MIB16,
        start_lsn: Lsn(0),
        stop_lsn: stop.parse().unwrap(),
        stopped_at: jiff::Timestamp::UNIX_EPOCH,
        slot: None,
        blocks: None,
    }
}

fn physical(variant: &str, stop: &str) -> Physical {
    let position = Position::Postgresql(position(stop));
    Physical { variant: variant.parse().unwrap(), base: None, position }
}

fn state() -> State {
    let state = json!({
        "system_identifier": "7", "segment_bytes": MIB16, "in_recovery": false, "timeline": 1, "may_replicate": true,
        "may_switch": true, "tablespaces": 0, "wal_level": "replica", "max_wal_senders": 10,
        "max_replication_slots": 10, "size_bytes": null,
        "slot": { "restart_lsn": "0/1000000", "wal_status": "reserved" },
    });
    serde_json::from_value(state).unwrap()
}

fn file(number: u64, bytes: u64) -> File {
    (Segment { timeline: 1, number }.name(MIB16), bytes)
}

#[test]
fn segments_are_called_as_the_server_calls_them() {
    let segment = Segment { timeline: 1, number: 0x102 };
    assert_eq!(segment.name(MIB16), "000000010000000100000002");
    assert_eq!(Segment::of("000000010000000100000002", MIB16), Some(segment));
    for odd in [
        "",
        "000000010000000100000002.partial",
        "00000001.history",
        "00000001000000010000010F",
        "é0000001000000010000000",
    ] {
        assert_eq!(Segment::of(odd, MIB16), None, "{odd}");
    }
}

proptest! {
    #[test]
    fn a_name_says_which_segment_it_is(timeline in 1u32.., number in 0u64..1 << 40, power in 20u32..=30) {
        let segment = Segment { timeline, number: number & 0xFFFF_FFFF };
        prop_assert_eq!(Segment::of(&segment.name(1 << power), 1 << power), Some(segment));
    }
}

#[test]
fn what_is_needed_begins_where_the_last_archive_ends() {
    let needed = |variant, stop| needed_from(&physical(variant, stop), &position(stop));
    assert_eq!(needed("full", "0/2000100"), 2, "its last segment once more");
    assert_eq!(needed("incremental", "0/2000100"), 3);
    assert_eq!(needed("incremental", "0/3000000"), 3, "it ends where a segment does");
    assert_eq!(boundary("0/2000100".parse().unwrap(), MIB16).to_string(), "0/3000000");
    assert_eq!(boundary("0/3000000".parse().unwrap(), MIB16).to_string(), "0/3000000");
}

#[test]
fn a_gap_is_found_before_anything_is_stored() {
    let to = Lsn(5 * MIB16);
    let whole = [file(2, MIB16), file(3, MIB16), file(4, MIB16), file(5, 77)];
    assert_eq!(stretch(&whole, 1, 3, to, MIB16).unwrap().len(), 2);
    let code = |files: &[File], timeline| stretch(files, timeline, 2, to, MIB16).unwrap_err().code;
    assert_eq!(code(&[file(2, MIB16), file(4, MIB16)], 1), FailureCode::ChainBroken);
    assert_eq!(code(&[file(2, MIB16), file(3, 5), file(4, MIB16)], 1), FailureCode::ChainBroken);
    assert_eq!(code(&whole, 2), FailureCode::ChainBroken, "of another history");
    assert_eq!(stretch(&[], 1, 5, to, MIB16).unwrap(), Vec::<String>::new());
    assert_eq!(outdated(&whole, 4, MIB16), [file(2, 0).0], "the one before is received from");
    let foreign = [("000000020000000000000003.partial".to_owned(), 1), ("note".to_owned(), 1)];
    assert!(is_of_another(&foreign, 1) && !is_of_another(&foreign, 2) && !is_of_another(&whole, 1));
}

#[test]
fn a_chain_that_cannot_go_on_is_told_as_broken() {
    let base = |stop: &str| Base {
        archive: serde_json::from_value(
            json!({ "id": "01a1fc2e-7929-75ac-9cc8-1bcb1a036582", "name": "p-1", "borg_id": "x" }),
        )
        .unwrap(),
        physical: physical("full", stop),
    };
    let base = base("0/2000100");
    assert!(state().goes_on_from(&base, 1).is_ok());
    let code = |state: State, timeline| state.goes_on_from(&base, timeline).unwrap_err().code;
    assert_eq!(code(State { system_identifier: "8".into(), ..state() }, 1), FailureCode::ChainBroken);
    assert_eq!(code(state(), 2), FailureCode::ChainBroken);
    assert_eq!(code(State { slot: None, ..state() }, 1), FailureCode::ChainBroken);
    let lost = Slot { restart_lsn: Some("0/1".into()), wal_status: Some("lost".into()) };
    assert_eq!(code(State { slot: Some(lost), ..state() }, 1), FailureCode::ChainBroken);
}

#[test]
fn what_a_server_or_a_role_lacks_is_said_with_what_to_do() {
    assert!(state().unfit("r").is_ok());
    assert_eq!(state().cannot_be_followed("r").unwrap(), 1);
    let unfit = |state: State| state.unfit("r").unwrap_err();
    assert!(
        unfit(State { may_replicate: false, ..state() }).message.contains("ALTER ROLE \"r\" REPLICATION")
    );
    assert!(unfit(State { tablespaces: 2, ..state() }).message.contains("2 tablespaces"));
    assert_eq!(unfit(State { wal_level: "minimal".into(), ..state() }).code, FailureCode::SourceUnfit);
    let cannot = |state: State| state.cannot_be_followed("r").unwrap_err().code;
    assert_eq!(cannot(State { in_recovery: true, timeline: None, ..state() }), FailureCode::SourceUnfit);
    assert_eq!(cannot(State { may_switch: false, ..state() }), FailureCode::AccessDenied);
}

#[test]
fn slots_of_two_plans_or_two_nodes_are_two() {
    let name = |plan: &str, host: &str| slot_name(&plan.parse().unwrap(), host);
    let long = "a-".repeat(31) + "a";
    let names =
        [name("db", "h"), name("db", "i"), name(&long, "h"), name(&long.replacen("a-a", "a-b", 1), "h")];
    for (n, one) in names.iter().enumerate() {
        assert!(
            one.len() <= 63 && one.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{one}"
        );
        assert!(!names.iter().take(n).any(|other| other == one));
    }
}

#[test]
fn what_the_programs_say_is_understood() {
    let words = [
        "pg_basebackup: initiating base backup, waiting for checkpoint to complete",
        "pg_basebackup: checkpoint completed",
        "pg_basebackup: write-ahead log start point: 0/2000028 on timeline 1",
        "pg_basebackup: write-ahead log end point: 0/2000100",
    ]
    .map(str::to_owned);
    let (start, timeline, end) = points(&words).unwrap();
    assert_eq!(
        (start.to_string().as_str(), timeline, end.to_string().as_str()),
        ("0/2000028", 1, "0/2000100")
    );
    assert_eq!(points(words.get(..3).unwrap()), None);
    let said = "2026-11-21T14:49:10.123456Z\nf\n0/3000060\nf\n0/30000F8";
    let (at, place, end) = switched(said).unwrap();
    assert_eq!(
        (at.to_string().as_str(), place.0, end.0),
        ("2026-11-21T14:49:10.123456Z", 0x0300_0060, 0x0300_00F8)
    );
    let gone = "pg_receivewal: error: could not send replication command \"START_REPLICATION\": ERROR:  requested WAL segment 000000010000000000000003 has already been removed";
    assert_eq!(cause(&[gone.to_owned()]), FailureCode::ChainBroken);
    let lost = "pg_receivewal: error: could not send replication command \"START_REPLICATION\": ERROR:  replication slot \"s\" does not exist";
    assert_eq!(cause(&[lost.to_owned()]), FailureCode::ChainBroken);
    assert_eq!(
        cause(&["FATAL:  the database system is shutting down".to_owned()]),
        FailureCode::ServerUnreachable
    );
    let printed = "\t 1: strongroom\t(typeid = 25, len = -1, typmod = -1, byval = f)\n\t----\n\t 1: strongroom = \"{\"lsn\" : \"0/4000028\", \"at\" : null, \"databases\" : [\"a\\\"b\", \"c\\nd\"]}\"\t(typeid = 25, len = -1, typmod = -1, byval = f)\n\t----\n";
    let reached = reached(printed).unwrap();
    assert_eq!(
        (reached.lsn.unwrap().to_string().as_str(), reached.databases),
        ("0/4000028", vec!["a\"b".to_owned(), "c\nd".to_owned()])
    );
    let controldata = "wal_level setting:                    replica\nmax_connections setting:              250\nmax_prepared_xacts setting:           7\n";
    assert_eq!(
        room(controldata),
        [("max_connections", "250".to_owned()), ("max_prepared_transactions", "7".to_owned())]
    );
    let at = "2026-11-21T15:17:58.5745639Z".parse().unwrap();
    let settings = lines(&recovery(Some(Until::Time(at))));
    assert!(settings.contains("recovery_target_time = '2026-11-21 15:17:58.574563+00'\n"), "{settings}");
    let settings = recovery(Some(Until::Lsn(Lsn(1))));
    assert!(lines(&settings).contains("recovery_target_lsn = '0/1'\n"));
}

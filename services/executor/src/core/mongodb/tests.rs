//! The lines are those of mongodump and mongorestore built from their source of August 2026 (a server that speaks the
//! protocol, and no more than that, was on the other side), those of mongosh 2.12 there, and those that people have
//! reported of versions before.

use super::*;

fn tail(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn causes_are_told_apart_by_what_was_said() {
    for (said, code) in [
        (
            "2026-11-21T14:54:55.893+0000\tFailed: can't create session: failed to connect to mongodb://127.0.0.1:37018/: connection() error occurred during connection handshake: auth error: unable to authenticate using mechanism \"SCRAM-SHA-256\": (AuthenticationFailed) Authentication failed.",
            FailureCode::AccessDenied,
        ),
        (
            "2023-06-27T07:40:27.178+0000\tFailed: can't create session: could not connect to server: connection() error occurred during connection handshake: auth error: sasl conversation error: unable to authenticate using mechanism \"SCRAM-SHA-1\": (AuthenticationFailed) Authentication failed.",
            FailureCode::AccessDenied,
        ),
        (
            "2019-02-02T10:00:00.000+0000\tFailed: error connecting to db server: server returned error on SASL authentication step: Authentication failed.",
            FailureCode::AccessDenied,
        ),
        (
            "2026-11-21T14:55:46.376+0000\tFailed: error creating intents to dump: error getting database names: (Unauthorized) not authorized on admin to execute command { listDatabases: 1, $db: \"admin\" }",
            FailureCode::AccessDenied,
        ),
        (
            "2026-11-21T14:55:46.425+0000\tFailed: archive writer: (Unauthorized) not authorized on shop to execute command { find: 1, $db: \"shop\" } / Mux ending but selectCases still open 3",
            FailureCode::AccessDenied,
        ),
        (
            "2026-11-21T14:55:25.911+0000\tFailed: can't create session: failed to connect to mongodb://127.0.0.1:37019/: server selection error: context deadline exceeded, current topology: { Type: Single, Servers: [{ Addr: 127.0.0.1:37019, Type: Unknown, Last error: dial tcp 127.0.0.1:37019: connect: connection refused }, ] }",
            FailureCode::ServerUnreachable,
        ),
        (
            "2026-11-21T14:56:46.573+0000\tFailed: can't create session: failed to connect to mongodb://nosuch.invalid/: server selection error: context deadline exceeded, current topology: { Type: Single, Servers: [{ Addr: nosuch.invalid:27017, Type: Unknown, Last error: dial tcp: lookup nosuch.invalid: no such host }, ] }",
            FailureCode::ServerUnreachable,
        ),
        (
            "2026-11-21T14:55:45.881+0000\tdone dumping `shop.names` (1 document)\n2026-11-21T14:55:46.351+0000\tFailed: error writing data for collection `shop.orders` to disk: error reading collection:  connection(localhost:37020[-4]) incomplete read of message header: connection closed unexpectedly by the other side: EOF",
            FailureCode::ServerUnreachable,
        ),
        (
            "2026-11-21T14:56:16.550+0000\tFailed: can't create session: error configuring the connector: error configuring client, can't load CA file: open /nope: no such file or directory",
            FailureCode::ServerUnreachable,
        ),
        (
            "2026-11-21T14:55:46.470+0000\tFailed: error getting oplog start: error getting recent oplog entry: mongo: no documents in result",
            FailureCode::DumpFailed,
        ),
        (
            "2026-11-21T14:55:46.470+0000\tsignal 'interrupt' received; attempting to shut down",
            FailureCode::DumpFailed,
        ),
        ("MongoServerError: Authentication failed.", FailureCode::AccessDenied),
        ("MongoNetworkError: connect ECONNREFUSED 127.0.0.1:37031", FailureCode::ServerUnreachable),
        ("Error: Unauthorized: not authorized on admin to execute command", FailureCode::AccessDenied),
        ("", FailureCode::DumpFailed),
    ] {
        assert_eq!(cause(&tail(said)), code, "{said}");
    }
}

#[test]
fn people_read_the_error_and_not_what_is_around_it() {
    let said = "2026-11-21T14:56:47.247+0000\tfinished restoring `shop2.names` (0 documents, 1 failure)
2026-11-21T14:56:47.247+0000\tFailed: shop2.names: error restoring from archive on stdin: bulk write exception: write errors: [E11000 duplicate key error]
2026-11-21T14:56:47.247+0000\t0 document(s) restored successfully. 1 document(s) failed to restore.";
    assert!(words(&tail(said)).starts_with("Failed: shop2.names: error restoring"), "{}", words(&tail(said)));
    assert_eq!(restored(&tail(said)), Some((0, 1)));
    let denied = "2026-11-21T14:54:55.893+0000\terror connecting to host: failed to connect to mongodb://h/: auth error: x";
    assert!(words(&tail(denied)).starts_with("error connecting to host"));
    assert_eq!(cause(&tail(denied)), FailureCode::AccessDenied);
    assert_eq!(words(&[]), "it said nothing");
    assert_eq!(words(&tail("a\tb")), "a\tb");
}

#[test]
fn what_was_not_restored_is_counted_although_the_program_ends_well() {
    let said = "2026-11-21T14:56:46.966+0000\t0 document(s) restored successfully. 3001 document(s) failed to restore.";
    assert_eq!(restored(&tail(said)), Some((0, 3001)));
    assert_eq!(restored(&tail("done")), None);
}

#[test]
fn programs_that_would_need_the_password_in_an_argument_are_too_old() {
    assert_eq!(version("mongodump version: 100.9.4\ngit version: x"), Some((100, 9, 4)));
    assert_eq!(version("mongodump version: r4.2.25"), Some((4, 2, 25)));
    assert_eq!(version("mongodump version: built-without-version-string"), None);
    assert!(takes_config(Some((100, 3, 0))) && takes_config(None));
    assert!(!takes_config(Some((100, 2, 1))) && !takes_config(Some((4, 2, 25))));
}

//! What options become.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: SetArgs,
}

/// The type that is sent, when nothing speaks against it.
fn said(words: &str, spec: Value) -> Result<String, String> {
    let line = Line::try_parse_from(["set", "p"].into_iter().chain(words.split(' '))).unwrap();
    let changes = Value::Object(line.args.changes().unwrap());
    let Value::Object(spec) = spec else { panic!("no spec") };
    let kind = changes["source"]["type"].as_str().unwrap_or_default().to_owned();
    line.args.check(&spec).map(|()| kind).map_err(|e| e.to_string())
}

#[test]
fn what_is_said_of_a_database_server_goes_to_none_but_one() {
    let of = |kind: &str| json!({ "source": { "type": kind } });
    for words in [
        "--db-host h",
        "--database d",
        "--db-port 1",
        "--all-databases",
        "--exclude-database d",
        "--dump-format plain",
    ] {
        // The plan says of which.
        for kind in ["postgresql", "mysql", "mongodb"] {
            assert_eq!(said(words, of(kind)).unwrap(), "", "{words}");
        }
        let told = said(words, json!({})).unwrap_err();
        assert!(told.contains("--postgresql, --mysql or --mongodb"), "{told}");
        let told = said(words, of("files")).unwrap_err();
        assert!(told.contains("is of the type 'files'"), "{told}");
    }
    assert_eq!(said("--db-host h --mysql", of("mysql")).unwrap(), "mysql");
    assert_eq!(said("--db-os-user postgres --postgresql", of("postgresql")).unwrap(), "postgresql");
    assert_eq!(said("--cron @daily", of("files")).unwrap(), "");
    assert_eq!(said("--description x", json!({})).unwrap(), "");
}

#[test]
fn sources_go_together_in_an_application_alone() {
    let changes = |words: &str| {
        let line = Line::try_parse_from(["set", "p"].into_iter().chain(words.split(' '))).unwrap();
        line.args.changes().map(|mut changes| changes.remove("source")).map_err(|e| e.to_string())
    };
    let told = changes("--path /a --sqlite /b").unwrap_err();
    assert!(told.contains("--application"), "{told}");
    assert!(changes("--path /a --postgresql").is_err());
    let all = "--application --path /a --exclude *.o --sqlite /a/b --postgresql --database d --db-user u";
    let expected = json!({
        "type": "application", "files": { "paths": ["/a"], "excludes": ["*.o"] }, "sqlite": { "paths": ["/a/b"] },
        "postgresql": { "databases": ["d"], "connection": { "user": "u" } },
    });
    assert_eq!(changes(all).unwrap(), Some(expected));
    let found = changes("--application --mysql").unwrap();
    assert_eq!(found, Some(json!({ "type": "application", "mysql": {} })));
    assert_eq!(changes("--path /a").unwrap(), Some(json!({ "type": "files", "paths": ["/a"] })));
}

#[test]
fn hooks_take_the_place_of_the_old_ones_as_a_whole() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let hooks = |words: &str| {
        let line = Line::try_parse_from(["set", "p"].into_iter().chain(words.split(' '))).unwrap();
        line.args.changes().unwrap().remove("hooks")
    };
    let given = format!("--hooks {}", file.path().display());
    // A word that nobody knows is for the server to refuse, and not lost here.
    std::fs::write(file.path(), r#"{"after":[{"command":["/x"]}],"befor":[]}"#).unwrap();
    let after = json!([{ "command": ["/x"] }]);
    assert_eq!(hooks(&given), Some(json!({ "before": [], "after": after, "befor": [] })));
    assert_eq!(hooks("--no-hooks"), Some(json!({ "before": [], "after": [] })));
    assert_eq!(hooks("--description x"), None);
}

#[test]
fn what_is_kept_is_said_and_taken_back_as_a_whole() {
    let changes = |words: &str| {
        let line = Line::try_parse_from(["set", "p"].into_iter().chain(words.split(' ')));
        line.map(|line| Value::Object(line.args.changes().unwrap())).map_err(|e| e.to_string())
    };
    let given = "--keep-daily 7 --keep-within 30d --retention-time-zone Europe/Paris --retention-cron @weekly --daily-at 02:30";
    let expected = json!({
        "schedule": { "cron": "30 2 * * *" },
        "retention": { "keep_daily": 7, "keep_within": "30d", "time_zone": "Europe/Paris" },
        "retention_schedule": { "cron": "@weekly", "time_zone": "Europe/Paris" },
    });
    assert_eq!(changes(given).unwrap(), expected);
    // The zone alone is that of the days: a plan without times of its own gets none by it.
    let zone = changes("--retention-time-zone Europe/Paris").unwrap();
    assert_eq!(zone, json!({ "retention": { "time_zone": "Europe/Paris" } }));
    assert_eq!(changes("--no-retention").unwrap(), json!({ "retention": null, "retention_schedule": null }));
    assert_eq!(changes("--no-retention-schedule").unwrap(), json!({ "retention_schedule": null }));
    assert_eq!(changes("--no-schedule").unwrap(), json!({ "schedule": null }));
    for wrong in
        ["--no-retention --keep-daily 7", "--no-schedule --daily-at 02:00", "--no-schedule --priority 1"]
    {
        assert!(changes(wrong).is_err(), "{wrong}");
    }
}

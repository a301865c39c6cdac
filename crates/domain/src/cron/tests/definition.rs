//! How a schedule is written, what is refused, and that what was written long ago is still read.

use super::*;
use crate::event::{decode_payload, encode_payload};
use serde_json::{Value, json};

fn read(value: Value) -> ScheduleSpec {
    serde_json::from_value(value).unwrap()
}

/// The fields that are wrong.
fn wrong(value: Value) -> Vec<String> {
    read(value).problems().into_iter().map(|problem| problem.field).collect()
}

#[test]
fn errors_name_the_field() {
    assert_eq!(wrong(json!({"cron": "61 * * * *"})), ["cron"]);
    assert_eq!(wrong(json!({"cron": "hourly"})), ["cron"]);
    assert_eq!(wrong(json!({"cron": "0 0 30 2 *"})), ["cron"], "a time that never comes");
    assert_eq!(wrong(json!({"cron": "0".repeat(300)})), ["cron"]);
    assert_eq!(wrong(json!({})), ["cron"], "neither cron nor preset");
    assert_eq!(wrong(json!({"cron": "* * * * *", "time_zone": "Mars/Olympus"})), ["time_zone"]);
    assert_eq!(wrong(json!({"cron": "@daily", "jitter_s": 90_000})), ["jitter_s"]);
    assert_eq!(wrong(json!({"cron": "@daily", "priority": 10})), ["priority"]);
    assert_eq!(wrong(json!({"cron": "@daily", "start_within_s": 59})), ["start_within_s"]);
    assert_eq!(wrong(json!({"cron": "@daily", "start_within_s": 600, "jitter_s": 600})), ["start_within_s"]);
    assert_eq!(wrong(json!({"cron": "@daily", "catch_up": "all", "catch_up_limit": 0})), ["catch_up_limit"]);
    assert_eq!(
        wrong(json!({"cron": "@daily", "catch_up": "all", "catch_up_limit": 1001})),
        ["catch_up_limit"]
    );
    assert_eq!(wrong(json!({"cron": "@daily", "catch_up_limit": 10})), ["catch_up_limit"], "of no use");
    let right = json!({"cron": "@daily", "catch_up": "all", "catch_up_limit": 1000, "priority": 9,
        "start_within_s": 3600, "jitter_s": 60});
    assert_eq!(wrong(right), [""; 0]);
}

#[test]
fn presets_are_kept_as_cron() {
    let cases = [
        (json!({"every": "hour"}), "0 * * * *"),
        (json!({"every": "hour", "minute": 15}), "15 * * * *"),
        (json!({"every": "day", "at": "02:30"}), "30 2 * * *"),
        (json!({"every": "week", "on": ["monday", "friday"], "at": "02:30"}), "30 2 * * 1,5"),
        (json!({"every": "week", "on": ["sunday", "monday", "sunday"], "at": "00:00"}), "0 0 * * 1,0"),
        (json!({"every": "month", "on": 15, "at": "23:59"}), "59 23 15 * *"),
        (json!({"every": "month", "on": "last", "at": "04:00"}), "0 4 L * *"),
    ];
    for (preset, cron) in cases {
        let spec = read(json!({"preset": preset, "time_zone": "Europe/Paris"}));
        assert_eq!(spec, ScheduleSpec::new(cron, "Europe/Paris"), "{preset}");
        assert_eq!(spec.problems(), [], "{preset}");
        let kept = serde_json::to_value(&spec).unwrap();
        assert_eq!((kept["cron"].as_str(), &kept["preset"]), (Some(cron), &Value::Null));
        let preset: Preset = serde_json::from_value(preset.clone()).unwrap();
        let again = serde_json::to_value(&preset).unwrap();
        assert_eq!(serde_json::from_value::<Preset>(again).unwrap(), preset);
    }
}

#[test]
fn presets_that_are_wrong_say_where() {
    assert_eq!(wrong(json!({"preset": {"every": "hour", "minute": 60}})), ["preset.minute"]);
    assert_eq!(wrong(json!({"preset": {"every": "day", "at": "2:30"}})), ["preset.at"]);
    assert_eq!(wrong(json!({"preset": {"every": "day", "at": "24:00"}})), ["preset.at"]);
    assert_eq!(wrong(json!({"preset": {"every": "day", "at": "+1:30"}})), ["preset.at"]);
    assert_eq!(wrong(json!({"preset": {"every": "week", "on": [], "at": "x"}})), ["preset.on", "preset.at"]);
    assert_eq!(wrong(json!({"preset": {"every": "month", "on": 31, "at": "02:30"}})), ["preset.on"]);
    assert_eq!(
        wrong(json!({"preset": {"every": "hour"}, "cron": "@daily"})),
        ["preset"],
        "which one is meant?"
    );
}

#[test]
fn a_schedule_of_old_is_read_as_it_was() {
    let old = json!({"cron": "30 2 * * *", "time_zone": "Europe/Paris", "catch_up": "all", "overlap": "queue", "jitter_s": 60});
    let spec: ScheduleSpec = decode_payload(&encode_payload(&old).unwrap()).unwrap();
    let expected = ScheduleSpec {
        catch_up: CatchUp::All,
        overlap: Overlap::Queue,
        jitter_s: 60,
        ..ScheduleSpec::new("30 2 * * *", "Europe/Paris")
    };
    assert_eq!(spec, expected);
    assert_eq!((spec.catch_up_limit(), spec.priority, spec.start_within_s), (100, None, None));
}

/// A field of a request that does not come back is answered as one that nobody knows.
#[test]
fn every_field_that_may_be_written_comes_back() {
    for value in [
        json!({"cron": "@daily", "preset": null, "time_zone": "UTC", "catch_up": "latest", "catch_up_limit": null,
            "overlap": "skip", "jitter_s": 0, "blackout": [], "priority": null, "start_within_s": null}),
        json!({"preset": {"every": "hour"}, "blackout": [
            {"kind": "weekly", "days": [], "from": "08:00", "to": "09:00", "reason": ""}]}),
    ] {
        let back = serde_json::to_value(read(value.clone())).unwrap();
        for (name, _) in value.as_object().unwrap() {
            assert!(back.get(name).is_some(), "{name}");
        }
        for (name, _) in value["blackout"].as_array().unwrap().iter().flat_map(|w| w.as_object().unwrap()) {
            assert!(back["blackout"][0].get(name).is_some(), "{name}");
        }
    }
    let colourful = json!({"preset": {"every": "hour", "minute": 1, "colour": 1}});
    let refused = serde_json::from_value::<ScheduleSpec>(colourful).unwrap_err().to_string();
    assert!(refused.contains("colour"), "{refused}");
}

#[test]
fn a_schedule_with_all_there_is_goes_over_the_wire_and_back() {
    let spec = read(
        json!({"cron": "@daily", "time_zone": "UTC", "catch_up": "all", "catch_up_limit": 7, "priority": 1,
        "start_within_s": 900, "blackout": [
            {"kind": "weekly", "days": ["sunday"], "from": "22:00", "to": "06:00", "reason": "r"},
            {"kind": "dated", "from": "2026-12-24", "to": "2026-12-27T06:00", "reason": "Christmas"}]}),
    );
    assert_eq!(spec.problems(), []);
    assert_eq!(decode_payload::<ScheduleSpec>(&encode_payload(&spec).unwrap()).unwrap(), spec);
}

#[test]
fn a_job_may_start_up_to_its_deadline_and_not_later() {
    let nominal = at("2026-01-01T02:00:00Z");
    let spec = read(json!({"cron": "@daily", "start_within_s": 3600}));
    assert_eq!(spec.start_by(nominal), Some(at("2026-01-01T03:00:00Z")));
    assert!(!spec.expired(nominal, at("2026-01-01T03:00:00Z")));
    assert!(spec.expired(nominal, at("2026-01-01T03:00:00.001Z")));
    assert!(!read(json!({"cron": "@daily"})).expired(nominal, at("2036-01-01T00:00:00Z")), "no deadline");
}

#[test]
fn no_priority_of_a_plan_lifts_its_backup_over_a_restore() {
    // The classes of `JobSpec::priority`, lowest first.
    for class in 0..4 {
        for priority in [None, Some(0), Some(MAX_PRIORITY), Some(u8::MAX)] {
            assert!(rank(class, priority) < rank(class + 1, Some(0)));
        }
    }
    assert!(rank(1, Some(6)) > rank(1, None));
    assert_eq!(rank(1, None), rank(1, Some(USUAL_PRIORITY)));
}

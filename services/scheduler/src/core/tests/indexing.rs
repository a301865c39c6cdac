use super::*;
use crate::core::indexing::due;
use strongroom_domain::archive::IndexFacts;

/// A fleet with a backup of job 1 that has just ended.
fn after_a_backup(archive: Facts) -> Given {
    let mut given = Given::a_fleet();
    given.backup(1, 0);
    let epoch = given.admitted(1, 1);
    given.started(1, epoch);
    given.backed_up(1, epoch, archive);
    given
}

#[test]
fn the_archive_of_a_backup_is_indexed_once_whatever_becomes_of_it() {
    let archive = facts(0, "aa", "p-1");
    let mut given = after_a_backup(archive.clone());
    let jobs = due(&given.world);
    let [(job, requested, _)] = &jobs[..] else { panic!("{jobs:?}") };
    let spec = serde_json::to_value(&requested.spec).unwrap();
    assert_eq!((&spec["kind"], &spec["archive"]["borg_id"]), (&json!("index-archive"), &json!("aa")));
    assert_eq!(requested.trigger, Trigger::System);
    assert_eq!(due(&given.world)[0].0, *job, "every scheduler asks for the same");
    given.event(&format!("job.{job}"), Event::JobRequested(requested.clone()));
    assert!(due(&given.world).is_empty());
}

#[test]
fn how_much_there_was_is_known_for_the_next_time() {
    use strongroom_domain::archive::Stats;
    let stats = Stats {
        files: 1,
        original_size_bytes: 700,
        compressed_size_bytes: 70,
        deduplicated_size_bytes: 7,
        duration_ms: 1,
        average_rate_bytes_per_s: 1,
        repository_size_bytes: None,
    };
    let given = after_a_backup(Facts { stats: Some(stats), ..facts(0, "aa", "p-1") });
    assert_eq!(given.world.sizes.values().collect::<Vec<_>>(), [&700]);
    assert!(after_a_backup(facts(0, "aa", "p-1")).world.sizes.is_empty());
}

#[test]
fn what_has_an_index_or_is_being_deleted_is_left_alone() {
    let index = Some(IndexFacts { chunks: 1, entries: 1, sha256: "00".into(), sample: Vec::new() });
    let given = after_a_backup(Facts { index, ..facts(0, "aa", "p-1") });
    assert!(due(&given.world).is_empty(), "the node made one");

    let mut given = after_a_backup(facts(0, "bb", "p-1"));
    let archive = facts(0, "bb", "p-1");
    let target = json!({ "id": archive.id, "name": "p-1", "borg_id": "bb" });
    given.requested(2, read(json!({ "kind": "delete-archive", "access": access(0), "archive": target })));
    assert!(due(&given.world).is_empty());
}

#[test]
fn nothing_is_asked_of_a_job_that_cannot_be_read() {
    let mut given = after_a_backup(facts(0, "aa", "p-1"));
    let job = due(&given.world)[0].0;
    given.world.poison(given.world.sequence + 1, Some(Aggregate::new(Kind::Job, job)));
    assert!(due(&given.world).is_empty());
}

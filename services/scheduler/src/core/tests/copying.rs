use super::*;
use crate::core::copying::due;

/// A fleet with a backup of job 1 that has just ended, whose plan wants copies.
fn after_a_backup(copies: &[&str]) -> Given {
    let mut given = Given::a_fleet();
    let spec = json!({
        "kind": "backup", "plan": "p", "access": access(0), "copies": copies,
        "source": { "type": "files", "paths": ["/x"] }, "compression": "zstd",
    });
    given.requested(1, read(spec));
    let epoch = given.admitted(1, 1);
    given.started(1, epoch);
    given.backed_up(1, epoch, facts(0, "aa", "p-1"));
    given
}

#[test]
fn each_copy_is_asked_for_once_whatever_becomes_of_it() {
    let mut given = after_a_backup(&["r1", "r2"]);
    let jobs = due(&given.world);
    assert_eq!(jobs.len(), 2);
    for (job, requested, _) in &jobs {
        let spec = serde_json::to_value(&requested.spec).unwrap();
        assert_eq!((&spec["kind"], &spec["archive"]["borg_id"]), (&json!("copy-archive"), &json!("aa")));
        assert_eq!((&spec["from"]["repository"], &spec["plan"]), (&json!("r0"), &json!("p")));
        assert_eq!(
            requested.spec.repository().map(ToString::to_string),
            spec["access"]["repository"].as_str().map(str::to_owned)
        );
        given.event(&format!("job.{job}"), Event::JobRequested(requested.clone()));
    }
    assert!(due(&given.world).is_empty());
    assert!(due(&after_a_backup(&[]).world).is_empty());
}

#[test]
fn what_is_being_deleted_is_not_copied_and_nothing_is_copied_to_nowhere() {
    assert!(due(&after_a_backup(&["gone"]).world).is_empty());
    let mut given = after_a_backup(&["r1"]);
    let archive = facts(0, "aa", "p-1");
    let target = json!({ "id": archive.id, "name": "p-1", "borg_id": "aa" });
    given.requested(2, read(json!({ "kind": "delete-archive", "access": access(0), "archive": target })));
    assert!(due(&given.world).is_empty());
}

use super::*;
use crate::core::chains::as_given;
use strongroom_domain::archive::{Deleted, Missing};
use strongroom_domain::{Failure, FailureCode};

/// An archive of a whole server, full or on top of another.
fn archive(n: u32, base: Option<u32>) -> Facts {
    let name = |n: u32| format!("p-{n}");
    let base = base.map(|b| {
        let facts = facts(0, &format!("b{b}"), &name(b));
        json!({ "id": facts.id, "name": facts.name, "borg_id": facts.borg_id })
    });
    let variant = if base.is_none() { "full" } else { "incremental" };
    let dump = json!({
        "source": "postgresql", "server_version": "15", "tool": "t", "artefacts": [], "artefacts_total": 0,
        "physical": { "variant": variant, "base": base, "position": {
            "system": "postgresql", "system_identifier": "7", "timeline": 1, "segment_bytes": 16 << 20,
            "start_lsn": "0/1", "stop_lsn": "0/2", "stopped_at": "2026-03-01T00:00:00Z" } },
    });
    Facts { dump: Some(read(dump)), ..facts(0, &format!("b{n}"), &name(n)) }
}

fn spec(changes: serde_json::Value) -> JobSpec {
    let mut spec = json!({
        "kind": "backup", "plan": "p", "access": access(0), "compression": "lz4", "variant": "incremental",
        "source": { "type": "postgresql", "method": "physical" },
    });
    spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    read(spec)
}

fn ask(given: &mut Given, n: u128) -> u64 {
    given.requested(n, spec(json!({})));
    let epoch = given.admitted(n, 1);
    given.started(n, epoch);
    epoch
}

fn make(given: &mut Given, n: u128, made: Facts) {
    let epoch = ask(given, n);
    given.backed_up(n, epoch, made);
}

/// A fleet with a full archive and two on top of it.
fn with_a_chain() -> Given {
    let mut given = Given::a_fleet();
    make(&mut given, 1, archive(1, None));
    make(&mut given, 2, archive(2, Some(1)));
    make(&mut given, 3, archive(3, Some(2)));
    given
}

/// The name of what a backup would be made on.
fn base_of(given: &Given, spec: &JobSpec) -> Option<String> {
    let JobSpec::Backup(backup) = as_given(&given.world, spec, given.now) else { panic!("{spec:?}") };
    backup.base.map(|base| base.archive.name)
}

fn delete(n: u32) -> JobSpec {
    let facts = archive(n, None);
    let target = json!({ "id": facts.id, "name": facts.name, "borg_id": facts.borg_id });
    read(json!({ "kind": "delete-archive", "access": access(0), "archive": target }))
}

fn needed_by(given: &Given, n: u32) -> Vec<String> {
    let JobSpec::DeleteArchive { needed_by, .. } = as_given(&given.world, &delete(n), given.now) else {
        panic!("it is another job")
    };
    needed_by
}

#[test]
fn a_backup_is_made_on_what_is_the_newest_when_its_turn_comes() {
    let mut given = Given::a_fleet();
    let incremental = spec(json!({}));
    assert_eq!(base_of(&given, &incremental), None, "the first is a full one");
    make(&mut given, 1, archive(1, None));
    assert_eq!(base_of(&given, &incremental).as_deref(), Some("p-1"));
    make(&mut given, 2, archive(2, Some(1)));
    assert_eq!(base_of(&given, &incremental).as_deref(), Some("p-2"));
    assert_eq!(base_of(&given, &spec(json!({ "variant": "differential" }))).as_deref(), Some("p-1"));
    assert_eq!(base_of(&given, &spec(json!({ "full": true }))), None);
    assert_eq!(base_of(&given, &spec(json!({ "variant": "full" }))), None);
    assert_eq!(base_of(&given, &spec(json!({ "plan": "other" }))), None, "each plan has its own");
    assert_eq!(base_of(&given, &spec(json!({ "access": access(1) }))), None, "it lies elsewhere");
    given.after(7 * 24 * 3600);
    assert_eq!(base_of(&given, &incremental), None, "a full one is due");
}

#[test]
fn after_a_broken_chain_the_next_one_is_full_and_after_another_failure_it_is_not() {
    for (code, base) in [(FailureCode::ChainBroken, None), (FailureCode::ServerUnreachable, Some("p-3"))] {
        let mut given = with_a_chain();
        let epoch = ask(&mut given, 4);
        let failed = job::Failed { epoch, failure: Failure::new(code, "x") };
        given.event(&format!("job.{}", job(4)), Event::JobFailed(failed));
        assert_eq!(base_of(&given, &spec(json!({}))).as_deref(), base, "{code}");
        make(&mut given, 5, archive(5, None));
        assert_eq!(base_of(&given, &spec(json!({}))).as_deref(), Some("p-5"), "{code}");
    }
}

#[test]
fn what_others_need_is_not_given_away_for_deletion_and_what_is_gone_is_no_base() {
    let mut given = with_a_chain();
    assert_eq!(needed_by(&given, 1), ["p-2"]);
    assert_eq!(needed_by(&given, 3), Vec::<String>::new());
    let gone = |given: &mut Given, n: u32| {
        let deleted = Deleted { job: job(9), repository: repository(0) };
        given.event(&format!("archive.{}", archive(n, None).id), Event::ArchiveDeleted(deleted));
    };
    gone(&mut given, 3);
    assert_eq!(needed_by(&given, 2), Vec::<String>::new());
    assert_eq!(base_of(&given, &spec(json!({}))), None, "the newest is gone, and with it what came before");
    let mut given = with_a_chain();
    let missing = Missing { job: job(9), repository: repository(0) };
    given.event(&format!("archive.{}", archive(1, None).id), Event::ArchiveMissing(missing));
    assert_eq!(base_of(&given, &spec(json!({}))), None);
    assert_eq!(needed_by(&given, 1), ["p-2"], "it may be found again");
}

#[test]
fn an_archive_that_a_scan_has_found_keeps_what_it_needs() {
    let mut given = Given::a_fleet();
    make(&mut given, 1, archive(1, None));
    let found = archive(2, Some(1));
    let adopted = json!({ "repository": "r0", "server": "s", "plan": "p", "facts": found, "job": job(9) });
    given.event(&format!("archive.{}", found.id), Event::ArchiveAdopted(read(adopted)));
    assert_eq!(needed_by(&given, 1), ["p-2"]);
    // Whether the spool goes on from it is not known: only what a job has told of is gone on from.
    assert_eq!(base_of(&given, &spec(json!({}))).as_deref(), Some("p-1"));
}

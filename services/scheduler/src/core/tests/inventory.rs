use super::*;
use crate::core::inventory::due;

fn joined(given: &mut Given) {
    let joined = json!({
        "boot": "b", "age_recipient": "age1x", "version": "0", "started_at": "2026-03-01T00:00:00Z",
    });
    given.event("node.n", Event::NodeJoined(read(joined)));
}

#[test]
fn each_repository_is_looked_into_once_a_day() {
    let mut given = Given::a_fleet();
    joined(&mut given);
    assert_eq!(due(&given.world, given.now), []);
    given.after(86_400);
    let scans = due(&given.world, given.now);
    assert_eq!(scans.len(), 3);
    assert_eq!(due(&given.world, given.now)[0].0, scans[0].0, "every scheduler asks for the same");
    for (id, requested) in scans {
        given.event(&format!("job.{id}"), Event::JobRequested(requested));
    }
    assert_eq!(due(&given.world, given.now), []);
    given.after(-3600);
    assert_eq!(due(&given.world, given.now), [], "a clock that was set back asks for nothing");
    given.after(3600 + 86_400);
    assert_eq!(due(&given.world, given.now).len(), 3);
}

#[test]
fn nobody_is_asked_about_a_repository_that_is_gone_or_by_a_node_that_never_was() {
    let mut given = Given::a_fleet();
    given.after(86_400);
    assert_eq!(due(&given.world, given.now), [], "its node never came up");
    joined(&mut given);
    given.event("repository.r1", Event::RepositoryRetired(read(json!({}))));
    let ids: Vec<String> = due(&given.world, given.now)
        .into_iter()
        .map(|(_, r)| r.spec.repository().unwrap().to_string())
        .collect();
    assert_eq!(ids, ["r0", "r2"]);
}

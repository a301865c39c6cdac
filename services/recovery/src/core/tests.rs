#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;

const REFUSES: &str = "/dev/null: Mountpoint must be a writable directory";

#[test]
fn borgs_words_are_understood() {
    assert_eq!(borg("borg 1.2.4\n", REFUSES), usable(Some("1.2.4".into())));
    assert_eq!(borg("borg 2.0.0b14", REFUSES), usable(Some("2.0.0b14".into())));
    let refused = |version, mount| borg(version, mount).problem.unwrap();
    assert!(refused("borg 1.1.18", REFUSES).contains("too old"));
    let none = "borg mount not available: no FUSE support, BORG_FUSE_IMPL=none.";
    assert!(refused("borg 1.4.0", none).contains("pyfuse3"));
    assert_eq!(borg("borg 1.4.0", none).version.as_deref(), Some("1.4.0"));
    assert!(refused("borg 1.4.0", "Traceback\nmore").ends_with("Traceback"));
    assert!(refused("what?", REFUSES).contains("version"));
}

#[test]
fn what_is_missing_limits_recovery_and_does_not_stop_it() {
    let capabilities = Capabilities {
        docker: unusable("No Docker."),
        fuse: usable(None),
        borg: usable(Some("1.4.0".into())),
    };
    let health = super::health(true, Some(7), Some(&capabilities));
    assert!(health.ready);
    assert_eq!(health.problems, ["No Docker."]);
    assert_eq!(health.numbers["recovery_docker_usable"], 0.0);
    assert_eq!(health.numbers["recovery_borg_usable"], 1.0);
    assert_eq!(health.numbers["recovery_position"], 7.0);
    assert!(!super::health(false, Some(7), Some(&capabilities)).ready);
    assert!(!super::health(true, None, Some(&capabilities)).ready);
    assert!(!super::health(true, Some(7), None).ready);
}

use super::*;

/// Whether every subject that fits `narrow` fits `wide`.
fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(token), Some(other)) if token == other => {}
            _ => return false,
        }
    }
}

fn all() -> Vec<Account> {
    accounts(&["a".parse().unwrap(), "b".parse().unwrap()])
}

#[test]
fn patterns_cover_what_they_should() {
    assert!(covers("strongroom.evt.*.*", "strongroom.evt.job.*"));
    assert!(covers("$JS.ACK.>", "$JS.ACK.STRONGROOM_WORK.a.>"));
    assert!(!covers("strongroom.work.*", "strongroom.work.>"));
    assert!(!covers("strongroom.work.*", "strongroom.work"));
    assert!(!covers("strongroom.report.a", "strongroom.report.*"));
}

#[test]
fn everything_imported_is_opened_by_its_account() {
    let all = all();
    for account in &all {
        for import in &account.imports {
            let (Import::Service { account: from, subject } | Import::Feed { account: from, subject }) =
                import;
            let there = all.iter().find(|a| a.name == *from).unwrap();
            let opened = there.exports.iter().any(|export| match (export, import) {
                (Export::Service(s, _), Import::Service { .. }) | (Export::Feed(s), Import::Feed { .. }) => {
                    covers(s, subject)
                }
                _ => false,
            });
            assert!(opened, "{} imports {subject}, which {from} does not open", account.name);
        }
    }
}

#[test]
fn the_rights_of_a_user_and_the_imports_of_its_account_say_the_same() {
    for account in all().iter().filter(|a| !a.has_streams()) {
        let shadow = |i: &&Import| matches!(i, Import::Service { subject, .. } if subject == SHADOW);
        assert!(!account.rights.publish.iter().any(|r| covers(r, SHADOW)));
        for import in account.imports.iter().filter(|i| !shadow(i)) {
            let (subject, rights) = match import {
                Import::Service { subject, .. } => (subject, &account.rights.publish),
                Import::Feed { subject, .. } => (subject, &account.rights.subscribe),
            };
            assert!(rights.iter().any(|r| covers(r, subject)), "{}: no right to use {subject}", account.name);
        }
        for right in account.rights.publish.iter().filter(|r| *r != "_R_.>") {
            let used = account.imports.iter().any(|i| match i {
                Import::Service { subject, .. } => covers(subject, right) || covers(right, subject),
                Import::Feed { .. } => false,
            });
            assert!(used, "{}: {right} leads nowhere", account.name);
        }
    }
}

#[test]
fn nobody_but_the_provisioner_reaches_streams_and_consumers_themselves() {
    let harmless = ["STREAM.INFO.", "STREAM.MSG.GET.", "DIRECT.GET.", "CONSUMER.MSG.NEXT."];
    for account in all().iter().filter(|a| a.user != PROVISIONER) {
        for subject in &account.rights.publish {
            let Some(call) = subject.strip_prefix("$JS.API.") else { continue };
            let allowed = harmless.iter().any(|h| call.starts_with(h))
                || (account.user == "scheduler" && call == "STREAM.PURGE.STRONGROOM_INDEXES");
            assert!(allowed, "{} may call {call}", account.user);
        }
    }
}

#[test]
fn no_node_shares_a_subject_with_another_or_reaches_the_log() {
    let all = all();
    let nodes: Vec<&Account> = all.iter().filter(|a| a.user.starts_with(NODE_PREFIX)).collect();
    let [a, b] = nodes[..] else { panic!("two nodes") };
    for subject in a.rights.publish.iter().chain(&a.rights.subscribe) {
        for other in b.rights.publish.iter().chain(&b.rights.subscribe) {
            assert!(!covers(subject, other) && !covers(other, subject), "{subject} and {other}");
        }
        assert!(!subject.contains("strongroom.evt") && !subject.contains("STRONGROOM."), "{subject}");
    }
}

#[test]
fn each_kind_of_aggregate_is_written_by_whom_the_design_names() {
    let writers = |kind: Kind| -> Vec<&str> {
        SERVICES.iter().filter(|s| s.writes.contains(&kind)).map(|s| s.user).collect()
    };
    assert_eq!(writers(Kind::Token), ["gateway"]);
    assert_eq!(writers(Kind::Plan), ["gateway"]);
    assert_eq!(writers(Kind::Job), ["gateway", "scheduler"]);
    assert_eq!(writers(Kind::Queue), ["scheduler"]);
    assert_eq!(writers(Kind::Schedule), ["scheduler"]);
    assert_eq!(writers(Kind::Archive), ["gateway", "scheduler"]);
    assert_eq!(writers(Kind::Session), ["gateway", "recovery"]);
    assert_eq!(writers(Kind::Proof), ["recovery"]);
    assert_eq!(writers(Kind::Notification), ["notifier"]);
    assert_eq!(writers(Kind::Audit), ["catalog"]);
}

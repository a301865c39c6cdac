#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}

fn said(names: &[&str]) -> String {
    let mut said = format!(
        "server\t{}\t{}\t1\t0\nSsl_cipher\t\n",
        hex("10.11.19-MariaDB-0+deb12u1"),
        hex("b@localhost")
    );
    for name in names.iter().chain(&["mysql", "sys", "information_schema"]) {
        said.push_str(&format!("database\t{}\tutf8mb4\tutf8mb4_general_ci\n", hex(name)));
    }
    said
}

#[test]
fn a_survey_is_read_whatever_is_in_its_names() {
    let odd = "it's\t\"o\"\n`b`";
    let mut text = said(&["a", odd]);
    text.push_str(&format!("plain\t{}\t{}\tMyISAM\nevent\t{}\t2\n", hex(odd), hex("t\n"), hex("a")));
    text.push_str(&format!("versioned\t{}\t3\nsize\t{}\t16384\n", hex("a"), hex("a")));
    text.push_str(&format!("plain\t{}\t{}\tAria\n", hex("mysql"), hex("user")));
    text.push_str("GRANT SELECT, TRIGGER ON *.* TO `b`@`localhost`\n");
    let survey = Survey::read(&text).unwrap();
    assert_eq!(survey.version, "10.11.19-MariaDB-0+deb12u1");
    assert_eq!((survey.user.as_str(), survey.log_bin, survey.caseless), ("b@localhost", true, false));
    assert_eq!(survey.flavour(), program::Flavour::MariaDb);
    assert!(!survey.tls && survey.grants.has_global("TRIGGER"));
    let [a, b] = survey.databases.as_slice() else { panic!("{:?}", survey.databases) };
    assert_eq!((a.name.as_str(), a.events, a.versioned, a.plain.len()), ("a", 2, 3, 0));
    assert_eq!((a.size_bytes, b.size_bytes), (16384, 0));
    assert_eq!((b.name.as_str(), b.plain.as_slice()), (odd, &[("t\n".to_owned(), "MyISAM".to_owned())][..]));
    for half in ["", "server\t41", "database\t4g\tx\ty\n", "Ssl_cipher\tx\n"] {
        assert_eq!(Survey::read(half), None, "{half}");
    }
}

#[test]
fn all_databases_are_dumped_unless_some_are_named() {
    let mut survey = Survey::read(&said(&["a", "b"])).unwrap();
    let names = |survey: &Survey, named: &[&str], excludes: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let chosen = survey.chosen(&own(named), &own(excludes)).map_err(|f| f.code)?;
        Ok::<_, FailureCode>(chosen.into_iter().map(|d| d.name.clone()).collect::<Vec<_>>())
    };
    assert_eq!(names(&survey, &[], &[]).unwrap(), ["a", "b"]);
    assert_eq!(names(&survey, &[], &["a"]).unwrap(), ["b"]);
    assert_eq!(names(&survey, &["b"], &[]).unwrap(), ["b"]);
    assert_eq!(names(&survey, &["B"], &[]), Err(FailureCode::DatabaseMissing));
    assert_eq!(names(&survey, &["mysql"], &[]), Err(FailureCode::DatabaseMissing));
    assert_eq!(names(&survey, &[], &["a", "b"]), Err(FailureCode::DatabaseMissing));
    let restoring = Survey::read(&said(&["a", "strongroom_restore_07"])).unwrap();
    assert_eq!(names(&restoring, &[], &[]).unwrap(), ["a"]);
    assert_eq!(survey.unknown(&["a".into(), "x".into()]), ["x"]);
    survey.caseless = true;
    assert_eq!(names(&survey, &["B", "b"], &[]).unwrap(), ["b"]);
}

#[test]
fn an_error_is_known_by_its_number_in_any_language() {
    let cause = |line: &str| cause(&["-- Warning".to_owned(), line.to_owned()]);
    for (line, code) in [
        ("ERROR 1045 (28000): Zugriff verweigert", FailureCode::AccessDenied),
        ("ERROR 1044 (42000) at line 1: nix", FailureCode::AccessDenied),
        ("mariadb-dump: Got error: 1698: \"x\" when trying to connect", FailureCode::AccessDenied),
        ("mysqldump: Couldn't execute 'SHOW FIELDS': command denied (1142)", FailureCode::AccessDenied),
        ("mysqldump: Got error: 1049: Unknown database 'x' when selecting", FailureCode::DatabaseMissing),
        ("ERROR 2002 (HY000): Can't connect to server on '127.0.0.1' (115)", FailureCode::ServerUnreachable),
        (
            "mariadb-dump: Error 2013: Lost connection when dumping `t` at row: 7",
            FailureCode::ServerUnreachable,
        ),
        ("ERROR 1205 (HY000) at line 2: wait", FailureCode::SourceLocked),
        ("ERROR 1064 (42000) at line 1: syntax", FailureCode::DumpFailed),
        ("mariadb-dump: odd", FailureCode::DumpFailed),
    ] {
        assert_eq!(cause(line), code, "{line}");
    }
}

#[test]
fn people_read_the_error_and_not_what_is_around_it() {
    let tail = ["-- Warning: x", "ERROR 1045 (28000): no", "Bye"].map(str::to_owned);
    assert_eq!(words(&tail), tail[1]);
    assert_eq!((words(&tail[2..]), words(&[])), ("Bye".into(), "it said nothing".into()));
}

#[test]
fn names_are_quoted_for_where_they_go() {
    assert_eq!(identifier("a`b\\"), "`a``b\\`");
    assert_eq!(text(&hex("é\0")), Some("é\0".into()));
    assert_eq!(text("4"), None);
}

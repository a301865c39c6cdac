//! How what was recorded of a database when it was dumped compares with what a restore has brought back.

use super::Counted;
use strongroom_domain::archive::Dump;
use strongroom_domain::census::{RestoreCheck, TableCount, Taken};
use strongroom_domain::failure::{Finding, Severity};

/// Tables that are named in a finding.
const NAMED: usize = 10;

/// Whether two servers write a schema in the same words: those of one series.
pub fn same_series(dump: &Dump, version: &str) -> bool {
    let series = |version: &str| {
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
        let first = numbers.next().map(str::to_owned);
        // PostgreSQL counts its series by one number, MySQL and MariaDB by two.
        let second = (dump.source == "mysql").then(|| numbers.next().map(str::to_owned));
        (version.to_ascii_lowercase().contains("mariadb"), first, second)
    };
    series(&dump.server_version) == series(version)
}

/// Compares what was recorded with what is there now.
pub fn compare(then: &Counted, now: &Counted, same_series: bool) -> (RestoreCheck, Vec<Finding>) {
    let mut check = RestoreCheck { rows_counted: now.census.rows_total, ..RestoreCheck::default() };
    let by_name: std::collections::HashMap<_, _> =
        now.contents.tables.iter().map(|table| ((&table.schema, &table.table), table)).collect();
    let (mut differing, mut missing) = (Vec::new(), Vec::new());
    let counted = |table: &TableCount| table.rows.filter(|_| !table.estimated);
    let all_listed = now.census.tables_total == now.contents.tables.len() as u64;
    for table in &then.contents.tables {
        let name = table.schema.iter().map(String::as_str).chain([table.table.as_str()]);
        let name = name.collect::<Vec<_>>().join(".");
        match (by_name.get(&(&table.schema, &table.table)), counted(table)) {
            (None, _) if all_listed => missing.push(name),
            (Some(there), Some(rows)) => match counted(there) {
                Some(now) if now == rows => check.tables_equal += 1,
                Some(now) => differing.push(format!("{name} ({now}, then {rows})")),
                None => {}
            },
            _ => {}
        }
    }
    check.tables_differing = (differing.len() + missing.len()) as u64;
    check.tables_not_compared =
        then.census.tables_total.saturating_sub(check.tables_equal + check.tables_differing);
    let mut findings = Vec::new();
    let mut add = |severity, message| findings.push(Finding { severity, path: None, message });
    if !missing.is_empty() {
        add(Severity::Incomplete, format!("tables that were dumped are not there: {}", named(&missing)));
    }
    if !differing.is_empty() {
        let named = named(&differing);
        if then.census.taken == Taken::InSnapshot {
            add(Severity::Incomplete, format!("tables have another number of rows than was dumped: {named}"));
        } else {
            let message = format!(
                "tables have another number of rows than right before they were dumped; what was written meanwhile may be \
                 why: {named}"
            );
            add(Severity::Benign, message);
        }
    }
    if let (Some(then), Some(now)) = (&then.census.schema_sha256, &now.census.schema_sha256) {
        check.schema_equal = Some(then == now);
        if then != now {
            let message = "the schema is not the one that was dumped";
            if same_series {
                add(Severity::Incomplete, message.to_owned());
            } else {
                let message = format!("{message}; the servers have other versions, which may be why");
                add(Severity::Benign, message);
            }
        }
    }
    if check.tables_not_compared > 0 {
        let message =
            format!("the rows of {} tables were not counted, then or now", check.tables_not_compared);
        add(Severity::Benign, message);
    }
    (check, findings)
}

fn named(all: &[String]) -> String {
    let mut named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        named.push_str(&format!(" and {} more", all.len() - NAMED));
    }
    named
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::core::census::{Contents, sum_up};
    use proptest::prelude::*;

    fn table(name: &str, rows: Option<u64>, estimated: bool) -> TableCount {
        TableCount { schema: Some("public".into()), table: name.into(), rows, estimated }
    }

    fn counted(tables: Vec<TableCount>, schema: &str) -> Counted {
        let total = tables.len() as u64;
        let contents = Contents { tables, roles: Vec::new() };
        sum_up(contents, total, Some(schema.into()), Taken::InSnapshot)
    }

    #[test]
    fn what_is_the_same_is_said_to_be_and_what_is_not_is_named() {
        let then = counted(
            vec![table("a", Some(3), false), table("b", Some(7), false), table("c", Some(9), true)],
            "x",
        );
        assert_eq!(
            (then.census.rows_total, then.census.tables_counted, then.census.tables_total),
            (10, 2, 3)
        );
        let (check, findings) = compare(&then, &then, true);
        assert_eq!((check.tables_equal, check.tables_differing, check.tables_not_compared), (2, 0, 1));
        assert_eq!(check.schema_equal, Some(true));
        assert!(findings.iter().all(|f| f.severity == Severity::Benign), "{findings:?}");

        let now = counted(vec![table("a", Some(3), false), table("b", Some(6), false)], "y");
        let (check, findings) = compare(&then, &now, true);
        assert_eq!((check.tables_equal, check.tables_differing, check.schema_equal), (1, 2, Some(false)));
        let incomplete: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Incomplete).collect();
        assert_eq!(incomplete.len(), 3, "{findings:?}");
        assert!(
            incomplete[0].message.contains("public.c")
                && incomplete[1].message.contains("public.b (6, then 7)")
        );

        // What was counted beside the dump is no proof against it, and other servers write schemas in other words.
        let mut beside = then.clone();
        beside.census.taken = Taken::Beside;
        let now = counted(
            vec![table("a", Some(3), false), table("b", Some(6), false), table("c", None, false)],
            "y",
        );
        let (_, findings) = compare(&beside, &now, false);
        assert!(findings.iter().all(|f| f.severity == Severity::Benign), "{findings:?}");
    }

    #[test]
    fn servers_of_one_series_write_in_the_same_words() {
        let dump = |source: &str, version: &str| Dump {
            source: source.into(),
            server_version: version.into(),
            tool: String::new(),
            artefacts: Vec::new(),
            artefacts_total: 0,
            paths: Vec::new(),
            physical: None,
        };
        let postgresql = dump("postgresql", "15.18 (Debian 15.18-0+deb12u1)");
        assert!(same_series(&postgresql, "15.2") && !same_series(&postgresql, "16.18"));
        let mariadb = dump("mysql", "10.11.6-MariaDB-0+deb12u1");
        assert!(same_series(&mariadb, "10.11.19-MariaDB") && !same_series(&mariadb, "10.6.1-MariaDB"));
        assert!(!same_series(&dump("mysql", "10.11.6"), "10.11.6-MariaDB"));
    }

    proptest! {
        #[test]
        fn a_census_is_equal_to_itself_and_to_no_other(rows in prop::collection::vec(0_u64..9, 1..20), at in any::<prop::sample::Index>()) {
            let tables: Vec<_> = rows.iter().enumerate().map(|(n, rows)| table(&n.to_string(), Some(*rows), false)).collect();
            let then = counted(tables.clone(), "x");
            let (check, findings) = compare(&then, &then, true);
            prop_assert!(check.tables_equal == rows.len() as u64 && findings.is_empty());
            let mut tables = tables;
            let n = at.index(tables.len());
            tables[n].rows = tables[n].rows.map(|rows| rows + 1);
            let (check, findings) = compare(&then, &counted(tables, "x"), true);
            prop_assert!(check.tables_differing == 1 && findings[0].severity == Severity::Incomplete);
        }
    }
}

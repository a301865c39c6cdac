//! What a user may, as `SHOW GRANTS` says it.
//!
//! The accident that this file prevents: a dump that lacks all triggers and procedures, and says so to nobody. MySQL's
//! dump programs leave out in silence what the user may not see.

use super::program::Flavour;

/// What a user may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    everywhere: Vec<String>,
    /// Rights on the databases whose names are like a pattern.
    databases: Vec<(String, Vec<String>)>,
    /// Whether there are roles besides.
    roles: bool,
}

impl Grants {
    /// Reads one line. The client has written a backslash as two.
    pub fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("GRANT ") else { return };
        // `GRANT USAGE ON *.* TO ...`, but `GRANT role TO ...` has no `ON`.
        let Some((rights, rest)) = rest.split_once(" ON ") else {
            self.roles = true;
            return;
        };
        let rights = rights.split(',').map(|right| right.trim().to_ascii_uppercase()).collect();
        if rest.starts_with("*.* TO ") {
            self.everywhere.extend::<Vec<String>>(rights);
        } else if let Some((pattern, _)) = rest.split_once("`.* TO ") {
            let pattern = pattern.strip_prefix('`').unwrap_or(pattern);
            self.databases.push((pattern.replace("``", "`").replace("\\\\", "\\"), rights));
        } else if rest.starts_with("`mysql`.`proc`") {
            self.databases.push(("mysql".to_owned(), rights));
        }
    }

    /// Whether a right was given for all databases.
    pub fn has_global(&self, right: &str) -> bool {
        gives(&self.everywhere, right)
    }

    /// Whether a right was given for a database.
    pub fn has(&self, right: &str, database: &str) -> bool {
        let given =
            |(pattern, rights): &(String, Vec<String>)| gives(rights, right) && like(pattern, database);
        self.has_global(right) || self.databases.iter().any(given)
    }

    /// Whether a dump may tell the position in the log of changes.
    pub fn may_tell_position(&self) -> bool {
        let one_of = |rights: &[&str]| rights.iter().any(|right| self.has_global(right));
        self.has_global("RELOAD") && one_of(&["BINLOG MONITOR", "REPLICATION CLIENT"])
    }

    /// Whether a right on a database was not given, as far as can be told.
    pub fn lacks(&self, server: Flavour, right: &str, database: &str) -> bool {
        // MariaDB says what roles give; MySQL says only that they are there.
        let unknown = self.roles && server == Flavour::MySql;
        !unknown && !self.has(right, database)
    }

    /// What of a database is not seen, as far as can be told: each with the right that it takes.
    pub fn unseen(&self, server: Flavour, database: &str) -> Vec<(&'static str, &'static str)> {
        let mut unseen = Vec::new();
        // MariaDB says what roles give; MySQL says only that they are there.
        if self.roles && server == Flavour::MySql {
            return unseen;
        }
        if !self.has("SELECT", database) {
            // What nobody shows is not missed: the programs dump what they see, and call it all.
            unseen.push(("tables that were not granted one by one", "SELECT on it"));
        }
        if !self.has("TRIGGER", database) {
            unseen.push(("triggers", "TRIGGER on it"));
        }
        let code = ["EXECUTE", "ALTER ROUTINE", "CREATE ROUTINE", "SHOW CREATE ROUTINE"];
        let sees_code = code.iter().any(|right| self.has(right, database))
            || self.has("SELECT", "mysql")
            || self.has_global("SHOW_ROUTINE");
        if !sees_code {
            unseen.push(("procedures and functions", "SELECT on mysql.proc, or SHOW_ROUTINE"));
        }
        unseen
    }
}

fn gives(rights: &[String], right: &str) -> bool {
    rights.iter().any(|given| given == right || given == "ALL PRIVILEGES" || given == "ALL")
}

/// Whether a name is like a pattern of SQL: `%` is anything, `_` any one character, and a backslash takes their meaning.
fn like(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('%') => {
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.filter_map(|at| name.get(at..)).any(|name| like(rest.as_str(), name))
        }
        Some(c) => {
            let (exact, wanted) = match c {
                '\\' => (true, rest.next().unwrap_or('\\')),
                c => (c != '_', c),
            };
            let mut name = name.chars();
            name.next().is_some_and(|c| !exact || c == wanted) && like(rest.as_str(), name.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(lines: &[&str]) -> Grants {
        let mut grants = Grants::default();
        lines.iter().for_each(|line| grants.add(line));
        grants
    }

    #[test]
    fn who_may_do_anything_sees_all() {
        let root = grants(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"]);
        assert!(root.unseen(Flavour::MariaDb, "a").is_empty() && root.may_tell_position());
        let backup = grants(&[
            "GRANT SELECT, RELOAD, LOCK TABLES, BINLOG MONITOR, SHOW VIEW, EVENT, TRIGGER ON *.* TO `b`@`%`",
        ]);
        assert!(backup.unseen(Flavour::MySql, "a").is_empty() && backup.may_tell_position());
    }

    #[test]
    fn what_is_not_seen_is_told_with_the_right_that_it_takes() {
        let what = |grants: &Grants, database: &str| {
            grants.unseen(Flavour::MariaDb, database).into_iter().map(|(what, _)| what).collect::<Vec<_>>()
        };
        let poor = grants(&["GRANT USAGE ON *.* TO `p`@`%`", "GRANT SELECT ON `shop`.* TO `p`@`%`"]);
        assert_eq!(what(&poor, "shop"), ["triggers", "procedures and functions"]);
        assert!(!poor.may_tell_position());
        let some = grants(&[
            "GRANT USAGE ON *.* TO `p`@`%`",
            "GRANT SELECT, TRIGGER ON `a\\\\_%`.* TO `p`@`%`",
            "GRANT SELECT ON `mysql`.`proc` TO `p`@`%`",
        ]);
        assert_eq!(what(&some, "a_b"), Vec::<&str>::new());
        let tables = "tables that were not granted one by one";
        assert_eq!(what(&some, "axb"), [tables, "triggers"]);
        // By a role of MySQL, which gives nobody knows what.
        let roles = grants(&["GRANT USAGE ON *.* TO `p`@`%`", "GRANT `r`@`%` TO `p`@`%`"]);
        assert!(roles.unseen(Flavour::MySql, "shop").is_empty());
        assert_eq!(what(&roles, "shop").len(), 3);
        assert!(
            poor.lacks(Flavour::MariaDb, "EVENT", "shop") && !roles.lacks(Flavour::MySql, "EVENT", "shop")
        );
    }

    #[test]
    fn a_pattern_is_that_of_sql() {
        for (pattern, name, is) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a%", "a", true),
            ("%é_", "xéy", true),
            ("a\\_b", "a_b", true),
            ("a\\_b", "axb", false),
            ("a_b", "axb", true),
            ("_", "", false),
            ("%", "", true),
        ] {
            assert_eq!(like(pattern, name), is, "{pattern} {name}");
        }
    }
}

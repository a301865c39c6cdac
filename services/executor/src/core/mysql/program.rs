//! The programs of MySQL and of MariaDB: which is which, and how a dump is asked for.

/// Whose a program or a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// MariaDB's.
    MariaDb,
    /// MySQL's own, and what calls itself so.
    MySql,
}

impl Flavour {
    /// By what it says of itself.
    pub fn of(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") { Self::MariaDb } else { Self::MySql }
    }

    /// The package with its programs.
    pub fn package(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb-client",
            Self::MySql => "mysql-client",
        }
    }

    /// The official image with them.
    pub fn image(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::MySql => "mysql",
        }
    }
}

/// What a program says it is: `mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for ...`, `mariadb from 11.4.2-MariaDB,
/// client 15.2 ...`, `mysqldump  Ver 8.0.36 for Linux ...`, `mysqldump  Ver 10.13 Distrib 5.7.44, for ...`.
pub fn version_of(said: &str) -> Option<(Flavour, (u32, u32, u32))> {
    let at = ["Distrib ", " from ", "Ver "].iter().find_map(|word| said.split_once(word))?.1;
    let number: String = at.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let mut parts = number.split('.').map(|part| part.parse().ok());
    let mut next = || parts.next().flatten();
    let version = (next()?, next()?, next().unwrap_or_default());
    Some((Flavour::of(said), version))
}

/// Which of several is the right one for a server: the newest of its own kind, or else the newest of the other; of equal
/// ones the first.
pub fn best(found: &[(Flavour, (u32, u32, u32))], server: Flavour) -> Option<usize> {
    let all = found.iter().enumerate();
    all.max_by_key(|(n, (flavour, version))| (*flavour == server, *version, std::cmp::Reverse(*n)))
        .map(|(n, _)| n)
}

/// What of a database is dumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What<'a> {
    /// Tables and what is in them, views, triggers and routines; perhaps with the position in the log of changes.
    Tables {
        /// Whether with the position.
        position: bool,
    },
    /// Events. They are apart, because they begin to run as soon as they are there.
    Events,
    /// Triggers and routines, in words that can be said again.
    Code,
    /// How these are made: views, and tables that have nothing in them of their own.
    Made(&'a [String]),
}

/// How a dump is asked for. Names stand in no comment: one with a line break would end it, and the rest of the name would
/// be taken for SQL by whoever restores the dump.
pub fn dump(flavour: Flavour, version: (u32, u32, u32), what: What<'_>, database: &str) -> Vec<String> {
    let mut words = vec![
        "--single-transaction",
        "--quick",
        "--hex-blob",
        "--default-character-set=utf8mb4",
        "--skip-dump-date",
        "--skip-comments",
        // With a table locked, no row gets in whose default comes from a sequence.
        "--skip-add-locks",
    ];
    if flavour == Flavour::MySql {
        // Or what comes before a database is dumped would be a change of the server that restores it.
        words.extend(["--set-gtid-purged=OFF", "--no-tablespaces"]);
        if version.0 >= 8 {
            // Older servers do not have them.
            words.push("--column-statistics=0");
        }
    }
    let mut names: &[String] = &[];
    match what {
        What::Tables { position } => {
            words.extend(["--triggers", "--routines"]);
            let renamed = flavour == Flavour::MySql && version >= (8, 0, 26);
            words.extend(position.then_some(if renamed { "--source-data=2" } else { "--master-data=2" }));
        }
        What::Events => words.extend(["--no-data", "--no-create-info", "--skip-triggers", "--events"]),
        What::Code => {
            words.extend(["--no-data", "--no-create-info", "--triggers", "--routines", "--add-drop-trigger"]);
        }
        What::Made(all) => {
            words.extend(["--no-data", "--skip-triggers"]);
            names = all;
        }
    }
    words.extend(["--", database]);
    words.into_iter().map(str::to_owned).chain(names.iter().cloned()).collect()
}

/// Whether the dump programs can find the events of a database of this name: when they look for it they escape the name as
/// in a text, and do not find a database whose name is changed by that.
pub fn finds_events(database: &str) -> bool {
    !database.contains(['\'', '"', '\\', '\n', '\r', '\u{1a}'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const OLD: &str = "mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)";
    const NEW: &str = "mariadb from 11.4.2-MariaDB, client 15.2 for debian-linux-gnu (x86_64)";
    const MYSQL: &str = "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)";
    const MYSQL5: &str = "mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)";

    #[test]
    fn a_program_is_known_by_its_words() {
        assert_eq!(version_of(OLD), Some((Flavour::MariaDb, (10, 11, 19))));
        assert_eq!(version_of(NEW), Some((Flavour::MariaDb, (11, 4, 2))));
        assert_eq!(version_of(MYSQL), Some((Flavour::MySql, (8, 0, 36))));
        assert_eq!(version_of(MYSQL5), Some((Flavour::MySql, (5, 7, 44))));
        assert_eq!(version_of("not found"), None);
    }

    #[test]
    fn a_server_is_dumped_by_its_own_programs_when_they_are_there() {
        let all: Vec<_> = [OLD, MYSQL5, MYSQL, NEW].iter().map(|said| version_of(said).unwrap()).collect();
        assert_eq!(best(&all, Flavour::MySql), Some(2));
        assert_eq!(best(&all, Flavour::MariaDb), Some(3));
        assert_eq!(best(&all[..1], Flavour::MySql), Some(0));
        assert_eq!(best(&[], Flavour::MySql), None);
    }

    #[test]
    fn each_is_asked_in_its_own_words() {
        let all = What::Tables { position: true };
        let said = |flavour, version| dump(flavour, version, all, "-d").join(" ");
        let mariadb = said(Flavour::MariaDb, (10, 11, 19));
        assert!(mariadb.contains("--routines --master-data=2") && mariadb.ends_with(" -- -d"));
        assert!(!mariadb.contains("gtid") && !mariadb.contains("events"));
        assert!(said(Flavour::MySql, (8, 0, 36)).contains("--column-statistics=0 --triggers"));
        assert!(said(Flavour::MySql, (8, 0, 36)).contains("--source-data=2"));
        let five = said(Flavour::MySql, (5, 7, 44));
        assert!(five.contains("--master-data=2") && !five.contains("column-statistics"));
        let bare = dump(Flavour::MariaDb, (10, 11, 19), What::Tables { position: false }, "d");
        assert!(!bare.iter().any(|w| w.contains("master")));
        for what in [What::Events, What::Code, What::Made(&["-v".into()])] {
            let words = dump(Flavour::MySql, (8, 0, 36), what, "d").join(" ");
            assert!(words.contains("--no-data") && words.contains("gtid"), "{words}");
            assert_eq!(words.ends_with(" -- d -v"), matches!(what, What::Made(_)), "{words}");
        }
    }
}

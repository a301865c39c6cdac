//! What mysqldump and mariadb-dump print of a database, read along as it flows, so that the rows in it are counted: each
//! count is that of the dump itself, of whatever size, without a second look at every row by the server.
//!
//! The accident that this file prevents: a restore that is compared with what was counted at another moment, so that
//! nobody can say whether rows were lost or written meanwhile.
//!
//! A dump is a row of statements, each ended by `;`. A table is made by `CREATE TABLE` and filled by `INSERT INTO`, in
//! which each row is in parentheses; numbers, hex digits and texts in quotes have none of their own. Texts escape their
//! quotes by a backslash, because the programs set the mode of their session for it. Triggers and routines stand between
//! `DELIMITER ;;` and `DELIMITER ;`, and what they do is no data (`dump_table` and `dump_triggers_for_table` of
//! `mysqldump.c`).

use crate::core::census::Table;
use memchr::{memchr, memchr2, memchr3};
use std::collections::HashMap;

/// How a statement begins that makes a table.
const MAKES: &[u8] = b"CREATE TABLE `";
/// How a statement begins that fills it.
const FILLS: &[u8] = b"INSERT INTO `";
/// How a line begins that says by what statements end.
const DELIMITER: &[u8] = b"DELIMITER ";
/// By that they end.
const USUAL: &[u8] = b"DELIMITER ;\n";
/// How much of a beginning is looked at.
const BEGINNING_BYTES: usize = 16;
/// A name has 64 characters at most, each of four bytes (MySQL manual, "Identifier Length Limits").
const NAME_BYTES: usize = 256;
/// How many tables are told apart.
const TABLES: usize = 100_000;

/// The rows of each table that is in the dump.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows(HashMap<Vec<u8>, u64>);

impl Rows {
    /// Those of a table; nothing, when it is not in it.
    pub fn of(&self, table: &Table) -> Option<u64> {
        self.0.get(table.name.as_bytes()).copied()
    }
}

/// Where the reader is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a statement: white space, and its first bytes.
    #[default]
    Beginning,
    /// In the name of a table, which ends with this quote, unless it comes twice.
    Name(Does),
    /// Behind the first quote that may end it.
    NameEnds(Does),
    /// Between the name of a table and its rows.
    Columns,
    /// Among rows, outside of texts.
    Rows,
    /// In any other statement.
    Other,
    /// In something quoted, of which the opening quote is kept.
    Quoted(Within, u8),
    /// Behind a backslash in it.
    Escaped(Within, u8),
    /// In lines of code, at the beginning of one of them or not.
    Code,
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Makes,
    Fills,
}

/// What something quoted is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Columns,
    Rows,
    Other,
}

/// Counts the rows of a dump.
#[derive(Debug, Default)]
pub struct Counter {
    at: At,
    /// The first bytes of a statement, a name, or the first bytes of a line of code.
    kept: Vec<u8>,
    rows: Rows,
    /// The rows of the present statement, and whose they are.
    here: u64,
    whose: Option<Vec<u8>>,
}

impl Counter {
    /// Some more of it.
    pub fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let used = self.step(bytes).clamp(1, bytes.len());
            bytes = bytes.get(used..).unwrap_or_default();
        }
    }

    /// That was all.
    pub fn finish(self) -> Rows {
        self.rows
    }

    /// Takes some bytes, and says how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        match self.at {
            At::Beginning => self.beginning(bytes),
            At::Name(does) => self.name(bytes, does),
            At::NameEnds(does) => self.name_ends(bytes, does),
            At::Columns => self.columns(bytes),
            At::Rows => self.in_rows(bytes),
            At::Other => self.other(bytes),
            At::Quoted(within, quote) => self.quoted(bytes, within, quote),
            At::Escaped(within, quote) => {
                self.at = At::Quoted(within, quote);
                1
            }
            At::Code => self.code(bytes),
        }
    }

    fn beginning(&mut self, bytes: &[u8]) -> usize {
        let Some(&byte) = bytes.first() else { return 0 };
        if self.kept.is_empty() && byte.is_ascii_whitespace() {
            return 1;
        }
        self.kept.push(byte);
        let is_begun = |words: &[u8]| words.starts_with(&self.kept);
        if self.kept == MAKES {
            self.at = At::Name(Does::Makes);
        } else if self.kept == FILLS {
            self.at = At::Name(Does::Fills);
        } else if self.kept == DELIMITER {
            self.at = At::Code;
        } else if [MAKES, FILLS, DELIMITER].into_iter().any(is_begun) && self.kept.len() < BEGINNING_BYTES {
            return 1;
        } else {
            // The byte itself may be a quote, or the end.
            self.at = At::Other;
            self.kept.clear();
            return self.other(bytes);
        }
        if self.at != At::Code {
            self.kept.clear();
        }
        1
    }

    fn name(&mut self, bytes: &[u8], does: Does) -> usize {
        let end = memchr(b'`', bytes);
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let room = (NAME_BYTES + 1).saturating_sub(self.kept.len()).min(part.len());
        self.kept.extend_from_slice(part.get(..room).unwrap_or_default());
        if end.is_some() {
            self.at = At::NameEnds(does);
        }
        part.len() + usize::from(end.is_some())
    }

    fn name_ends(&mut self, bytes: &[u8], does: Does) -> usize {
        if bytes.first() == Some(&b'`') {
            self.kept.push(b'`');
            self.at = At::Name(does);
            return 1;
        }
        let name = std::mem::take(&mut self.kept);
        let is_known = self.rows.0.contains_key(&name);
        let fits = name.len() <= NAME_BYTES && (is_known || self.rows.0.len() < TABLES);
        match does {
            Does::Makes => {
                if fits {
                    self.rows.0.entry(name).or_default();
                }
                self.at = At::Other;
                self.other(bytes)
            }
            Does::Fills => {
                self.whose = fits.then_some(name);
                self.here = 0;
                self.at = At::Columns;
                self.columns(bytes)
            }
        }
    }

    /// ` VALUES`, perhaps behind the names of columns, which may have any name.
    fn columns(&mut self, bytes: &[u8]) -> usize {
        match bytes.iter().position(|byte| matches!(byte, b'`' | b'V' | b';')) {
            Some(n) => {
                self.at = match bytes.get(n) {
                    Some(b'`') => At::Quoted(Within::Columns, b'`'),
                    Some(b'V') => At::Rows,
                    _ => At::Beginning,
                };
                n + 1
            }
            None => bytes.len(),
        }
    }

    fn in_rows(&mut self, bytes: &[u8]) -> usize {
        let Some(n) = memchr3(b'\'', b'(', b';', bytes) else { return bytes.len() };
        match bytes.get(n) {
            Some(b'(') => self.here += 1,
            Some(b'\'') => self.at = At::Quoted(Within::Rows, b'\''),
            _ => {
                if let Some(whose) = self.whose.take() {
                    *self.rows.0.entry(whose).or_default() += self.here;
                }
                self.at = At::Beginning;
            }
        }
        n + 1
    }

    fn other(&mut self, bytes: &[u8]) -> usize {
        match bytes.iter().position(|byte| matches!(byte, b'\'' | b'"' | b'`' | b';')) {
            Some(n) => {
                self.at = match bytes.get(n) {
                    Some(b';') | None => At::Beginning,
                    Some(quote) => At::Quoted(Within::Other, *quote),
                };
                n + 1
            }
            None => bytes.len(),
        }
    }

    /// A quote that comes twice closes and opens again, which comes to the same.
    fn quoted(&mut self, bytes: &[u8], within: Within, quote: u8) -> usize {
        // In names a backslash has no meaning.
        let found = if quote == b'`' { memchr(quote, bytes) } else { memchr2(quote, b'\\', bytes) };
        let Some(n) = found else { return bytes.len() };
        self.at = match (bytes.get(n), within) {
            (Some(b'\\'), _) if quote != b'`' => At::Escaped(within, quote),
            (_, Within::Columns) => At::Columns,
            (_, Within::Rows) => At::Rows,
            (_, Within::Other) => At::Other,
        };
        n + 1
    }

    /// What triggers and routines do ends with a line that sets the end of statements back.
    fn code(&mut self, bytes: &[u8]) -> usize {
        let end = memchr(b'\n', bytes).map(|n| n + 1);
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let room = (USUAL.len() + 1).saturating_sub(self.kept.len()).min(part.len());
        self.kept.extend_from_slice(part.get(..room).unwrap_or_default());
        if end.is_some() {
            if self.kept == USUAL {
                self.at = At::Beginning;
            }
            self.kept.clear();
        }
        part.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    const MARIADB: &str = "/*M!999999\\- enable the sandbox mode */ \n/*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY, NOTE_VERBOSITY=0 */;
DROP TABLE IF EXISTS `a`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
CREATE TABLE `a` (
  `x;'` int(11) DEFAULT NULL COMMENT 'it''s; INSERT INTO `a` VALUES (1);',
  `
INSERT INTO ``a`` VALUES (9);` text
) ENGINE=InnoDB;
/*!40000 ALTER TABLE `a` DISABLE KEYS */;
INSERT INTO `a` VALUES
(1,'(\\'),(\\\\'),
(2,NULL),
(-3,'a;\\n');
INSERT INTO `a` VALUES
(4,0x28);
CREATE TABLE `empty` (
  `x` int(11)
);
CREATE TABLE `odd``name` (`V` int, `(` int);
INSERT INTO `odd``name` (`V`, `(`) VALUES (1,2),(3,4);
/*!50003 SET sql_mode = '' */ ;
DELIMITER ;;
/*!50003 CREATE TRIGGER t BEFORE INSERT ON `a` FOR EACH ROW BEGIN
INSERT INTO `empty` VALUES (1);
INSERT INTO `empty` VALUES ('it''s');
END */;;
DELIMITER ;
/*!50001 CREATE VIEW `v` AS select 1 AS `x` */;
INSERT INTO `late` VALUES (1);
";

    fn counted(dump: &str, pieces: usize) -> Vec<(String, u64)> {
        let mut counter = Counter::default();
        dump.as_bytes().chunks(pieces).for_each(|part| counter.take(part));
        let mut all: Vec<_> =
            counter.finish().0.into_iter().map(|(name, n)| (String::from_utf8(name).unwrap(), n)).collect();
        all.sort();
        all
    }

    #[test]
    fn rows_are_counted_and_nothing_that_only_looks_like_one() {
        let expected = [("a", 4), ("empty", 0), ("late", 1), ("odd`name", 2)];
        for pieces in [1, 2, 3, 7, 64, 10_000] {
            let all = counted(MARIADB, pieces);
            assert_eq!(all, expected.map(|(name, n)| (name.to_owned(), n)), "in pieces of {pieces}");
        }
    }

    #[test]
    fn a_table_that_is_not_in_the_dump_has_no_rows_that_are_known() {
        let mut counter = Counter::default();
        counter.take(b"CREATE TABLE `t` (`x` int);\n");
        let rows = counter.finish();
        let of = |name: &str| rows.of(&Table { schema: None, name: name.into(), estimate: Some(7) });
        assert_eq!((of("t"), of("T")), (Some(0), None));
    }

    #[test]
    fn a_statement_that_is_cut_off_counts_for_nothing() {
        assert_eq!(
            counted("CREATE TABLE `t` (`x` int);\nINSERT INTO `t` VALUES (1),(2)", 5),
            [("t".into(), 0)]
        );
    }

    /// As the programs write it.
    fn escaped(text: &str) -> String {
        let mut out = String::from("'");
        for c in text.chars() {
            match c {
                '\'' | '\\' | '"' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                '\0' => out.push_str("\\0"),
                _ => out.push(c),
            }
        }
        out.push('\'');
        out
    }

    proptest! {
        #[test]
        fn whatever_texts_and_names_hold_the_rows_are_those_that_were_written(
            tables in prop::collection::vec(("[a`';(\\\\\n ]{1,8}", prop::collection::vec("[(),;'\"`\\\\\na-]{0,12}", 0..9)), 1..6),
            pieces in 1_usize..40, one_line in any::<bool>(),
        ) {
            let (mut dump, mut expected) = (String::new(), std::collections::BTreeMap::new());
            for (n, (name, rows)) in tables.iter().enumerate() {
                let name = format!("{name}{n}");
                let quoted = name.replace('`', "``");
                dump.push_str(&format!("DROP TABLE IF EXISTS `{quoted}`;\nCREATE TABLE `{quoted}` (\n  `x` text COMMENT {}\n);\n", escaped(&name)));
                let rows_text: Vec<_> = rows.iter().map(|text| format!("({n},{})", escaped(text))).collect();
                if !rows.is_empty() {
                    let (before, between) = if one_line { (" ", ",") } else { ("\n", ",\n") };
                    dump.push_str(&format!("INSERT INTO `{quoted}` VALUES{before}{};\n", rows_text.join(between)));
                }
                expected.insert(name, rows.len() as u64);
            }
            prop_assert_eq!(counted(&dump, pieces), expected.into_iter().collect::<Vec<_>>());
        }
    }
}

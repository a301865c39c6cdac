//! Census: what was in a database when it was dumped, and how that compares with what a restore has brought back.
//!
//! A digest proves that the bytes of a dump are those that were made; it says nothing about whether they were the
//! database. Row counts that were taken in the dump's own snapshot do.

use serde::{Deserialize, Serialize};

/// How much of an answer to a check query is kept.
pub const ANSWER_BYTES: usize = 4096;
/// The longest check query.
pub const QUERY_BYTES: usize = 8192;

/// What was in a database, in sum. The tables themselves are listed in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// How many tables there were.
    pub tables_total: u64,
    /// Of how many of them the rows were counted; of the rest there is an estimate, or nothing.
    pub tables_counted: u64,
    /// How many rows were counted in these.
    pub rows_total: u64,
    /// SHA-256, hex, over names and types of tables, columns, indexes, constraints, views and functions; absent, when it
    /// could not be had.
    #[serde(default)]
    pub schema_sha256: Option<String>,
    /// When it was counted.
    pub taken: Taken,
}

/// When a census was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Taken {
    /// In the snapshot that was dumped: every count is that of the dump.
    InSnapshot,
    /// Right before the dump began: what was written in between is in one of them and not in the other.
    Beside,
}

/// A table, and how many rows it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCount {
    /// Its schema, where a database has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Its name.
    pub table: String,
    /// How many rows, when that is known.
    #[serde(default)]
    pub rows: Option<u64>,
    /// The rows were not counted: it is what the server believes.
    #[serde(default)]
    pub estimated: bool,
}

/// How many tables of a database are listed, and how many of an archive.
pub const TABLES_LISTED: usize = 10_000;
/// How many tables of all databases of an archive are listed.
pub const TABLES_LISTED_OF_ALL: usize = 100_000;

/// What people want to be asked of a restored database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckQuery {
    /// One statement that only reads.
    pub query: String,
    /// What it must answer: rows in lines, columns parted by tabs.
    #[serde(default)]
    pub expected: Option<String>,
}

impl CheckQuery {
    /// What is wrong with it. It is run by a program that knows words of its own, by a role that may do much: so it is one
    /// statement, and one that reads.
    pub fn problem(&self) -> Option<&'static str> {
        let query = self.query.trim();
        if query.is_empty() || query.len() > QUERY_BYTES {
            return Some("must be 1 to 8192 bytes");
        }
        if query.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
            return Some("must not have control characters");
        }
        if query.trim_end_matches(';').contains(';') {
            return Some("must be one statement, without ';' in it");
        }
        let word: String = query.chars().take_while(char::is_ascii_alphabetic).collect();
        if !["select", "with", "values", "table", "show"].contains(&word.to_ascii_lowercase().as_str()) {
            return Some("must begin with select, with, values, table or show");
        }
        let words = query.to_ascii_lowercase();
        if ["outfile", "dumpfile"].iter().any(|word| words.contains(word)) {
            return Some("must not write files");
        }
        None
    }

    /// The statement itself.
    pub fn statement(&self) -> &str {
        self.query.trim().trim_end_matches(';').trim_end()
    }
}

/// How a restored database compares with what was recorded when it was dumped, and what it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreCheck {
    /// Tables whose rows were counted again, and were as many.
    #[serde(default)]
    pub tables_equal: u64,
    /// Tables that have another number of rows, or are not there.
    #[serde(default)]
    pub tables_differing: u64,
    /// Tables of which then or now nobody has counted the rows.
    #[serde(default)]
    pub tables_not_compared: u64,
    /// Rows of all tables that were counted now.
    #[serde(default)]
    pub rows_counted: u64,
    /// Whether the schema is the same; absent, when it was not recorded or could not be read.
    #[serde(default)]
    pub schema_equal: Option<bool>,
    /// Why nothing was compared, when nothing was.
    #[serde(default)]
    pub skipped: Option<String>,
    /// What the query answered.
    #[serde(default)]
    pub answer: Option<Answer>,
}

/// What a check query answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its rows in lines, with columns parted by tabs; at most [`ANSWER_BYTES`].
    pub text: String,
    /// There was more.
    #[serde(default)]
    pub cut: bool,
    /// What it was to answer.
    #[serde(default)]
    pub expected: Option<String>,
    /// Whether it did; absent, when nothing was expected.
    #[serde(default)]
    pub as_expected: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(query: &str) -> Option<&'static str> {
        CheckQuery { query: query.to_owned(), expected: None }.problem()
    }

    #[test]
    fn a_query_is_one_statement_that_reads() {
        for fine in
            ["select 1", " SELECT count(*)\nfrom t ;", "with x as (select 1) table x", "show work_mem"]
        {
            assert_eq!(problem(fine), None, "{fine}");
        }
        for wrong in [
            "",
            ";",
            "\\! id",
            "delete from t",
            "select 1; drop table t",
            "select 'a;b'",
            "select 1 into outfile '/x'",
            "selection",
            "select '\u{1b}'",
        ] {
            assert!(problem(wrong).is_some(), "{wrong}");
        }
        let query = CheckQuery { query: " select 1 ;; ".into(), expected: None };
        assert_eq!(query.statement(), "select 1");
    }
}

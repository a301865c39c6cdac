//! The SQL by which a restored MySQL database comes to its name.
//!
//! MySQL cannot rename a database, but it can move tables to another. So one that is full gives way only when all of the
//! dump is in a scratch database, from where its tables are moved; what cannot be moved is made anew from words that are
//! kept beside them. Two tables say how far an attempt has come, for the next one to see after a kill.

use super::{bytes, identifier, text};
use crate::core::hex::hex;
use serde_json::Value;
use strongroom_domain::JobId;

/// No longer than this is waited for those who hold a table: the server itself would wait a day. What refers to a table
/// from another database goes on to do so when another of that name is there.
const MOVING: &str = "set session lock_wait_timeout = 30; set session foreign_key_checks = 0;";

/// How much of the words that are kept is in one row.
const PIECE_BYTES: usize = 128 << 10;

/// More than this is kept of no database: it is read back as one answer.
pub const CODE_BYTES: usize = 7 << 20;

/// How many objects of people's own are in the database that is asked. Names are compared by their bytes, because those
/// of two databases may differ in case alone.
pub const COUNT_OBJECTS: &str = "select (select count(*) from information_schema.tables
   where table_schema = database() and hex(table_schema) = hex(database()))
 + (select count(*) from information_schema.routines
   where routine_schema = database() and hex(routine_schema) = hex(database()))
 + (select count(*) from information_schema.events
   where event_schema = database() and hex(event_schema) = hex(database()));";

/// How many tables are in the database that is asked.
pub const COUNT_TABLES: &str = "select count(*) from information_schema.tables
  where table_schema = database() and hex(table_schema) = hex(database())
    and table_type in ('BASE TABLE', 'SYSTEM VERSIONED');";

/// Asks for the events in the database that is asked.
pub const EVENTS: &str = "select hex(event_name) from information_schema.events
  where event_schema = database() and hex(event_schema) = hex(database());";

/// Asks for what can be moved to another database: tables of all kinds, and sequences. A table that is made of others
/// would go on to look for them where they were.
pub const MOVABLE: &str = "select hex(table_name) from information_schema.tables
  where table_schema = database() and hex(table_schema) = hex(database())
    and table_type <> 'VIEW' and coalesce(engine, '') <> 'MRG_MyISAM';";

/// Asks for what has nothing in it of its own.
pub const MADE: &str = "select hex(table_name) from information_schema.tables
  where table_schema = database() and hex(table_schema) = hex(database())
    and (table_type = 'VIEW' or engine = 'MRG_MyISAM') order by table_name;";

/// Asks for triggers: a table that has one cannot be moved.
pub const TRIGGERS: &str = "select hex(trigger_name) from information_schema.triggers
  where trigger_schema = database() and hex(trigger_schema) = hex(database());";

/// What the database that is asked was made with.
pub const PROPERTIES: &str = "select @@character_set_database, @@collation_database;";

/// What stands at the name that a database is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// No database.
    Nothing,
    /// One without anything of people's own, and what it was made with.
    Empty(Value),
    /// What an earlier attempt of the same job has begun to fill.
    Ours,
    /// One with something in it.
    Full,
}

/// The table that says of a database that this job fills it.
pub fn filling(job: JobId) -> String {
    format!("strongroom_filling_{}", job.0.simple())
}

/// The table that says of a scratch database that all of the dump is in it; it holds the words for what cannot be moved.
pub fn whole(job: JobId) -> String {
    format!("strongroom_whole_{}", job.0.simple())
}

/// Asks whether a table is in the database that is asked.
pub fn has_table(table: &str) -> String {
    format!(
        "select count(*) from information_schema.tables where table_schema = database() and \
         hex(table_schema) = hex(database()) and table_name = '{table}';"
    )
}

/// Names, as they come in answer.
pub fn names(said: &str) -> Option<Vec<String>> {
    said.lines().map(text).collect()
}

/// Makes the table that says that a database is being filled.
pub fn mark(table: &str) -> String {
    format!("create table if not exists {} (n int);", identifier(table))
}

/// Removes events.
pub fn without_events(events: &[String]) -> String {
    events.iter().map(|event| format!("drop event if exists {};\n", identifier(event))).collect()
}

/// Removes a table.
pub fn unmark(table: &str) -> String {
    format!("drop table if exists {};", identifier(table))
}

/// Makes the table that says that all is there, with these words in it, at one blow.
pub fn keep(table: &str, code: &[u8]) -> String {
    let begun = identifier(&format!("{table}_"));
    let mut sql = format!("create table {begun} (n int primary key, code longblob not null);\n");
    for (n, piece) in code.chunks(PIECE_BYTES).enumerate() {
        sql.push_str(&format!("insert into {begun} values ({n}, 0x{});\n", hex(piece)));
    }
    sql.push_str(&format!("rename table {begun} to {};", identifier(table)));
    sql
}

/// Asks for these words.
pub fn kept(table: &str) -> String {
    format!("select hex(code) from {} order by n;", identifier(table))
}

/// The words, out of the answer.
pub fn code(said: &str) -> Option<Vec<u8>> {
    Some(said.lines().map(bytes).collect::<Option<Vec<_>>>()?.concat())
}

/// Removes triggers of the database that is told so, and moves its tables to another, all or none.
pub fn move_all(triggers: &[String], tables: &[String], from: &str, to: &str) -> String {
    let mut sql = MOVING.to_owned();
    for trigger in triggers {
        sql.push_str(&format!("\ndrop trigger if exists {};", identifier(trigger)));
    }
    let (from, to) = (identifier(from), identifier(to));
    let moved = tables.iter().map(|table| {
        let table = identifier(table);
        format!("{from}.{table} to {to}.{table}")
    });
    let moved = moved.collect::<Vec<_>>().join(",\n  ");
    if !moved.is_empty() {
        sql.push_str(&format!("\nrename table {moved};"));
    }
    sql
}

/// Makes an empty database with the properties of another.
pub fn create(database: &str, properties: &Value) -> String {
    let mut sql = format!("create database {}", identifier(database));
    for (words, name) in [("character set", "character_set"), ("collate", "collation")] {
        let value = properties.get(name).and_then(Value::as_str);
        // It is written into SQL, and could have come from anywhere.
        let is_word = |value: &&str| value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if let Some(value) = value.filter(is_word).filter(|value| !value.is_empty()) {
            sql.push_str(&format!(" {words} {value}"));
        }
    }
    sql.push(';');
    sql
}

/// Removes a database. A table that another database refers to would make that fail in the middle.
pub fn remove(database: &str) -> String {
    format!("{MOVING}\ndrop database if exists {};", identifier(database))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    #[test]
    fn names_fit_and_properties_come_back() {
        let job = JobId(Uuid::from_u128(7));
        assert!(filling(job).len() <= 64 && whole(job).len() < 64);
        let properties = json!({ "character_set": "utf8mb4", "collation": "utf8mb4_bin" });
        assert_eq!(
            create("a`b", &properties),
            "create database `a``b` character set utf8mb4 collate utf8mb4_bin;"
        );
        assert_eq!(create("d", &json!({ "collation": "x; drop database y" })), "create database `d`;");
        assert_eq!(create("d", &Value::Null), "create database `d`;");
        assert!(remove("d").ends_with("drop database if exists `d`;"));
    }

    #[test]
    fn all_tables_are_moved_by_one_statement() {
        let names = ["a".to_owned(), "b`c".to_owned()];
        let sql = move_all(&names[..1], &names, "s", "t");
        assert!(sql.contains("\ndrop trigger if exists `a`;\nrename table `s`.`a` to `t`.`a`,"), "{sql}");
        assert!(sql.ends_with("`s`.`b``c` to `t`.`b``c`;"), "{sql}");
        assert!(!move_all(&[], &[], "s", "t").contains("rename"));
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back(code in prop::collection::vec(any::<u8>(), 0..300)) {
            let sql = keep("t", &code);
            let said: Vec<&str> = sql.lines().filter_map(|l| l.split_once(", 0x")?.1.strip_suffix(");")).collect();
            prop_assert_eq!(super::code(&said.join("\n")).unwrap(), code);
        }
    }
}

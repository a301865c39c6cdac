//! The SQL by which a restored MySQL database comes to its name.
//!
//! MySQL cannot rename a database, so one that is full gives way only when all of the dump has been restored beside it
//! once. Two tables say how far an attempt has come, for the next one to see after a kill.

use super::identifier;
use serde_json::Value;
use strongroom_domain::JobId;

/// No longer than this is waited for those who hold a table: the server itself would wait a day.
pub const PATIENTLY: &str = "set session lock_wait_timeout = 30;";

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
  where table_schema = database() and hex(table_schema) = hex(database()) and table_type = 'BASE TABLE';";

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

/// The table that says of a scratch database that all of the dump is in it.
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

/// Makes such a table.
pub fn mark(table: &str) -> String {
    format!("create table if not exists {} (n int);", identifier(table))
}

/// Removes it.
pub fn unmark(table: &str) -> String {
    format!("drop table if exists {};", identifier(table))
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

/// Removes a database.
pub fn remove(database: &str) -> String {
    format!("{PATIENTLY}\ndrop database if exists {};", identifier(database))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    #[test]
    fn names_fit_and_properties_come_back() {
        let job = JobId(Uuid::from_u128(7));
        assert!(filling(job).len() <= 64 && whole(job).len() <= 64);
        let properties = json!({ "character_set": "utf8mb4", "collation": "utf8mb4_bin" });
        assert_eq!(
            create("a`b", &properties),
            "create database `a``b` character set utf8mb4 collate utf8mb4_bin;"
        );
        assert_eq!(create("d", &json!({ "collation": "x; drop database y" })), "create database `d`;");
        assert_eq!(create("d", &Value::Null), "create database `d`;");
        assert!(remove("d").ends_with("drop database if exists `d`;"));
    }
}

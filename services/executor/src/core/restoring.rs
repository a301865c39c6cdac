//! The SQL by which a restored PostgreSQL database comes to its name.

use super::postgresql::{identifier, literal};
use serde_json::Value;
use strongroom_domain::job::Conflict;
use strongroom_domain::{Failure, FailureCode, JobId};

/// How many objects of people's own are in a database.
pub const COUNT_OBJECTS: &str =
    "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema';";

/// How many tables of people's own are in a database.
pub const COUNT_TABLES: &str = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema';";

/// Settings whose value is a list of names, and is stored as SQL writes it.
const LISTS: [&str; 6] = [
    "search_path",
    "temp_tablespaces",
    "session_preload_libraries",
    "local_preload_libraries",
    "shared_preload_libraries",
    "unix_socket_directories",
];

/// What stands at the name that a database is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No database.
    Nothing,
    /// One without anything of people's own.
    Empty,
    /// One with something in it.
    Full,
}

/// What a database is called until it is whole: the same for every attempt of a job.
pub fn scratch_name(job: JobId) -> String {
    format!("strongroom_restore_{}", job.0.simple())
}

/// What the one that stood there is called after.
pub fn aside_name(database: &str, job: JobId) -> String {
    let suffix = format!("_before_{}", job.0.simple());
    let mut cut = database.len().min(63 - suffix.len());
    while !database.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{suffix}", database.get(..cut).unwrap_or_default())
}

/// Whether what stands there may give way.
pub fn may_replace(database: &str, standing: &Standing, on_conflict: Conflict) -> Result<(), Failure> {
    if *standing == Standing::Full && on_conflict == Conflict::Fail {
        let message = format!("database '{database}' is there and not empty; nothing was restored");
        return Err(Failure::new(FailureCode::TargetExists, message));
    }
    Ok(())
}

/// Whether what stood there stays, under another name.
pub fn keeps(standing: &Standing, on_conflict: Conflict) -> bool {
    *standing == Standing::Full && on_conflict == Conflict::KeepBoth
}

/// Makes an empty database with the properties of the one that was dumped.
pub fn create(scratch: &str, properties: &Value) -> String {
    let text = |name: &str| properties.get(name).and_then(Value::as_str);
    let mut sql = format!("create database {} template template0", identifier(scratch));
    let mut add = |word: &str, value: Option<&str>| {
        if let Some(value) = value {
            sql.push_str(&format!(" {word} {}", literal(value)));
        }
    };
    add("encoding", text("encoding_name"));
    add("lc_collate", text("datcollate"));
    add("lc_ctype", text("datctype"));
    if text("datlocprovider") == Some("i") {
        // The column has another name since 17.
        add("icu_locale", text("daticulocale").or(text("datlocale")));
        sql.push_str(" locale_provider icu");
    }
    sql.push(';');
    sql
}

/// Gives it the owner and the settings of the one that was dumped.
pub fn settle(scratch: &str, properties: &Value, no_owner: bool) -> String {
    let name = identifier(scratch);
    let mut sql = String::new();
    if let Some(owner) = properties.get("owner").and_then(Value::as_str).filter(|_| !no_owner) {
        sql.push_str(&format!("alter database {name} owner to {};\n", identifier(owner)));
    }
    for setting in properties.get("settings").and_then(Value::as_array).into_iter().flatten() {
        let Some((key, value)) = setting.as_str().and_then(|s| s.split_once('=')) else { continue };
        let value = if LISTS.contains(&key) { value.to_owned() } else { literal(value) };
        // Settings of extensions have a dot, which belongs to the name.
        let key: Vec<String> = key.split('.').map(identifier).collect();
        sql.push_str(&format!("alter database {name} set {} = {value};\n", key.join(".")));
    }
    sql
}

/// Both names change in one transaction; who is connected to the one that stood there is sent away.
pub fn swap(scratch: &str, database: &str, aside: &str, standing: &Standing) -> String {
    let (from, to, aside) = (identifier(scratch), identifier(database), identifier(aside));
    if *standing == Standing::Nothing {
        return format!("alter database {from} rename to {to};");
    }
    let away = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = {} and pid <> pg_backend_pid();",
        literal(database)
    );
    format!(
        "{away}\nbegin;\nalter database {to} rename to {aside};\nalter database {from} rename to {to};\ncommit;"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    #[test]
    fn what_is_full_gives_way_only_when_that_was_asked_for() {
        for (standing, policy, may, kept) in [
            (Standing::Nothing, Conflict::Fail, true, false),
            (Standing::Empty, Conflict::Fail, true, false),
            (Standing::Full, Conflict::Fail, false, false),
            (Standing::Full, Conflict::Overwrite, true, false),
            (Standing::Full, Conflict::KeepBoth, true, true),
            (Standing::Empty, Conflict::KeepBoth, true, false),
        ] {
            assert_eq!(may_replace("d", &standing, policy).is_ok(), may, "{standing:?} {policy}");
            assert_eq!(keeps(&standing, policy), kept);
        }
    }

    #[test]
    fn names_fit_and_properties_come_back() {
        let job = JobId(Uuid::from_u128(7));
        assert!(scratch_name(job).len() <= 63);
        let aside = aside_name(&"é".repeat(31), job);
        assert!(aside.len() <= 63 && aside.starts_with("é"));
        let properties = json!({
            "encoding_name": "UTF8", "datcollate": "C", "datctype": "C", "datlocprovider": "c", "owner": "o'x",
            "settings": ["search_path=\"$user\", public", "work_mem=8MB", "app.tenant=it's"],
        });
        let made = create("s", &properties);
        assert_eq!(
            made,
            "create database \"s\" template template0 encoding E'UTF8' lc_collate E'C' lc_ctype E'C';"
        );
        assert_eq!(create("s", &Value::Null), "create database \"s\" template template0;");
        let settled = settle("s", &properties, false);
        assert!(settled.contains("owner to \"o'x\""), "{settled}");
        assert!(settled.contains("set \"search_path\" = \"$user\", public;"), "{settled}");
        assert!(settled.contains("set \"app\".\"tenant\" = E'it''s';"), "{settled}");
        assert!(!settle("s", &properties, true).contains("owner"));
        assert!(swap("s", "d", "d_before", &Standing::Full).contains("begin;"));
        assert_eq!(swap("s", "d", "x", &Standing::Nothing), "alter database \"s\" rename to \"d\";");
    }
}

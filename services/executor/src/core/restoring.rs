//! The SQL by which a restored PostgreSQL database comes to its name.

use super::census::Counted;
use super::postgresql::{SCRATCH, identifier, literal};
use serde_json::Value;
use strongroom_domain::job::Conflict;
use strongroom_domain::{Failure, FailureCode, JobId};

/// How many objects of people's own are in a database: of any kind, since a function or a large object can be all that
/// somebody has. What is made after the cluster has a number from 16384 on (`FirstNormalObjectId`, access/transam.h).
pub const COUNT_OBJECTS: &str = "select
  (select count(*) from pg_class where oid >= 16384) + (select count(*) from pg_proc where oid >= 16384)
  + (select count(*) from pg_type where oid >= 16384) + (select count(*) from pg_namespace where oid >= 16384)
  + (select count(*) from pg_extension where oid >= 16384) + (select count(*) from pg_largeobject_metadata)
  + (select count(*) from pg_event_trigger) + (select count(*) from pg_publication)
  + (select count(*) from pg_language where oid >= 16384) + (select count(*) from pg_cast where oid >= 16384)
  + (select count(*) from pg_operator where oid >= 16384) + (select count(*) from pg_collation where oid >= 16384)
  + (select count(*) from pg_conversion where oid >= 16384) + (select count(*) from pg_opclass where oid >= 16384)
  + (select count(*) from pg_ts_config where oid >= 16384) + (select count(*) from pg_ts_dict where oid >= 16384)
  + (select count(*) from pg_foreign_data_wrapper) + (select count(*) from pg_foreign_server)
  + (select count(*) from pg_default_acl);";

/// Whether a database is there (and a template): nothing, `f` or `t`.
pub fn look(database: &str) -> String {
    format!("select datistemplate from pg_database where datname = {};", literal(database))
}

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

/// The roles that a database needs to come back as it was, when they are known.
pub fn roles(recorded: Option<&Counted>, properties: &Value) -> Option<Vec<String>> {
    let mut roles = recorded?.contents.roles.clone();
    let owner = properties.get("owner").and_then(Value::as_str);
    let rights = properties.get("rights").and_then(Value::as_array).into_iter().flatten();
    let settings = properties.get("role_settings").and_then(Value::as_array).into_iter().flatten();
    let named = rights.filter_map(|r| r.get("to")).chain(settings.filter_map(|s| s.get("role")));
    roles.extend(named.filter_map(Value::as_str).chain(owner).map(str::to_owned));
    roles.sort();
    roles.dedup();
    Some(roles)
}

/// What a database is called until it is whole: the same for every attempt of a job.
pub fn scratch_name(job: JobId) -> String {
    format!("{SCRATCH}{}", job.0.simple())
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
    if let Some(limit) = properties.get("datconnlimit").and_then(Value::as_i64).filter(|limit| *limit >= 0) {
        sql.push_str(&format!("alter database {name} connection limit {limit};\n"));
    }
    for setting in settings(properties.get("settings")) {
        sql.push_str(&format!("alter database {name} set {setting};\n"));
    }
    for of_role in properties.get("role_settings").and_then(Value::as_array).into_iter().flatten() {
        let role = of_role.get("role").and_then(Value::as_str).filter(|_| !no_owner);
        for setting in settings(of_role.get("settings")) {
            if let Some(role) = role {
                sql.push_str(&format!("alter role {} in database {name} set {setting};\n", identifier(role)));
            }
        }
    }
    if let Some(rights) = properties.get("rights").and_then(Value::as_array) {
        // Whoever had taken a right from everybody must not find it given back.
        sql.push_str(&format!("revoke all on database {name} from public;\n"));
        rights
            .iter()
            .filter_map(|right| grant(&name, right, no_owner))
            .for_each(|grant| sql.push_str(&grant));
    }
    sql
}

/// What a database is marked with until all is done: the next attempt knows by it that this one has taken its place.
pub fn mark(job: JobId) -> String {
    format!("being restored by job {job}")
}

/// Sets the comment of a database, or takes it away.
pub fn comment(database: &str, words: Option<&str>) -> String {
    let words = words.map_or_else(|| "null".to_owned(), literal);
    format!("comment on database {} is {words};", identifier(database))
}

/// Asks for it.
pub fn read_comment(database: &str) -> String {
    format!(
        "select shobj_description(oid, 'pg_database') from pg_database where datname = {};",
        literal(database)
    )
}

/// The comment of the database that was dumped.
pub fn comment_of(properties: &Value) -> Option<&str> {
    properties.get("comment").and_then(Value::as_str)
}

/// A right on the database; without owners only what everybody has.
fn grant(database: &str, right: &Value, no_owner: bool) -> Option<String> {
    let privilege = right.get("privilege").and_then(Value::as_str)?;
    if !["CREATE", "CONNECT", "TEMPORARY"].contains(&privilege) {
        return None;
    }
    let to = match right.get("to").and_then(Value::as_str) {
        None => "public".to_owned(),
        Some(_) if no_owner => return None,
        Some(role) => identifier(role),
    };
    let more = right.get("grantable").and_then(Value::as_bool).unwrap_or_default();
    let more = if more && to != "public" { " with grant option" } else { "" };
    Some(format!("grant {privilege} on database {database} to {to}{more};\n"))
}

/// `name = value`, as SQL has it.
fn settings(all: Option<&Value>) -> Vec<String> {
    let all = all.and_then(Value::as_array).into_iter().flatten();
    let written = all.filter_map(|setting| {
        let (key, value) = setting.as_str()?.split_once('=')?;
        let value = if LISTS.contains(&key) { value.to_owned() } else { literal(value) };
        // Settings of extensions have a dot, which belongs to the name.
        let key: Vec<String> = key.split('.').map(identifier).collect();
        Some(format!("{} = {value}", key.join(".")))
    });
    written.collect()
}

/// Ends whoever is connected to a database.
fn send_away(database: &str) -> String {
    format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = {} and pid <> pg_backend_pid();",
        literal(database)
    )
}

/// Removes a database, if it is there, whoever is connected to it.
pub fn drop_database(database: &str) -> String {
    format!("{}\ndrop database if exists {};", send_away(database), identifier(database))
}

/// What can be done about what the restore program said.
pub fn hint(tail: &[String]) -> &'static str {
    let lacks_role = tail.iter().any(|line| line.contains("role \"") && line.contains("does not exist"));
    if lacks_role {
        "; restore the roles first (postgresql/globals.sql of the archive), or leave owners out with no_owner"
    } else {
        ""
    }
}

/// Both names change in one transaction; who is connected to the one that stood there is sent away.
pub fn swap(scratch: &str, database: &str, aside: &str, standing: &Standing) -> String {
    let (from, to, aside) = (identifier(scratch), identifier(database), identifier(aside));
    if *standing == Standing::Nothing {
        return format!("alter database {from} rename to {to};");
    }
    let away = send_away(database);
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
        assert!(!settled.contains("revoke"), "nothing was ever said about rights");
        let closed = json!({
            "datconnlimit": 7, "comment": "it's", "rights": [
                { "to": null, "privilege": "TEMPORARY" }, { "to": "a\"b", "privilege": "CONNECT", "grantable": true },
                { "to": "x", "privilege": "; drop" },
            ],
            "role_settings": [{ "role": "r", "settings": ["work_mem=1MB"] }],
        });
        let settled = settle("s", &closed, false);
        for words in [
            "connection limit 7;",
            "revoke all on database \"s\" from public;",
            "grant TEMPORARY on database \"s\" to public;",
            "grant CONNECT on database \"s\" to \"a\"\"b\" with grant option;",
            "alter role \"r\" in database \"s\" set \"work_mem\" = E'1MB';",
        ] {
            assert!(settled.contains(words), "{words}: {settled}");
        }
        assert!(!settled.contains("drop"));
        assert_eq!(comment("s", comment_of(&closed)), "comment on database \"s\" is E'it''s';");
        assert_eq!(comment("s", comment_of(&properties)), "comment on database \"s\" is null;");
        let bare = settle("s", &closed, true);
        assert!(
            bare.contains("revoke all") && bare.contains("to public") && !bare.contains("\"r\""),
            "{bare}"
        );
        assert!(swap("s", "d", "d_before", &Standing::Full).contains("begin;"));
        assert_eq!(swap("s", "d", "x", &Standing::Nothing), "alter database \"s\" rename to \"d\";");
    }
}

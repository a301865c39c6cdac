//! What is asked of a database to take its census, what its answers mean, and how two of them [compare](comparing).

pub mod comparing;

use super::hex::hex;
use super::mongodb::archive::Held;
use super::{mysql, postgresql};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use strongroom_domain::archive::Artefact;
use strongroom_domain::census::{Census, TABLES_LISTED, TABLES_LISTED_OF_ALL, TableCount, Taken};

/// A census, with its tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// In sum.
    pub census: Census,
    /// One by one.
    pub contents: Contents,
}

/// What was in a database, as the archive lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Its tables; as many as are listed.
    #[serde(default)]
    pub tables: Vec<TableCount>,
    /// The roles that own something in it or have rights there: without them it cannot come back as it was.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// A table before its rows are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Table {
    /// Its schema, where there are several.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// How many rows the server believes that it has.
    pub estimate: Option<u64>,
}

/// What was seen of a database, but for the rows.
#[derive(Debug)]
pub struct Seen {
    /// Its tables; as many as are listed.
    pub tables: Vec<Table>,
    /// How many there are.
    pub total: u64,
    /// The digest of its schema, when that could be had.
    pub schema: Option<String>,
    /// The roles that own something in it or have rights there.
    pub roles: Vec<String>,
}

impl Seen {
    /// With the rows of each table; those of which there is nothing are guessed by the server.
    pub fn with_rows(self, rows: impl Fn(&Table) -> Option<u64>, taken: Taken) -> Counted {
        let Self { tables, total, schema, roles } = self;
        let counted = tables.into_iter().map(|table| {
            let counted = rows(&table);
            TableCount {
                rows: counted.or(table.estimate),
                estimated: counted.is_none(),
                schema: table.schema,
                table: table.name,
            }
        });
        sum_up(Contents { tables: counted.collect(), roles }, total, schema, taken)
    }
}

/// How a database system is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// PostgreSQL, by psql.
    Postgresql,
    /// MySQL or MariaDB, by its client.
    Mysql(mysql::program::Flavour),
}

/// Of PostgreSQL: what is people's own, and of no extension, which makes its own things again.
const OWN: &str = "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";
const NO_MEMBER: &str = "not exists (select from pg_catalog.pg_depend x where x.deptype = 'e' and x.classid = o.tableoid and x.objid = o.oid)";

impl System {
    /// Whether the moment at which a database is looked at can be that of its dump.
    pub fn shares(self) -> bool {
        self == Self::Postgresql
    }

    /// Begins to look at one moment of a database. The answer names the moment, where that can be shared.
    pub fn begin(self, shared: bool) -> String {
        match self {
            // A role that may connect once or twice keeps that for the dump itself. And a count that takes longer disturbs a
            // server less than one on all of its processors.
            Self::Postgresql if shared => "begin isolation level repeatable read read only;
set local row_security = off; set local search_path = ''; set local idle_in_transaction_session_timeout = 0;
set local lock_timeout = '5s'; set local max_parallel_workers_per_gather = 0; set local jit = off;
select case when r.rolsuper or r.rolconnlimit not between 0 and 2 then pg_catalog.pg_export_snapshot() end
  from pg_catalog.pg_roles r where r.rolname = current_user;
\\set ON_ERROR_ROLLBACK on
"
            .into(),
            Self::Postgresql => "begin isolation level repeatable read read only;
set local row_security = off; set local search_path = ''; set local lock_timeout = '5s';
set local max_parallel_workers_per_gather = 0; set local jit = off;
\\set ON_ERROR_ROLLBACK on
"
            .into(),
            Self::Mysql(_) => {
                "set session lock_wait_timeout = 5; set session transaction isolation level repeatable read;
start transaction with consistent snapshot, read only; savepoint looked;
"
                .into()
            }
        }
    }

    /// Bounds what the next statement may take.
    pub fn within(self, seconds: u64) -> String {
        match self {
            Self::Postgresql => format!("set local statement_timeout = '{seconds}s';\n"),
            Self::Mysql(mysql::program::Flavour::MariaDb) => {
                format!("set session max_statement_time = {seconds};\n")
            }
            Self::Mysql(mysql::program::Flavour::MySql) => {
                format!("set session max_execution_time = {};\n", seconds.saturating_mul(1000))
            }
        }
    }

    /// Asks for all tables, the smallest first: of most tables the rows are known then, also where time runs out.
    pub fn tables(self) -> String {
        match self {
            Self::Postgresql => format!(
                "select pg_catalog.json_build_array(n.nspname, o.relname, o.reltuples::bigint)
  from pg_catalog.pg_class o join pg_catalog.pg_namespace n on n.oid = o.relnamespace
  where o.relkind = 'r' and {OWN} and {NO_MEMBER}
  order by o.relpages, n.nspname collate \"C\", o.relname collate \"C\";\n"
            ),
            Self::Mysql(_) => format!(
                "select hex(table_name), coalesce(table_rows, '') from information_schema.tables where {MYSQL_OWN}
  and table_type in ('BASE TABLE', 'SYSTEM VERSIONED') order by data_length, hex(table_name);\n"
            ),
        }
    }

    /// A line of the answer.
    pub fn table(self, line: &str) -> Option<Table> {
        match self {
            Self::Postgresql => {
                let fields: Vec<Value> = serde_json::from_str(line).ok()?;
                let text = |n: usize| fields.get(n).and_then(Value::as_str).map(str::to_owned);
                // Below zero it was never looked at.
                let estimate = fields.get(2).and_then(Value::as_u64);
                Some(Table { schema: Some(text(0)?), name: text(1)?, estimate })
            }
            Self::Mysql(_) => {
                let (name, rows) = line.split_once('\t')?;
                Some(Table { schema: None, name: mysql::text(name)?, estimate: rows.parse().ok() })
            }
        }
    }

    /// Asks for the roles that own something in the database or have rights there, where a restore needs them. What the
    /// first role of a cluster owns is noted nowhere.
    pub fn roles(self) -> Option<&'static str> {
        match self {
            Self::Postgresql => Some(
                "select pg_catalog.to_json(r.rolname) from pg_catalog.pg_roles r
  where r.oid in (select d.refobjid from pg_catalog.pg_shdepend d
      where d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and d.deptype in ('o', 'a')
        and d.dbid = (select b.oid from pg_catalog.pg_database b where b.datname = pg_catalog.current_database()))
    or r.oid = 10 and exists (select from pg_catalog.pg_class c where c.relowner = 10 and c.oid >= 16384)
  order by r.rolname limit 1000;\n",
            ),
            Self::Mysql(_) => None,
        }
    }

    /// Counts the rows of a table.
    pub fn count(self, table: &Table) -> String {
        match self {
            Self::Postgresql => {
                let schema = postgresql::identifier(table.schema.as_deref().unwrap_or("public"));
                format!(
                    "select pg_catalog.count(*) from only {schema}.{};\n",
                    postgresql::identifier(&table.name)
                )
            }
            // Nobody is to wait for us with a change of the table.
            Self::Mysql(_) => format!(
                "select count(*) from {}; rollback to savepoint looked;\n",
                mysql::identifier(&table.name)
            ),
        }
    }

    /// Asks for the schema in lines, in an order of its own: what is written out by the server, and differs when it has
    /// been read back once, is left out, and so is who owns it.
    pub fn schema(self) -> String {
        match self {
            Self::Postgresql => format!(
                "select pg_catalog.json_build_array('column', n.nspname, o.relname, o.relkind, a.attname,
    pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef)
  from pg_catalog.pg_attribute a join pg_catalog.pg_class o on o.oid = a.attrelid
    join pg_catalog.pg_namespace n on n.oid = o.relnamespace
  where a.attnum > 0 and not a.attisdropped and o.relkind in ('r', 'p', 'v', 'm', 'f') and {OWN} and {NO_MEMBER}
  order by n.nspname collate \"C\", o.relname collate \"C\", a.attname collate \"C\";
select pg_catalog.json_build_array('other', n.nspname, o.relname, o.relkind)
  from pg_catalog.pg_class o join pg_catalog.pg_namespace n on n.oid = o.relnamespace
  where o.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and {OWN} and {NO_MEMBER}
  order by n.nspname collate \"C\", o.relname collate \"C\";
select pg_catalog.json_build_array('index', n.nspname, o.relname, c.relname, i.indisunique, i.indisprimary, i.indkey::text = '0', i.indnatts)
  from pg_catalog.pg_index i join pg_catalog.pg_class o on o.oid = i.indrelid
    join pg_catalog.pg_class c on c.oid = i.indexrelid join pg_catalog.pg_namespace n on n.oid = o.relnamespace
  where {OWN} and {NO_MEMBER}
  order by n.nspname collate \"C\", o.relname collate \"C\", c.relname collate \"C\";
select pg_catalog.json_build_array('constraint', n.nspname, t.relname, o.conname, o.contype)
  from pg_catalog.pg_constraint o join pg_catalog.pg_class t on t.oid = o.conrelid
    join pg_catalog.pg_namespace n on n.oid = t.relnamespace
  where o.contype in ('p', 'u', 'f', 'c', 'x') and {OWN} and {NO_MEMBER}
    and not exists (select from pg_catalog.pg_depend x where x.deptype = 'e' and x.classid = t.tableoid and x.objid = t.oid)
  order by n.nspname collate \"C\", t.relname collate \"C\", o.conname collate \"C\";
select pg_catalog.json_build_array('trigger', n.nspname, t.relname, o.tgname)
  from pg_catalog.pg_trigger o join pg_catalog.pg_class t on t.oid = o.tgrelid
    join pg_catalog.pg_namespace n on n.oid = t.relnamespace
  where not o.tgisinternal and {OWN} and {NO_MEMBER}
  order by n.nspname collate \"C\", t.relname collate \"C\", o.tgname collate \"C\";
select pg_catalog.json_build_array('function', n.nspname, o.proname, pg_catalog.oidvectortypes(o.proargtypes))
  from pg_catalog.pg_proc o join pg_catalog.pg_namespace n on n.oid = o.pronamespace
  where {OWN} and {NO_MEMBER}
  order by n.nspname collate \"C\", o.proname collate \"C\", pg_catalog.oidvectortypes(o.proargtypes) collate \"C\";
"
            ),
            Self::Mysql(_) => format!(
                "select 'column', hex(table_name), hex(column_name), column_type, is_nullable, extra from information_schema.columns
  where {MYSQL_OWN} order by hex(table_name), hex(column_name);
select 'index', hex(table_name), hex(index_name), non_unique, seq_in_index, hex(column_name) from information_schema.statistics
  where {MYSQL_OWN} order by hex(table_name), hex(index_name), seq_in_index;
select 'constraint', hex(table_name), hex(constraint_name), constraint_type from information_schema.table_constraints
  where {MYSQL_OWN} order by hex(table_name), hex(constraint_name), constraint_type;
select 'trigger', hex(event_object_table), hex(trigger_name), action_timing, event_manipulation from information_schema.triggers
  where trigger_schema = database() and hex(trigger_schema) = hex(database()) order by hex(trigger_name);
select 'routine', routine_type, hex(routine_name) from information_schema.routines
  where routine_schema = database() and hex(routine_schema) = hex(database()) order by routine_type, hex(routine_name);
"
            ),
        }
    }
}

/// Of MySQL: what is in the database that is asked, but for what a restore keeps in it for itself.
const MYSQL_OWN: &str = "table_schema = database() and hex(table_schema) = hex(database())
  and table_name not like 'strongroom\\_filling\\_%' and table_name not like 'strongroom\\_whole\\_%'";

/// Sums up a schema as its lines come.
#[derive(Default)]
pub struct SchemaSum(Sha256);

impl SchemaSum {
    /// A line of it.
    pub fn add(&mut self, line: &str) {
        self.0.update(line.as_bytes());
        self.0.update(b"\n");
    }

    /// That was all.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// A census of these tables.
pub fn sum_up(contents: Contents, total: u64, schema_sha256: Option<String>, taken: Taken) -> Counted {
    let Contents { mut tables, roles } = contents;
    let counted = || tables.iter().filter(|table| !table.estimated).filter_map(|table| table.rows);
    let census = Census {
        tables_total: total,
        tables_counted: counted().count() as u64,
        rows_total: counted().sum(),
        schema_sha256,
        taken,
    };
    tables.truncate(TABLES_LISTED);
    Counted { census, contents: Contents { tables, roles } }
}

/// A census of what mongodump has printed: exact, for it is the dump itself that was counted.
pub fn of_archive(held: Held) -> Counted {
    let total = held.collections.iter().filter(|c| c.documents.is_some()).count() as u64;
    let tables =
        held.collections.into_iter().filter(|c| c.documents.is_some()).map(|collection| TableCount {
            schema: Some(collection.database),
            table: collection.name,
            rows: collection.documents,
            estimated: false,
        });
    let contents = Contents { tables: tables.collect(), roles: Vec::new() };
    sum_up(contents, total, None, Taken::InSnapshot)
}

/// What is in an archive's databases, by the path of each dump.
pub type Lists = std::collections::BTreeMap<String, Contents>;

/// Takes what is in a dump into what is in its archive, as long as there is room.
pub fn list(lists: &mut Lists, path: &str, contents: Contents) {
    let room = TABLES_LISTED_OF_ALL.saturating_sub(lists.values().map(|c| c.tables.len()).sum());
    if contents != Contents::default() && contents.tables.len() <= room {
        lists.insert(path.to_owned(), contents);
    }
}

/// What was recorded of a dump.
pub fn recorded(part: &Artefact, lists: &Lists) -> Option<Counted> {
    let census = part.census.clone()?;
    Some(Counted { census, contents: lists.get(&part.path).cloned().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_are_quoted_in_what_is_asked_and_read_back_from_what_is_answered() {
        let odd = Table { schema: Some("a\"b".into()), name: "c;`\n".into(), estimate: None };
        assert!(System::Postgresql.count(&odd).contains("only \"a\"\"b\".\"c;`\n\";"));
        assert!(System::Mysql(mysql::program::Flavour::MySql).count(&odd).contains("from `c;``\n`;"));
        let read = System::Postgresql.table("[\"a\\\"b\", \"c\\n\", -1]").unwrap();
        assert_eq!(read, Table { schema: Some("a\"b".into()), name: "c\n".into(), estimate: None });
        let read = System::Mysql(mysql::program::Flavour::MariaDb).table("610A\t12").unwrap();
        assert_eq!(read, Table { schema: None, name: "a\n".into(), estimate: Some(12) });
    }

    #[test]
    fn an_archive_lists_no_more_tables_than_there_is_room_for() {
        let table = TableCount { schema: None, table: "t".into(), rows: Some(1), estimated: false };
        let mut lists = Lists::new();
        for n in 0..12 {
            let tables = vec![table.clone(); TABLES_LISTED];
            list(&mut lists, &n.to_string(), Contents { tables, roles: Vec::new() });
        }
        assert_eq!(lists.len(), 10);
    }
}

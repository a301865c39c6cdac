//! What a role may not read of a database, so that a dump of it would fail.
//!
//! The accident that this file prevents: a source that was tested and found complete, and whose first backup fails, or
//! fails from the day on when somebody makes a table for which the role has no right.

use super::identifier;
use serde::Deserialize;
use strongroom_domain::failure::{Finding, Severity};

/// How many are named of each sort.
const NAMED: usize = 5;

/// What is asked of a database, as the role that dumps it. `pg_dump` locks each table and reads its rows, which takes SELECT
/// on it and USAGE of its schema; it reads where each sequence stands, and each large object; and it would rather fail than
/// leave out rows that row security hides (PostgreSQL manual, `pg_dump`, `row_security`). Foreign tables are not read, and of
/// what extensions have made only tables that they say hold data of people's own (`pg_extension.extconfig`).
pub const RIGHTS: &str = "with kept as (
  select c.oid, c.relkind, c.relnamespace, n.nspname, n.nspname || '.' || c.relname as name
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'S') and c.relpersistence <> 't'
    and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend d left join pg_extension e on e.oid = d.refobjid
      where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
        and d.refclassid = 'pg_extension'::regclass and not c.oid = any (coalesce(e.extconfig, '{}')))
), seen as (
  select *, has_schema_privilege(relnamespace, 'USAGE') and case when relkind = 'S'
    then has_sequence_privilege(oid, 'SELECT') else has_table_privilege(oid, 'SELECT') end as may
  from kept
), objects as (
  select l.oid from pg_largeobject_metadata l
  where not (select rolsuper from pg_roles where rolname = current_user)
    and current_setting('lo_compat_privileges') <> 'on'
    and not pg_has_role(l.lomowner, 'USAGE')
    and not exists (select from aclexplode(l.lomacl) a
      where a.privilege_type = 'SELECT' and (a.grantee = 0 or pg_has_role(a.grantee, 'USAGE')))
)
select json_build_object(
  'tables', (select coalesce(json_agg(name order by name), '[]') from seen where relkind <> 'S' and not may),
  'sequences', (select coalesce(json_agg(name order by name), '[]') from seen where relkind = 'S' and not may),
  'schemas', (select coalesce(json_agg(distinct nspname), '[]') from seen where not may),
  'hidden', (select coalesce(json_agg(name order by name), '[]') from seen where relkind <> 'S' and row_security_active(oid)),
  'large_objects', (select count(*) from objects),
  'large_object', (select min(oid::bigint) from objects));";

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Rights {
    /// Tables whose rows may not be read.
    pub tables: Vec<String>,
    /// Sequences of which it may not be read where they stand.
    pub sequences: Vec<String>,
    /// The schemas in which these are.
    pub schemas: Vec<String>,
    /// Tables of which row security may hide rows.
    pub hidden: Vec<String>,
    /// How many large objects may not be read.
    pub large_objects: u64,
    /// One of them.
    pub large_object: Option<u64>,
}

impl Rights {
    /// What is missing, each with what gives it: one sentence a right.
    pub fn findings(&self, role: &str, database: &str, server: u32) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut lacks = |message: String| {
            let message = format!("a backup would fail: {message}");
            found.push(Finding { severity: Severity::Incomplete, path: None, message });
        };
        let role_name = identifier(role);
        for (what, names, all) in
            [("tables", &self.tables, "TABLES"), ("sequences", &self.sequences, "SEQUENCES")]
        {
            if names.is_empty() {
                continue;
            }
            let grant = if server >= 14 {
                format!("GRANT pg_read_all_data TO {role_name}")
            } else {
                let schemas = some(&self.schemas.iter().map(|name| identifier(name)).collect::<Vec<_>>());
                format!(
                    "in it, GRANT USAGE ON SCHEMA {schemas} TO {role_name} and GRANT SELECT ON ALL {all} IN SCHEMA \
                     {schemas} TO {role_name}, and ALTER DEFAULT PRIVILEGES for those to come"
                )
            };
            let (count, names) = (names.len(), some(names));
            lacks(format!(
                "role '{role}' may not read {count} {what} of database '{database}' ({names}); {grant}"
            ));
        }
        if !self.hidden.is_empty() {
            lacks(format!(
                "row security may hide rows of {} tables of database '{database}' from role '{role}' ({}); ALTER ROLE \
                 {role_name} BYPASSRLS",
                self.hidden.len(),
                some(&self.hidden)
            ));
        }
        if let Some(one) = self.large_object {
            lacks(format!(
                "role '{role}' may not read {} large objects of database '{database}'; GRANT SELECT ON LARGE OBJECT {one} \
                 TO {role_name}, and so for each, or have their owner dump them",
                self.large_objects
            ));
        }
        found
    }
}

/// The first of these names, and how many there are besides.
fn some(names: &[String]) -> String {
    let mut told = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        told.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    told
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn what_may_not_be_read_is_told_with_the_grant_that_this_server_knows() {
        let names = |n: usize| (0..n).map(|n| format!("public.t{n}")).collect::<Vec<_>>();
        let rights = Rights {
            tables: names(7),
            sequences: names(1),
            schemas: vec!["public".into(), "o\"dd".into()],
            ..Rights::default()
        };
        let new = rights.findings("b", "shop", 15);
        assert_eq!(new.len(), 2);
        assert!(new[0].message.contains("7 tables") && new[0].message.contains("t4 and 2 more"), "{new:?}");
        assert!(new[1].message.contains("1 sequences") && new[1].message.ends_with("TO \"b\""), "{new:?}");
        let old = rights.findings("b", "shop", 13);
        assert!(old[0].message.contains("GRANT USAGE ON SCHEMA \"public\", \"o\"\"dd\""), "{old:?}");
        assert_eq!(Rights::default().findings("b", "shop", 15), []);
    }
}

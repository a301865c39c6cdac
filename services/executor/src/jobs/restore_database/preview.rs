//! What a restore of a database would do: what stands at its name is looked at, and nothing is touched.

use super::{Dumped, Manner, postgresql as restore_postgresql};
use crate::control::NoOutcome;
use crate::core::mysql::placing;
use crate::core::mysql::program::Flavour;
use crate::core::postgresql::literal;
use crate::core::restoring::{self, Standing};
use crate::jobs::Bench;
use crate::mysql::{self as mysql_client, CLIENT};
use crate::postgresql as postgresql_client;
use strongroom_domain::FailureCode;
use strongroom_domain::job::Conflict;
use strongroom_domain::preview::{Action, DatabasePreview, ROLES_NAMED, StandingDatabase};
use strongroom_domain::source::{mysql, postgresql};

/// What is asked for.
pub struct Wanted<'a> {
    /// What it is to be called.
    pub database: &'a str,
    /// How.
    pub manner: Manner<'a>,
}

impl Wanted<'_> {
    fn begin(&self, dumped: &Dumped<'_>, server: String, version: String, tool: String) -> DatabasePreview {
        let census = dumped.part.census.as_ref();
        let dumped_from = format!("{} {}", dumped.dump.source, dumped.dump.server_version);
        DatabasePreview {
            database: self.database.to_owned(),
            server,
            server_version: version,
            tool,
            dumped_from: dumped_from.trim().to_owned(),
            dump_bytes: (dumped.part.size_bytes > 0).then_some(dumped.part.size_bytes),
            dump_tables: census.map(|c| c.tables_total),
            dump_rows: census.map(|c| c.rows_total),
            action: Action::Create,
            standing: None,
            kept_as: None,
            roles_missing: Vec::new(),
            roles_known: false,
            refusal: None,
        }
    }

    /// What becomes of what stands there.
    fn settle(&self, preview: &mut DatabasePreview) {
        let Some(standing) = &preview.standing else { return };
        preview.action = match self.manner.on_conflict {
            _ if standing.empty => Action::ReplaceEmpty,
            Conflict::Fail => Action::Refuse,
            Conflict::KeepBoth => Action::KeepBoth,
            Conflict::Overwrite => Action::Overwrite,
        };
        if preview.action == Action::Refuse {
            let why = format!("database '{}' is there and not empty", self.database);
            preview.refusal.get_or_insert(why);
        }
    }
}

/// Looks at a PostgreSQL server.
pub async fn postgresql(
    bench: &Bench<'_>,
    wanted: &Wanted<'_>,
    connection: &postgresql::Connection,
    dumped: &Dumped<'_>,
) -> Result<DatabasePreview, NoOutcome> {
    let database = wanted.database;
    let streams = bench.streams()?;
    let client = postgresql_client::Client::new(bench, connection, &streams).await?;
    let survey = client.survey().await?;
    let tool = client.tool(restore_postgresql::tool(&dumped.part), survey.major()).await?;
    let asked = restore_postgresql::asked(connection, database);
    let mut preview = wanted.begin(dumped, connection.shown(), survey.version.clone(), tool.version);
    match restore_postgresql::standing(&client, asked, database).await? {
        Standing::Nothing => {}
        standing => {
            let sql = format!(
                "select coalesce(pg_database_size(d.oid)::text, ''), (select count(*) from pg_stat_activity a where a.datid = d.oid)
  from pg_database d where d.datname = {};",
                literal(database)
            );
            let said = client.ask(asked, &sql).await?;
            let (size, clients) = said.split_once('|').unwrap_or_default();
            let tables = client.ask(database, restoring::COUNT_TABLES).await?;
            preview.standing = Some(StandingDatabase {
                size_bytes: size.parse().ok(),
                tables: tables.parse().unwrap_or_default(),
                empty: standing == Standing::Empty,
                clients: clients.parse().unwrap_or_default(),
            });
        }
    }
    wanted.settle(&mut preview);
    if preview.action == Action::KeepBoth {
        preview.kept_as = Some(restoring::aside_name(database, bench.job));
    }
    let roles = restoring::roles(dumped.recorded.as_ref(), &dumped.properties);
    preview.roles_known = roles.is_some();
    for role in roles.into_iter().flatten() {
        let sql = format!("select count(*) from pg_roles where rolname = {};", literal(&role));
        if preview.roles_missing.len() < ROLES_NAMED && client.ask(asked, &sql).await? == "0" {
            preview.roles_missing.push(role);
        }
    }
    if !preview.roles_missing.is_empty() && !wanted.manner.no_owner {
        let why = format!(
            "these roles are not there: {}; restore them first (postgresql/globals.sql of the archive), or leave owners out with no_owner",
            preview.roles_missing.join(", ")
        );
        preview.refusal.get_or_insert(why);
    }
    if !survey.superuser {
        let may = client.ask(asked, "select rolcreatedb from pg_roles where rolname = current_user;").await?;
        if may != "t" {
            let why = format!("role '{}' may not make databases", survey.role);
            preview.refusal.get_or_insert(why);
        }
    }
    Ok(preview)
}

/// Looks at a MySQL or MariaDB server.
pub async fn mysql(
    bench: &Bench<'_>,
    wanted: &Wanted<'_>,
    connection: &mysql::Connection,
    dumped: &Dumped<'_>,
) -> Result<DatabasePreview, NoOutcome> {
    let streams = bench.streams()?;
    let client = mysql_client::Client::new(bench, connection, &streams)?;
    let survey = client.survey().await?;
    let tool = client.tool(CLIENT, survey.flavour()).await?;
    let mut preview = wanted.begin(dumped, connection.shown(), survey.version.clone(), tool.said.clone());
    // Nobody owns a table there.
    preview.roles_known = true;
    let at = Some(wanted.database);
    match client.ask_by(&tool, at, placing::COUNT_OBJECTS).await {
        Err(NoOutcome::Failed(failure)) if failure.code == FailureCode::DatabaseMissing => {}
        Err(why) => return Err(why),
        Ok(objects) => {
            let sql = format!(
                "select coalesce(sum(data_length + index_length), ''),
    (select count(*) from information_schema.processlist where db = database() and id <> connection_id())
  from information_schema.tables where table_schema = database() and hex(table_schema) = hex(database());
{}",
                placing::COUNT_TABLES
            );
            let said = client.ask_by(&tool, at, &sql).await?;
            let (first, tables) = said.split_once('\n').unwrap_or_default();
            let (size, clients) = first.split_once('\t').unwrap_or_default();
            preview.standing = Some(StandingDatabase {
                size_bytes: size.parse().ok(),
                tables: tables.trim().parse().unwrap_or_default(),
                empty: objects == "0",
                clients: clients.parse().unwrap_or_default(),
            });
        }
    }
    wanted.settle(&mut preview);
    if survey.flavour() != Flavour::of(&dumped.dump.server_version) && !dumped.dump.server_version.is_empty()
    {
        preview.dumped_from.push_str(" (of another kind than this server)");
    }
    Ok(preview)
}
